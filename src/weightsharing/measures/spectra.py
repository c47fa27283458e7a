"""Spectra of the recurrent weights: the edge of the noise and the eigenvalues beyond it (THEORY 7)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from weightsharing.measures.estimate import standard_error
from weightsharing.model.axes import SPECTRUM_AXES, Array
from weightsharing.theory.outliers import noise_edge

# Probability that pure noise has an eigenvalue beyond the edge in any spectrum of a run.
EDGE_FALSE_ALARM = 0.01
# Spectra of a chain from which its autocorrelation is estimated.
FEWEST_SPECTRA = 8


def spectra(samples: xr.Dataset, signs: Array, w: float) -> xr.Dataset:
    """Eigenvalues of the recurrent matrices on one branch, and what lies beyond the edge of the noise.

    signs: -1 for draws that W -> -W maps to the branch, (chain, draw). w: prior variance of N^(1/2) W_ij.

    eigenvalue: (chain, spectrum, matrix, unit, part). noise_edge: modulus beyond which pure noise has
    an eigenvalue in ``EDGE_FALSE_ALARM`` of runs. outliers: number of eigenvalues beyond it, (chain,
    spectrum). largest_eigenvalue: that of largest modulus, (chain, spectrum, part). largest_modulus:
    its mean modulus.
    """
    drawn = samples["eigenvalue"].to_numpy()
    at_draw = signs[:, samples["spectrum_draw"].to_numpy()]
    values = (drawn[..., 0] + 1j * drawn[..., 1]) * at_draw[:, :, None, None]
    chains, count, matrices, width = values.shape
    edge = noise_edge(width, w, EDGE_FALSE_ALARM / (chains * count * matrices))
    each = values.reshape(chains, count, -1)
    largest = np.take_along_axis(each, np.abs(each).argmax(axis=2)[..., None], axis=2)[..., 0]
    modulus = np.abs(largest)
    # Spectra of one chain are correlated. With a few only, the error is that of the mean over chains.
    error = modulus.mean(axis=1).std(ddof=1) / np.sqrt(chains)
    if count >= FEWEST_SPECTRA:
        error = float(standard_error(modulus))
    outliers = (np.abs(values) > edge).sum(axis=(2, 3)).astype(np.float64)
    return xr.Dataset(
        {
            "eigenvalue": (SPECTRUM_AXES, np.stack([values.real, values.imag], axis=-1)),
            "noise_edge": edge,
            "outliers": (("chain", "spectrum"), outliers),
            "largest_eigenvalue": (
                ("chain", "spectrum", "part"),
                np.stack([largest.real, largest.imag], axis=-1),
            ),
            "largest_modulus": modulus.mean(),
            "largest_modulus_standard_error": error,
        }
    )
