"""Parts of the compiled step; ``test_backends`` holds the whole to PyTorch's."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from weightsharing.sampling.backends import compiled


@pytest.mark.parametrize("rank", range(1, 10))
def test_gradient_of_any_rank(rank: int) -> None:
    """The sum of outer products takes four at a time and the rest one by one."""
    generator = np.random.default_rng(rank)
    block, velocity, deviates = generator.standard_normal((3, 5, 7))
    left, right = generator.standard_normal((rank, 5)), generator.standard_normal((rank, 7))
    moved, moving = block.copy(), velocity.copy()
    times = np.array([-0.1, 0.1, 0.05, 0.9])
    flat = moved.reshape(-1), moving.reshape(-1), deviates.reshape(-1)
    compiled.move(*flat, left, right, False, 0.3, 0.2, times)
    expected = velocity - 0.1 * (block + 0.3 * left.T @ right)
    np.testing.assert_allclose(moving, expected, rtol=0.0, atol=1e-14)
    np.testing.assert_allclose(moved, block + 0.1 * expected, rtol=0.0, atol=1e-14)


def test_nowhere_to_keep_what_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source tree and a home that cannot be written to: compiled anew in each process."""

    def nowhere(**options: Any) -> Any:
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: (function, options)

    def function() -> None:
        """Nothing."""

    monkeypatch.setattr(numba, "njit", nowhere)
    compiled_function, options = compiled._compiled(function)
    assert compiled_function is function
    assert options["nogil"]
