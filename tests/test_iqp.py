import functools

import pytest
import torch

from qahm_torch import (
    IQPCircuit,
    ParityMMD,
    draw_subsets,
    gaussian_kernel,
    parity_moments,
    product_moments,
)
from qahm_torch.ising import all_states

F64 = torch.float64
GENERATORS = [[0], [1], [2], [3], [0, 1], [1, 3], [0, 2, 3]]
X = torch.tensor([[0, 1], [1, 0]], dtype=torch.complex128)
EYE = torch.eye(2, dtype=torch.complex128)


def circuit_of(scale=0.7):
    torch.manual_seed(0)
    return IQPCircuit(4, GENERATORS, scale=scale).double()


def all_subsets():
    return (all_states(4) > 0).double()


def parities(law):
    r"""Returns the exact mean of each parity of a law of all states."""
    signs = 1 - 2 * ((all_subsets() @ (all_states(4) > 0).double().T) % 2)
    return signs @ law


def test_probabilities_are_those_of_matrices():
    circuit = circuit_of()
    state = torch.zeros(16, dtype=torch.complex128)
    state[0] = 1
    for qubits, angle in zip(GENERATORS, circuit.angles.detach()):
        factors = [X if q in qubits else EYE for q in reversed(range(4))]
        state = torch.linalg.matrix_exp(1j * angle * functools.reduce(torch.kron, factors)) @ state
    law = circuit.probabilities().detach()
    torch.testing.assert_close(law, state.abs().square())
    assert (law - law.flip(0)).abs().max() > 0.01


def test_parities_are_those_of_the_state_vector():
    circuit = circuit_of()
    exact = parities(circuit.probabilities().detach())
    generator = torch.Generator().manual_seed(0)
    found = [circuit.moments(all_subsets(), 50, generator=generator) for _ in range(400)]
    for values, expected in (
        (torch.stack([m.mean for m in found]).detach(), exact),
        (torch.stack([m.square for m in found]).detach(), exact.square()),
    ):
        stderr = values.std(0) / 400**0.5 + 1e-9
        assert ((values.mean(0) - expected).abs() < 5 * stderr).all()
        assert ((values.mean(0) - expected.flip(0)).abs() > 5 * stderr).any()


def test_parities_of_samples_and_of_independent_spins():
    ones = torch.tensor([0.1, 0.3, 0.6, 0.8], dtype=F64)
    law = torch.where(all_states(4) > 0, ones, 1 - ones).prod(-1)
    exact = parities(law)
    torch.testing.assert_close(product_moments(2 * ones - 1, all_subsets()).mean, exact)
    index = torch.multinomial(law, 5000, True, generator=torch.Generator().manual_seed(0))
    found = parity_moments(all_states(4)[index], all_subsets())
    assert ((found.mean - exact).abs() < 5 / 5000**0.5).all()
    assert found.mean[0] == found.square[0] == 1  # of the empty subset
    # The square of the mean is above its estimate without bias by the variance of the mean.
    gap = (1 - found.mean.square()) / 4999
    torch.testing.assert_close(found.mean.square() - found.square, gap)


@pytest.mark.parametrize("bandwidths", [[0.6], [0.5, 2.0]])
def test_the_mixture_of_parities_is_the_discrepancy(bandwidths):
    generator = torch.Generator().manual_seed(0)
    p, q = torch.rand(2, 16, dtype=F64, generator=generator).mul(3).softmax(-1)
    kernel = gaussian_kernel(all_states(4), all_states(4), bandwidths)
    exact = (p - q) @ kernel @ (p - q)
    subsets = draw_subsets(20_000, 4, bandwidths, generator=generator).double()
    index = (subsets @ 2.0 ** torch.arange(4).double()).long()
    gaps = (parities(p) - parities(q)).square()[index]
    stderr = gaps.std() / 20_000**0.5
    assert abs(gaps.mean() - exact) < 5 * stderr
    assert abs(gaps.mean() - 1.2 * exact) > 5 * stderr


def test_the_gradient_of_the_discrepancy_is_unbiased():
    circuit, loss = circuit_of(), ParityMMD([0.7], num_subsets=20, num_draws=20)
    data = all_states(4)[[0, 3, 3, 5, 9, 15]]
    law = (data[:, None] == all_states(4)).all(-1).double().mean(0)
    gap = circuit.probabilities() - law
    kernel = gaussian_kernel(all_states(4), all_states(4), [0.7])
    (expected,) = torch.autograd.grad(gap @ kernel @ gap, circuit.angles)
    generator = torch.Generator().manual_seed(0)
    draws = [loss(circuit, data, generator=generator) for _ in range(1000)]
    found = torch.stack([torch.autograd.grad(value, circuit.angles)[0] for value in draws])
    stderr = found.std(0) / 1000**0.5
    assert ((found.mean(0) - expected).abs() < 5 * stderr).all()
    assert ((found.mean(0) + expected).abs() > 5 * stderr).any()


def test_a_hundred_qubits_are_trained():
    torch.manual_seed(0)
    pairs = [[2 * k, 2 * k + 1] for k in range(50)]
    circuit = IQPCircuit(100, [[q] for q in range(100)] + pairs, scale=0.01)
    # Neighbors agree, which independent spins cannot.
    data = torch.randint(0, 2, (500, 50)).mul(2.0).sub(1).repeat_interleave(2, dim=-1)
    both = torch.zeros(50, 100)
    for k, pair in enumerate(pairs):
        both[k, pair] = 1
    with torch.no_grad():
        # Once single gates have made a qubit random, it agrees with none: pairs are first.
        circuit.angles[100:].fill_(0.3)
    optimizer = torch.optim.Adam(circuit.parameters(), lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        ParityMMD([4.0], 128, 128)(circuit, data).backward()
        optimizer.step()
    singles = circuit.moments(torch.eye(100), 100).mean
    agreed = circuit.moments(both, 100).mean.mean()
    assert agreed > 0.4 and singles.abs().mean() < 0.1
    with pytest.raises(ValueError, match="num_visible is 100, but"):
        circuit.sample(3)


@pytest.mark.parametrize("qubits", [[], [0, 4], [1, 1], [-1]])
def test_impossible_generators_are_told(qubits):
    with pytest.raises(ValueError, match="a generator is of qubits"):
        IQPCircuit(4, [[0], qubits])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"bandwidths": [-1.0]}, r"bandwidths are \[-1.0\], but"),
        ({"num_subsets": 0}, "num_subsets is 0, but"),
        ({"num_draws": 1}, "num_draws is 1, but"),
    ],
)
def test_impossible_settings_are_told(settings, told):
    with pytest.raises(ValueError, match=told):
        ParityMMD(**{"bandwidths": [1.0], **settings})
