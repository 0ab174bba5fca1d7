"""Complete studies are read.

answering   one study after another, by whatever reads it
"""
