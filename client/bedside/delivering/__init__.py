"""Results go to their destinations.

delivery   what is due, what became of it; peer: by C-STORE; web: by STOW-RS
"""
