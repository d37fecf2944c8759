r"""The chain diagnostics, against processes of known correlation and scalar oracles."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm, rankdata

from qahm_torch.evaluation import (
    autocorrelation,
    autocorrelation_time,
    effective_sample_size,
    split_r_hat,
)

DIAGNOSTICS = [autocorrelation, autocorrelation_time, effective_sample_size, split_r_hat]


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def autoregressive(phi, num_draws, num_chains, seed=0):
    r"""Stationary x_t = phi x_(t-1) + noise, whose autocorrelation is phi^t."""
    noise = normal(num_draws, num_chains, seed=seed)
    draws = [noise[0] / math.sqrt(1 - phi**2)]
    for shock in noise[1:]:
        draws.append(phi * draws[-1] + shock)
    return torch.stack(draws)


def reference_size(x):
    r"""Effective sample size by plain loops, after Vehtari et al. (2021), section 3.2."""
    half = len(x) // 2
    x = np.concatenate([x[:half], x[-half:]], axis=1)
    size, chains = x.shape
    centered = x - x.mean(0)
    covariance = [
        (centered[: size - lag] * centered[lag:]).sum(0).mean() / size for lag in range(size)
    ]
    within = x.var(0, ddof=1).mean()
    total = within * (size - 1) / size + x.mean(0).var(ddof=1)
    rho = [1.0] + [1 - (within - c) / total for c in covariance[1:]]
    time, smallest = -1.0, np.inf
    for even, odd in zip(rho[::2], rho[1::2], strict=False):
        if even + odd <= 0:
            time += max(even, 0)
            break
        smallest = min(smallest, even + odd)
        time += 2 * smallest
    return size * chains / max(time, 1 / math.log10(size * chains))


def reference_r_hat(x):
    r"""Rank-normalized split R-hat with SciPy's ranks and quantiles."""
    half = len(x) // 2
    halves = np.concatenate([x[:half], x[-half:]], axis=1)
    values = []
    for trace in (halves, np.abs(halves - np.median(halves))):
        rank = rankdata(trace).reshape(trace.shape)
        z = norm.ppf((rank - 3 / 8) / (trace.size + 1 / 4))
        within = z.var(0, ddof=1).mean()
        total = (half - 1) / half * within + z.mean(0).var(ddof=1)
        values.append(math.sqrt(total / within))
    return max(values)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_autocorrelation_of_an_autoregressive_process(phi):
    rho = autocorrelation(autoregressive(phi, 1000, 128))
    assert rho.shape == (1000,)
    assert rho[0] == 1
    expected = phi ** torch.arange(30, dtype=torch.float64)
    torch.testing.assert_close(rho[:30], expected, atol=0.03, rtol=0)


def test_autocorrelation_equals_the_sum_over_pairs():
    x = normal(7, 3)
    centered = x - x.mean()
    covariance = torch.stack([(centered[: 7 - lag] * centered[lag:]).mean() for lag in range(7)])
    torch.testing.assert_close(autocorrelation(x), covariance / covariance[0])


def test_autocorrelation_of_short_chains_is_not_damped():
    rho = autocorrelation(autoregressive(0.9, 20, 20_000))
    expected = 0.9 ** torch.arange(20, dtype=torch.float64)
    torch.testing.assert_close(rho, expected, atol=0.03, rtol=0)


def test_autocorrelation_of_chains_apart_does_not_decay():
    x = 0.01 * normal(50, 8) + torch.arange(8.0)
    torch.testing.assert_close(autocorrelation(x), torch.ones_like(x[:, 0]), atol=0.01, rtol=0)


@pytest.mark.parametrize("phi", [-0.5, 0.0, 0.5, 0.9])
def test_time_of_an_autoregressive_process(phi):
    time = autocorrelation_time(autoregressive(phi, 2000, 128))
    assert time.item() == pytest.approx((1 + phi) / (1 - phi), rel=0.08)


def test_time_of_one_long_chain():
    time = autocorrelation_time(autoregressive(0.8, 20_000, 1))
    assert time.item() == pytest.approx(9, rel=0.2)


def test_time_of_alternating_draws_stops_at_its_floor():
    x = torch.tensor([1.0, -1.0]).repeat(50)[:, None]
    assert autocorrelation_time(x).item() == pytest.approx(1 / math.log10(100))
    assert effective_sample_size(x).item() == pytest.approx(100 * math.log10(100))


