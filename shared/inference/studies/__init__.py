"""Studies as the networks may read them."""
