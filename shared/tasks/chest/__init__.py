"""Tasks on unenhanced CT of the chest."""
