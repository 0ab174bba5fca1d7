"""What a report draws: views with outlines, CT series with levels, graphs of scores."""
