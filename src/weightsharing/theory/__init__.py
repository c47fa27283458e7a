"""Large-width theory of the kernels; never imports the sampling side."""
