import subprocess
import sys

import pytest
import torch
from models import F64, SMALL_MODELS, law, p_value, random_ising, seeded

from qahm_torch import CouplingGraph, GibbsSampler
from qahm_torch.ising import estimate_beta
from qahm_torch.kernels import plain


@pytest.mark.parametrize(
    ("backend", "name", "told"),
    [
        ("torch", "complete", "torch-dense"),
        ("torch", "bipartite", "torch-bipartite"),
        ("torch", "ring", "torch-dense"),
        ("numba", "complete", "numba-tiles"),
        ("auto", "complete", "numba-tiles"),
        ("auto", "independent", "numba-tiles"),
    ],
)
def test_backend_is_told(backend, name, told):
    samples = GibbsSampler(1, backend=backend).sample(SMALL_MODELS[name](), 2)
    assert samples.info["backend"] == told


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_sparse_path_of_torch_draws_the_same_spins(monkeypatch, name):
    ising = SMALL_MODELS[name]()
    sampler = GibbsSampler(5, backend="torch")
    dense = sampler.sample(ising, 100, generator=seeded()).spins
    monkeypatch.setattr(plain, "DENSE_SPINS", 0)
    monkeypatch.setattr(plain, "DENSE_FRACTION", 2.0)
    if ising.graph.num_edges == 0:
        pytest.skip("a graph without edges has no neighbors to gather")
    answer = sampler.sample(ising, 100, generator=seeded())
    assert answer.info["backend"] == "torch-sparse" and torch.equal(answer.spins, dense)


def callen_gap(ising, spins):
    r"""How far <s_i> is from -<tanh f_i> (Callen's identity), in standard errors."""
    fields = ising.h + spins @ ising.couplings()
    error = (1 - torch.tanh(fields).square()).mean(0).div(len(spins)).sqrt()
    return ((spins + torch.tanh(fields)).mean(0) / error).abs().max()


@pytest.mark.parametrize(
    ("graph", "backend", "told"),
    [
        (CouplingGraph.zephyr(3), "torch", "torch-sparse"),
        (CouplingGraph.zephyr(3), "numba", "numba-sparse"),
        (CouplingGraph.pegasus(3), "numba", "numba-tiles"),
        (CouplingGraph.complete(61), "numba", "numba-tiles"),
        (CouplingGraph.bipartite(30, 45), "numba", "numba-tiles"),
    ],
)
def test_large_graphs_have_the_right_local_laws(graph, backend, told):
    ising = random_ising(graph, 1.5 / (2 * graph.num_edges / graph.num_spins) ** 0.5)
    samples = GibbsSampler(20, backend=backend).sample(ising, 2000, generator=seeded())
    assert samples.info["backend"] == told
    assert callen_gap(ising, samples.spins) < 5
    beta = estimate_beta(ising, samples.spins)
    assert abs(beta.value - 1) < 5 * beta.stderr < 0.2


def test_chains_of_torch_run_on_from_their_state():
    ising = random_ising(CouplingGraph.complete(6))
    generator = seeded()
    first = GibbsSampler(3, "torch").sample(ising, 10, generator=generator)
    second = GibbsSampler(3, "torch").sample(ising, 10, state=first.state, generator=generator)
    through = GibbsSampler(6, "torch").sample(ising, 10, generator=seeded())
    assert torch.equal(second.spins, through.spins)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_state_and_seed_resume_the_chains(backend):
    ising = random_ising(CouplingGraph.complete(6))
    sampler, generator = GibbsSampler(2, backend), seeded()
    state = sampler.sample(ising, 10, generator=generator).state
    saved = generator.get_state()
    following = sampler.sample(ising, 10, state=state, generator=generator).spins
    resumed = sampler.sample(ising, 10, state=state, generator=generator.set_state(saved)).spins
    assert torch.equal(resumed, following)
    again = sampler.sample(ising, 10, state=state, generator=generator).spins
    assert not torch.equal(again, following)


def test_a_broken_numba_is_told_and_torch_goes_on():
    code = """
import sys, warnings, torch, qahm_torch as qt
sys.modules["numba"] = None
ising = qt.Ising(qt.CouplingGraph.complete(3), torch.zeros(3), torch.zeros(3))
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    backends = [qt.GibbsSampler(1).sample(ising, 2).info["backend"] for _ in range(2)]
print(backends, len(seen), seen[0].message)
qt.GibbsSampler(1, backend="numba").sample(ising, 2)
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.startswith("['torch-dense', 'torch-dense'] 1 numba does not work")
    assert "RuntimeError: backend is 'numba', but numba does not work here" in answer.stderr


def test_state_is_not_changed():
    ising = random_ising(CouplingGraph.complete(6))
    state = GibbsSampler(1).sample(ising, 10).state
    kept = state.spins.clone()
    GibbsSampler(2).sample(ising, 10, state=state)
    assert torch.equal(state.spins, kept)


def test_few_sweeps_from_a_far_start_fail_the_law():
    ising = random_ising(CouplingGraph.complete(5), 0.4, seed=1)
    start = torch.ones(20_000, 5)
    far = GibbsSampler(1).sample(ising, 20_000, state=start, generator=seeded()).spins
    near = GibbsSampler(30).sample(ising, 20_000, state=start, generator=seeded()).spins
    assert p_value(far, law(ising)) < 1e-3 < p_value(near, law(ising))


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="num_sweeps is 0"):
        GibbsSampler(0)
    with pytest.raises(ValueError, match="backend is 'jax'"):
        GibbsSampler(1, backend="jax")


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_extreme_fields_give_certain_spins(backend):
    ising = random_ising(CouplingGraph.complete(3))
    ising.h.copy_(torch.tensor([1e4, -1e4, 1e4], dtype=F64))
    spins = GibbsSampler(1, backend).sample(ising, 50).spins
    assert torch.equal(spins, torch.tensor([-1.0, 1.0, -1.0], dtype=F64).expand(50, 3))
