r"""Estimates of the log-partition function: exact where that is possible, bracketed elsewhere."""

from __future__ import annotations

__all__ = ["LogZ", "annealed_log_z", "estimate_log_z", "exact_log_z"]

import math
from typing import NamedTuple

import networkx as nx
import torch
from torch import Tensor

from qahm_torch.ising import Ising, exact_log_partition
from qahm_torch.ising.enumeration import MAX_CLASSICAL_SPINS, MAX_QUANTUM_SPINS
from qahm_torch.kernels.backends import check_backend
from qahm_torch.samplers.annealing import annealing_path, log_2cosh

MAX_TREEWIDTH = 16


class LogZ(NamedTuple):
    r"""An estimate of :math:`\log Z` in nats, and the interval that should hold it."""

    value: float
    lower: float
    upper: float
    stderr: float


def estimate_log_z(
    ising: Ising,
    *,
    num_chains: int = 512,
    num_temperatures: int = 500,
    generator: torch.Generator | None = None,
) -> LogZ:
    r"""Returns :math:`\log \operatorname{Tr} e^{-H}` by the best means that there is.

    - Exact (zero error) for up to 20 spins, 12 with a transverse field, and for classical graphs
      of treewidth up to 16.
    - Otherwise, for a classical model, annealed importance sampling (see `annealed_log_z`).
    - Otherwise, for a transverse field, the interval of the Golden-Thompson inequality,
      :math:`\log Z(0) \le \log Z(\Gamma) \le \log Z(0) + \sum_i \log \cosh \Gamma_i`, around its
      middle; `stderr` is that of :math:`\log Z(0)`.

    Arguments:
        ising: The model.
        num_chains: The number of chains in each direction of annealing.
        num_temperatures: The number of inverse temperatures between 0 and 1, a sweep at each.
        generator: The source of random numbers.

    Raises:
        ValueError: If the biases are not finite.
    """
    ising.check_finite()
    exact = exact_log_z(ising)
    if exact is not None:
        return LogZ(exact, exact, exact, 0.0)
    classical = Ising(ising.graph, ising.h.detach(), ising.J.detach())
    if ising.gamma is not None:
        bottom = estimate_log_z(
            classical,
            num_chains=num_chains,
            num_temperatures=num_temperatures,
            generator=generator,
        )
        slack = float(torch.log(torch.cosh(ising.gamma.double())).sum())
        return LogZ(bottom.value + slack / 2, bottom.lower, bottom.upper + slack, bottom.stderr)
    return annealed_log_z(
        classical, num_chains=num_chains, num_temperatures=num_temperatures, generator=generator
    )


def exact_log_z(ising: Ising) -> float | None:
    r"""Returns the exact :math:`\log Z`, or None if the model is too large or entangled.

    Beyond the reach of enumeration, classical models of small treewidth are solved by
    `dwave.samplers.TreeDecompositionSampler`.
    """
    limit = MAX_CLASSICAL_SPINS if ising.is_classical else MAX_QUANTUM_SPINS
    with torch.no_grad():
        if ising.num_spins <= limit:
            double = Ising(ising.graph, ising.h.double(), ising.J.double(), ising.gamma)
            return float(exact_log_partition(double))
    if not ising.is_classical or not _has_small_treewidth(ising):
        return None
    return _tree_log_z(ising)


