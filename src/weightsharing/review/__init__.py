"""The review: one page with all figures, their captions and claims, and all runs."""
