r"""Diagnostics of Markov chains: autocorrelation, effective sample size, convergence."""

from __future__ import annotations

__all__ = ["autocorrelation", "autocorrelation_time", "effective_sample_size", "split_r_hat"]

import math

import torch
from torch import Tensor


def autocorrelation(x: Tensor) -> Tensor:
    r"""Returns the estimated autocorrelation function of stationary chains.

    .. math::
        \rho_t = \frac{c_t}{c_0}, \qquad
        c_t = \frac{1}{C (T - t)} \sum_{c=1}^{C} \sum_{s=1}^{T-t}
              (x_{s,c} - \bar{x}) (x_{s+t,c} - \bar{x})

    with :math:`\bar{x}` the mean over all draws of all chains: chains that sit apart from each
    other show as a correlation that does not decay. Each lag is divided by its own number of
    pairs, which keeps the estimate from decaying by construction; its error grows toward the
    last lags, where it may leave [-1, 1].

    Arguments:
        x: Draws of a scalar by C chains, of shape (T, C), or of D scalars, of shape (T, C, D);
            of floating dtype, T at least 4.

    Returns:
        The autocorrelation at lags 0, ..., T - 1, of shape (T,) or (T, D). It is NaN for a scalar
        that never changes or is not finite.

    Raises:
        ValueError: If `x` has another shape, fewer than 4 draws, or no chain.
        TypeError: If `x` is not of floating dtype.

    Example:
        >>> autocorrelation(torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]))
        tensor([ 1., -1.,  1., -1.])
    """
    draws = _checked(x)
    num_draws = len(draws)
    # The detour over the first draw makes a constant exactly zero, whatever its rounding.
    centered = draws - draws[0, 0]
    centered = centered - centered.mean((0, 1))
    num_pairs = torch.arange(num_draws, 0, -1, device=x.device)
    covariance = _mean_autocovariance(centered) * (num_draws / num_pairs)[:, None]
    return _shaped(covariance / covariance[0], x)


def autocorrelation_time(x: Tensor) -> Tensor:
    r"""Returns the estimated integrated autocorrelation time of stationary chains, in draws.

    .. math:: \tau = 1 + 2 \sum_{t=1}^{\infty} \rho_t

    The mean of T draws of one chain varies like that of :math:`T / \tau` independent draws. The
    sum is cut by Geyer's initial monotone sequence: the sums of the correlations at lags
    :math:`2k` and :math:`2k + 1` are positive and decreasing in :math:`k` for a reversible
    chain, so they are added up to the first that is not positive, none counting for more than
    the one before.

    A chain much shorter than :math:`\tau` cannot reveal it: the estimate then is too small, at
    most 2 T. It is not let fall below :math:`1 / \log_{10}(T C)`, for chains whose draws
    alternate.

    Arguments:
        x: Draws of a scalar by C chains, of shape (T, C), or of D scalars, of shape (T, C, D);
            of floating dtype, T at least 4.

    Returns:
        The time, of shape () or (D,). It is NaN for a scalar that never changes or is not finite.

    Raises:
        ValueError: If `x` has another shape, fewer than 4 draws, or no chain.
        TypeError: If `x` is not of floating dtype.

    References:
        | Practical Markov chain Monte Carlo (Geyer, 1992)
        | https://doi.org/10.1214/ss/1177011137

    Example:
        >>> chains = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
        >>> bool((autocorrelation_time(chains) - 1).abs() < 0.1)
        True
    """
    rho = autocorrelation(_checked(x))
    return _shaped(_geyer_time(rho, x.shape[0] * x.shape[1]), x)


