"""Feature learning in RNNs and DNNs: kernel theory and Langevin training, side by side.

RNNs are DNNs with shared weights. This package solves the large-width kernel theory of both, trains both
by Langevin dynamics, measures both with the same code and draws theory against experiment.

These names are the library. A name loads its module at first use. The verbs of the command line call the
same functions: ``python -m weightsharing --help``.

    import weightsharing as ws
    task = ws.EndpointTask(labels=(2.0,)).make(steps=4)
    network = ws.Architecture(kind="rnn", steps=4)
    theory = ws.solve(task, network, kappa=0.1)      # xarray: stationary points, the lowest first
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightsharing.measures.compare import compare as compare
    from weightsharing.model.architecture import Architecture as Architecture
    from weightsharing.model.architecture import Prior as Prior
    from weightsharing.model.condition import Condition as Condition
    from weightsharing.model.task import Task as Task
    from weightsharing.model.tasks import EndpointTask as EndpointTask
    from weightsharing.model.tasks import FileTask as FileTask
    from weightsharing.model.tasks import SequenceTask as SequenceTask
    from weightsharing.model.tasks import SinusoidTask as SinusoidTask
    from weightsharing.sampling.chain import sample as sample
    from weightsharing.sampling.exact import ExactSettings as ExactSettings
    from weightsharing.sampling.kinetic import KineticSettings as KineticSettings
    from weightsharing.sampling.run import Run as Run
    from weightsharing.sampling.sgld import LangevinSettings as LangevinSettings
    from weightsharing.theory.finite_width import order_parameter_law as order_parameter_law
    from weightsharing.theory.solve import solve as solve
    from weightsharing.theory.transition import critical_signal as critical_signal

# The module of each public name.
_MODULES = {
    "Architecture": "model.architecture",
    "Condition": "model.condition",
    "EndpointTask": "model.tasks",
    "ExactSettings": "sampling.exact",
    "FileTask": "model.tasks",
    "KineticSettings": "sampling.kinetic",
    "LangevinSettings": "sampling.sgld",
    "Prior": "model.architecture",
    "Run": "sampling.run",
    "SequenceTask": "model.tasks",
    "SinusoidTask": "model.tasks",
    "Task": "model.task",
    "compare": "measures.compare",
    "critical_signal": "theory.transition",
    "order_parameter_law": "theory.finite_width",
    "sample": "sampling.chain",
    "solve": "theory.solve",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    """A public name, loaded at first use: importing the package loads neither PyTorch nor Matplotlib."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(_MODULES)
