r"""World lines against the density matrix: the law, the kinks, clamping and resuming."""

import sys

import pytest
import torch
from models import F64, random_ising, state_index
from scipy.stats import chi2

from qahm_torch import CouplingGraph, Ising, PathIntegralSampler, QuantumPriorLayer
from qahm_torch.ising import (
    Chains,
    all_states,
    exact_log_partition,
    exact_log_probs,
    exact_moments,
    moments,
)
from qahm_torch.kernels import backends

NUM_SAMPLES = 20_000
MIXED = torch.tensor([0.0, 1.0, 2.0, 0.0, 0.5], dtype=F64)
RING = [(i, (i + 1) % 6) for i in range(6)]
MODELS = {
    "classical": lambda: random_ising(CouplingGraph.complete(5), 0.5, seed=1),
    "weak": lambda: random_ising(CouplingGraph.complete(5), 0.5, seed=1, gamma=0.1),
    "ring": lambda: random_ising(CouplingGraph(6, RING), 0.4, seed=2, gamma=0.3),
    "medium": lambda: random_ising(CouplingGraph.complete(4), 0.4, seed=3, gamma=1.0),
    "strong": lambda: random_ising(CouplingGraph.complete(3), 1.5, seed=4, gamma=3.0),
    "mixed": lambda: random_ising(CouplingGraph.complete(5), 0.5, seed=5, gamma=MIXED),
    "independent": lambda: random_ising(CouplingGraph(3, []), 0.8, seed=6, gamma=1.0),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def p_value(spins, probabilities):
    fits = probabilities > 0
    counts = torch.bincount(state_index(spins), minlength=len(probabilities))[fits].to(F64)
    expected = probabilities[fits] / probabilities.sum() * counts.sum()
    assert counts.sum() == len(spins) and expected.min() > 5
    return chi2.sf(((counts - expected) ** 2 / expected).sum().item(), len(expected) - 1)


def draw(ising, num_samples=NUM_SAMPLES, num_sweeps=15, backend="numba", seed=0, **kwargs):
    sampler = PathIntegralSampler(num_sweeps, backend)
    return sampler.sample(ising, num_samples, generator=seeded(seed), **kwargs)


def scaled(ising, beta=1.0, gamma=1.0):
    return Ising(ising.graph, ising.h * beta, ising.J * beta, ising.gamma * gamma)


@pytest.mark.parametrize("name", MODELS)
def test_law_is_that_of_the_density_matrix(name):
    ising = MODELS[name]()
    assert p_value(draw(ising).spins, exact_log_probs(ising).exp()) > 1e-3


@pytest.mark.parametrize("name", ["medium", "strong", "mixed"])
@pytest.mark.parametrize("factors", [(0.8, 1.0), (1.0, 0.7), (1.0, 1.3)])
def test_twins_of_other_biases_or_another_field_fail(name, factors):
    ising = MODELS[name]()
    spins = draw(scaled(ising, *factors)).spins
    assert p_value(spins, exact_log_probs(ising).exp()) < 1e-3


@pytest.mark.parametrize("name", ["classical", "ring", "medium"])
def test_law_of_the_backend_in_torch(name):
    ising = MODELS[name]()
    answer = draw(ising, 10_000, 8, "torch")
    assert answer.info["backend"] == "torch"
    assert p_value(answer.spins, exact_log_probs(ising).exp()) > 1e-3


def transverse_magnetization(ising):
    gamma = ising.gamma.clone().requires_grad_()
    log_z = exact_log_partition(Ising(ising.graph, ising.h, ising.J, gamma))
    return torch.autograd.grad(log_z, gamma)[0]


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("name", ["ring", "medium", "mixed"])
def test_number_of_kinks_is_the_transverse_magnetization(name, backend):
    ising = MODELS[name]()
    expected = ising.gamma * transverse_magnetization(ising)
    answer = draw(ising, 10_000, 8, backend)
    kinks = (answer.state.lines[..., 1:] < 1).sum(-1).to(F64)
    error = kinks.std(0) / len(kinks) ** 0.5
    assert ((kinks.mean(0) - expected).abs() <= 5 * error).all()
    assert answer.info["num_kinks"] == pytest.approx(kinks.mean().item())
    assert (kinks % 2 == 0).all() and (kinks[:, ising.gamma == 0] == 0).all()
    # Weak fields are seen in the kinks rather than in the spins.
    twin = (draw(scaled(ising, gamma=1.3), 10_000, 8).state.lines[..., 1:] < 1).sum(-1).to(F64)
    assert ((twin.mean(0) - expected).abs() > 5 * error)[ising.gamma > 0].all()


def test_moments_of_ten_spins():
    ising = random_ising(CouplingGraph.complete(10), 0.3, seed=7, gamma=1.0)
    found, exact = moments(ising.graph, draw(ising).spins), exact_moments(ising)
    for value, reference in zip(found, exact):
        error = ((1 - reference**2) / NUM_SAMPLES).sqrt()
        assert ((value - reference).abs() < 5 * error).all()


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_free_spins_follow_the_law_given_what_is_measured(backend):
    ising = MODELS["medium"]()
    clamp = torch.tensor([0.0, 1.0, 0.0, -1.0], dtype=F64)
    spins = draw(ising, 10_000, 10, backend, clamp=clamp).spins
    fits = ((clamp == 0) | (all_states(4) == clamp)).all(-1)
    conditional = exact_log_probs(ising).exp() * fits
    assert p_value(spins, conditional) > 1e-3
    # A spin that is held at all times is a field on its neighbors, which is another law.
    field = ising.h + ising.couplings() @ clamp
    held = Ising(ising.graph, field + 20 * -clamp, ising.J, ising.gamma * (clamp == 0))
    assert p_value(draw(held, clamp=clamp).spins, conditional) < 1e-3


def test_rows_are_clamped_one_by_one():
    ising = MODELS["medium"]()
    clamp = torch.tensor([[1.0, 0, 0, 0], [0, -1.0, 1.0, 0]], dtype=F64).repeat(5000, 1)
    spins = draw(ising, 10_000, clamp=clamp).spins
    assert torch.equal(spins[clamp != 0], clamp[clamp != 0])
    for k in range(2):
        fits = ((clamp[k] == 0) | (all_states(4) == clamp[k])).all(-1)
        assert p_value(spins[k::2], exact_log_probs(ising).exp() * fits) > 1e-3


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_chains_run_on_from_their_state(backend):
    ising = MODELS["medium"]()
    converged = draw(ising, 8000, 12, backend)
    before = converged.state.lines.clone()
    answer = draw(ising, 8000, 1, backend, seed=1, state=converged.state)
    assert answer.info["start"] == "resumed" and torch.equal(converged.state.lines, before)
    assert not torch.equal(answer.spins, converged.spins)
    assert torch.equal(converged.state.spins, before[..., 0])
    assert p_value(answer.spins, exact_log_probs(ising).exp()) > 1e-3
    fresh = draw(ising, 8000, 1, backend, seed=1)
    assert p_value(fresh.spins, exact_log_probs(ising).exp()) < 1e-3


def frozen():
    r"""A model whose spins stay all up or all down."""
    graph = CouplingGraph.complete(4)
    return Ising(graph, torch.zeros(4, dtype=F64), torch.full((6,), -5.0, dtype=F64), 0.1)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_spins_of_other_samplers_are_lines_without_kinks(backend):
    signs = torch.tensor([1, -1, -1, 1, 1, -1, 1, 1])
    spins = Chains(signs.unsqueeze(-1).expand(8, 4).to(torch.int8))
    answer = draw(frozen(), 8, 1, backend, state=spins)
    assert answer.info["start"] == "spins" and torch.equal(answer.spins, spins.spins.to(F64))
    assert torch.equal(answer.state.spins, answer.state.lines[..., 0])
    assert not torch.equal(draw(frozen(), 8, 1, backend).spins, answer.spins)


def test_lines_of_a_field_that_was_turned_off_have_no_kinks():
    ising = MODELS["medium"]()
    classical = Ising(ising.graph, ising.h, ising.J)
    answer = draw(ising, 5)
    assert answer.info["num_kinks"] > 0
    without_field = draw(classical, 5, state=answer.state)
    assert without_field.info["start"] == "resumed" and without_field.info["num_kinks"] == 0
    assert without_field.state.lines.shape[-1] == 1


def test_another_number_of_chains_is_repeated_and_other_models_start_afresh():
    spins = torch.tensor([1.0, -1.0, -1.0], dtype=F64).unsqueeze(-1).expand(3, 4)
    state = draw(frozen(), 3, 1, state=spins).state
    answer = draw(frozen(), 5, 1, state=state)
    assert answer.info["start"] == "resumed"
    assert torch.equal(answer.spins, spins[[0, 1, 2, 0, 1]])
    assert draw(MODELS["strong"](), 3, state=state).info["start"] == "fresh"


def test_threads_do_not_change_the_answer():
    ising = random_ising(CouplingGraph.complete(8), 0.3, gamma=2.0)
    num_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        several = draw(ising, 1001).state.lines
        torch.set_num_threads(1)
        one = draw(ising, 1001).state.lines
    finally:
        torch.set_num_threads(num_threads)
    assert torch.equal(several, one)
    assert not torch.equal(several[..., 0], draw(ising, 1001, seed=1).state.spins)


def test_without_numba_torch_takes_over(monkeypatch):
    ising = MODELS["medium"]()
    monkeypatch.setitem(sys.modules, "qahm_torch.kernels.compiled_worldlines", None)
    backends._imported.cache_clear()
    with pytest.warns(UserWarning, match="numba does not work"):
        answer = draw(ising, 5, backend="auto")
    assert answer.info["backend"] == "torch"
    with pytest.raises(RuntimeError, match="numba does not work here"):
        draw(ising, 5, backend="numba")
    backends._imported.cache_clear()


def test_many_kinks_fit():
    ising = random_ising(CouplingGraph.complete(3), gamma=40.0)
    kinks = (draw(ising, 50, 5).state.lines[..., 1:] < 1).sum(-1).to(F64)
    assert kinks.max() > 30 and abs(kinks.mean() - 40) < 5 * (40 / 150) ** 0.5


def test_gradient_of_the_layer_is_close_to_the_exact_one():
    torch.manual_seed(0)
    sampler = PathIntegralSampler(num_sweeps=15)
    layer = QuantumPriorLayer(8, gamma=1.0, sampler=sampler, num_samples=NUM_SAMPLES).double()
    data = torch.randint(2, (10, 8), generator=seeded(1)).to(F64) * 2 - 1
    (-layer(data).mean()).backward()
    exact = exact_moments(layer.ising())
    positive = moments(layer.graph, data)
    error = 5 / NUM_SAMPLES**0.5
    assert (layer.h.grad - (positive.mean - exact.mean)).abs().max() < error
    assert (layer.J.grad - (positive.correlation - exact.correlation)).abs().max() < error


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="num_sweeps is 0"):
        PathIntegralSampler(num_sweeps=0)
    for backend in ("cuda", "triton"):
        message = f"backend is '{backend}', but 'auto', 'numba' or 'torch' is needed"
        with pytest.raises(ValueError, match=message):
            PathIntegralSampler(backend=backend)
    ising = MODELS["medium"]()
    endless = Ising(ising.graph, ising.h, ising.J, torch.tensor([1.0, torch.inf, 0, 0]))
    with pytest.raises(ValueError, match=r"gamma\[1\] is inf"):
        draw(endless, 5)
