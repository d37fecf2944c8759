r"""Generative models in PyTorch with a quantum annealer, or a simulated one, inside.

The package itself needs PyTorch, dimod and networkx. Lightning, torchvision and the D-Wave client
load where they are used, and not before.
"""

from qahm_torch.ising import CouplingGraph, Ising, log_partition
from qahm_torch.losses import ReweightedLoss, reweighted_wake_loss, sleep_loss, wake_loss
from qahm_torch.nn import (
    BeliefNetwork,
    Concatenated,
    ContinuousSpins,
    DiscretizedLogistic,
    HelmholtzMachine,
    OneHot,
    QuantumPriorLayer,
    Spins,
    VisibleDistribution,
)
from qahm_torch.samplers import (
    DimodSampler,
    ExactSampler,
    GibbsSampler,
    LogZ,
    Sampler,
    Samples,
    estimate_log_z,
)

__version__ = "0.1.0"

__all__ = [
    "BeliefNetwork",
    "Concatenated",
    "ContinuousSpins",
    "CouplingGraph",
    "DimodSampler",
    "DiscretizedLogistic",
    "ExactSampler",
    "GibbsSampler",
    "HelmholtzMachine",
    "Ising",
    "LogZ",
    "OneHot",
    "QuantumPriorLayer",
    "ReweightedLoss",
    "Sampler",
    "Samples",
    "Spins",
    "VisibleDistribution",
    "estimate_log_z",
    "log_partition",
    "reweighted_wake_loss",
    "sleep_loss",
    "wake_loss",
]
