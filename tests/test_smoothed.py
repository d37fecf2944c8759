r"""Smoothed spins, and their bound against sums over spins and integrals over states."""

import copy
from unittest import mock

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid

from qahm_torch import (
    BeliefNetwork,
    CouplingGraph,
    EmbeddedPrior,
    ExactSampler,
    GroupedRecognition,
    HelmholtzMachine,
    QuantumPriorLayer,
    Samples,
    SmoothedELBO,
    all_states,
    exact_log_probs,
    smooth,
)

F64 = torch.float64
BETA = 5.0
VISIBLE = torch.tensor([[1, -1, 1, 1], [-1, -1, 1, -1], [1, 1, -1, -1.0]], dtype=F64)


def mixture(zeta, q, beta):
    r"""The mixture in the words of the paper, of zeta on [0, 1], without its normalization."""
    low, high = np.exp(-beta * zeta), np.exp(beta * (zeta - 1))
    return (1 - q) * low + q * high


@pytest.mark.parametrize("beta", [0.5, 8.0, 30.0])
@pytest.mark.parametrize("f", [-1.5, 0.0, 0.3, 4.0])
def test_states_have_the_mixture_of_exponentials(f, beta):
    q = 1 / (1 + np.exp(-2 * f))
    zeta = np.linspace(0, 1, 20_001)
    density = mixture(zeta, q, beta)
    steps = (density[1:] + density[:-1]) / 2
    cdf = np.concatenate([[0], np.cumsum(steps)]) / steps.sum()
    t = smooth(torch.full((20_000,), f, dtype=F64), beta, torch.Generator().manual_seed(0))
    u = torch.rand(20_000, dtype=F64, generator=torch.Generator().manual_seed(0))
    assert np.allclose(np.interp((1 + t) / 2, zeta, cdf), u, atol=1e-5)


def test_another_beta_would_be_found():
    t = smooth(torch.zeros(20_000, dtype=F64), 8.0, torch.Generator().manual_seed(0))
    other = smooth(torch.zeros(20_000, dtype=F64), 6.4, torch.Generator().manual_seed(0))
    assert (t - other).abs().max() > 0.02


@pytest.mark.parametrize("beta", [0.5, 8.0, 50.0])
def test_the_gradient_is_right_and_finite_for_sure_spins_too(beta):
    b = beta / 2
    f = torch.tensor([-300.0, -30, -6, -1, -0.1, 0, 0.1, 1, 6, 30, 300]).repeat(500, 1)
    slopes = {}
    for dtype in (torch.float32, F64):
        g = f.to(dtype).requires_grad_()
        # The same noise, which single precision rounds.
        u = torch.rand(f.shape, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
        with mock.patch("qahm_torch.nn.smoothing.uniform_like", return_value=u.to(dtype)):
            t = smooth(g, beta)
        assert t.abs().max() <= 1
        (slopes[dtype],) = torch.autograd.grad(t.sum(), g)
    # By the implicit function theorem: less the derivative of the distribution function at t, over
    # the density.
    f, t = f.double().clamp(-40, 40), t.detach()
    wanted = (np.cosh(b) - torch.cosh(b * t)) / (b * torch.cosh(f) * torch.cosh(f + b * t))
    torch.testing.assert_close(slopes[F64], wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(slopes[torch.float32].double(), wanted, atol=2e-3, rtol=2e-3)


def machine_of(kind, num_hidden=2):
    torch.manual_seed(0)
    recognition = {
        "layer": BeliefNetwork([4, num_hidden]),
        "groups": GroupedRecognition(4, num_hidden, num_groups=num_hidden, num_hidden=3),
        "one group": GroupedRecognition(4, num_hidden, num_groups=1, num_hidden=3),
        "uneven": GroupedRecognition(4, num_hidden, num_groups=2, num_hidden=3),
    }[kind]
    machine = HelmholtzMachine(
        recognition, BeliefNetwork([num_hidden, 4]), QuantumPriorLayer(num_hidden)
    ).double()
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.normal_(0, 0.8)
    machine.prior.estimate_log_z()
    return machine


def exact_negative(machine):
    model = machine.prior.ising().detach()
    return Samples(all_states(model.num_spins, F64), exact_log_probs(model).exp())


def grid(beta, num_points=40):
    r"""Returns pairs of states (P, 2) and the logarithms of weights (P) that integrate them."""
    points, weights = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(num_points))
    pairs = torch.cartesian_prod(points, points)
    return pairs, torch.cartesian_prod(weights, weights).log().sum(-1)


def log_r(t, s, beta):
    b = beta / 2
    return (b * s * t + np.log(b / (2 * np.sinh(b)))).sum(-1)


def conditional_log_q(machine, v, s, t):
    r"""Returns log q(s | v, t) of two spins, whose later one may see the earlier one's state."""
    laws = []
    parts = t.split(1, -1)

    def choose(number, law):
        laws.append(law.base_dist.activation)
        return torch.cat(parts, -1) if law.event_shape == (2,) else parts[number]

    machine.recognition.run(v.expand(len(t), -1), choose)
    return logsigmoid(2 * s * torch.cat(laws, -1)).sum(-1)


def exact_terms(machine, beta):
    r"""Returns the bound and the log-likelihood of the smoothed machine, means over data."""
    t, log_w = grid(beta)
    bound = likelihood = 0.0
    for v in VISIBLE:
        log_p_v = machine.generator.conditional(0, t).log_prob(v.expand(len(t), -1))
        totals = []
        for s in all_states(2, F64):
            log_p = machine.prior.log_prob(s, exact_negative(machine)) + log_r(t, s, beta)
            log_q = conditional_log_q(machine, v, s, t) + log_r(t, s, beta)
            bound = bound + ((log_q + log_w).exp() * (log_p_v + log_p - log_q)).sum()
            totals.append(log_p + log_p_v + log_w)
        likelihood = likelihood + torch.cat(totals).logsumexp(0)
    return bound / len(VISIBLE), likelihood / len(VISIBLE)


def gradient(machine, loss):
    machine.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in machine.parameters()]).clone()


