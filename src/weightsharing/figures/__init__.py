"""The figures: a folder each, and what they share."""
