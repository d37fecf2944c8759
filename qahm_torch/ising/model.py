r"""The model value: an Ising Hamiltonian at inverse temperature 1, and its moments."""

from __future__ import annotations

__all__ = ["Ising", "Moments", "moments"]

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

from qahm_torch.ising.graph import CouplingGraph

if TYPE_CHECKING:
    import dimod


class Ising:
    r"""An Ising model with an optional transverse field.

    This is the convention of the whole package (the sign is dimod's). Spins are :math:`\pm 1`
    tensors of floating dtype and

    .. math::
        H = \sum_i h_i Z_i + \sum_{i<j} J_{ij} Z_i Z_j - \sum_i \Gamma_i X_i, \qquad
        p(s) = \langle s | e^{-H} | s \rangle / Z, \qquad Z = \operatorname{Tr} e^{-H}.

    Inverse temperature is absorbed in h, J and Gamma. With :math:`\Gamma = 0` this is the
    classical Boltzmann machine :math:`p(s) = e^{-E(s)} / Z`, with
    :math:`E(s) = \sum_i h_i s_i + \sum_{i<j} J_{ij} s_i s_j`.

    The value is immutable: no function of the package changes its tensors.

    Arguments:
        graph: The spins and the pairs that interact.
        h: The fields of shape (N,).
        J: The couplings of shape (E,), in the order of `graph.edges`.
        gamma: The transverse fields of shape (N,), or one number for all; None for zero.

    Raises:
        ValueError: If a shape does not fit the graph or `gamma` is negative.

    References:
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
          computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757

    Example:
        >>> ising = Ising(CouplingGraph.complete(2), torch.tensor([1.0, 0.0]), torch.tensor([0.5]))
        >>> ising.energy(torch.tensor([[1.0, 1.0], [-1.0, 1.0]]))
        tensor([ 1.5000, -1.5000])
    """

    def __init__(
        self, graph: CouplingGraph, h: Tensor, J: Tensor, gamma: Tensor | float | None = None
    ):
        _check_shape("h", h, graph.num_spins, "spins")
        _check_shape("J", J, graph.num_edges, "edges")
        self.graph = graph
        self.h = h = _whole(h)
        self.J = _whole(J)
        self.gamma = _transverse_field(gamma, h)

    @property
    def num_spins(self) -> int:
        return self.graph.num_spins

    @property
    def is_classical(self) -> bool:
        r"""Whether there is no transverse field."""
        return self.gamma is None

    def energy(self, spins: Tensor) -> Tensor:
        r"""Returns the classical energy :math:`E(s) = \sum_i h_i s_i + \sum_{i<j} J_{ij} s_i s_j`.

        Differentiable in the spins, h and J, and computed in the dtype of h even under autocast.

        Arguments:
            spins: The spins of shape (*, N).

        Returns:
            The energies of shape (*).

        Raises:
            ValueError: If the last dimension is not N.
        """
        if spins.shape[-1:] != (self.num_spins,):
            raise ValueError(
                f"spins of shape {tuple(spins.shape)} do not fit {self.num_spins} spins: "
                "the last dimension is the spin"
            )
        with torch.autocast(spins.device.type, enabled=False):
            spins = spins.to(self.h.dtype)
            if _is_dense(self.graph):
                fields = self.h + spins @ self.upper_couplings()
                return (spins * fields).sum(-1)
            i, j = self.graph.edges.to(spins.device).unbind(-1)
            return spins @ self.h + (spins[..., i] * spins[..., j]) @ self.J

    @torch.no_grad()
    def fields(self, spins: Tensor) -> Tensor:
        r"""Returns the local fields :math:`f_i = h_i + \sum_j J_{ij} s_j`, in the spins' dtype.

        A spin is -1 or +1 with odds of :math:`e^{2 f_i}` to 1, given the others.

        Arguments:
            spins: The spins of shape (S, N).

        Returns:
            The fields of shape (S, N).
        """
        h, J = self.h.detach().to(spins), self.J.detach().to(spins)
        if _is_dense(self.graph):
            upper = Ising(self.graph, h, J).upper_couplings()
            return torch.addmm(h, spins, upper + upper.T)
        rows = spins.T
        fields = h.unsqueeze(-1).repeat(1, len(spins))
        # A table of all edges times all samples of a whole chip would not fit into memory.
        for (i, j), weight in zip(
            (part.T for part in self.graph.edges.to(spins.device).split(4096)),
            J.unsqueeze(-1).split(4096),
            strict=True,
        ):
            fields.index_add_(0, i, weight * rows[j]).index_add_(0, j, weight * rows[i])
        return fields.T

    def upper_couplings(self) -> Tensor:
        r"""Returns the couplings as a matrix of shape (N, N) with each pair written once."""
        i, j = self.graph.edges.to(self.J.device).unbind(-1)
        zeros = self.J.new_zeros(self.num_spins, self.num_spins)
        return zeros.index_put((i, j), self.J)

    def couplings(self) -> Tensor:
        r"""Returns the couplings as a symmetric matrix of shape (N, N) with zero diagonal."""
        upper = self.upper_couplings()
        return upper + upper.T

    def scaled(self, beta: float | Tensor) -> Ising:
        r"""Returns the model of h, J and Gamma multiplied by `beta`."""
        gamma = None if self.gamma is None else self.gamma * beta
        return Ising(self.graph, self.h * beta, self.J * beta, gamma)

    def detach(self) -> Ising:
        r"""Returns a snapshot: a copy that no later update of the parameters reaches."""
        gamma = None if self.gamma is None else self.gamma.detach().clone()
        return Ising(self.graph, self.h.detach().clone(), self.J.detach().clone(), gamma)

    def check_finite(self) -> None:
        r"""Raises ValueError if a field or a coupling is NaN or infinite, and names it."""
        h, J = self.h.detach(), self.J.detach()
        if torch.compiler.is_compiling():  # in which values are not known
            return
        if math.isfinite(h.sum() + J.sum()):  # a sum is faster than a test of each
            return
        for name, values in (("h", h), ("J", J)):
            bad = (~torch.isfinite(values)).nonzero()
            if len(bad):
                index = int(bad[0])
                raise ValueError(
                    f"{name}[{index}] is {float(values[index])}: a model with biases that are "
                    "not finite has no samples (a diverged optimizer step is the usual cause)"
                )

    @classmethod
    def from_bqm(
        cls, bqm: dimod.BinaryQuadraticModel, graph: CouplingGraph | None = None
    ) -> Ising:
        r"""Returns the model of a dimod model, whose variables become the labels.

        Models of bits 0 and 1 are taken as well: 0 is a spin of -1. Constants do not matter.

        Arguments:
            bqm: The dimod model.
            graph: The graph to use, in whose order the biases are, and whose other biases are 0;
                None for that of the model.

        Raises:
            ValueError: If the model has a variable or an interaction that the graph has not.

        Example:
            >>> import dimod
            >>> bqm = dimod.BinaryQuadraticModel({"a": 1.0}, {("a", "b"): 0.5}, 0.0, "SPIN")
            >>> ising = Ising.from_bqm(bqm)
            >>> ising.graph.labels, ising.h.tolist(), ising.J.tolist()
            (('a', 'b'), [1.0, 0.0], [0.5])
        """
        h, couplings, _ = cast(Any, bqm).to_ising()  # its biases are numbers of numpy, too
        if graph is None:
            index = {label: i for i, label in enumerate(h)}
            edges = [(index[u], index[v]) for u, v in couplings]
            graph = CouplingGraph(len(h), edges, list(h))
        return cls.from_biases(graph, h, couplings)

    @classmethod
    def from_biases(
        cls,
        graph: CouplingGraph,
        linear: Mapping[Any, float] = {},
        quadratic: Mapping[tuple[Any, Any], float] = {},
    ) -> Ising:
        r"""Returns the model of biases by label; what is not named is 0.

        Arguments:
            graph: The graph.
            linear: h by label.
            quadratic: J by pairs of labels, in either order.

        Raises:
            ValueError: If there is no such label or edge, or an edge is named twice.
        """
        fields, couplings = torch.zeros(graph.num_spins), torch.zeros(graph.num_edges)
        for label, value in linear.items():
            fields[graph.index(label)] = value
        edge = {frozenset(pair): k for k, pair in enumerate(graph.edges.tolist())}
        named: set[int] = set()
        for (u, v), value in quadratic.items():
            k = edge.get(frozenset((graph.index(u), graph.index(v))))
            if k is None or k in named:
                why = "is no edge of the graph" if k is None else "is named twice"
                raise ValueError(f"the pair {u!r}, {v!r} {why}")
            named.add(k)
            couplings[k] = value
        return cls(graph, fields, couplings)

    def to_bqm(self) -> dimod.BinaryQuadraticModel:
        r"""Returns the dimod model of h and J, with the labels of the graph.

        Raises:
            ValueError: If there is a transverse field, which a dimod model cannot hold.
        """
        import dimod

        if not self.is_classical:
            raise ValueError("gamma is not 0, but a dimod model has no transverse field")
        i, j = self.graph.edges.numpy().T
        return dimod.BinaryQuadraticModel.from_numpy_vectors(
            self.h.detach().cpu().double().numpy(),
            (i, j, self.J.detach().cpu().double().numpy()),
            0.0,
            dimod.SPIN,
            variable_order=list(self.graph.labels),
        )

    def __repr__(self) -> str:
        kind = "" if self.is_classical else ", transverse field"
        return f"Ising({self.graph!r}, {self.h.dtype}{kind})"


