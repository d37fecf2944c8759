r"""Generative models in PyTorch with a quantum annealer, or a simulated one, inside.

Names load when they are first used, so that `import qahm_torch` costs nothing, and a broken
optional package does not take down what has no use for it. Whatever is in the face of a room below
is here, too.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qahm_torch import (
        cognition as cognition,
        data as data,
        device as device,
        evaluation as evaluation,
        pretrained as pretrained,
        systems as systems,
        testing as testing,
        training as training,
    )
    from qahm_torch.annealer import *
    from qahm_torch.device import *
    from qahm_torch.ising import *
    from qahm_torch.nn import *
    from qahm_torch.objectives import *
    from qahm_torch.priors import *
    from qahm_torch.samplers import *
    from qahm_torch.simulator import *

__version__ = "0.2.0"

# From what loads at once to what takes a second.
_FACES = ("ising", "nn", "samplers", "priors", "objectives", "device", "annealer", "simulator")
_BESIDE = ("cognition", "data", "evaluation", "pretrained", "systems", "testing", "training")
_ROOMS = (*_FACES, *_BESIDE)


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"qahm_torch.{name}")
    if name == "__all__":
        return [public for room in _FACES for public in _public(_room(room))]
    for room in _FACES if not name.startswith("_") else ():
        if name in _public(_room(room)):
            return getattr(_room(room), name)
    raise AttributeError(f"module 'qahm_torch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__getattr__("__all__"), *_ROOMS, "__version__"])


def _room(name: str) -> ModuleType:
    return importlib.import_module(f"qahm_torch.{name}")


def _public(room: ModuleType) -> list[str]:
    r"""Returns the names that a room's face hands on."""
    return [
        name
        for name, value in vars(room).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    ]
