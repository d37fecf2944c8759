r"""One suite for all samplers: the law, clamping, reproducibility, shapes, errors."""

import pytest
import torch
from dwave.samplers import SimulatedAnnealingSampler
from models import F64, SMALL_MODELS, law, random_ising, state_index
from scipy.stats import chi2

from qahm_torch import (
    AnnealedSampler,
    CouplingGraph,
    DimodSampler,
    ExactSampler,
    GibbsSampler,
    Ising,
    PathIntegralSampler,
    TemperingSampler,
)
from qahm_torch.ising import all_states


def simulated_annealing():
    return DimodSampler(
        SimulatedAnnealingSampler(),
        beta_range=[1.0, 1.0],
        num_sweeps=60,
        proposal_acceptance_criteria="Gibbs",
        randomize_order=True,
    )


SAMPLERS = {
    "path integral": lambda: PathIntegralSampler(num_sweeps=60),
    "exact": ExactSampler,
    "gibbs-numba": lambda: GibbsSampler(num_sweeps=60, backend="numba"),
    "gibbs-torch": lambda: GibbsSampler(num_sweeps=60, backend="torch"),
    "dimod": simulated_annealing,
    "annealed-numba": lambda: AnnealedSampler(backend="numba"),
    "annealed-torch": lambda: AnnealedSampler(40, 15, backend="torch"),
    "tempering-numba": lambda: TemperingSampler(num_sweeps=40, backend="numba"),
    "tempering-torch": lambda: TemperingSampler(30, num_temperatures=3, backend="torch"),
}


@pytest.fixture(params=SAMPLERS)
def sampler(request):
    return SAMPLERS[request.param]()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def p_value(spins, probabilities):
    counts = torch.bincount(state_index(spins), minlength=len(probabilities)).to(F64)
    expected = probabilities * len(spins)
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    return chi2.sf(statistic, len(probabilities) - 1)


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_law_is_the_oracles(sampler, name):
    ising = SMALL_MODELS[name]()
    spins = sampler.sample(ising, 20_000, generator=seeded()).spins
    assert p_value(spins, law(ising)) > 1e-3


@pytest.mark.parametrize("name", SMALL_MODELS)
@pytest.mark.parametrize("beta", [0.8, 1.2])
def test_twin_at_another_temperature_fails(sampler, name, beta):
    ising = SMALL_MODELS[name]()
    spins = sampler.sample(ising.scaled(beta), 20_000, generator=seeded()).spins
    assert p_value(spins, law(ising)) < 1e-3


def without_clamping(sampler):
    if isinstance(sampler, AnnealedSampler):
        with pytest.raises(ValueError, match="no spin clamped"):
            sampler.sample(SMALL_MODELS["ring"](), 2, clamp=torch.ones(5))
        pytest.skip("annealing does not clamp")


def test_free_spins_follow_the_conditional_law(sampler):
    without_clamping(sampler)
    ising = SMALL_MODELS["complete"]()
    clamp = torch.tensor([0.0, 1.0, 0.0, -1.0, 0.0], dtype=F64)
    spins = sampler.sample(ising, 20_000, clamp=clamp, generator=seeded()).spins
    assert (spins[:, 1] == 1).all() and (spins[:, 3] == -1).all()
    states = all_states(5)
    fits = (states[:, 1] == 1) & (states[:, 3] == -1)
    conditional = law(ising)[fits] / law(ising)[fits].sum()
    assert p_value(spins[:, [0, 2, 4]], conditional) > 1e-3


def test_rows_are_clamped_one_by_one(sampler):
    without_clamping(sampler)
    ising = SMALL_MODELS["complete"]()
    rows = torch.tensor([[1.0, 0, 0, 0, 0], [0, -1.0, 1.0, 0, 0], [1.0, 1.0, 1.0, 1.0, -1.0]])
    clamp = rows.to(F64).repeat(4000, 1)
    spins = sampler.sample(ising, 12_000, clamp=clamp, generator=seeded()).spins
    assert torch.equal(spins[clamp != 0], clamp[clamp != 0])
    states = all_states(5)
    for k in range(2):
        fits = ((rows[k] == 0) | (states == rows[k])).all(-1)
        mean = (law(ising)[fits].unsqueeze(-1) * states[fits]).sum(0) / law(ising)[fits].sum()
        assert (spins[k::3].mean(0) - mean).abs().max() < 5 / 4000**0.5


def test_seed_decides_and_inputs_stay(sampler):
    ising = SMALL_MODELS["complete"]()
    h, J = ising.h.clone(), ising.J.clone()
    first, again, other = (sampler.sample(ising, 40, generator=seeded(s)).spins for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(ising.h, h) and torch.equal(ising.J, J)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_dtype_and_gradient(sampler, dtype):
    ising = random_ising(CouplingGraph.complete(4), dtype=dtype)
    ising = Ising(ising.graph, ising.h.requires_grad_(), ising.J.requires_grad_())
    spins = sampler.sample(ising, 7).spins
    assert spins.shape == (7, 4) and spins.dtype == dtype and not spins.requires_grad
    assert set(spins.unique().tolist()) <= {-1.0, 1.0}


def test_submission_sees_the_parameters_of_its_time(sampler):
    ising = random_ising(CouplingGraph.complete(3))
    ising.h.fill_(20.0)
    submission = sampler.submit(ising, 30)
    ising.h.fill_(-20.0)
    samples = submission.result()
    assert (samples.spins == -1).all() and submission.result() is samples


def test_bad_requests_are_named(sampler):
    ising = random_ising(CouplingGraph.complete(3))
    with pytest.raises(ValueError, match="num_samples is 0"):
        sampler.sample(ising, 0)
    with pytest.raises(ValueError, match=r"clamp has shape \(2,\)"):
        sampler.sample(ising, 4, clamp=torch.zeros(2))
    with pytest.raises(ValueError, match=r"clamp holds 0\.5"):
        sampler.sample(ising, 4, clamp=torch.full((3,), 0.5))
    ising.h[1] = torch.nan
    with pytest.raises(ValueError, match=r"h\[1\] is nan"):
        sampler.sample(ising, 4)


def test_repr_names_the_settings():
    assert repr(GibbsSampler(num_sweeps=3)) == "GibbsSampler(num_sweeps=3, backend='auto')"


@pytest.mark.parametrize("clamp", [None, torch.tensor([0.0, 1.0, 0.0], dtype=F64)])
def test_exact_sampler_draws_from_the_density_matrix(clamp):
    from qahm_torch.ising import exact_log_probs

    ising = random_ising(CouplingGraph.complete(3), gamma=1.0)
    spins = ExactSampler().sample(ising, 20_000, clamp=clamp, generator=seeded()).spins
    p = exact_log_probs(ising).exp()
    if clamp is not None:
        p = p * (all_states(3)[:, 1] == 1)
    fits = p > 0
    index = torch.cumsum(fits, 0) - 1
    counts = torch.bincount(index[state_index(spins)], minlength=int(fits.sum())).to(F64)
    expected = p[fits] / p.sum() * 20_000
    assert chi2.sf(((counts - expected) ** 2 / expected).sum().item(), len(expected) - 1) > 1e-3