class Moments(NamedTuple):
    r"""First and second moments of spins under a model or a sample of it."""

    mean: Tensor  # <Z_i>, of shape (N,)
    correlation: Tensor  # <Z_i Z_j> on the edges, of shape (E,)


def moments(graph: CouplingGraph, spins: Tensor, weights: Tensor | None = None) -> Moments:
    r"""Returns the weighted mean of the spins, and of their products over the edges.

    Arguments:
        graph: The graph whose edges are meant.
        spins: The spins of shape (S, N).
        weights: The weights of shape (S,), which need not sum to 1; None for equal ones.
    """
    if weights is None:
        weights = spins.new_full((len(spins),), 1 / len(spins))
    else:
        weights = weights.to(spins) / weights.sum()
    i, j = graph.edges.to(spins.device).unbind(-1)
    with torch.autocast(spins.device.type, enabled=False):
        weighted = spins * weights.unsqueeze(-1)
        if _is_dense(graph):
            correlation = (spins.T @ weighted)[i, j]
        else:
            correlation = torch.einsum("se,se->e", spins[:, i], weighted[:, j])
        return Moments(weighted.sum(0), correlation)


def _is_dense(graph: CouplingGraph) -> bool:
    # One matrix product of N^2 multiply-adds beats the gathering of 2E columns well below E = N^2.
    return graph.num_edges * 16 >= graph.num_spins**2


def _whole(values: Tensor) -> Tensor:
    r"""Returns all of a tensor of which each process may have a part, as `fully_shard` leaves it.

    All processes have to be here together.
    """
    gather = getattr(values, "full_tensor", None)
    return values if gather is None else gather()


def _check_shape(name: str, values: Tensor, size: int, unit: str) -> None:
    if values.shape != (size,):
        raise ValueError(
            f"{name} has shape {tuple(values.shape)}, but the graph has {size} {unit}"
        )
    if not values.is_floating_point():
        raise ValueError(f"{name} has dtype {values.dtype}; a floating dtype is needed")


def _transverse_field(gamma: Tensor | float | None, h: Tensor) -> Tensor | None:
    if gamma is None or (not isinstance(gamma, Tensor) and gamma == 0):
        return None
    field = torch.as_tensor(gamma, dtype=h.dtype, device=h.device).expand(h.shape)
    if bool((field < 0).any()):
        raise ValueError(
            f"gamma is {float(field.min())}, but the transverse field is not negative"
        )
    return field if bool((field > 0).any()) else None
