import pytest
import torch
from test_machine import Independent

from qahm_torch import (
    BeliefNetwork,
    CouplingGraph,
    HelmholtzMachine,
    QuantumPriorLayer,
    load_fitting,
)


def machine(widths=(6, 4, 3), prior=None, seed=0):
    torch.manual_seed(seed)
    prior = prior or QuantumPriorLayer(widths[-1], num_samples=8)
    networks = BeliefNetwork(widths), BeliefNetwork(widths[::-1])
    return HelmholtzMachine(*networks, prior)


def tensors(module):
    state = module.state_dict().items()
    return {name: x.clone() for name, x in state if not name.endswith("_extra_state")}


def changed(before, module):
    return {name for name, x in tensors(module).items() if not torch.equal(x, before[name])}


def test_all_of_the_same_model_is_taken():
    source, target = machine(), machine(seed=1)
    fitting = load_fitting(target, source.state_dict())
    assert not fitting.left
    assert all(torch.equal(x, tensors(target)[name]) for name, x in tensors(source).items())


def test_what_fits_is_taken_and_the_rest_stays():
    source, target = machine((8, 4, 3)), machine(seed=1)
    with torch.no_grad():
        source.prior.h.fill_(0.3)
    before = tensors(target)
    fitting = load_fitting(target, source.state_dict())
    assert set(fitting.left) == {
        "recognition.layers.0.weight",
        "generator.layers.1.weight",
        "generator.layers.1.bias",
    }
    assert fitting.left["generator.layers.1.bias"] == "of shape (6,), and there (8,)"
    assert changed(before, target) == set(fitting.taken) & set(before)
    for name in changed(before, target):
        assert torch.equal(tensors(target)[name], tensors(source)[name])
    assert str(fitting).splitlines() == [
        "taken      recognition.layers.0.bias",
        "taken      recognition.layers.1 (2 tensors)",
        "taken      generator.layers.0 (2 tensors)",
        "taken      prior (4 tensors)",
        "not taken  recognition.layers.0.weight: of shape (4, 6), and there (4, 8)",
        "not taken  generator.layers.1.weight: of shape (6, 4), and there (8, 4)",
        "not taken  generator.layers.1.bias: of shape (6,), and there (8,)",
    ]


def test_a_prior_is_taken_as_a_whole_or_not_at_all():
    couplings = QuantumPriorLayer(CouplingGraph(3, [(0, 1), (1, 2)]), num_samples=8)
    others = QuantumPriorLayer(CouplingGraph(3, [(0, 1), (0, 2)]), num_samples=8)
    source, target = machine(prior=couplings), machine(prior=others, seed=1)
    with torch.no_grad():
        source.prior.h.fill_(0.3)
    target.prior.draw()
    before, chains = tensors(target), target.prior.chains
    fitting = load_fitting(target, source.state_dict())
    assert {name for name in fitting.left if not name.startswith("prior.")} == set()
    assert not changed(before, target) & {"prior.h", "prior.J", "prior.log_z"}
    assert target.prior.chains is chains
    assert "prior._extra_state is not the same there" in fitting.left["prior.h"]
    assert torch.equal(target.recognition.layers[0].weight, source.recognition.layers[0].weight)


def test_the_chains_of_a_prior_that_is_taken_are_forgotten():
    target = machine(seed=1)
    target.prior.draw()
    load_fitting(target, machine().state_dict())
    assert target.prior.chains is None


def test_a_prior_of_another_kind_stays():
    source, target = machine(), machine(prior=Independent(3), seed=1)
    fitting = load_fitting(target, source.state_dict())
    assert set(fitting.left) == {"prior.logits"}


def test_where_nothing_fits_it_is_told():
    source, target = machine((7, 5, 2)), machine(seed=1)
    state = {f"other.{name}": x for name, x in source.state_dict().items()}
    for alien in (state, {}):
        before = tensors(target)
        with pytest.raises(ValueError, match="no tensor has the name and the shape of one"):
            load_fitting(target, alien)
        assert not changed(before, target)
