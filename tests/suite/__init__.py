"""How the suite runs: which tests are slow, in which order and side by side, what is left."""
