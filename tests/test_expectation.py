r"""Machines whose fields and couplings are inputs, row by row."""

import pytest
import torch
from models import F64, p_value, seeded
from small_runs import Weighted
from torch import nn

from qahm_torch import (
    AnnealerSampler,
    CouplingGraph,
    ExactSampler,
    GibbsSampler,
    Ising,
    IsingExpectation,
    SimulatedAnnealer,
)
from qahm_torch.ising import all_states

RING = CouplingGraph(4, [(0, 1), (1, 2), (2, 3), (3, 0)])


def machines(num_rows=3, graph=RING, seed=0):
    draw = {"generator": seeded(seed), "dtype": F64}
    h = torch.randn(num_rows, graph.num_spins, **draw)
    return h.requires_grad_(), torch.randn(num_rows, graph.num_edges, **draw).requires_grad_()


def exact(h, J, statistic=lambda spins: spins, graph=RING):
    r"""The expected statistics by the energies of all states, a row at a time."""
    states = all_states(graph.num_spins, F64)
    laws = [(-Ising(graph, *row).energy(states)).softmax(0) for row in zip(h, J, strict=True)]
    return torch.stack([law @ statistic(states) for law in laws])


def pairs(spins):
    return torch.cat([spins, spins[..., :1] * spins[..., 2:3]], -1)


@pytest.mark.parametrize("statistic", [None, pairs], ids=["spins", "more"])
def test_enumeration_has_the_values_and_gradients_of_each_row(statistic):
    h, J = machines()
    found = IsingExpectation(RING, statistic=statistic)(h, J)
    right = exact(h, J, statistic or (lambda spins: spins))
    torch.testing.assert_close(found, right)
    weights = torch.randn(found.shape, generator=seeded(1), dtype=F64)
    grads = (torch.autograd.grad((weights * y).sum(), (h, J)) for y in (found, right))
    for mine, other in zip(*grads, strict=True):
        torch.testing.assert_close(mine, other)


def test_enumeration_has_derivatives_of_any_order():
    layer = IsingExpectation(RING)
    assert torch.autograd.gradgradcheck(layer, machines(2))


def both(y, h, J, weights):
    r"""Values and the gradient of their weighted sum, one after another for each row, (R, *)."""
    grads = torch.autograd.grad((weights * y).sum(), (h, J))
    return torch.cat([y.detach(), *grads], -1)


COPIES = 20  # of the rows in each call