def test_independent_draws_count_fully():
    assert effective_sample_size(normal(2000, 16)).item() == pytest.approx(32_000, rel=0.05)


@pytest.mark.parametrize("phi", [0.5, 0.9])
def test_correlated_draws_count_by_their_time(phi):
    x = autoregressive(phi, 2000, 64)
    expected = x.numel() * (1 - phi) / (1 + phi)
    assert effective_sample_size(x).item() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("shape", [(4, 1), (5, 3), (10, 2), (101, 4), (200, 1)])
@pytest.mark.parametrize("phi", [-0.7, 0.0, 0.6])
def test_size_equals_the_reference(shape, phi):
    x = autoregressive(phi, *shape, seed=1)
    expected = reference_size(x.numpy())
    assert effective_sample_size(x).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("phi", [-0.9, -0.7, 0.5])
def test_sizes_of_many_short_chains_equal_the_reference(phi):
    x = autoregressive(phi, 31, 80, seed=2).reshape(31, 2, 40)
    expected = [reference_size(column.numpy()) for column in x.unbind(-1)]
    assert effective_sample_size(x).tolist() == pytest.approx(expected, rel=1e-9)


def test_size_counts_chains_apart_for_little():
    x = normal(500, 4)
    assert effective_sample_size(x + 10 * torch.arange(4)) < 20 < effective_sample_size(x) / 50


def spins_of(x, threshold):
    return torch.where(x > threshold, 1.0, -1.0).double()


CHAINS = {
    "mixed": lambda: normal(200, 4),
    "of odd length": lambda: normal(101, 3),
    "correlated": lambda: autoregressive(0.5, 300, 4),
    "slow": lambda: autoregressive(0.95, 400, 4),
    "antithetic": lambda: autoregressive(-0.8, 300, 4),
    "unmixed": lambda: normal(200, 4) + 3 * torch.arange(4),
    "of unlike scale": lambda: normal(200, 4) * torch.tensor([1, 1, 3, 9]),
    "drifting": lambda: normal(200, 4) + torch.linspace(0, 3, 200)[:, None],
    "spins": lambda: spins_of(normal(200, 4), 0.7),
    "slow spins": lambda: spins_of(autoregressive(0.9, 300, 4), 1.0),
    "spins stuck apart": lambda: spins_of(normal(200, 3) + 2 * torch.arange(3), 1.0),
}


# Their correlations are positive to the last lag, and of the last lags arviz leaves some out.
UNDECAYED = {"slow", "unmixed", "drifting", "spins stuck apart"}


def judged_by_arviz(x):
    arviz = pytest.importorskip("arviz_stats.base").array_stats
    chains = {"ary": x.numpy(), "draw_axis": 0, "chain_axis": 1}
    return float(arviz.ess(**chains, method="mean")), float(arviz.rhat(**chains, method="rank"))


@pytest.mark.parametrize("name", CHAINS)
def test_chains_are_judged_as_arviz_judges_them(name):
    x = CHAINS[name]()
    size, r_hat = judged_by_arviz(x)
    rel = 0.05 if name in UNDECAYED else 1e-9
    assert effective_sample_size(x).item() == pytest.approx(size, rel=rel)
    assert split_r_hat(x).item() == pytest.approx(r_hat, rel=1e-9)


def test_arviz_tells_the_chains_apart():
    sizes, r_hats = zip(*(judged_by_arviz(make()) for make in CHAINS.values()))
    assert len(set(sizes)) == len(set(r_hats)) == len(CHAINS)
    assert min(sizes) < 6 and max(sizes) > 3000
    assert min(r_hats) < 1.001 and max(r_hats) > 1.5


@pytest.mark.parametrize("change", ["none", "location", "scale", "drift"])
@pytest.mark.parametrize("num_draws", [40, 41])
def test_r_hat_equals_the_reference(change, num_draws):
    x = normal(num_draws, 4)
    x = x + torch.arange(4) if change == "location" else x
    x = x * torch.tensor([1, 1, 3, 5]) if change == "scale" else x
    x = x + torch.linspace(0, 3, num_draws)[:, None] if change == "drift" else x
    assert split_r_hat(x).item() == pytest.approx(reference_r_hat(x.numpy()), rel=1e-9)


