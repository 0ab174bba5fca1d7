"""`osteofed serve`: what a site answers hospital systems with, until it is stopped."""