@pytest.mark.parametrize("rows_per_problem", [None, 7])
@pytest.mark.parametrize("num_samples", [2, 50])
def test_samples_estimate_values_and_gradients_without_bias(num_samples, rows_per_problem):
    h, J = machines()
    weights = torch.randn(h.shape, generator=seeded(1), dtype=F64)
    right = both(exact(h, J), h, J, weights)
    layer = IsingExpectation(
        RING,
        sampler=GibbsSampler(num_sweeps=60),
        num_samples=num_samples,
        rows_per_problem=rows_per_problem,
    )
    generator, found = seeded(2), []
    rows = [x.detach().repeat(COPIES, 1).requires_grad_() for x in (h, J)]
    for _ in range(3000 // num_samples // 10):
        y = layer(*rows, generator)
        found.append(both(y, *rows, weights.repeat(COPIES, 1)).view(COPIES, *right.shape))
    found = torch.cat(found)
    error = found.std(0) / len(found) ** 0.5
    assert ((found.mean(0) - right).abs() < 5 * error).all()
    # The twin: the covariance as a mean over S, not over S - 1.
    if num_samples == 2:
        biased = torch.cat([right[:, :4], right[:, 4:] / 2], -1)
        assert ((found.mean(0) - biased).abs() > 5 * error).any()


def test_rows_have_machines_of_their_own():
    h, J = machines(5)
    layer = IsingExpectation(RING, sampler=ExactSampler(), num_samples=20_000, rows_per_problem=2)
    found = layer(h, J, seeded())
    for row in range(5):
        alone = exact(h[row : row + 1], J[row : row + 1])[0]
        error = ((1 - alone**2) / 20_000).sqrt()
        assert ((found[row] - alone).abs() < 5 * error).all()


def test_shapes_are_those_of_the_inputs():
    h, J = machines(6)
    layer = IsingExpectation(RING, statistic=pairs)
    found = layer(h.view(2, 3, 4), J.view(2, 3, 4))
    torch.testing.assert_close(found, layer(h, J).view(2, 3, 5))
    assert layer(h[0], J[0]).shape == (5,)


def test_a_statistic_with_parameters_learns():
    h, J = machines()
    statistic = nn.Linear(4, 2).double()
    layer = IsingExpectation(RING, sampler=GibbsSampler(5), num_samples=64, statistic=statistic)
    layer(h, J).sum().backward()
    assert [name for name, p in layer.named_parameters() if p.grad is not None] == [
        "statistic.weight",
        "statistic.bias",
    ]


def test_a_network_learns_couplings_of_each_row():
    # The product of two spins is to be the sign of the input, which the means of spins say
    # nothing of.
    torch.manual_seed(0)
    network = nn.Linear(1, 1)
    layer = IsingExpectation(
        2,
        sampler=GibbsSampler(20),
        num_samples=64,
        statistic=lambda spins: spins.prod(-1, keepdim=True),
    )
    optimizer = torch.optim.Adam(network.parameters(), 0.1)
    x = torch.tensor([[-1.0], [1.0]])
    for _ in range(60):
        loss = (layer(torch.zeros(2, 2), network(x)) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05


def test_a_device_gets_a_row_at_a_time_or_some_side_by_side():
    h, J = (x.detach().float() / 2 for x in machines(4))
    for rows_per_problem, problems in ((None, 4), (4, 1)):
        device = SimulatedAnnealer("pegasus", 3, beta=3.0, seed=0)
        sampler = AnnealerSampler(device, beta=3.0)
        layer = IsingExpectation(
            RING, sampler=sampler, num_samples=2000, rows_per_problem=rows_per_problem
        )
        right = exact(h.double(), J.double()).float()
        torch.testing.assert_close(layer(h, J), right, atol=0.15, rtol=0)
        assert sampler.account.num_problems == problems


def test_weights_of_samples_count():
    h, J = machines()
    layer = IsingExpectation(RING, sampler=Weighted(), num_samples=16, rows_per_problem=1)
    found, right = layer(h, J), exact(h, J)
    torch.testing.assert_close(found, right)
    weights = torch.randn(found.shape, generator=seeded(1), dtype=F64)
    grads = (torch.autograd.grad((weights * y).sum(), (h, J)) for y in (found, right))
    for mine, other in zip(*grads, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"graph_or_n": 17}, "the graph has 17 spins, but without a `sampler` at most 16"),
        ({"num_samples": 1}, "num_samples is 1, but it is at least 2"),
        ({"rows_per_problem": 0}, "rows_per_problem is 0, but it is at least 1"),
    ],
)
def test_settings_are_checked(settings, told):
    with pytest.raises(ValueError, match=told):
        IsingExpectation(**{"graph_or_n": 4, **settings})


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        (((3, 4), (3, 6)), r"J \(3, 6\), but the graph has 4 spins and 4 edges"),
        (((3, 5), (3, 4)), r"h has shape \(3, 5\)"),
        (((3, 4), (2, 4)), "with the same rows are needed"),
    ],
)
def test_shapes_are_checked(shapes, told):
    with pytest.raises(ValueError, match=told):
        IsingExpectation(RING)(*map(torch.zeros, shapes))


def test_samples_are_those_of_the_law_of_a_row():
    h, J = machines(2)
    layer = IsingExpectation(
        RING,
        sampler=GibbsSampler(num_sweeps=60),
        num_samples=20_000,
        statistic=lambda spins: (spins.unsqueeze(-2) == all_states(4, F64)).all(-1).to(F64),
    )
    counts = (layer(h, J, seeded(3)).detach() * 20_000).round().long()
    laws = exact(h, J, lambda states: torch.eye(16, dtype=F64)).detach()
    for row in range(2):
        spins = all_states(4, F64).repeat_interleave(counts[row], 0)
        assert p_value(spins, laws[row]) > 1e-3
        assert p_value(spins, laws[1 - row]) < 1e-3
