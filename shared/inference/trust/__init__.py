"""Whether a version is what the coordinator signed."""
