r"""The quantum Boltzmann machine whose transverse field is learned, by the exact gradient."""

from __future__ import annotations

__all__ = ["QuantumGibbsPrior"]

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import networkx as nx
import torch
from torch import Tensor, nn

from qahm_torch.ising import CouplingGraph, Ising, Samples, exact_log_probs
from qahm_torch.ising.derivatives import only_once
from qahm_torch.ising.enumeration import MAX_QUANTUM_SPINS
from qahm_torch.ising.transforms import is_transformed, refuse_transforms
from qahm_torch.priors.boltzmann import BoltzmannPrior
from qahm_torch.samplers import (
    FieldIntegral,
    LogZ,
    PathIntegralSampler,
    Sampler,
    WorldLines,
    estimate_log_z,
    field_integral,
)

# Up to here the density matrix is faster than sampling.
MAX_DENSITY_MATRIX = 10


class QuantumGibbsPrior(BoltzmannPrior):
    r"""A quantum Boltzmann machine, with a transverse field that is a parameter.

    .. math::
        p(s) = \langle s | e^{-H} | s \rangle / Z, \qquad
        H = \sum_i h_i Z_i + \sum_{i<j} J_{ij} Z_i Z_j - \sum_i |\Gamma_i| X_i.

    *Gradient.* That of the log-likelihood itself, and not of the Golden-Thompson bound that
    `QuantumPriorLayer` has for a fixed transverse field. By the path integral, whose world lines
    are held at s at time 0,

    .. math::
        \partial \log \langle s | e^{-H} | s \rangle / \partial J_{ij}
            = -\Big\langle \int_0^1 s_i(\tau) s_j(\tau) \, d\tau \Big\rangle_s, \qquad
        \partial \log \langle s | e^{-H} | s \rangle / \partial |\Gamma_i|
            = \langle n_i \rangle_s / |\Gamma_i|,

    with :math:`n_i` the number of kinks of line i, and the same for log Z with free lines. So two
    sets of lines give it, of any number of spins: free ones, the samples of the negative phase,
    and for each datum held ones, run anew in the backward pass. Integrals over time are means over
    random times, one in each of `num_times` equal parts. The gradient is that of p itself up to
    the finite number of sweeps. Few spins have it by the density matrix, without samples.

    *Value.* Of few spins, it is exact. Otherwise it is :math:`-E(s) - \log Z(\Gamma)`, with
    `log_z` for the second term, which is below log p(s) by Jensen's inequality, more so the
    stronger the field. `estimate_log_prob` estimates log p(s).

    Visible spins are -1 or +1, and get no gradient. The law does not depend on the signs of
    :math:`\Gamma`, so the parameter is free to cross 0.

    Arguments:
        graph_or_n: The graph, also one of networkx, or a number of spins for a complete one.
        gamma: The transverse field at first: one number, which all spins then share, or a tensor
            of shape (N,) for a parameter of each.
        exact: Whether likelihood and gradient are those of the density matrix, which takes up to
            12 spins; None for up to 10.
        sampler: The sampler of the negative phase, by default `PathIntegralSampler()`.
        held_sampler: The sampler of the lines that are held, by default the same.
        num_samples: The number of samples of a negative phase.
        num_times: The number of times at which lines are looked at.
        persistent: Whether free lines run on from one negative phase to the next.

    Raises:
        ValueError: If gamma is not finite or has another shape, `num_times` or `num_samples` is
            not positive, or there are too many spins for the density matrix.

    References:
        | Quantum Boltzmann machine (Amin et al., 2018)
        | https://arxiv.org/abs/1601.02036
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
        |   computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757

    Example:
        >>> prior = QuantumGibbsPrior(16, gamma=0.5, num_samples=64)
        >>> (-prior(torch.ones(5, 16)).mean()).backward()
        >>> prior.J.grad.shape, prior.gamma.grad.shape
        (torch.Size([120]), torch.Size([]))
    """

    gamma: nn.Parameter

    def __init__(
        self,
        graph_or_n: CouplingGraph | int | nx.Graph,
        *,
        gamma: float | Tensor = 0.5,
        exact: bool | None = None,
        sampler: Sampler | None = None,
        held_sampler: PathIntegralSampler | None = None,
        num_samples: int = 1024,
        num_times: int = 8,
        persistent: bool = True,
    ):
        graph = CouplingGraph.of(graph_or_n)
        num_spins = graph.num_spins
        if num_times < 1:
            raise ValueError(f"num_times is {num_times}, but at least 1 time is needed")
        if exact and num_spins > MAX_QUANTUM_SPINS:
            raise ValueError(
                f"exact is True, but the density matrix takes up to {MAX_QUANTUM_SPINS} spins and "
                f"there are {num_spins}: leave it out, and the gradient is sampled"
            )
        super().__init__(
            graph,
            sampler=sampler or PathIntegralSampler(),
            num_samples=num_samples,
            persistent=persistent,
        )
        del self.gamma
        self.gamma = nn.Parameter(_checked_gamma(gamma, num_spins))
        self.exact = num_spins <= MAX_DENSITY_MATRIX if exact is None else exact
        self.held_sampler = held_sampler or PathIntegralSampler()
        self.num_times = num_times
        self.reset_parameters()

    @property
    def num_visible(self) -> int:
        return self.graph.num_spins

    def log_prob(self, spins: Tensor, negative: Tensor | Samples | None = None) -> Tensor:
        r"""Returns the log-probability of spins (*, N), or its bound where there are many.

        Arguments:
            spins: The spins, -1 or +1.
            negative: Samples of the model to use for the gradient instead of calling the sampler,
                with the world lines in their `state`.

        Raises:
            ValueError: If the spins are of a wrong shape or relaxed.
            TypeError: In the backward pass, if `negative` or what the sampler gives has no world
                lines.
        """
        self._check_spins(spins)
        _check_whole(spins)
        ising = self.ising()
        if self.exact:
            places = 2 ** torch.arange(self.num_visible, device=spins.device)
            index = ((spins > 0) * places).sum(-1)
            return exact_log_probs(ising).index_select(0, index.flatten()).view(index.shape)
        rows = spins.detach().reshape(-1, self.num_visible).to(self.h)
        held = self._of_lines(-ising.energy(rows), partial(self._held, rows))
        free = self._of_lines(self.log_z.view(1), partial(self._free, negative))
        return (held - free).view(spins.shape[:-1])

    def ising(self) -> Ising:
        return Ising(self.graph, self.h, self.J, self.gamma.abs())

    @torch.no_grad()
    def estimate_log_prob(self, spins: Tensor, **settings: Any) -> FieldIntegral:
        r"""Returns estimates of the log-probabilities, (B, N) -> (B), with `log_z` for log Z.

        Arguments:
            spins: The spins.
            settings: Those of `qahm_torch.samplers.field_integral`.
        """
        ising = self.ising().detach()
        value, stderr = field_integral(ising, spins, **settings)
        return FieldIntegral(value - ising.energy(spins) - self.log_z, stderr)

    def estimate_log_z(
        self,
        *,
        num_chains: int = 512,
        num_temperatures: int = 500,
        generator: torch.Generator | None = None,
    ) -> LogZ:
        r"""Estimates log Z, stores the value in `log_z` and returns (value, lower, upper, stderr).

        Beyond 10 spins, it is that without a transverse field and the integral over the field (see
        `qahm_torch.samplers.field_integral`).
        """
        ising = self.ising().detach()
        settings: dict[str, Any] = {"generator": generator, "num_chains": num_chains}
        if ising.num_spins <= MAX_DENSITY_MATRIX:
            estimate = estimate_log_z(ising, **settings)
        else:
            classical = Ising(ising.graph, ising.h, ising.J)
            estimate = estimate_log_z(classical, num_temperatures=num_temperatures, **settings)
            num_rounds = max(1, min(8, num_temperatures // 50))
            raised = field_integral(
                ising, num_lines=num_chains, num_rounds=num_rounds, generator=generator
            )
            value, error = float(raised.value), float(raised.stderr)
            estimate = LogZ(
                estimate.value + value,
                estimate.lower + value - 1.96 * error,
                estimate.upper + value + 1.96 * error,
                (estimate.stderr**2 + error**2) ** 0.5,
            )
        self.log_z.fill_(estimate.value)
        return estimate

    def to_visible(self, spins: Tensor) -> Tensor:
        return spins

    def from_visible(self, spins: Tensor) -> Tensor:
        return spins.to(self.h)

    def clamp_of(self, visible: Tensor) -> Tensor:
        self._check_visible(visible)
        return visible

    def extra_repr(self) -> str:
        return (
            f"num_spins={self.graph.num_spins}, num_edges={self.graph.num_edges}, "
            f"exact={self.exact}, num_samples={self.num_samples}, sampler={self.sampler!r}"
        )

    def _of_lines(self, values: Tensor, lines: Callable[[Ising], _Looks]) -> Tensor:
        what = "draw world lines, as the backward pass does here: use torch.autograd"
        refuse_transforms(what, self.h, self.J, self.gamma)

        def gradient(grad: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            model = Ising(self.graph, *parameters).detach()
            return _gradient(model, lines(model), grad)

        result: Tensor = _OfLines.apply(self.h, self.J, self.gamma.abs(), values, gradient)
        return result

    def _held(self, rows: Tensor, ising: Ising) -> _Looks:
        r"""Returns what lines of a model are that are held at each row."""
        answer = self.held_sampler.sample(ising, len(rows), clamp=rows)
        return self._looks(answer.state, len(rows))

    def _free(self, negative: Tensor | Samples | None, ising: Ising) -> _Looks:
        samples = self._of_this_backward(ising) if negative is None else negative
        state = samples.state if isinstance(samples, Samples) else None
        return self._looks(state, 1)

    def _looks(self, lines: Any, num_rows: int) -> _Looks:
        r"""Returns what lines are at random times, of each of some rows with equally many."""
        if not isinstance(lines, WorldLines):
            raise TypeError(
                "the samples have no world lines, which the gradient needs: they are in the state "
                "of what PathIntegralSampler gives"
            )
        parts = torch.arange(self.num_times, device=lines.lines.device)
        within = torch.rand(len(lines), self.num_times, device=parts.device)
        spins = lines.at((parts + within) / self.num_times).to(self.h)
        kinks = lines.num_kinks.to(self.h).view(num_rows, -1, self.num_visible)
        return _Looks(spins.view(num_rows, -1, self.num_visible), kinks.mean(1))


class _Looks(NamedTuple):
    r"""Lines of K laws, each at T times."""

    spins: Tensor  # (K, T, N)
    kinks: Tensor  # (K, N), their mean numbers


class _OfLines(torch.autograd.Function):
    r"""Logarithms of weights (K,) whose gradient is asked for in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        h: Tensor,
        J: Tensor,
        field: Tensor,
        values: Tensor,
        gradient: Callable[..., tuple[Tensor, Tensor, Tensor]],
    ) -> Tensor:
        ctx.save_for_backward(h, J, field)
        ctx.gradient = gradient
        return values.detach().clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.no_grad():
            found = ctx.gradient(grad.detach(), *ctx.saved_tensors)
        why = "sampled world lines have no second derivative"
        of_h, of_J, of_field = (
            only_once(value, parameter, why)
            for value, parameter in zip(found, ctx.saved_tensors, strict=True)
        )
        return of_h, of_J, of_field.sum_to_size(ctx.saved_tensors[2].shape), None, None


def _gradient(ising: Ising, looks: _Looks, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Returns the gradients in h, J and the field (N,) of weighted logarithms of weights."""
    weights = -(grad / looks.spins.shape[1]).unsqueeze(-1).expand(looks.spins.shape[:2])
    with torch.enable_grad():
        h, J = ising.h.requires_grad_(), ising.J.requires_grad_()
        energy = Ising(ising.graph, h, J).energy(looks.spins)
    of_h, of_J = torch.autograd.grad(energy, (h, J), weights)
    field = torch.zeros_like(ising.h) if ising.gamma is None else ising.gamma
    # Without a field there are no kinks, and the law is even in it.
    of_field = torch.where(field > 0, (grad @ looks.kinks) / field, 0.0)
    return of_h, of_J, of_field


def _checked_gamma(gamma: float | Tensor, num_spins: int) -> Tensor:
    field = torch.as_tensor(gamma, dtype=torch.get_default_dtype()).detach().clone()
    if field.ndim > 0 and field.shape != (num_spins,):
        raise ValueError(
            f"gamma has shape {tuple(field.shape)}, but it is one number or of shape "
            f"({num_spins},)"
        )
    if not bool(field.isfinite().all()):
        raise ValueError(f"gamma is {gamma}, but a finite field is needed")
    return field


def _check_whole(spins: Tensor) -> None:
    is_traced = torch.compiler.is_compiling() or is_transformed(spins)
    if not is_traced and not bool((spins.abs() == 1).all()):
        raise ValueError(
            "spins are relaxed, but the law of a transverse field is known for -1 and +1 only"
        )
