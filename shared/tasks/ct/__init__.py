"""What bone density from CT is made of, in the order of its steps: slabs, projections."""