def test_r_hat_equals_the_reference_with_ties():
    x = normal(60, 3).round()
    assert split_r_hat(x).item() == pytest.approx(reference_r_hat(x.numpy()), rel=1e-9)


def test_r_hat_is_one_for_mixed_chains():
    assert split_r_hat(normal(2000, 8)).item() == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize(
    "displaced",
    [
        pytest.param(normal(500, 4) + torch.tensor([0.0, 0, 0, 2]), id="location"),
        pytest.param(normal(500, 4) * torch.tensor([1.0, 1, 1, 5]), id="scale"),
        pytest.param(normal(500, 4) + torch.linspace(0, 3, 500)[:, None], id="drift"),
    ],
)
def test_r_hat_exceeds_one_for_chains_that_differ(displaced):
    assert split_r_hat(displaced) > 1.1


def test_r_hat_sees_ranks_not_values():
    x = normal(100, 4) + torch.tensor([0.0, 0, 0, 1])
    torch.testing.assert_close(split_r_hat(-1e6 * x + 5), split_r_hat(x))
    x[3, 0] = x.max() + 1
    torch.testing.assert_close(split_r_hat(x.where(x < x.max(), 1e9)), split_r_hat(x))


def test_r_hat_of_balanced_spins_is_that_of_their_location():
    spins = normal(1000, 4, seed=2)
    spins = torch.where(spins > spins.median(), 1.0, -1.0)
    assert spins.sum().abs() < 10
    assert split_r_hat(spins).item() == pytest.approx(1, abs=0.01)
    assert split_r_hat(torch.cat([spins, -spins], 1)).isfinite()


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 / 3])
@pytest.mark.parametrize("diagnostic", DIAGNOSTICS)
def test_a_scalar_that_never_changes_gives_nan(diagnostic, value):
    for shape in [(4, 1), (11, 3), (100, 7)]:
        assert diagnostic(torch.full(shape, value, dtype=torch.float64)).isnan().all()


def test_chains_stuck_apart():
    x = torch.tensor([0.1, 0.7, 0.7], dtype=torch.float64).expand(20, 3)
    assert split_r_hat(x) == torch.inf
    assert effective_sample_size(x) < 6
    assert autocorrelation_time(x).item() == pytest.approx(39)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("diagnostic", DIAGNOSTICS)
def test_a_value_that_is_not_finite_gives_nan_for_its_scalar_alone(diagnostic, bad):
    x = normal(20, 3, 2)
    clean = diagnostic(x)
    x[5, 1, 0] = bad
    result = diagnostic(x)
    assert result[..., 0].isnan().all()
    torch.testing.assert_close(result[..., 1], clean[..., 1])


@pytest.mark.parametrize("diagnostic", DIAGNOSTICS)
def test_several_scalars_at_once_equal_one_at_a_time(diagnostic):
    x = torch.stack([normal(50, 4), autoregressive(0.8, 50, 4), normal(50, 4).round()], -1)
    one_by_one = torch.stack([diagnostic(column) for column in x.unbind(-1)], -1)
    torch.testing.assert_close(diagnostic(x), one_by_one)
    assert one_by_one.unique(dim=-1).shape[-1] == 3


@pytest.mark.parametrize("diagnostic", DIAGNOSTICS)
def test_dtype_follows_the_draws_and_no_gradient_flows(diagnostic):
    x = normal(50, 4).float().requires_grad_()
    result = diagnostic(x)
    assert result.dtype == torch.float32
    assert not result.requires_grad
    torch.testing.assert_close(result, diagnostic(x.double()).float())


@pytest.mark.parametrize("diagnostic", DIAGNOSTICS)
def test_wrong_draws_are_refused(diagnostic):
    with pytest.raises(ValueError, match="x has 3 draws of 2 chains, but at least 4"):
        diagnostic(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="x has 5 draws of 0 chains, but"):
        diagnostic(torch.zeros(5, 0))
    with pytest.raises(ValueError, match=r"x has shape \(10,\), but .* as x\[:, None\]"):
        diagnostic(torch.zeros(10))
    with pytest.raises(TypeError, match=r"x has dtype torch\.int64, but"):
        diagnostic(torch.zeros(10, 2, dtype=torch.int64))