@torch.no_grad()
def annealed_log_z(
    ising: Ising,
    *,
    num_chains: int = 512,
    num_temperatures: int = 500,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> LogZ:
    r"""Returns :math:`\log Z` by annealed importance sampling in both directions.

    Chains are annealed along :math:`E_\beta = (1 - \beta) E_0 + \beta E`, where :math:`E_0` has
    independent spins. Forward, :math:`Z / Z_0 = \langle w \rangle`, so that :math:`\log Z` is
    underestimated on average; backward, :math:`Z_0 / Z = \langle w \rangle`, so that it is
    overestimated. `lower` and `upper` are the two, moved out by 1.96 standard errors each;
    `value` is Bennett's acceptance ratio of both with its `stderr`, and the interval is widened to
    hold its 1.96 standard errors too.

    The backward chains start at the ends of the forward chains, resampled by their weights and
    swept on. A mode that no forward chain has found is in neither: the interval is one of
    statistical error, not a proof.

    Arguments:
        ising: The classical model.
        num_chains: The number of chains in each direction.
        num_temperatures: The number of inverse temperatures, a sweep at each.
        generator: The source of random numbers.
        backend: "numba" on the CPU, "triton" on CUDA (tested in its interpreter only), "torch"
            anywhere, or "auto" for numba on the CPU wherever it works and torch elsewhere.

    Raises:
        ValueError: If there are too few chains or temperatures, or there is no such backend.

    References:
        | Annealed importance sampling (Neal, 1998)
        | https://arxiv.org/abs/physics/9803008
        | Efficient estimation of free energy differences from Monte Carlo data (Bennett, 1976)
        | https://doi.org/10.1016/0021-9991(76)90078-4
        | Sandwiching the marginal likelihood using bidirectional Monte Carlo (Grosse et al., 2015)
        | https://arxiv.org/abs/1511.02543
    """
    if num_chains < 2 or num_temperatures < 2:
        raise ValueError(
            f"{num_chains} chains and {num_temperatures} temperatures are too few; "
            "annealing needs at least 2 of each"
        )
    check_backend(backend)
    path = annealing_path(ising, num_chains, generator, backend)
    betas = torch.linspace(0, 1, num_temperatures, dtype=torch.float64)
    state, forward = path.anneal(path.base_samples(num_chains, generator), betas, generator)
    drawn = torch.multinomial(torch.softmax(forward, 0), num_chains, True, generator=generator)
    ends = path.chains(state[drawn], generator)
    ends.sweep(torch.ones(max(20, num_temperatures // 10)))
    _, backward = path.anneal(ends.spins, betas.flip(0), generator)
    return _combine(forward, backward, path.base_log_z())


def _combine(forward: Tensor, backward: Tensor, base_log_z: float) -> LogZ:
    low, low_error = _log_mean_exp(forward)
    high, high_error = _log_mean_exp(backward)
    value, error = _bennett(forward, -backward, low, -high)
    lower = base_log_z + low - 1.96 * low_error
    upper = base_log_z - high + 1.96 * high_error
    # Where both directions agree within errors, their two ends may lie closer than the error.
    value += base_log_z
    return LogZ(value, min(lower, value - 1.96 * error), max(upper, value + 1.96 * error), error)


def _log_mean_exp(log_weights: Tensor) -> tuple[float, float]:
    r"""Returns the log of the mean weight and its standard error (delta method)."""
    count = len(log_weights)
    value = torch.logsumexp(log_weights, 0) - math.log(count)
    relative = torch.exp(log_weights - value)
    return float(value), float(relative.std() / math.sqrt(count))


def _bennett(forward: Tensor, backward: Tensor, low: float, high: float) -> tuple[float, float]:
    r"""Returns Bennett's estimate of the log-ratio of two equal-sized samples, and its error.

    It solves :math:`\sum_F \sigma(x - w_F) = \sum_B \sigma(w_B - x)`, where w are the log-weights
    as estimates of the log-ratio x.
    """
    left, right = min(low, high) - 1.0, max(low, high) + 1.0
    while right - left > 1e-10 * max(1.0, abs(left)):
        middle = (left + right) / 2
        balance = torch.sigmoid(middle - forward).sum() - torch.sigmoid(backward - middle).sum()
        left, right = (left, middle) if float(balance) > 0 else (middle, right)
    x = (left + right) / 2
    a, b = torch.sigmoid(forward - x), torch.sigmoid(x - backward)
    variance = (a.var() / a.mean() ** 2 + b.var() / b.mean() ** 2) / len(forward)
    return x, float(variance.sqrt())


def _tree_log_z(ising: Ising) -> float:
    from dwave.samplers import TreeDecompositionSampler

    # The solver leaves out a spin without bias and couplings, and with it a factor of 2.
    coupled = torch.zeros(ising.num_spins, dtype=torch.bool)
    coupled[ising.graph.edges[(ising.J != 0).cpu()].flatten()] = True
    alone = log_2cosh(ising.h.detach().double().cpu()[~coupled]).sum()
    if not coupled.any():
        return float(alone)
    graph, edges = ising.graph.subgraph(coupled.nonzero().squeeze(-1).tolist())
    rest = Ising(graph, ising.h[coupled.to(ising.h.device)], ising.J[edges.to(ising.J.device)])
    answer = TreeDecompositionSampler().sample(rest.to_bqm(), beta=1.0, marginals=False)
    return float(alone) + float(answer.info["log_partition_function"])


def _has_small_treewidth(ising: Ising) -> bool:
    if ising.graph.num_edges == 0:
        return True
    graph = ising.graph.to_networkx(labeled=False)
    # The largest core is a lower bound of the treewidth, and cheap.
    if max(nx.core_number(graph).values()) > MAX_TREEWIDTH or len(graph) > 512:
        return False
    from networkx.algorithms.approximation import treewidth_min_fill_in

    return bool(treewidth_min_fill_in(graph)[0] <= MAX_TREEWIDTH)
