"""Feature learning in RNNs and DNNs: kernel theory and Langevin training, side by side.

RNNs are DNNs with shared weights. This package solves the large-width kernel theory of both, trains both
by Langevin dynamics, measures both with the same code and draws theory against experiment.

These names are the library. A name loads its module at first use. The verbs of the command line call the
same functions: ``python -m weightsharing --help``.

    import weightsharing as ws
    task = ws.endpoint(steps=4, signal=4.0)
    network = ws.rnn(steps=4)
    theory = ws.solve(task, network, kappa=0.1)      # xarray: stationary points, the lowest first

Networks of finite width, their comparison with the theory, and a picture:

    draws = ws.sample(task, network, kappa=0.1, width=256)
    report = ws.compare(theory, draws)
    ws.plot.kernels(theory, draws)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightsharing import plot as plot
    from weightsharing.library import compare as compare
    from weightsharing.library import critical_signal as critical_signal
    from weightsharing.library import descend as descend
    from weightsharing.library import dnn as dnn
    from weightsharing.library import endpoint as endpoint
    from weightsharing.library import landau_curve as landau_curve
    from weightsharing.library import order_parameter_law as order_parameter_law
    from weightsharing.library import rnn as rnn
    from weightsharing.library import sample as sample
    from weightsharing.library import sinusoid as sinusoid
    from weightsharing.library import solve as solve
    from weightsharing.model.architecture import Prior as Prior
    from weightsharing.model.task import Task as Task

# The module of each public name, "" of a module itself.
_MODULES = {
    "Prior": "model.architecture",
    "Task": "model.task",
    "compare": "library",
    "critical_signal": "library",
    "descend": "library",
    "dnn": "library",
    "endpoint": "library",
    "landau_curve": "library",
    "order_parameter_law": "library",
    "plot": "",
    "rnn": "library",
    "sample": "library",
    "sinusoid": "library",
    "solve": "library",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    """A public name, loaded at first use: importing the package loads neither PyTorch nor Matplotlib."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not _MODULES[name]:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(_MODULES)
