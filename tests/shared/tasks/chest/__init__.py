"""Tests of tasks on unenhanced chest CT."""
