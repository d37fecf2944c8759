r"""Modules: the prior layer, belief networks, visible distributions and the Helmholtz machine."""

from qahm_torch.nn.belief import BeliefNetwork, Draw
from qahm_torch.nn.embedded import EmbeddedPrior
from qahm_torch.nn.grey import ContinuousSpins, DiscretizedLogistic
from qahm_torch.nn.interface import Prior
from qahm_torch.nn.machine import HelmholtzMachine, hide
from qahm_torch.nn.prior import QuantumPriorLayer
from qahm_torch.nn.visible import Concatenated, OneHot, Spins, VisibleDistribution

__all__ = [
    "BeliefNetwork",
    "Concatenated",
    "ContinuousSpins",
    "DiscretizedLogistic",
    "Draw",
    "EmbeddedPrior",
    "HelmholtzMachine",
    "OneHot",
    "Prior",
    "QuantumPriorLayer",
    "Spins",
    "VisibleDistribution",
    "hide",
]
