import pytest
import torch
from models import F64, SMALL_MODELS, law, random_ising
from test_samplers import p_value, seeded

from qahm_torch import CouplingGraph, GibbsSampler
from qahm_torch.samplers import kernels


@pytest.mark.parametrize(
    ("name", "backend"),
    [("complete", "torch-dense"), ("bipartite", "torch-bipartite"), ("ring", "torch-dense")],
)
def test_backend_is_told(name, backend):
    assert GibbsSampler(1).sample(SMALL_MODELS[name](), 2).info["backend"] == backend


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_sparse_path_draws_the_same_spins(monkeypatch, name):
    ising = SMALL_MODELS[name]()
    dense = GibbsSampler(5).sample(ising, 100, generator=seeded()).spins
    monkeypatch.setattr(kernels, "DENSE_SPINS", 0)
    monkeypatch.setattr(kernels, "DENSE_FRACTION", 2.0)
    if ising.graph.num_edges == 0:
        pytest.skip("a graph without edges has no neighbors to gather")
    answer = GibbsSampler(5).sample(ising, 100, generator=seeded())
    assert answer.info["backend"] == "torch-sparse" and torch.equal(answer.spins, dense)


def test_large_sparse_graph_has_the_right_local_laws():
    graph = CouplingGraph.zephyr(3)
    ising = random_ising(graph, 0.3)
    samples = GibbsSampler(20).sample(ising, 400, generator=seeded())
    assert samples.info["backend"] == "torch-sparse"
    # In equilibrium, <s_i> = -<tanh f_i> for each spin (Callen's identity).
    spins = samples.spins
    fields = ising.h + spins @ ising.couplings()
    gap = (spins + torch.tanh(fields)).mean(0)
    error = (1 - torch.tanh(fields).square()).mean(0).div(400).sqrt()
    assert (gap.abs() < 5 * error).all()


def test_chains_run_on_from_their_state():
    ising = random_ising(CouplingGraph.complete(6))
    generator = seeded()
    first = GibbsSampler(3).sample(ising, 10, generator=generator)
    second = GibbsSampler(3).sample(ising, 10, state=first.state, generator=generator)
    through = GibbsSampler(6).sample(ising, 10, generator=seeded())
    assert torch.equal(second.spins, through.spins)


def test_state_is_not_changed():
    ising = random_ising(CouplingGraph.complete(6))
    state = GibbsSampler(1).sample(ising, 10).state
    kept = state.clone()
    GibbsSampler(2).sample(ising, 10, state=state)
    assert torch.equal(state, kept)


def test_few_sweeps_from_a_far_start_fail_the_law():
    ising = random_ising(CouplingGraph.complete(5), 0.4, seed=1)
    start = torch.ones(20_000, 5)
    far = GibbsSampler(1).sample(ising, 20_000, state=start, generator=seeded()).spins
    near = GibbsSampler(30).sample(ising, 20_000, state=start, generator=seeded()).spins
    assert p_value(far, law(ising)) < 1e-3 < p_value(near, law(ising))


def test_bad_settings_are_named():
    ising = random_ising(CouplingGraph.complete(3))
    with pytest.raises(ValueError, match="num_sweeps is 0"):
        GibbsSampler(0)
    with pytest.raises(ValueError, match=r"state of shape \(4, 3\)"):
        GibbsSampler(1).sample(ising, 5, state=torch.ones(4, 3))
    with pytest.raises(ValueError, match="gamma is not 0"):
        GibbsSampler(1).sample(random_ising(CouplingGraph.complete(3), gamma=1.0), 5)


def test_extreme_fields_give_certain_spins():
    ising = random_ising(CouplingGraph.complete(3))
    ising.h.copy_(torch.tensor([1e4, -1e4, 1e4], dtype=F64))
    spins = GibbsSampler(1).sample(ising, 50).spins
    assert torch.equal(spins, torch.tensor([-1.0, 1.0, -1.0], dtype=F64).expand(50, 3))
