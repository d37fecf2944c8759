r"""Stacking restricted machines that were trained one after the other."""

from __future__ import annotations

__all__ = ["stack"]

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qahm_torch.nn import BeliefNetwork, HelmholtzMachine
from qahm_torch.priors.layer import QuantumPriorLayer


def stack(machines: Sequence[QuantumPriorLayer]) -> HelmholtzMachine:
    r"""Returns the deep belief network of restricted machines, as a Helmholtz machine.

    .. math::
        p(v, u_1, \dots, u_L) = \sigma(v | u_1) \cdots \sigma(u_{L-1} | u_L) \, p(u_L), \qquad
        q(u_1, \dots, u_L | v) = \sigma(u_1 | v) \cdots \sigma(u_L | u_{L-1}),

    where the machine k, of energy :math:`E(v, u) = h_v v + h_u u + v^T J u`, gives both

    .. math::
        p(u_{k-1, i} = 1 | u_k) = \sigma(-2 (h_v + J u_k)_i), \qquad
        q(u_{k, j} = 1 | u_{k-1}) = \sigma(-2 (h_u + J^T u_{k-1})_j),

    and the last machine is the prior of the deepest layer, its visible spins; its hidden spins
    stay inside it and are summed out. If that prior gives the law that the hidden spins of the
    machine below have in that machine, the stack of both has the law of that machine.

    All weights are copied, since they part in fine-tuning, and the machines stay as they are. The
    samplers of the last one are not copied: a device is the same one, with the same account. No
    random number is drawn.

    Arguments:
        machines: The machines, that of the data first, each with the hidden spins of the one
            before as its visible spins, in the same order. There are two or more.

    Returns:
        A machine of two layers for two machines, and of one more for each further one. Visible
        states are (*, N_visible) of the first machine.

    Raises:
        TypeError: If a machine is no `QuantumPriorLayer`.
        ValueError: If there are fewer than two machines, their sizes do not chain, a machine has
            no hidden spins or couplings other than between visible and hidden ones, or one below
            the last has a transverse field, with which its conditionals are others.

    References:
        | A fast learning algorithm for deep belief nets (Hinton, Osindero, Teh, 2006)
        | https://doi.org/10.1162/neco.2006.18.7.1527
        | Reducing the dimensionality of data with neural networks (Hinton & Salakhutdinov, 2006)
        | https://doi.org/10.1126/science.1127647

    Example:
        >>> from qahm_torch import CouplingGraph
        >>> lower = QuantumPriorLayer(CouplingGraph.bipartite(6, 4), hidden=range(6, 10))
        >>> upper = QuantumPriorLayer(CouplingGraph.bipartite(4, 3), hidden=range(4, 7))
        >>> machine = stack([lower, upper])
        >>> machine.generator
        BeliefNetwork(
          widths=[4, 6]
          (layers): ModuleList(
            (0): Linear(in_features=4, out_features=6, bias=True)
          )
          (units): ModuleList(
            (0): Spins(num_units=6, num_parameters=6)
          )
        )
    """
    machines = list(machines)
    _check(machines)
    *lower, top = machines
    widths = [machine.num_visible for machine in machines]
    up = [_linear(_couplings(m).T, _fields(m)[1]) for m in lower]
    down = [_linear(_couplings(m), _fields(m)[0]) for m in reversed(lower)]
    return HelmholtzMachine(
        BeliefNetwork(widths, layers=up), BeliefNetwork(widths[::-1], layers=down), _copy(top)
    )


def _check(machines: list[QuantumPriorLayer]) -> None:
    if len(machines) < 2:
        raise ValueError(f"machines are {len(machines)}, but a stack needs at least 2")
    for k, machine in enumerate(machines):
        if not isinstance(machine, QuantumPriorLayer):
            raise TypeError(
                f"machine {k} is {type(machine).__name__}, but a stack is of QuantumPriorLayer"
            )
        _check_bipartite(k, machine)
        if machine.gamma is not None and k < len(machines) - 1:
            raise ValueError(
                f"machine {k} has gamma {machine.gamma.tolist()}, but only the last one may have "
                "a transverse field"
            )
    for k in range(1, len(machines)):
        hidden, visible = len(machines[k - 1].hidden_units.hidden), machines[k].num_visible
        if hidden != visible:
            raise ValueError(
                f"machine {k - 1} has {hidden} hidden spins, but machine {k} has {visible} "
                "visible ones: the numbers have to be the same"
            )


def _check_bipartite(k: int, machine: QuantumPriorLayer) -> None:
    hidden = torch.zeros(machine.graph.num_spins, dtype=torch.bool)
    hidden[machine.hidden_units.hidden] = True
    if not hidden.any():
        raise ValueError(f"machine {k} has no hidden spins, but each machine of a stack has some")
    first, second = hidden[machine.graph.edges].unbind(-1)
    if (first == second).any():
        i, j = machine.graph.edges[first == second][0].tolist()
        side = "hidden" if hidden[i] else "visible"
        raise ValueError(
            f"machine {k} couples the {side} spins {i} and {j}, but a restricted machine couples "
            "visible spins to hidden ones only"
        )


def _couplings(machine: QuantumPriorLayer) -> Tensor:
    r"""Returns the couplings of visible and hidden spins, (N_visible, N_hidden)."""
    couplings, units = machine.ising().couplings(), machine.hidden_units
    return couplings[units.visible.to(couplings.device)][:, units.hidden.to(couplings.device)]


def _fields(machine: QuantumPriorLayer) -> tuple[Tensor, Tensor]:
    r"""Returns the fields of the visible and of the hidden spins."""
    h, units = machine.h, machine.hidden_units
    return h[units.visible.to(h.device)], h[units.hidden.to(h.device)]


@torch.no_grad()
def _linear(couplings: Tensor, fields: Tensor) -> nn.Linear:
    r"""Returns what maps spins to the activations of others, minus the fields that they see."""
    num_outputs, num_inputs = couplings.shape
    # A plain construction would draw random weights first, and move the seed.
    layer = nn.Linear(num_inputs, num_outputs, device="meta", dtype=fields.dtype)
    layer = layer.to_empty(device=fields.device)
    layer.weight.copy_(-couplings)
    layer.bias.copy_(-fields)
    return layer


def _copy(machine: QuantumPriorLayer) -> QuantumPriorLayer:
    # What the memory of a copy holds already is not copied.
    kept = machine.sampler, machine.hidden_sampler
    return copy.deepcopy(machine, {id(sampler): sampler for sampler in kept})
