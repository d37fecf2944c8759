import copy
import math

import pytest
import torch
from scipy.stats import chisquare

from qahm_torch import (
    BeliefNetwork,
    CircuitPrior,
    HelmholtzMachine,
    ReweightedWakeSleep,
    hardware_efficient,
    trapped_ion,
)
from qahm_torch.ising import all_states
from qahm_torch.training import MachineModule

F64 = torch.float64
CIRCUITS = {
    "rx-rz-cz": hardware_efficient(2),
    "ry-rz-cnot": hardware_efficient(2, ("RY", "RZ"), "CNOT"),
    "xx": trapped_ion(2),
}


def prior_of(name, num_visible=4):
    torch.manual_seed(0)
    return CircuitPrior(num_visible, CIRCUITS[name], scale=1.0).double()


def asymmetric(num_qubits=4):
    r"""Returns a prior of independent qubits, and the law of states computed from theirs."""
    prior = CircuitPrior(num_qubits, ["RY"]).double()
    ones = torch.tensor([0.1, 0.3, 0.6, 0.8], dtype=F64)[:num_qubits]
    with torch.no_grad():
        prior.angles.copy_(2 * ones.sqrt().arcsin())
    states = all_states(num_qubits)
    return prior, torch.where(states > 0, ones, 1 - ones).prod(-1)


def p_value(spins, law):
    bits = (spins > 0).long() @ 2 ** torch.arange(spins.shape[-1])
    counts = torch.bincount(bits, minlength=len(law))
    return chisquare(counts.numpy(), (law * len(spins)).numpy()).pvalue


def test_qubits_are_read_in_the_order_of_spins():
    prior, law = asymmetric()
    torch.testing.assert_close(prior(all_states(4)).detach(), law.log())
    generator = torch.Generator().manual_seed(0)
    for spins in (
        prior.sample(5000, generator=generator),
        prior.read(5000, prior.angles[None], generator=generator)[0],
    ):
        assert p_value(spins, law) > 1e-3
        # The other order of bits is found.
        assert p_value(spins.flip(-1), law) < 1e-9


@pytest.mark.parametrize("name", CIRCUITS)
def test_probabilities_are_a_law_and_samples_follow_it(name):
    prior = prior_of(name)
    law = prior(all_states(4)).exp().detach()
    assert law.sum().item() == pytest.approx(1)
    spins = prior.sample(5000, generator=torch.Generator().manual_seed(1))
    assert p_value(spins, law) > 1e-3
    assert p_value(-spins, law) < 1e-3


@pytest.mark.parametrize("name", CIRCUITS)
def test_shifted_angles_give_the_gradient(name):
    prior = prior_of(name)
    jacobian = torch.autograd.functional.jacobian(prior.probabilities, prior.angles.detach())
    plus, minus = prior.probabilities(prior.shifted_angles())
    torch.testing.assert_close((plus - minus) / 2, jacobian.T)


def test_the_likelihood_can_be_learned():
    torch.manual_seed(0)
    prior = CircuitPrior(3, hardware_efficient(2))
    data = torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]])
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        (-prior(data).mean()).backward()
        optimizer.step()
    assert prior(data).mean().item() == pytest.approx(-math.log(2), abs=0.02)


def test_it_is_the_prior_of_a_machine():
    torch.manual_seed(0)
    prior = CircuitPrior(3, hardware_efficient(1), num_samples=20)
    machine = HelmholtzMachine(BeliefNetwork([6, 3]), BeliefNetwork([3, 6]), prior)
    module = MachineModule(machine, ReweightedWakeSleep(num_particles=3))
    module.training_step(torch.ones(4, 6), 0).backward()
    assert prior.angles.grad.abs().max() > 0
    assert machine.generate(5).shape == (5, 6)


def test_a_copy_is_of_the_same_law():
    prior = prior_of("xx")
    other = CircuitPrior(4, CIRCUITS["xx"]).double()
    other.load_state_dict(prior.state_dict())
    for twin in (copy.deepcopy(prior), other):
        torch.testing.assert_close(twin(all_states(4)), prior(all_states(4)))


def test_a_state_that_cannot_be_reached_is_finite():
    prior = CircuitPrior(2, ["RX"], scale=0.0)
    value = prior(torch.ones(2))
    value.backward()
    assert value < -80 and torch.isfinite(value)
    assert torch.isfinite(prior.angles.grad).all()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"num_visible": 17}, "num_visible is 17, but"),
        ({"num_samples": 0}, "num_samples is 0, but"),
        ({"layers": ["CZ"]}, "layers are .*, but without an angle"),
        ({"layers": ["RW"]}, "a layer is 'RW', but layers are"),
    ],
)
def test_impossible_settings_are_told(settings, told):
    with pytest.raises(ValueError, match=told):
        CircuitPrior(**{"num_visible": 3, "layers": ["RX"], **settings})


@pytest.mark.parametrize(
    ("spins", "told"),
    [(torch.zeros(2, 3), "spins hold 0, but"), (torch.ones(2, 4), "the last dimension is 3")],
)
def test_what_cannot_be_read_is_refused(spins, told):
    with pytest.raises(ValueError, match=told):
        CircuitPrior(3, ["RX"])(spins)
