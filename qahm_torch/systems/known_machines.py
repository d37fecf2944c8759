r"""Machines whose posterior has correlations, and whose laws are known."""

from __future__ import annotations

__all__ = ["known_machine", "recognition_by"]

import torch
from torch import nn

from qahm_torch.nn import (
    Autoregressive,
    BeliefNetwork,
    CausalLinear,
    HelmholtzMachine,
    Recognition,
    Spins,
)
from qahm_torch.priors import ConditionalBoltzmann, QuantumPriorLayer
from qahm_torch.samplers import ExactSampler, GibbsSampler

NUM_SWEEPS = 20  # of the chains that draw for all data in one call


def known_machine(
    num_hidden: int, num_visible: int, num_parents: int, coupling: float, num_samples: int
) -> HelmholtzMachine:
    r"""Returns a machine of random weights, whose visible spins have some parents each.

    The visible spins have weights of +-1 from their parents, and fields are normal with standard
    deviation 0.3, as are biases. The recognition is one of independent spins.

    Arguments:
        num_hidden: The number of hidden spins, all of which the prior couples.
        num_visible: The number of visible spins.
        num_parents: The number of parents of a visible spin.
        coupling: The standard deviation of the couplings of the prior.
        num_samples: The number of samples that the prior draws for an update, exactly.
    """
    prior = QuantumPriorLayer(num_hidden, sampler=ExactSampler(), num_samples=num_samples)
    layer = nn.Linear(num_hidden, num_visible)
    with torch.no_grad():
        prior.h.normal_(0, 0.3)
        prior.J.normal_(0, coupling)
        layer.bias.normal_(0, 0.3)
        layer.weight.zero_()
        for i in range(num_visible):
            parents = torch.randperm(num_hidden)[:num_parents]
            layer.weight[i, parents] = torch.randint(0, 2, (num_parents,)) * 2.0 - 1
    prior.estimate_log_z()
    widths = [num_hidden, num_visible]
    recognition = BeliefNetwork(widths[::-1])
    return HelmholtzMachine(recognition, BeliefNetwork(widths, layers=[layer]), prior)


def recognition_by(arm: str, num_visible: int, num_hidden: int) -> Recognition:
    r"""Returns a new recognition of one hidden layer, by the name of an arm.

    "independent", "autoregressive" and "Boltzmann" are linear in the data. "independent, deep" has
    a layer in between, and "Boltzmann, chains" draws by chains instead of enumeration.
    """
    widths = [num_visible, num_hidden]
    if arm == "independent":
        return BeliefNetwork(widths)
    if arm == "independent, deep":
        hidden = 4 * num_visible
        deep = [nn.Linear(num_visible, hidden), nn.Tanh(), nn.Linear(hidden, num_hidden)]
        return BeliefNetwork(widths, layers=[nn.Sequential(*deep)])
    if arm == "autoregressive":
        units = Autoregressive(Spins(num_hidden), CausalLinear(num_hidden))
        return BeliefNetwork(widths, output=units)
    if arm == "Boltzmann":
        return ConditionalBoltzmann(widths)
    if arm == "Boltzmann, chains":
        return ConditionalBoltzmann(widths, sampler=GibbsSampler(NUM_SWEEPS))
    raise ValueError(f"arm is {arm!r}, but a recognition by that name is not known")