KINDS = ["layer", "groups", "one group"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_is_that_of_the_sum_and_the_integral(kind):
    machine = machine_of(kind)
    bound, likelihood = exact_terms(machine, BETA)
    assert bound < likelihood - 1e-3
    batch = VISIBLE.repeat(20_000, 1)
    objective, generator = SmoothedELBO(BETA), torch.Generator().manual_seed(0)
    found = torch.stack(
        [
            -objective(machine, batch, exact_negative(machine), generator=generator)["loss"]
            for _ in range(20)
        ]
    ).detach()
    z = (found.mean() - bound) / (found.std() / 20**0.5)
    assert z.abs() < 5
    off, _ = exact_terms(machine, 0.8 * BETA)
    assert ((found.mean() - off) / (found.std() / 20**0.5)).abs() > 10


def test_the_integral_has_the_finite_difference_for_a_gradient():
    machine = machine_of("groups")
    slope = gradient(machine, exact_terms(machine, BETA)[0])
    sides = []
    direction = torch.randn(len(slope), dtype=F64, generator=torch.Generator().manual_seed(0))
    for step in (1e-4, -1e-4):
        moved = copy.deepcopy(machine)
        start = 0
        with torch.no_grad():
            for parameter in moved.parameters():
                part = direction[start : start + parameter.numel()]
                parameter += step * part.view(parameter.shape)
                start += parameter.numel()
            moved.prior.estimate_log_z()
            sides.append(exact_terms(moved, BETA)[0])
    torch.testing.assert_close(
        (sides[0] - sides[1]) / 2e-4, slope @ direction, rtol=1e-5, atol=1e-6
    )


def scores(machine, beta):
    wanted = gradient(machine, -exact_terms(machine, BETA)[0])
    objective, batch = SmoothedELBO(beta), VISIBLE.repeat(2000, 1)
    negative, generator = exact_negative(machine), torch.Generator().manual_seed(0)
    losses = (objective(machine, batch, negative, generator=generator)["loss"] for _ in range(40))
    found = torch.stack([gradient(machine, loss) for loss in losses])
    error = found.std(0) / 40**0.5
    return ((found.mean(0) - wanted) / error.clamp(1e-9)).abs()


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_has_no_bias(kind):
    z = scores(machine_of(kind), BETA)
    assert z.square().mean().sqrt() < 1.6
    assert z.max() < 4.5


def test_the_gradient_of_another_beta_would_be_found():
    assert scores(machine_of("groups"), 0.8 * BETA).max() > 8


def discrete_bound(machine):
    total = 0.0
    states = all_states(machine.prior.num_visible, F64)
    for v in VISIBLE:
        rows = v.expand(len(states), -1)
        log_q = machine.recognition.log_prob([rows, states])
        total += (log_q.exp() * (machine.log_joint([rows, states]) - log_q)).sum()
    return total / len(VISIBLE)


@pytest.mark.parametrize("kind", ["layer", "uneven"])
def test_a_large_beta_is_the_bound_of_spins(kind):
    machine = machine_of(kind, num_hidden=5)
    with torch.no_grad():
        errors = {}
        for beta in (12.5, 25.0, 50.0):
            generator = torch.Generator().manual_seed(0)
            batch, negative = VISIBLE.repeat(30_000, 1), exact_negative(machine)
            loss = SmoothedELBO(beta)(machine, batch, negative, generator=generator)["loss"]
            errors[beta] = -loss - discrete_bound(machine)
    assert errors[12.5].abs() > 1.5 * errors[25.0].abs() > 2.25 * errors[50.0].abs()
    # A mean state is 2 / beta short of its spin, and what is left is of second order in that.
    assert (2 * errors[50.0] - errors[25.0]).abs() < 0.3 * errors[50.0].abs()


def test_draws_are_averaged_and_the_divergence_is_weighed():
    machine = machine_of("groups")
    batch, negative = VISIBLE.repeat(2000, 1), exact_negative(machine)
    spread = {}
    for k in (1, 16):
        objective = SmoothedELBO(BETA, num_draws=k)
        found = [objective(machine, batch[:3], negative)["loss"] for _ in range(200)]
        spread[k] = torch.stack(found).std()
    assert spread[16] < 0.4 * spread[1]
    losses = SmoothedELBO(BETA, kl_weight=0.25)(machine, batch, negative)
    torch.testing.assert_close(losses["loss"], losses["reconstruction"] + losses["kl"] / 4)


def test_a_machine_learns_with_it():
    torch.manual_seed(0)
    recognition = GroupedRecognition(5, 4, num_groups=2, num_hidden=8)
    prior = QuantumPriorLayer(4, sampler=ExactSampler())
    machine = HelmholtzMachine(recognition, BeliefNetwork([4, 5]), prior)
    data = torch.tensor([[1.0, 1, 1, -1, -1], [-1, -1, -1, 1, 1]]).repeat(20, 1)
    optimizer = torch.optim.Adam(machine.parameters(), lr=0.03)
    for _ in range(150):
        optimizer.zero_grad()
        SmoothedELBO(20.0)(machine, data, machine.prior.draw())["loss"].backward()
        optimizer.step()
    machine.prior.estimate_log_z()
    assert machine.log_prob(data[:2], 200).mean() > -1.2  # of -0.69 at best and -3.47 at first


def test_what_does_not_fit_is_refused():
    for beta in (0.0, -1.0, 200.0, float("nan")):
        with pytest.raises(ValueError, match="beta is .*, but smoothed spins need one above 0"):
            SmoothedELBO(beta)
    with pytest.raises(ValueError, match="num_draws is 0, but at least 1 is needed"):
        SmoothedELBO(num_draws=0)
    with pytest.raises(ValueError, match="kl_weight is -1"):
        SmoothedELBO(kl_weight=-1)
    networks = BeliefNetwork([4, 3]), BeliefNetwork([3, 4])
    hidden = QuantumPriorLayer(5, hidden=[3, 4])
    with pytest.raises(ValueError, match="a QuantumPriorLayer without hidden spins"):
        SmoothedELBO().check(HelmholtzMachine(*networks, hidden))
    strands = EmbeddedPrior(CouplingGraph.complete(4), [[0], [1], [2, 3]])
    with pytest.raises(ValueError, match="the prior is EmbeddedPrior"):
        SmoothedELBO().check(HelmholtzMachine(*networks, strands))
    deep = HelmholtzMachine(
        BeliefNetwork([4, 3, 2]), BeliefNetwork([2, 3, 4]), QuantumPriorLayer(2)
    )
    with pytest.raises(ValueError, match="the recognition has 2 layers, the last one Spins"):
        SmoothedELBO().check(deep)
    SmoothedELBO().check(HelmholtzMachine(*networks, QuantumPriorLayer(3)))
