r"""The gray-box prior: visible spins copied over chains of qubits, every qubit of which learns."""

from __future__ import annotations

__all__ = ["EmbeddedPrior"]

from collections.abc import Hashable, Sequence
from typing import Any

import networkx as nx
import torch
from torch import Tensor

from qahm_torch.annealer.annealer import AnnealerSampler
from qahm_torch.annealer.placement import grow, place
from qahm_torch.ising import CouplingGraph, Ising, Samples, exact_log_probs
from qahm_torch.ising.enumeration import all_states
from qahm_torch.priors import BoltzmannPrior
from qahm_torch.samplers import Sampler


class EmbeddedPrior(BoltzmannPrior):
    r"""A fully visible Boltzmann machine on the qubits of a device, trained on copied data.

    Visible spin :math:`u_k` stands on a chain of qubits. With :math:`s(u)` the state in which
    every qubit of a chain holds its :math:`u_k`, what is maximized is

    .. math::
        \log p(s(u)) = -E(s(u)) - \log Z \le \log \sum_{s : \mathrm{decode}(s) = u} p(s),

    and fields and couplings of all qubits are learned, those inside chains included. No chain
    strength is set and none rescales the model: the parameters are the biases of the device.

    *Bound.* `log_prob` is the log-probability of s(u), a *lower bound* of that of the decoded
    samples, since s(u) is one of the states that decode to u and no term of the sum is negative.
    Its probabilities add up to the probability that no chain is broken, and the bound is tight
    when chains never break. `logical_log_prob` gives the other side exactly on small graphs.

    *Gradient.* Moments are matched: for log p, it is

    .. math::
        \partial / \partial J_{ij} = \langle s_i s_j \rangle_{\rm device}
        - \langle s_i s_j \rangle_{\rm data},

    with 1 for the data inside a chain. There it is minus twice the probability that the coupler
    is broken, so training always strengthens chains, ever more slowly. A device of limited range
    needs weight decay, or a clip, to stay inside it.

    *Temperature.* A device at an unknown inverse temperature beta is trained all the same: its
    own law, that of beta h and beta J, has its moments matched. Values such as `log_prob` take
    beta as 1.

    *Decoding.* By majority vote. The first qubit of the chain decides a tie, a fixed rule that
    favors neither value, so that decoding is a function of the spins.

    *Samples and chains.* `draw`, `sample` and `negative` are of qubits, (S, N), in the order of
    `graph`; `log_prob`, `to_visible` and a clamp have visible spins. `chains` are those of the
    sampler, as in `QuantumPriorLayer`; the chains of qubits are the `embedding`.

    *Without a device.* A Gibbs sampler flips one qubit at a time, and so comes to a halt as
    training strengthens the chains; its persistent chains then diverge at learning rates that
    other layers stand. `AnnealedSampler` draws afresh each time and does not.

    Arguments:
        graph: The qubits and couplers; the labels are the qubits. Qubits in no chain are left
            out, and every coupler between the others is a parameter.
        chains: The chain of each visible spin, by the labels of its qubits.
        sampler: The sampler of the negative phase, as in `QuantumPriorLayer`.
        num_samples: The number of samples of a negative phase.
        persistent: Whether the chains of the sampler run on from one negative phase to the next.
        chain_coupling: The strength of couplers inside chains at first: J = -chain_coupling. On
            its own, a coupler breaks with probability :math:`1 / (1 + e^{2 c})`, which is 12 % at
            c = 1 and 2 % at c = 2.

    Raises:
        ValueError: If a chain is empty, not connected or names no qubit, a qubit is in two
            chains, or `chain_coupling` is negative.

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

    chain_of: Tensor  # (N,), the visible spin that each qubit copies
    pair_of: Tensor  # for each coupler between chains, the place of their pair in `_logical`
    leaders: Tensor  # (N_visible,), the first qubit of each chain

    def __init__(
        self,
        graph: CouplingGraph,
        chains: Sequence[Sequence[Hashable]],
        *,
        sampler: Sampler | None = None,
        num_samples: int = 1024,
        persistent: bool = True,
        chain_coupling: float = 1.0,
    ):
        if not chain_coupling >= 0:
            raise ValueError(
                f"chain_coupling is {chain_coupling}, but qubits of a chain agree only if J = "
                "-chain_coupling is at most 0"
            )
        embedding = tuple(tuple(chain) for chain in chains)
        _check_embedding(graph, embedding)
        used = {qubit for chain in embedding for qubit in chain}
        kept = [i for i, label in enumerate(graph.labels) if label in used]
        physical, _ = graph.subgraph(kept)
        super().__init__(physical, sampler=sampler, num_samples=num_samples, persistent=persistent)
        self.embedding = embedding
        self.chain_coupling = chain_coupling
        self.register_buffer("chain_of", _chain_of(physical, self.embedding), persistent=False)
        self._logical, pairs = _joined_chains(physical, self.chain_of)
        self.register_buffer("pair_of", pairs, persistent=False)
        self.register_buffer("leaders", _leaders(physical, self.embedding), persistent=False)
        self.reset_parameters()

    @classmethod
    def on_device(
        cls,
        num_spins: int,
        sampler: AnnealerSampler,
        *,
        max_qubits: int | None = None,
        num_samples: int = 1024,
        chain_coupling: float = 2.0,
    ) -> EmbeddedPrior:
        r"""Returns a prior whose complete graph of visible spins is placed on a device.

        Arguments:
            num_spins: The number of visible spins.
            sampler: The annealer, which is opened, and is the sampler of the prior.
            max_qubits: Up to how many qubits chains are lengthened by what is unused on the chip;
                None for chains as short as the placement has them.
            num_samples: The number of samples of a negative phase.
            chain_coupling: The strength of couplers inside chains at first.

        Raises:
            AnnealerError: If the device cannot be opened or so many spins do not fit on it.
        """
        graph, chip = CouplingGraph.complete(num_spins), sampler.chip
        placement = place(graph, chip, seed=sampler.site_settings.seed)
        if max_qubits is not None:
            placement = grow(placement, chip, graph, max_qubits)
        return cls(
            chip.coupling_graph(),
            placement.chains[0],
            sampler=sampler,
            num_samples=num_samples,
            chain_coupling=chain_coupling,
        )

    def reset_parameters(self) -> None:
        r"""Sets the couplings inside chains, draws weak other ones and estimates log Z anew."""
        super().reset_parameters()
        with torch.no_grad():
            self.J[self.inside_chains] = -self.chain_coupling
        self._anchor(num_chains=64, num_temperatures=128)

    @property
    def num_visible(self) -> int:
        return len(self.embedding)

    @property
    def inside_chains(self) -> Tensor:
        r"""Which couplers join qubits of one chain, of shape (E,)."""
        i, j = self.graph.edges.to(self.chain_of.device).unbind(-1)
        return self.chain_of[i] == self.chain_of[j]

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
        return -self._energy_of_copies(spins) - self.log_partition(negative)

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
        r"""Returns the copies s(u) of visible spins on their chains: (*, N_visible) -> (*, N)."""
        self._check_visible(spins)
        return spins.index_select(-1, self.chain_of.to(spins.device))

    def to_visible(self, spins: Tensor) -> Tensor:
        r"""Returns the majority votes of the chains: (*, N) -> (*, N_visible).

        The first qubit of a chain decides a tie.
        """
        # Half a vote more for the first qubit decides ties, as votes differ by whole numbers.
        return (self._votes(spins) + spins[..., self.leaders.to(spins.device)] / 2).sign()

    def is_broken(self, spins: Tensor) -> Tensor:
        r"""Returns which chains have qubits that disagree: (*, N) -> (*, N_visible)."""
        lengths = torch.bincount(self.chain_of, minlength=self.num_visible)
        return self._votes(spins).abs() < lengths.to(spins.device)

    @torch.no_grad()
    def sample(
        self,
        num_samples: int,
        clamp: Tensor | None = None,
        sampler: Sampler | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Returns samples of the qubits, of shape (n, N), which leave the chains as they are.

        Arguments:
            num_samples: The number of samples n.
            clamp: Visible spins to hold, of shape (N_visible,) or (n, N_visible): +-1, or 0 for
                free. All qubits of the chain are held.
            sampler: A sampler to use instead of the prior's.
            generator: The source of random numbers.
        """
        held = None if clamp is None else self.from_visible(clamp)
        return super().sample(num_samples, held, sampler, generator=generator)

    def get_extra_state(self) -> list[list[Hashable]]:
        r"""Returns the embedding, so that a state dict cannot be loaded into another one."""
        return [list(chain) for chain in self.embedding]

    def set_extra_state(self, state: list[list[Hashable]]) -> None:
        # The embedding has been compared in `_load_from_state_dict`, before anything was copied.
        self.forget_chains()

    def extra_repr(self) -> str:
        longest = max(len(chain) for chain in self.embedding)
        return f"num_visible={self.num_visible}, longest_chain={longest}"

    def _energy_of_copies(self, spins: Tensor) -> Tensor:
        r"""Returns E(s(u)) of visible spins, (*, N_visible) -> (*), by way of sums over chains.

        There are far fewer of these than qubits, and far more data.
        """
        n, chain = self.num_visible, self.chain_of
        inside, owner = self.inside_chains, chain[self.graph.edges[:, 0].to(chain.device)]
        h = self.h.new_zeros(n).index_add(0, chain, self.h)
        own = self.h.new_zeros(n).index_add(0, owner[inside], self.J[inside])
        J = self.J.new_zeros(self._logical.num_edges)
        J = J.index_add(0, self.pair_of.to(J.device), self.J[~inside])
        spins = spins.to(h)
        return Ising(self._logical, h, J).energy(spins) + spins.square() @ own

    def _votes(self, spins: Tensor) -> Tensor:
        r"""Returns the sums over chains, of shape (*, N_visible)."""
        zeros = spins.new_zeros(*spins.shape[:-1], self.num_visible)
        return zeros.index_add(-1, self.chain_of.to(spins.device), spins)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        chains = state_dict.get(prefix + "_extra_state")
        if chains is not None and chains != self.get_extra_state():
            raise ValueError(
                f"the state is of another embedding: {len(chains)} chains of "
                f"{sum(len(chain) for chain in chains)} qubits; this prior has "
                f"{self.num_visible} chains of {self.graph.num_spins} qubits, or the same "
                "numbers with other qubits"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _chain_of(graph: CouplingGraph, embedding: Sequence[Sequence[Hashable]]) -> Tensor:
    chain = {qubit: k for k, qubits in enumerate(embedding) for qubit in qubits}
    return torch.tensor([chain[label] for label in graph.labels])


def _joined_chains(graph: CouplingGraph, chain_of: Tensor) -> tuple[CouplingGraph, Tensor]:
    r"""Returns the graph of the chains that couplers join, and the edge of each such coupler."""
    pairs = chain_of[graph.edges].sort(-1).values
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    edges, places = pairs.unique(dim=0, return_inverse=True)
    return CouplingGraph(int(chain_of.max()) + 1, edges), places


def _leaders(graph: CouplingGraph, embedding: Sequence[Sequence[Hashable]]) -> Tensor:
    position = {label: i for i, label in enumerate(graph.labels)}
    return torch.tensor([position[qubits[0]] for qubits in embedding])


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


def _check_embedding(graph: CouplingGraph, embedding: Sequence[Sequence[Hashable]]) -> None:
    if not embedding:
        raise ValueError("there are no chains; each visible spin needs one")
    couplers = graph.to_networkx()
    seen: set[Hashable] = set()
    for k, chain in enumerate(embedding):
        for qubit in chain:
            _check_qubit(k, qubit, couplers, seen)
            seen.add(qubit)
        if not chain:
            raise ValueError(f"chain {k} is empty; it needs at least 1 qubit")
        if not nx.is_connected(couplers.subgraph(chain)):
            raise ValueError(f"chain {k} is not connected by couplers: {list(chain)}")


def _check_qubit(k: int, qubit: Hashable, couplers: nx.Graph, seen: set[Hashable]) -> None:
    if qubit not in couplers:
        raise ValueError(f"chain {k} names {qubit!r}, which is no qubit of the graph")
    if qubit in seen:
        raise ValueError(f"chain {k} names {qubit!r}, which is in a chain already")
