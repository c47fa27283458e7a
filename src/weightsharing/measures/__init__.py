"""Where theory and samples meet: kernels, alignment, spectra, errors, diagnostics."""
