r"""The gray-box prior: visible spins copied over strands of qubits, all of which learn."""

from __future__ import annotations

__all__ = ["EmbeddedPrior"]

from collections.abc import Hashable, Sequence
from typing import Any

import networkx as nx
import torch
from torch import Tensor

from qahm_torch.annealer.annealer import AnnealerSampler
from qahm_torch.annealer.search import place
from qahm_torch.annealer.settings import PlacementSettings
from qahm_torch.ising import CouplingGraph, Samples, all_states, exact_log_probs
from qahm_torch.ising.merging import Joined, Sets
from qahm_torch.nn.told import as_tensor, told_by
from qahm_torch.priors import BoltzmannPrior
from qahm_torch.samplers import Sampler, within


class EmbeddedPrior(BoltzmannPrior):
    r"""A fully visible Boltzmann machine on the qubits of a device, trained on copied data.

    Visible spin :math:`u_k` stands on a strand of qubits, connected by couplers (a "chain" in
    D-Wave's manuals). With :math:`s(u)` the state in which every qubit of a strand holds its
    :math:`u_k`, what is maximized is

    .. math::
        \log p(s(u)) = -E(s(u)) - \log Z \le \log \sum_{s : \mathrm{decode}(s) = u} p(s),

    and fields and couplings of all qubits are learned, those inside strands included. No chain
    strength is set and none rescales the model: the parameters are the biases of the device.

    *Bound.* `log_prob` is the log-probability of s(u), a *lower bound* of that of the decoded
    samples, since s(u) is one of the states that decode to u and no term of the sum is negative.
    Its probabilities add up to the probability that no strand is broken, and the bound is tight
    when strands never break. `logical_log_prob` gives the other side exactly on small graphs.

    *Gradient.* Moments are matched: for log p, it is

    .. math::
        \partial / \partial J_{ij} = \langle s_i s_j \rangle_{\rm device}
        - \langle s_i s_j \rangle_{\rm data},

    with 1 for the data inside a strand. There it is minus twice the probability that the coupler
    is broken, so training always strengthens strands, ever more slowly. A device of limited range
    needs weight decay, or a clip, to stay inside it.

    *Temperature.* A device at an unknown inverse temperature beta is trained all the same: its
    own law, that of beta h and beta J, has its moments matched. Values such as `log_prob` take
    beta as 1.

    *Decoding.* By majority vote. The first qubit of the strand decides a tie, a fixed rule that
    favors neither value, so that decoding is a function of the spins.

    *Samples.* `draw`, `sample` and `negative` are of qubits, (S, N), in the order of `graph`;
    `log_prob`, `to_visible` and a clamp have visible spins.

    *Without a device.* A Gibbs sampler flips one qubit at a time, and so comes to a halt as
    training strengthens the strands; its persistent chains then diverge at learning rates that
    other layers stand. `AnnealedSampler` draws afresh each time and does not.

    Arguments:
        graph: The qubits and couplers; the labels are the qubits. Qubits in no strand are left
            out, and every coupler between the others is a parameter.
        strands: The strand of each visible spin, by the labels of its qubits.
        sampler: The sampler of the negative phase, as in `QuantumPriorLayer`.
        num_samples: The number of samples of a negative phase.
        persistent: Whether the chains of the sampler run on from one negative phase to the next.
        strand_coupling: The strength of couplers inside strands at first: J = -strand_coupling. On
            its own, a coupler breaks with probability :math:`1 / (1 + e^{2 c})`, which is 12 % at
            c = 1 and 2 % at c = 2.

    Raises:
        ValueError: If a strand is empty, not connected or names no qubit, a qubit is in two
            strands, or `strand_coupling` is negative.

    References:
        | Quantum-assisted learning of hardware-embedded probabilistic graphical models
          (Benedetti et al., 2017)
        | https://arxiv.org/abs/1609.02542

    Example:
        >>> cell = CouplingGraph.bipartite(4, 4)
        >>> prior = EmbeddedPrior(cell, [(0, 4), (1, 5), (2, 6)], num_samples=64)
        >>> prior.num_visible, prior.graph.num_spins, prior.graph.num_edges
        (3, 6, 9)
        >>> (-prior(torch.ones(5, 3)).mean()).backward()
        >>> prior.to_visible(prior.sample(10)).shape
        torch.Size([10, 3])
    """

    strand_of: Tensor  # (N,), the visible spin that each qubit copies
    place_of: Tensor  # (E,), where the coupling of each coupler goes in sums over strands
    leaders: Tensor  # (N_visible,), the first qubit of each strand

    def __init__(
        self,
        graph: CouplingGraph,
        strands: Sequence[Sequence[Hashable]],
        *,
        sampler: Sampler | None = None,
        num_samples: int = 1024,
        persistent: bool = True,
        strand_coupling: float = 1.0,
    ):
        if not strand_coupling >= 0:
            raise ValueError(
                f"strand_coupling is {strand_coupling}, but qubits of a strand agree only if J = "
                "-strand_coupling is at most 0"
            )
        named = tuple(tuple(strand) for strand in strands)
        _check_strands(graph, named)
        used = {qubit for strand in named for qubit in strand}
        kept = [i for i, label in enumerate(graph.labels) if label in used]
        physical, _ = graph.subgraph(kept)
        super().__init__(physical, sampler=sampler, num_samples=num_samples, persistent=persistent)
        self.strands = named
        self.strand_coupling = strand_coupling
        position = {label: i for i, label in enumerate(physical.labels)}
        owner = {qubit: k for k, strand in enumerate(self.strands) for qubit in strand}
        strand_of = torch.tensor([owner[label] for label in physical.labels])
        leaders = torch.tensor([position[strand[0]] for strand in self.strands])
        self._pairs, place_of = Sets(strand_of, len(self.strands)).joined(physical)
        self.register_buffer("strand_of", strand_of, persistent=False)
        self.register_buffer("place_of", place_of, persistent=False)
        self.register_buffer("leaders", leaders, persistent=False)
        self.reset_parameters()

    @classmethod
    def on_device(
        cls,
        num_spins: int,
        sampler: Sampler,
        *,
        max_qubits: int | None = None,
        num_samples: int = 1024,
        strand_coupling: float = 2.0,
    ) -> EmbeddedPrior:
        r"""Returns a prior whose complete graph of visible spins is placed on a device.

        Arguments:
            num_spins: The number of visible spins.
            sampler: The annealer, or a wrapper around it. Its device is opened, and it is the
                sampler of the prior.
            max_qubits: Up to how many qubits strands are lengthened by what is unused on the chip;
                None for strands as short as the placement has them.
            num_samples: The number of samples of a negative phase.
            strand_coupling: The strength of couplers inside strands at first.

        Raises:
            TypeError: If there is no annealer in the sampler.
            AnnealerError: If the device cannot be opened or so many spins do not fit on it.
        """
        annealer = within(sampler, AnnealerSampler)
        if annealer is None:
            raise TypeError(
                f"sampler is {type(sampler).__name__}, but qubits are those of an AnnealerSampler"
            )
        graph, chip = CouplingGraph.complete(num_spins), annealer.chip
        seed, timeout = annealer.placement.seed, annealer.placement.timeout
        placement = place(graph, chip, PlacementSettings(seed=seed, timeout=timeout))
        if max_qubits is not None:
            placement = placement.grown(graph, chip, max_qubits)
        return cls(
            chip.coupling_graph(),
            placement.strands[0],
            sampler=sampler,
            num_samples=num_samples,
            strand_coupling=strand_coupling,
        )

    def reset_parameters(self) -> None:
        r"""Sets the couplings inside strands, draws weak other ones and estimates log Z anew."""
        super().reset_parameters()
        with torch.no_grad():
            self.J[self.inside_strands] = -self.strand_coupling
        self._anchor(num_chains=64, num_temperatures=128)

    @property
    def num_visible(self) -> int:
        return len(self.strands)

    @property
    def inside_strands(self) -> Tensor:
        r"""Which couplers join qubits of one strand, of shape (E,)."""
        return self.place_of >= self._pairs.num_edges

    def log_prob(self, spins: Tensor, negative: Tensor | Samples | None = None) -> Tensor:
        r"""Returns :math:`\log p(s(u))` in nats, a lower bound of that of decoded samples.

        Arguments:
            spins: Visible spins u of shape (*, N_visible).
            negative: Samples of the qubits to use for the gradient instead of calling the
                sampler, of shape (S, N).

        Returns:
            The values of shape (*), with the stored `log_z` for log Z.

        Raises:
            ValueError: If the spins are of a wrong shape, bits, NaN or beyond +-1.
        """
        self._check_spins(spins)
        # By way of sums over strands, of which there are far fewer than qubits, and far more data.
        model, inner = self._sets.merged(self.ising(), Joined(self._pairs, self.place_of))
        energy = model.energy(spins) + spins.to(inner).square() @ inner
        return -energy - self.log_partition(negative)

    def logical_log_prob(self, spins: Tensor) -> Tensor:
        r"""Returns the exact log-probability of visible spins among decoded samples.

        Summed over all states of the qubits, without `log_z`, and differentiable in h and J.

        Arguments:
            spins: Visible spins of shape (*, N_visible).

        Raises:
            ValueError: If there are more qubits than can be enumerated, which is 20.
        """
        self._check_visible(spins)
        log_probs = exact_log_probs(self.ising())
        states = all_states(self.graph.num_spins, log_probs.dtype, log_probs.device)
        decoded = _state_index(self.to_visible(states))
        sums = _log_sums(log_probs, decoded, 2**self.num_visible)
        return sums[_state_index(spins)]

    def from_visible(self, spins: Tensor) -> Tensor:
        r"""Returns the copies s(u) of visible spins on their strands: (*, N_visible) -> (*, N)."""
        self._check_visible(spins)
        return spins.index_select(-1, self.strand_of.to(spins.device))

    def clamp_of(self, visible: Tensor) -> Tensor:
        return self.from_visible(visible)

    def to_visible(self, spins: Tensor) -> Tensor:
        r"""Returns the majority votes of the strands: (*, N) -> (*, N_visible).

        The first qubit of a strand decides a tie.
        """
        first = spins[..., self.leaders.to(spins.device)]
        return self._sets.majority(self._sets.sums(spins), first)

    def is_broken(self, spins: Tensor) -> Tensor:
        r"""Returns which strands have qubits that disagree: (*, N) -> (*, N_visible)."""
        return self._sets.is_split(self._sets.sums(spins))

    @torch.no_grad()
    def sample(
        self,
        num_samples: int,
        clamp: Tensor | None = None,
        sampler: Sampler | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Returns samples of the qubits, of shape (n, N), which leave its chains as they are.

        Arguments:
            num_samples: The number of samples n.
            clamp: Visible spins to hold, of shape (N_visible,) or (n, N_visible): +-1, or 0 for
                free. All qubits of the strand are held.
            sampler: A sampler to use instead of the prior's.
            generator: The source of random numbers.
        """
        held = None if clamp is None else self.from_visible(clamp)
        return super().sample(num_samples, held, sampler, generator=generator)

    def get_extra_state(self) -> Tensor:
        r"""Returns the strands, so that a state dict cannot be loaded into a prior on others."""
        return as_tensor(self.strands)

    def set_extra_state(self, state: Any) -> None:
        # The strands have been compared in `_load_from_state_dict`, before anything was copied.
        self.forget_chains()

    def extra_repr(self) -> str:
        longest = max(len(strand) for strand in self.strands)
        return f"num_visible={self.num_visible}, longest_strand={longest}"

    @property
    def _sets(self) -> Sets:
        return Sets(self.strand_of, self.num_visible)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        strands = told_by(state_dict.get(prefix + "_extra_state"))
        if strands is not None and strands != told_by(self.get_extra_state()):
            raise ValueError(
                f"the state is of {len(strands)} strands of {sum(map(len, strands))} qubits, but "
                f"this prior has {self.num_visible} strands of {self.graph.num_spins} qubits, or "
                "the same numbers with other qubits"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _state_index(spins: Tensor) -> Tensor:
    r"""Returns the places of spins (*, N) in `all_states`, of shape (*)."""
    bits = (spins > 0).long()
    return (bits << torch.arange(spins.shape[-1], device=spins.device)).sum(-1)


def _log_sums(values: Tensor, group: Tensor, num_groups: int) -> Tensor:
    r"""Returns the log of the sum of exponentials over each group, of shape (num_groups,)."""
    lowest = values.new_full((num_groups,), -torch.inf)
    top = lowest.scatter_reduce(0, group, values.detach(), "amax")
    sums = torch.zeros_like(top).index_add(0, group, torch.exp(values - top[group]))
    return top + sums.log()


def _check_strands(graph: CouplingGraph, strands: Sequence[Sequence[Hashable]]) -> None:
    if not strands:
        raise ValueError("strands is empty, but each visible spin needs one")
    couplers = graph.to_networkx()
    seen: set[Hashable] = set()
    for k, strand in enumerate(strands):
        for qubit in strand:
            _check_qubit(k, qubit, couplers, seen)
            seen.add(qubit)
        if not strand:
            raise ValueError(f"strand {k} is empty, but it needs at least 1 qubit")
        if not nx.is_connected(couplers.subgraph(strand)):
            raise ValueError(f"strand {k} is {list(strand)}, but no couplers connect those")


def _check_qubit(k: int, qubit: Hashable, couplers: nx.Graph, seen: set[Hashable]) -> None:
    if qubit not in couplers:
        raise ValueError(f"strand {k} names {qubit!r}, but that is no qubit of the graph")
    if qubit in seen:
        raise ValueError(f"strand {k} names {qubit!r}, but that is in a strand already")
