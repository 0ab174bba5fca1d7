"""Complete studies are read.

reading   by the champions, into objects that are sent; answering: one study after another
"""
