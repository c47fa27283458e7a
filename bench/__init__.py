"""Benchmarks of steps, effective samples and solutions, measured side by side in one run."""
