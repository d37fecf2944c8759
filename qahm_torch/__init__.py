r"""Generative models in PyTorch with a quantum annealer, or a simulated one, inside.

Names load when they are first used, so that `import qahm_torch` costs nothing, and a broken
optional package does not take down what has no use for it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qahm_torch.ising import CouplingGraph, Ising, log_partition
    from qahm_torch.losses import ReweightedLoss, reweighted_wake_loss, sleep_loss, wake_loss
    from qahm_torch.nn import (
        BeliefNetwork,
        Concatenated,
        ContinuousSpins,
        DiscretizedLogistic,
        EmbeddedPrior,
        HelmholtzMachine,
        OneHot,
        QuantumPriorLayer,
        Spins,
        VisibleDistribution,
    )
    from qahm_torch.samplers import (
        AnnealedSampler,
        AnnealerError,
        AnnealerSampler,
        AnnealerWarning,
        AnnealSettings,
        DimodSampler,
        ExactSampler,
        GibbsSampler,
        LogZ,
        PathIntegralSampler,
        ReplaySampler,
        RetryPolicy,
        Sampler,
        Samples,
        SimulatedAnnealer,
        TemperingSampler,
        estimate_log_z,
    )

__version__ = "0.1.0"

__all__ = [
    "AnnealSettings",
    "AnnealedSampler",
    "AnnealerError",
    "AnnealerSampler",
    "AnnealerWarning",
    "BeliefNetwork",
    "Concatenated",
    "ContinuousSpins",
    "CouplingGraph",
    "DimodSampler",
    "DiscretizedLogistic",
    "EmbeddedPrior",
    "ExactSampler",
    "GibbsSampler",
    "HelmholtzMachine",
    "Ising",
    "LogZ",
    "OneHot",
    "PathIntegralSampler",
    "QuantumPriorLayer",
    "ReplaySampler",
    "RetryPolicy",
    "ReweightedLoss",
    "Sampler",
    "Samples",
    "SimulatedAnnealer",
    "Spins",
    "TemperingSampler",
    "VisibleDistribution",
    "estimate_log_z",
    "log_partition",
    "reweighted_wake_loss",
    "sleep_loss",
    "wake_loss",
]

_ROOMS = ("ising", "samplers", "nn", "losses", "evaluation", "training")


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"qahm_torch.{name}")
    if name in __all__:
        for room in _ROOMS:
            module = importlib.import_module(f"qahm_torch.{room}")
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module 'qahm_torch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *_ROOMS])
