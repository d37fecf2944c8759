r"""A recognition whose deepest layer is a Boltzmann machine with fields of the datum."""

from __future__ import annotations

__all__ = ["ConditionalBoltzmann"]

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qahm_torch.ising import CouplingGraph
from qahm_torch.nn import BeliefNetwork, Draw, Recognition
from qahm_torch.nn.told import as_tensor, told_by
from qahm_torch.priors.field_rows import MAX_ENUMERATED, FieldRows, RowMoments, row_log_partition
from qahm_torch.priors.row_sampling import DigitalFields, Repeats, SideBySide, annealed_row_log_z
from qahm_torch.samplers import Sampler


class ConditionalBoltzmann(Recognition):
    r"""A recognition whose deepest layer is a Boltzmann machine, another one for each datum.

    .. math::
        q(u_1, \dots, u_L \mid v) = \prod_{k<L} q(u_k \mid u_{k-1}) \,
        \frac{e^{-E(u_L; \, h(u_{L-1}), J)}}{Z(u_{L-1})}, \qquad
        E(u; h, J) = \sum_i h_i u_i + \sum_{i<j} J_{ij} u_i u_j,

    with :math:`u_0 = v`: the fields h come from a network, and the couplings J are parameters that
    all data share. The lower layers, if there are some, are those of a `BeliefNetwork`. Couplings
    start at 0, where the spins of the deepest layer are independent of each other as they are
    there, with the activation -h.

    *Draws* are exact, by enumeration for each datum, unless there is a `sampler`. One that runs
    chains on this machine draws for all data in one call: the fields are written in binary digits
    (within :math:`2^{-16}` of the largest one) as spins that are held row by row. Any other
    sampler is asked for each distinct datum: of a device, no spin can be held from read to read,
    so that it is programmed anew for each datum, or for each `rows_per_problem` data, whose
    machines are side by side on the chip.

    *Value.* log Z of each datum is exact for up to 16 spins of the deepest layer. Beyond, it is
    estimated in each call by annealed importance sampling, from below on average, so that log q is
    overestimated and a bound of the likelihood remains one.

    *Gradient.* That of log q by moments of each datum's machine: exact without a sampler; with
    one, means over `num_samples` samples that are drawn in the backward pass.

    Shapes: visible states are (*, N_visible), hidden ones (*, width).

    Arguments:
        widths: The numbers of units: visible, first hidden layer, ..., deepest.
        graph: The graph of the deepest layer; None for a complete one.
        layers: The modules, one per layer after the data, from rows (B, width of the layer before)
            to rows (B, width); the last one gives the fields h. None for linear ones.
        sampler: The sampler of the deepest layer, which may be replaced at any time; None for
            enumeration.
        num_samples: The number of samples of each datum for the gradient by a sampler.
        rows_per_problem: The number of distinct data whose machines a sampler that draws for each
            datum gets in one problem.
        num_chains: The number of annealed chains of each datum, where log Z is estimated.
        num_temperatures: The number of their inverse temperatures.

    Raises:
        ValueError: If widths, graph and layers do not fit each other, a number is not positive, or
            there are more than 16 spins and no sampler.

    References:
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
          computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757
        | Quantum variational autoencoder (Khoshaman et al., 2018)
        | https://arxiv.org/abs/1802.05779

    Example:
        >>> from qahm_torch import BeliefNetwork, HelmholtzMachine, QuantumPriorLayer, WakeSleep
        >>> recognition = ConditionalBoltzmann([6, 3])
        >>> machine = HelmholtzMachine(recognition, BeliefNetwork([3, 6]), QuantumPriorLayer(3))
        >>> losses = WakeSleep()(machine, torch.ones(4, 6), machine.prior.draw())
        >>> losses["loss"].backward()
        >>> recognition.J.grad.shape
        torch.Size([3])
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        graph: CouplingGraph | None = None,
        layers: Sequence[nn.Module] | None = None,
        sampler: Sampler | None = None,
        num_samples: int = 16,
        rows_per_problem: int = 1,
        num_chains: int = 16,
        num_temperatures: int = 50,
    ):
        super().__init__(widths)
        *lower, before, deepest = self.widths
        graph = CouplingGraph.complete(deepest) if graph is None else graph
        if graph.num_spins != deepest:
            raise ValueError(
                f"the graph has {graph.num_spins} spins, but the deepest layer has {deepest} units"
            )
        if layers is not None and len(layers) != len(self.widths) - 1:
            raise ValueError(
                f"layers are {len(layers)} modules, but widths {list(widths)} need "
                f"{len(self.widths) - 1}"
            )
        if sampler is None and deepest > MAX_ENUMERATED:
            raise ValueError(
                f"the deepest layer has {deepest} spins, but without a `sampler` at most "
                f"{MAX_ENUMERATED} are enumerated"
            )
        _check_count("num_samples", num_samples, 1)
        _check_count("rows_per_problem", rows_per_problem, 1)
        _check_count("num_chains", num_chains, 1)
        _check_count("num_temperatures", num_temperatures, 2)
        self.below = None
        if lower:
            inner = None if layers is None else layers[:-1]
            self.below = BeliefNetwork([*lower, before], layers=inner)
        self.to_fields = nn.Linear(before, deepest) if layers is None else layers[-1]
        self.J = nn.Parameter(torch.zeros(graph.num_edges))
        self.graph = graph
        self.sampler = sampler
        self.num_samples = num_samples
        self.rows_per_problem = rows_per_problem
        self.num_chains = num_chains
        self.num_temperatures = num_temperatures
        self._digital: DigitalFields | None = None
        self._beside: SideBySide | None = None

    @property
    def layers(self) -> list[nn.Module]:
        r"""The modules of the layers; the last one gives the fields of the deepest spins."""
        lower = [] if self.below is None else list(self.below.layers)
        return [*lower, self.to_fields]

    def draw(self, inputs: Tensor, generator: torch.Generator | None = None) -> Draw:
        states, log_prob = self._lower(inputs, generator)
        above = states[-1] if states else inputs
        rows = self.machines(above)
        repeats = Repeats.of(_flat(above))
        spins = self._drawn(rows, repeats, generator).view(*inputs.shape[:-1], -1)
        total = self._row_log_prob(rows, repeats, spins, generator)
        return Draw([*states, spins], log_prob + total)

    def log_prob(self, states: Sequence[Tensor]) -> Tensor:
        if len(states) != len(self.widths):
            raise ValueError(f"states are {len(states)}, but {len(self.widths)} are needed")
        rows, repeats = self.machines(states[-2]), Repeats.of(_flat(states[-2]))
        total = self._row_log_prob(rows, repeats, states[-1])
        return total if self.below is None else total + self.below.log_prob(states[:-1])

    @torch.no_grad()
    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> list[Tensor]:
        r"""Returns hidden states, each (*, width), given visible ones (*, N_visible)."""
        states, _ = self._lower(inputs, generator)
        above = states[-1] if states else inputs
        spins = self._drawn(self.machines(above), Repeats.of(_flat(above)), generator)
        return [*states, spins.view(*inputs.shape[:-1], -1)]

    def machines(self, above: Tensor) -> FieldRows:
        r"""Returns the machines of the deepest layer, given states (*, width) of that before it.

        Their fields have shape (R, N), with the rows of all leading dimensions one after another.
        """
        return FieldRows(self.graph, self.to_fields(_flat(above)).to(self.J.dtype), self.J)

    @property
    def is_enumerated(self) -> bool:
        r"""Whether log Z is exact."""
        return self.graph.num_spins <= MAX_ENUMERATED

    @torch.no_grad()
    def draws(
        self, rows: FieldRows, num_samples: int, generator: torch.Generator | None = None
    ) -> Tensor:
        r"""Returns samples of each of some machines, of shape (S, R, N).

        Arguments:
            rows: The machines, (R, N).
            num_samples: The number of samples S of each.
            generator: The source of random numbers.
        """
        sampler, rows = self.sampler, rows.detach()
        if sampler is None:
            return rows.draws(num_samples, generator)
        if sampler.can_clamp and sampler.keeps_chains and not sampler.is_billed:
            return self._digits().draws(rows, sampler, num_samples, generator)
        if self._beside is None or self._beside.number != self.rows_per_problem:
            self._beside = SideBySide(self.graph, self.rows_per_problem)
        J = rows.J.expand(len(rows.fields), -1)
        return self._beside.draws(rows.fields, J, sampler, num_samples, generator).spins

    def get_extra_state(self) -> Tensor:
        r"""Returns the graph, so that a state dict cannot be loaded into another one."""
        return as_tensor({"num_spins": self.graph.num_spins, "edges": self.graph.edges})

    def set_extra_state(self, state: Any) -> None:
        # The graph has been compared in `_load_from_state_dict`, before anything was copied.
        pass

    def extra_repr(self) -> str:
        return (
            f"widths={list(self.widths)}, num_edges={self.graph.num_edges}, "
            f"sampler={self.sampler!r}"
        )

    def _lower(self, inputs: Tensor, generator: torch.Generator | None) -> Draw:
        if self.below is None:
            return Draw([], self.J.new_zeros(inputs.shape[:-1]))
        return self.below.draw(inputs, generator)

    def _drawn(
        self, rows: FieldRows, repeats: Repeats, generator: torch.Generator | None
    ) -> Tensor:
        r"""Returns one draw for each row, (R, N)."""
        distinct = rows._replace(fields=rows.fields[repeats.first])
        return self.draws(distinct, repeats.most, generator)[repeats.rank, repeats.kind]

    def _row_log_prob(
        self,
        rows: FieldRows,
        repeats: Repeats,
        spins: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        distinct = rows._replace(fields=rows.fields[repeats.first])
        with torch.no_grad():
            value = self._log_z(distinct.detach(), generator)
        log_z = row_log_partition(distinct, value, self._negative)[repeats.kind]
        return (-rows.energy(_flat(spins)) - log_z).view(spins.shape[:-1])

    def _log_z(self, rows: FieldRows, generator: torch.Generator | None) -> Tensor:
        if self.is_enumerated:
            return rows.log_z()
        settings = self.num_chains, self.num_temperatures
        return annealed_row_log_z(rows, self._digits(), *settings, generator)

    def _negative(self, rows: FieldRows, weights: Tensor) -> RowMoments:
        if self.sampler is None:
            return rows.moments(weights)
        return RowMoments.of(rows, self.draws(rows, self.num_samples), weights)

    def _digits(self) -> DigitalFields:
        if self._digital is None:
            self._digital = DigitalFields(self.graph)
        return self._digital

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        extra = told_by(state_dict.get(prefix + "_extra_state"))
        if extra is not None and extra != told_by(self.get_extra_state()):
            raise ValueError(
                f"the state is of another graph: {extra['num_spins']} spins and "
                f"{len(extra['edges'])} edges; this one has {self.graph.num_spins} spins and "
                f"{self.graph.num_edges} edges, or the same numbers with other edges"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _flat(states: Tensor) -> Tensor:
    return states.reshape(-1, states.shape[-1])


def _check_count(name: str, count: int, least: int) -> None:
    if count < least:
        raise ValueError(f"{name} is {count}, but it is at least {least}")
