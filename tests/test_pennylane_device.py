import sys

import pytest
import torch
from scipy.stats import chisquare

from qahm_torch import CircuitPrior, PennyLanePrior, SampledMMD, hardware_efficient, trapped_ion
from qahm_torch.ising import all_states

CIRCUITS = {
    "rx-rz-cz": hardware_efficient(2),
    "ry-rz-cnot": hardware_efficient(1, ("RY", "RZ"), "CNOT"),
    "xx": trapped_ion(1),
}


@pytest.fixture
def pennylane():
    return pytest.importorskip("pennylane", reason="needs pennylane, which is not installed")


def pair_of(name):
    torch.manual_seed(0)
    ours = CircuitPrior(4, CIRCUITS[name], scale=1.0).double()
    theirs = PennyLanePrior(4, CIRCUITS[name]).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("name", CIRCUITS)
def test_it_is_of_the_same_law_and_gradient(pennylane, name):
    ours, theirs = pair_of(name)
    states = all_states(4)
    torch.testing.assert_close(theirs(states), ours(states))
    for prior in (ours, theirs):
        prior(states[[1, 3, 8]]).mean().backward()
    torch.testing.assert_close(theirs.angles.grad, ours.angles.grad)


def test_shots_follow_that_law(pennylane):
    ours, theirs = pair_of("rx-rz-cz")
    spins = theirs.sample(3000)
    counts = torch.bincount((spins > 0).long() @ 2 ** torch.arange(4), minlength=16)
    law = ours.probabilities().detach()
    assert chisquare(counts.numpy(), (law * 3000).numpy()).pvalue > 1e-6
    assert chisquare(counts.flip(0).numpy(), (law * 3000).numpy()).pvalue < 1e-6


def test_it_is_trained_by_shots_alone(pennylane):
    prior = PennyLanePrior(2, ["RY"])
    SampledMMD([1.0], num_samples=50)(prior, torch.ones(10, 2)).backward()
    assert prior.angles.grad.abs().max() > 0


def test_shots_are_no_likelihood(pennylane):
    with pytest.warns(Warning, match="shots on device is deprecated"):
        device = pennylane.device("default.qubit", wires=2, shots=10)
    with pytest.raises(ValueError, match=r"the device takes .*10.*, but a likelihood needs"):
        PennyLanePrior(2, ["RX"], device=device)(torch.ones(2))


def test_without_the_package_it_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pennylane", None)
    with pytest.raises(ImportError, match=r"pip install qahm_torch\[pennylane\]"):
        PennyLanePrior(2, ["RX"])
