"""Draws of short chains and the theory's kernels, pinned to numbers stored in ``pinned.json``.

A change of structure must not change a draw. The chains are short: differences of rounding between
processors stay below ``TOLERANCE``. A changed step, random stream or seed exceeds it. After a change
that is meant to alter draws, write the file anew: ``python tests/test_pinned.py``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from weightsharing.cli import main
from weightsharing.sampling import kinetic

STORED = Path(__file__).with_name("pinned.json")
# Of the largest number of its array: float32 resolves 1e-7, and a chain makes some tens of steps.
TOLERANCE = {"float32": 1e-4, "float64": 1e-8}

ENDPOINT = {"kind": "endpoint", "labels": [1.0, -0.5]}
SINUSOID = {"kind": "sinusoid", "period": 5.0, "supervised": [1, 3]}
SEQUENCE = {"kind": "sequence", "period": 4.0, "sets": [[2], [1, 4]]}
DYNAMICS = {"width": 12, "draws": 4, "chains": 2, "spectra": 2}
SGLD = DYNAMICS | {
    "method": "sgld",
    "step_size": 0.002,
    "burn_in": 0.02,
    "ramp": 0.012,
    "duration": 0.032,
}
KINETIC = DYNAMICS | {"method": "kinetic", "step_size": 0.02, "burn_in": 0.2, "ramp": 0.12,
           "duration": 0.32, "friction": 0.5, "refresh": 2, "readout": "sampled"}  # fmt: skip
INTEGRATED = KINETIC | {"readout": "integrated"}
EXACT = {"method": "exact", "width": 16, "warm_up": 12, "thinning": 1, "leapfrog_steps": 4, "draws": 4,
         "chains": 2, "spectra": 2}  # fmt: skip


def case(
    sampler: dict[str, Any], task: dict[str, Any], kind: str, activation: str = "linear",
    start: str = "prior",
) -> dict[str, Any]:  # fmt: skip
    """The parameters of a run, as in ``run.yaml``."""
    precision = {} if sampler["method"] == "exact" else {"precision": "float32"}
    prior = {"w": 0.9, "u": 1.1, "v": 0.8}
    return {
        "kind": "run",
        "id": f"pinned/{sampler['method']}-{kind}-{activation}-{task['kind']}",
        "seed": 7,
        "device": "cpu",
        "architecture": {"kind": kind, "activation": activation, "steps": 4, "prior": prior},
        "kappa": 0.2,
        "task": task,
        "sampler": precision | sampler | {"start": start},
    }


CASES = [
    case(SGLD, ENDPOINT, "rnn"),
    case(SGLD, SINUSOID, "dnn", "erf"),
    case(SGLD, SEQUENCE, "rnn", start="lowest"),
    case(KINETIC, ENDPOINT, "rnn", start="disordered"),
    case(KINETIC, SINUSOID, "rnn", "erf", start="lowest"),
    case(KINETIC, SEQUENCE, "dnn"),
    case(INTEGRATED, ENDPOINT, "dnn", start="lowest"),
    case(INTEGRATED, SINUSOID, "dnn", "erf"),
    case(INTEGRATED, SEQUENCE, "rnn"),
    case(EXACT, ENDPOINT, "dnn"),
    case(EXACT, SINUSOID, "rnn", "erf"),
    case(EXACT, SEQUENCE, "rnn", start="lowest"),
]


def drawn(
    run: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, NDArray[np.floating]]:
    """Kernels, outputs, losses and spectra of all draws, and kernels and actions of the theory."""
    # These chains are too short for equilibrium, which their numbers do not need.
    monkeypatch.setattr(kinetic, "LEAST_FORGOTTEN", 0.0)
    files = {name: folder / f"{name}.nc" for name in ("task", "theory", "samples")}
    parameters = str(folder / "run.yaml")
    commands = [
        ["resolve", json.dumps(run), parameters, "--task", str(files["task"])],
        ["theory", parameters, str(files["task"]), str(files["theory"])],
        ["sample", parameters, str(files["task"]), str(files["samples"]), "--theory",
         str(files["theory"])],
    ]  # fmt: skip
    for words in commands:
        assert main(words) == 0, words
    with xr.open_dataset(files["samples"]) as samples, xr.open_dataset(files["theory"]) as theory:
        found = {name: samples[name].to_numpy() for name in ("kernel", "output", "loss")}
        # Their order is that of a library.
        found["modulus"] = np.sort(np.hypot(*np.moveaxis(samples["eigenvalue"].to_numpy(), -1, 0)))
        found |= {
            f"theory_{name}": theory[name].isel(point=0).to_numpy() for name in ("kernel", "action")
        }
    return found


@pytest.mark.parametrize("run", CASES, ids=lambda run: run["id"].removeprefix("pinned/"))
def test_draws_are_those_that_were_stored(
    run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = json.loads(STORED.read_text())[run["id"]]
    found = drawn(run, tmp_path, monkeypatch)
    assert found.keys() == stored.keys()
    precision = "float64" if run["sampler"]["method"] == "exact" else "float32"
    for name, values in found.items():
        wanted = np.array(stored[name])
        tolerance = TOLERANCE[precision]
        if name.startswith("theory"):
            # A solver ends at its own tolerance; the quadrature of the nonlinear theory at 1e-4.
            tolerance = 1e-6
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(values, wanted, rtol=0, atol=tolerance * scale, err_msg=name)


if __name__ == "__main__":
    stored = {}
    for run in CASES:
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            stored[run["id"]] = {
                name: np.asarray(values, dtype=np.float64).round(12).tolist()
                for name, values in drawn(run, Path(folder), patch).items()
            }
    STORED.write_text(json.dumps(stored))
    sys.exit(0)
