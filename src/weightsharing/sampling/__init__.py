"""Sampling networks at finite width; never imports the theory side."""
