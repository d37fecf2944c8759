r"""The conformance suite on all samplers that need no device, and what it does not know of."""

import pytest
import torch
from dwave.samplers import SimulatedAnnealingSampler
from models import F64, random_ising, state_index
from scipy.stats import chi2

from qahm_torch import (
    AnnealedSampler,
    Checked,
    CouplingGraph,
    Darting,
    DimodSampler,
    ExactSampler,
    Fallback,
    GibbsSampler,
    Ising,
    PathIntegralSampler,
    Swept,
    TemperingSampler,
)
from qahm_torch.ising import all_states
from qahm_torch.testing import CHECKS, Subject, small_models


def simulated_annealing():
    return DimodSampler(
        SimulatedAnnealingSampler(),
        beta_range=[1.0, 1.0],
        num_sweeps=60,
        proposal_acceptance_criteria="Gibbs",
        randomize_order=True,
    )


SAMPLERS = {
    "exact": ExactSampler,
    "gibbs-numba": lambda: GibbsSampler(num_sweeps=60, backend="numba"),
    "gibbs-torch": lambda: GibbsSampler(num_sweeps=60, backend="torch"),
    "dimod": simulated_annealing,
    "annealed-numba": lambda: AnnealedSampler(backend="numba"),
    "annealed-torch": lambda: AnnealedSampler(40, 15, backend="torch"),
    "tempering-numba": lambda: TemperingSampler(num_sweeps=40, backend="numba"),
    "tempering-torch": lambda: TemperingSampler(30, num_temperatures=3, backend="torch"),
    "path integral": lambda: PathIntegralSampler(num_sweeps=60),
    "swept": lambda: Swept(GibbsSampler(num_sweeps=30), num_sweeps=30),
    "darting": lambda: Darting(GibbsSampler(num_sweeps=30), num_rounds=10, num_sweeps=3),
    "checked": lambda: Checked(GibbsSampler(num_sweeps=60), ExactSampler()),
    "replaced": lambda: Checked(GibbsSampler(num_sweeps=60), ExactSampler(), 0.5, replace=True),
    "fallback": lambda: Fallback(GibbsSampler(num_sweeps=60), ExactSampler()),
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_keeps_the_promise(name, check):
    sampler = SAMPLERS[name]()
    CHECKS[check](Subject(sampler, small_models(sampler.takes_gamma)))


CHAINS = {
    "gibbs": lambda: GibbsSampler(5),
    "tempering": lambda: TemperingSampler(5),
    "a ladder of 3": lambda: TemperingSampler(5, num_temperatures=3),
    "path integral": lambda: PathIntegralSampler(5),
    "path integral in torch": lambda: PathIntegralSampler(2, backend="torch"),
}


@pytest.mark.parametrize("second", CHAINS)
@pytest.mark.parametrize("first", CHAINS)
def test_a_sampler_may_be_replaced_at_any_time(first, second):
    # On a frozen model, the chains stay where the first sampler has left them.
    graph = CouplingGraph.complete(4)
    ising = Ising(graph, torch.zeros(4, dtype=F64), torch.full((6,), -8.0, dtype=F64))
    one, other = CHAINS[first](), CHAINS[second]()
    state = one.sample(ising, 6).state
    samples = other.sample(ising, 8, state=state)
    assert samples.spins.shape == (8, 4)
    own = {"gibbs": 0, "tempering": 1, "a ladder of 3": 1}.get(first, 2)
    theirs = {"gibbs": 0, "tempering": 1, "a ladder of 3": 1}.get(second, 2)
    resumes = own == theirs and (second != "a ladder of 3" or len(state.betas) == 3)
    assert samples.info["start"] == ("resumed" if resumes else "spins")
    if "tempering" not in second and "ladder" not in second:  # whose hot chains find both wells
        rows = torch.arange(8) % 6
        assert torch.equal(samples.spins, state.spins[rows].to(F64))


def test_bad_requests_are_told_in_one_way():
    quantum = random_ising(CouplingGraph.complete(3), gamma=1.0)
    for sampler in (
        GibbsSampler(1),
        TemperingSampler(1),
        AnnealedSampler(),
        simulated_annealing(),
    ):
        message = f"{type(sampler).__name__} samples classical models, but gamma is not 0"
        with pytest.raises(ValueError, match=message):
            sampler.sample(quantum, 2)
        with pytest.raises(ValueError, match=message):
            sampler.submit(quantum, 2)


def test_repr_names_the_settings():
    assert repr(GibbsSampler(num_sweeps=3)) == "GibbsSampler(num_sweeps=3, backend='auto')"


@pytest.mark.parametrize("clamp", [None, torch.tensor([0.0, 1.0, 0.0], dtype=F64)])
def test_exact_sampler_draws_from_the_density_matrix(clamp):
    from qahm_torch.ising import exact_log_probs

    ising = random_ising(CouplingGraph.complete(3), gamma=1.0)
    generator = torch.Generator().manual_seed(0)
    spins = ExactSampler().sample(ising, 20_000, clamp=clamp, generator=generator).spins
    p = exact_log_probs(ising).exp()
    if clamp is not None:
        p = p * (all_states(3)[:, 1] == 1)
    fits = p > 0
    index = torch.cumsum(fits, 0) - 1
    counts = torch.bincount(index[state_index(spins)], minlength=int(fits.sum())).to(F64)
    expected = p[fits] / p.sum() * 20_000
    assert chi2.sf(((counts - expected) ** 2 / expected).sum().item(), len(expected) - 1) > 1e-3


@pytest.mark.parametrize(
    ("values", "told"), [([0.5, 1.0, 0.0], "0.5"), ([2, -3, 0], "-3"), ([torch.nan, 1, 0], "nan")]
)
def test_a_clamp_of_other_values_is_named(values, told):
    ising = Ising(CouplingGraph.complete(3), torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match=f"clamp holds {told}; "):
        GibbsSampler(1).sample(ising, 2, clamp=torch.tensor(values))
