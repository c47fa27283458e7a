"""Kernel theory of wide networks: actions, stationary points, transition, 1/N terms, outliers.

This package never imports ``sampling``, and it runs without PyTorch.
"""
