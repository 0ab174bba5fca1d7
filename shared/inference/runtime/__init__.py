"""Versions that stay warm and read study after study."""