def effective_sample_size(x: Tensor) -> Tensor:
    r"""Returns how many independent draws would give the mean as precisely, by estimate.

    .. math::
        \mathrm{ESS} = \frac{N}{-1 + 2 \sum_{k=0}^{K} (\rho_{2k} + \rho_{2k+1})}, \qquad
        \rho_t = 1 - \frac{W - \overline{c_t}}{\widehat{\mathrm{var}}^+}

    over the N draws of the chains cut in halves, with :math:`W` the mean variance within a half,
    :math:`\overline{c_t}` the mean autocovariance within a half, and
    :math:`\widehat{\mathrm{var}}^+` the variance that also counts how far the halves lie apart:
    chains that have not mixed count for little. The sum is cut by Geyer's initial monotone
    sequence, and antithetic chains count for at most :math:`N \log_{10} N`. Of an odd number of
    draws the middle one is left out.

    Arguments:
        x: Draws of a scalar by C chains, of shape (T, C), or of D scalars, of shape (T, C, D);
            of floating dtype, T at least 4.

    Returns:
        The effective sample size of the mean over all draws, of shape () or (D,). It is NaN for a
        scalar that never changes or is not finite.

    Raises:
        ValueError: If `x` has another shape, fewer than 4 draws, or no chain.
        TypeError: If `x` is not of floating dtype.

    References:
        | Rank-normalization, folding, and localization: An improved R-hat for assessing
          convergence of MCMC (Vehtari et al., 2021)
        | https://arxiv.org/abs/1903.08008

    Example:
        >>> chains = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
        >>> bool((effective_sample_size(chains) / 8000 - 1).abs() < 0.1)
        True
    """
    halves = _halves(_checked(x))
    num_draws, num_chains, _ = halves.shape
    within, total = _variances(halves)
    covariance = _mean_autocovariance(_centered(halves))
    rho = 1 - (within - covariance) / total
    rho[0] = torch.where(total > 0, 1.0, torch.nan)
    size = num_draws * num_chains
    return _shaped(size / _geyer_time(rho, size), x)


def split_r_hat(x: Tensor) -> Tensor:
    r"""Returns the rank-normalized split R-hat, 1 for chains that have mixed.

    .. math::
        \hat{R} = \sqrt{\widehat{\mathrm{var}}^+ / W}, \qquad
        \widehat{\mathrm{var}}^+ = \frac{n - 1}{n} W + \frac{1}{n} B

    with :math:`W` and :math:`B` the variances within and between the chains, cut in halves of
    n draws and replaced by the normal scores of their ranks. The larger of two values counts:
    that of the draws, which sees chains of unlike location, and that of their distances from the
    median, which sees chains of unlike scale. Values above 1.01 call for longer chains.

    Arguments:
        x: Draws of a scalar by C chains, of shape (T, C), or of D scalars, of shape (T, C, D);
            of floating dtype, T at least 4.

    Returns:
        R-hat, of shape () or (D,). It is infinite where no half of a chain ever changes but they
        differ, and NaN for a scalar that is the same in all draws of all chains, from which
        nothing can be told, or that is not finite.

    Raises:
        ValueError: If `x` has another shape, fewer than 4 draws, or no chain.
        TypeError: If `x` is not of floating dtype.

    References:
        | Rank-normalization, folding, and localization: An improved R-hat for assessing
          convergence of MCMC (Vehtari et al., 2021)
        | https://arxiv.org/abs/1903.08008

    Example:
        >>> chains = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
        >>> bool(split_r_hat(chains) < 1.01), bool(split_r_hat(chains + torch.arange(8)) > 1.5)
        (True, True)
    """
    halves = _halves(_checked(x))
    location = _r_hat(_normal_scores(halves))
    scale = _r_hat(_normal_scores((halves - _median(halves)).abs()))
    # A balanced spin is always at the same distance from its median, which says nothing.
    r_hat = torch.where(scale.isnan(), location, torch.maximum(location, scale))
    return _shaped(torch.where(halves.isfinite().all(0).all(0), r_hat, torch.nan), x)


def _r_hat(x: Tensor) -> Tensor:
    r"""Returns the square root of the ratio of total to within-chain variance, (D,)."""
    within, total = _variances(x)
    return (total / within).sqrt()


