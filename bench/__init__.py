"""Benchmarks of steps, effective samples and solutions, measured side by side in one run."""

import os

# A notebook sets it for its own process. Matplotlib refuses a backend that is not installed here.
os.environ.pop("MPLBACKEND", None)
