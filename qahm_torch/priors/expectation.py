r"""A layer whose inputs are Boltzmann machines, one a row, and whose outputs are their means."""

from __future__ import annotations

__all__ = ["IsingExpectation"]

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from qahm_torch.ising import CouplingGraph, all_states
from qahm_torch.priors.field_rows import MAX_ENUMERATED
from qahm_torch.priors.row_sampling import SideBySide
from qahm_torch.samplers import Sampler

if TYPE_CHECKING:
    import networkx as nx


class IsingExpectation(nn.Module):
    r"""Takes fields and couplings of a machine for each row, and returns expected statistics.

    .. math::
        y_r = \langle f(s) \rangle_r, \qquad
        p_r(s) \propto \exp\Big(-\sum_i h_{ri} s_i - \sum_{i<j} J_{rij} s_i s_j\Big)

    The inputs are h and J, which another network may have computed: they get the gradient

    .. math::
        \partial y_r / \partial h_{ri} = -\operatorname{Cov}_r(f, s_i), \qquad
        \partial y_r / \partial J_{rij} = -\operatorname{Cov}_r(f, s_i s_j),

    and so do the parameters of the statistic, if it has some. Both are exact without a sampler;
    with one they are estimated without bias by independent samples, those that the value is the
    mean of, so that there is one call in forward and none in backward.

    *One call for many rows.* The machines of several rows lie side by side in one model, whose
    copies of the graph are not connected. A sampler of this machine gets all rows at once. A
    device that bills gets `rows_per_problem` of them in a problem, and all problems before the
    first answer is waited for; an `AnnealerSampler` corrects for its own temperature.

    Shapes: h is (*, N) and J is (*, E) in the order of `graph.edges`, the result is (*, D).

    Arguments:
        graph_or_n: The graph, a `CouplingGraph` or of networkx, or a number of spins that are all
            coupled.
        sampler: The sampler, which may be replaced at any time; None for enumeration.
        num_samples: The number of samples of each row.
        statistic: Maps spins (*, N) to values (*, D), and may be a module; None for the spins.
        rows_per_problem: The number of rows whose machines a sampler gets in one model; None for
            all rows, or for one where the sampler bills.

    Raises:
        ValueError: If there are more than 16 spins and no sampler, or a number is not positive; in
            the call, if the shapes of h and J are not those of the graph, or of one another.

    References:
        | Graphical models, exponential families, and variational inference (Wainwright & Jordan,
          2008), section 3
        | https://people.eecs.berkeley.edu/~jordan/papers/wainwright-jordan-fnt.pdf

    Example:
        >>> from qahm_torch import GibbsSampler
        >>> layer = IsingExpectation(4, sampler=GibbsSampler(num_sweeps=20), num_samples=256)
        >>> h, J = torch.zeros(3, 4, requires_grad=True), torch.full((3, 6), -0.2)
        >>> means = layer(h, J)
        >>> means.shape
        torch.Size([3, 4])
        >>> means.sum().backward()
        >>> bool((h.grad < 0).all())
        True
    """

    def __init__(
        self,
        graph_or_n: CouplingGraph | int | nx.Graph,
        *,
        sampler: Sampler | None = None,
        num_samples: int = 1024,
        statistic: Callable[[Tensor], Tensor] | None = None,
        rows_per_problem: int | None = None,
    ):
        super().__init__()
        graph = CouplingGraph.of(graph_or_n)
        if sampler is None and graph.num_spins > MAX_ENUMERATED:
            raise ValueError(
                f"the graph has {graph.num_spins} spins, but without a `sampler` at most "
                f"{MAX_ENUMERATED} are enumerated"
            )
        for name, count, least in (
            ("num_samples", num_samples, 2),  # of which there is a covariance
            ("rows_per_problem", 1 if rows_per_problem is None else rows_per_problem, 1),
        ):
            if count < least:
                raise ValueError(f"{name} is {count}, but it is at least {least}")
        self.graph = graph
        self.sampler = sampler
        self.num_samples = num_samples
        self.statistic = statistic
        self.rows_per_problem = rows_per_problem
        self._beside: SideBySide | None = None

    def forward(self, h: Tensor, J: Tensor, generator: torch.Generator | None = None) -> Tensor:
        r"""Returns the expected statistics of each row, of shape (*, D).

        Arguments:
            h: The fields, of shape (*, N).
            J: The couplings, of shape (*, E).
            generator: The source of random numbers.
        """
        sizes = self.graph.num_spins, self.graph.num_edges
        if (h.shape[-1:], J.shape[-1:]) != ((sizes[0],), (sizes[1],)) or h.shape[:-1] != (
            J.shape[:-1]
        ):
            raise ValueError(
                f"h has shape {tuple(h.shape)} and J {tuple(J.shape)}, but the graph has "
                f"{sizes[0]} spins and {sizes[1]} edges: (*, {sizes[0]}) and (*, {sizes[1]}) with "
                "the same rows are needed"
            )
        rows, couplings = h.reshape(-1, sizes[0]), J.reshape(-1, sizes[1])
        with torch.autocast(h.device.type, enabled=False):
            if self.sampler is None:
                means = self._enumerated(rows, couplings)
            else:
                means = self._sampled(rows, couplings, self.sampler, generator)
        return means.reshape(*h.shape[:-1], -1)

    def extra_repr(self) -> str:
        return (
            f"num_spins={self.graph.num_spins}, num_edges={self.graph.num_edges}, "
            f"sampler={self.sampler!r}, num_samples={self.num_samples}"
        )

    def _enumerated(self, h: Tensor, J: Tensor) -> Tensor:
        states = all_states(self.graph.num_spins, h.dtype, h.device)
        law = (-states @ h.T - self._pairs(states) @ J.T).softmax(0)
        return law.T @ self._values(states)

    def _sampled(
        self, h: Tensor, J: Tensor, sampler: Sampler, generator: torch.Generator | None
    ) -> Tensor:
        beside = self._side_by_side(1 if sampler.is_billed else len(h))
        found = beside.draws(h.detach(), J.detach(), sampler, self.num_samples, generator)
        spins = found.spins.to(h)
        energy = (spins * h).sum(-1) + (self._pairs(spins) * J).sum(-1)
        # Weights that are 1 in value, and whose gradient makes that of the mean the covariance;
        # without bias for equal ones, as a covariance of S samples is a sum over S - 1.
        size = len(spins)
        scale = size / (size - 1) if found.weights is None else 1.0
        weights = torch.exp(scale * (energy.detach() - energy))
        if found.weights is not None:
            weights = weights * found.weights.to(weights)
        return torch.einsum("sr,srd->rd", weights / weights.sum(0), self._values(spins))

    def _values(self, spins: Tensor) -> Tensor:
        return spins if self.statistic is None else self.statistic(spins)

    def _pairs(self, spins: Tensor) -> Tensor:
        i, j = self.graph.edges.to(spins.device).unbind(-1)
        return spins[..., i] * spins[..., j]

    def _side_by_side(self, most: int) -> SideBySide:
        number = max(1, most if self.rows_per_problem is None else self.rows_per_problem)
        if self._beside is None or self._beside.number != number:
            self._beside = SideBySide(self.graph, number)
        return self._beside
