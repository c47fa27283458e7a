"""Sampling networks of finite width, and the registry of samplers; never imports the theory side.

Each sampler is a folder. Its ``__init__`` has the settings and does not load PyTorch: configuration and
figures import it. Its module ``sampler`` has ``build``, which makes a ``protocol.Sampler``. A new sampler
is a new folder and a member of one of the unions below.
"""

from __future__ import annotations

from typing import get_args

from weightsharing.model.record import UNION_TAGS
from weightsharing.sampling import exact, kinetic, sgld
from weightsharing.sampling.settings import KEYS_OF_ALL_SAMPLERS, ChainSettings

# Told apart by the key "method". The first union has the samplers that move weights.
WeightSettings = sgld.LangevinSettings | kinetic.KineticSettings
SamplerSettings = WeightSettings | exact.ExactSettings


def _method(kind: type[ChainSettings]) -> str:
    (name,) = get_args(kind.model_fields["method"].annotation)
    return str(name)


# The settings record of each sampler by the name of its method, in the order of legends.
SAMPLERS: dict[str, type[ChainSettings]] = {
    _method(kind): kind for kind in get_args(SamplerSettings)
}
KEYS_OF_ALL_SAMPLERS.update(key for kind in SAMPLERS.values() for key in kind.model_fields)
UNION_TAGS.update(_method(kind) for kind in get_args(WeightSettings))


def algorithm(settings: ChainSettings) -> str:
    """The module that builds the sampler of these settings."""
    return f"{type(settings).__module__}.sampler"
