"""Sufficient statistics that add up across sites, and the exact pooled metrics from them."""