def _variances(x: Tensor) -> tuple[Tensor, Tensor]:
    r"""Returns the mean variance within chains, and that with the between-chain part, (D,)."""
    num_draws = len(x)
    within = _centered(x).square().sum(0).mean(0) / (num_draws - 1)
    # The detour over the first draw makes equal means equal, whatever their rounding.
    between = (x - x[0, 0]).mean(0).var(0)
    return within, within * (num_draws - 1) / num_draws + between


def _centered(x: Tensor) -> Tensor:
    r"""Returns each chain less its mean, with exact zeros for a constant one."""
    x = x - x[0]
    return x - x.mean(0)


def _mean_autocovariance(x: Tensor) -> Tensor:
    r"""Returns the autocovariance of centered chains, each lag divided by T, averaged over C."""
    num_draws = len(x)
    # Padding by zeros keeps the end of a chain from being correlated with its beginning.
    power = torch.fft.rfft(x, n=2 * num_draws, dim=0).abs().square().mean(1)
    total: Tensor = torch.fft.irfft(power, n=2 * num_draws, dim=0)[:num_draws]
    return total / num_draws


def _geyer_time(rho: Tensor, num_draws: int) -> Tensor:
    r"""Returns times (D,) of correlations (T, D), by the initial monotone sequence of pairs."""
    even = rho[: len(rho) // 2 * 2 : 2]
    pairs = even + rho[1::2]
    kept = (pairs > 0).cumprod(0)
    # The correlation at which the pairs turn still counts: this lowers the error for chains
    # whose draws alternate, as Vehtari et al. found.
    turning = kept.diff(dim=0, prepend=torch.ones_like(kept[:1])) < 0
    tail = torch.where(turning, even, 0).clamp(min=0).sum(0)
    time = -1 + 2 * (pairs.cummin(0).values * kept).sum(0) + tail
    return torch.where(rho.isnan().any(0), torch.nan, time.clamp(min=1 / math.log10(num_draws)))


def _normal_scores(x: Tensor) -> Tensor:
    r"""Returns the normal quantiles of the ranks of all draws, ties averaged."""
    flat = x.flatten(0, 1).T.contiguous()
    ordered = flat.sort(1).values
    below = torch.searchsorted(ordered, flat)
    through = torch.searchsorted(ordered, flat, right=True)
    rank = (below + through + 1).to(x.dtype) / 2
    quantile = (rank - 0.375) / (flat.shape[1] + 0.25)
    scores: Tensor = torch.special.ndtri(quantile)
    return scores.T.reshape(x.shape)


def _median(x: Tensor) -> Tensor:
    r"""Returns the median over all draws of all chains, halfway between the middle two, (D,)."""
    ordered = x.flatten(0, 1).sort(0).values
    middle = len(ordered) // 2
    return (ordered[middle] + ordered[-middle - 1]) / 2


def _halves(x: Tensor) -> Tensor:
    r"""Returns chains (T, C, D) cut in two, (T // 2, 2 C, D), without the middle of an odd T."""
    half = len(x) // 2
    return torch.cat([x[:half], x[-half:]], dim=1)


def _checked(x: Tensor) -> Tensor:
    r"""Returns the draws as (T, C, D) in float64."""
    if not x.is_floating_point():
        raise TypeError(f"x has dtype {x.dtype}, but a floating dtype is needed")
    if x.dim() not in (2, 3):
        raise ValueError(
            f"x has shape {tuple(x.shape)}, but T draws of C chains have (T, C) or (T, C, D); "
            "give a single chain as x[:, None]"
        )
    if x.shape[0] < 4 or x.shape[1] < 1:
        raise ValueError(
            f"x has {x.shape[0]} draws of {x.shape[1]} chains, but at least 4 draws of at least "
            "1 chain are needed"
        )
    draws = x.detach().double()
    return draws if x.dim() == 3 else draws[..., None]


def _shaped(result: Tensor, x: Tensor) -> Tensor:
    r"""Returns a result (..., D) in the dtype of `x`, at least float32; (...) if `x` has no D."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return (result[..., 0] if x.dim() == 2 else result).to(dtype)
