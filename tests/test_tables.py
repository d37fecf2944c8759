import itertools
import math

import pytest
import torch
from torch.distributions import Normal

from qahm_torch import (
    BeliefNetwork,
    Flagged,
    HelmholtzMachine,
    MixedUnits,
    NormalUnits,
    OneHot,
    QuantumPriorLayer,
    ReweightedWakeSleep,
    Spins,
    WakeSleep,
    flag_missing,
)
from qahm_torch.data import Column, MixedTable
from qahm_torch.evaluation import ConditionalGaussian, impute
from qahm_torch.nn.distributions import unit_log_prob
from qahm_torch.objectives import reweighted_wake_loss
from qahm_torch.systems import MixedTables, reproduce

NAN = math.nan
COLUMNS = [
    Column("height", "continuous"),
    Column("income", "positive"),
    Column("smokes", "binary"),
    Column("blood", "categorical", 3),
]


def table(factor=1.0, num_rows=60):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(num_rows, 2, generator=g, dtype=torch.float64)
    smokes = (torch.rand(num_rows, generator=g) < 0.4).double()
    blood = torch.randint(3, (num_rows,), generator=g).double()
    rows = torch.stack([5 + 2 * x[:, 0], (x[:, 1] + x[:, 0]).exp(), smokes, blood], -1)
    rows[torch.rand(rows.shape, generator=g) < 0.2] = NAN
    rows[:, 0] *= factor
    data = MixedTable(rows, COLUMNS, batch_size=20, num_val=10, num_test=20)
    data.setup()
    return data


def mixed(num_hidden):
    r"""Two spins and three classes, whose values can be listed, with a context at random."""
    torch.manual_seed(0)
    units = MixedUnits([Spins(1), OneHot(3), Spins(1)], num_hidden)
    with torch.no_grad():
        for parameter in units.parameters():
            parameter.normal_()
    return units


def all_rows():
    classes = 2 * torch.eye(3) - 1
    signs = torch.tensor([[-1.0], [1.0]])
    triples = itertools.product(signs, classes, signs)
    return torch.stack([torch.cat(triple) for triple in triples])


PATTERNS = [
    torch.tensor([a, b, b, b, c]) for a, b, c in itertools.product([False, True], repeat=3)
]


# --- the table -------------------------------------------------------------------------------


def test_units_are_the_table_again():
    data = table()
    for rows, units in zip(data.original, (data.train, data.val, data.test), strict=True):
        torch.testing.assert_close(data.decode(units), rows, equal_nan=True, rtol=1e-5, atol=1e-5)


def test_maps_are_of_training_rows_alone():
    data = table()
    known = data.train[:, :2]
    torch.testing.assert_close(known.nanmean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(known.square().nanmean(0), torch.ones(2))
    assert (data.test[:, :2].nanmean(0).abs() > 1e-3).all()


def test_ten_times_the_values_are_a_tenth_of_the_density():
    one, ten = table(), table(factor=10.0)
    torch.testing.assert_close(one.test, ten.test, equal_nan=True)
    shift = ten.log_jacobian(ten.test) - one.log_jacobian(one.test)
    known = ~one.original.test[:, 0].isnan()
    assert known.any() and not known.all()
    torch.testing.assert_close(shift, -math.log(10) * known.double(), atol=1e-9, rtol=0)
    # The twin: without the Jacobian nothing tells the units of measurement apart.
    law = Normal(0.0, 1.0)
    torch.testing.assert_close(law.log_prob(one.test[known, 0]), law.log_prob(ten.test[known, 0]))


def test_a_density_of_original_values_integrates_to_one():
    data = table()
    for k, grid in ((0, torch.linspace(-20, 30, 4001)), (1, torch.logspace(-6, 6, 8001))):
        rows = torch.full((len(grid), 4), NAN, dtype=torch.float64)
        rows[:, k] = grid.double()
        units = data.encode(rows)
        log_p = Normal(0.0, 1.0).log_prob(units[:, k].double())
        mass = torch.trapezoid((log_p + data.log_jacobian(units)).exp(), grid.double())
        assert abs(float(mass) - 1) < 1e-3
        without = torch.trapezoid(log_p.exp(), grid.double())
        assert abs(float(without) - 1) > 0.1


def test_none_is_missing():
    data = MixedTable([[1.0, 0], [None, 1], [3.0, None]], [COLUMNS[0], COLUMNS[2]])
    data.setup()
    assert int(data.train.isnan().sum()) == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.0, 1.0, 2, 0]], "'smokes' holds 2.0, but it is binary"),
        ([[1.0, 1.0, 0, 3]], "'blood' holds 3.0, but it is categorical with 3"),
        ([[1.0, -1.0, 0, 0]], "'income' holds -1.0, but it is positive"),
        ([[1.0, 1.0, 0]], r"shape \(1, 3\), but a table of 4 columns"),
        ([[1.0, 1.0, 0, 0]] * 2, "'height' has 2 known training values, but two that differ"),
    ],
)
def test_entries_that_do_not_fit_are_told(rows, message):
    with pytest.raises(ValueError, match=message):
        MixedTable(rows, COLUMNS)


def test_columns_that_make_no_sense_are_told():
    with pytest.raises(ValueError, match="kind is 'ordinal', but"):
        Column("a", "ordinal")
    with pytest.raises(ValueError, match="num_categories is 1, but a categorical"):
        Column("a", "categorical", 1)
    with pytest.raises(ValueError, match="num_categories is 2, but a binary"):
        Column("a", "binary", 2)


# --- units -----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_hidden", [None, 0, 3])
@pytest.mark.parametrize("missing", PATTERNS)
def test_known_columns_sum_to_one_for_each_pattern(num_hidden, missing):
    units = mixed(num_hidden)
    law = units(torch.linspace(-1, 1, units.num_parameters))
    rows = all_rows().masked_fill(missing, NAN)
    num_filled = math.prod(
        len(all_rows()[:, part].unique(dim=0)) for part in missing_parts(missing)
    )
    total = law.log_prob(rows).exp().sum() / num_filled
    torch.testing.assert_close(total, torch.tensor(1.0))


def missing_parts(missing):
    parts = [slice(0, 1), slice(1, 4), slice(4, 5)]
    return [part for part in parts if missing[part].all()]


def test_columns_see_those_before_them_only():
    units = mixed(3)
    rows = torch.randn(1, 5).requires_grad_()
    changed = units.context(flag_missing(rows))
    # Parameters: spin 0, classes 1-3, spin 4, as the units.
    for k, first in ((0, 0), (1, 1), (2, 1), (3, 1), (4, 4)):
        (slope,) = torch.autograd.grad(changed[0, k], rows, retain_graph=True)
        assert (slope[0, first:] == 0).all()
        assert first == 0 or (slope[0, :first] != 0).all()


def test_filling_is_the_marginal_of_complete_rows():
    units = mixed(3)
    law = units(torch.tensor([0.7, 0.0, 0.0, 0.0, 0.0]))
    exact = law.log_prob(all_rows()).exp().detach()
    known = torch.tensor([NAN, 1.0, -1.0, -1.0, 1.0])
    fits = (all_rows()[:, 1:] == known[1:]).all(-1)
    g = torch.Generator().manual_seed(0)
    filled = law.fill(known.expand(40_000, 5), g)
    weights = filled.log_prob.exp()
    error = float(weights.std()) / 200
    assert abs(float(weights.mean() - exact[fits].sum())) < 5 * error
    mean = float((weights * filled.values[:, 0]).mean() / weights.mean())
    expected = float((exact[fits] * all_rows()[fits, 0]).sum() / exact[fits].sum())
    assert abs(mean - expected) < 0.05
    # The twin: draws that are not weighted are of the first column alone.
    assert abs(float(filled.values[:, 0].mean()) - expected) > 0.1


def test_draws_have_the_law_of_their_log_probability():
    units = mixed(3)
    law = units(torch.zeros(5))
    draws = law.sample((20_000,), generator=torch.Generator().manual_seed(0))
    share = (draws.unsqueeze(1) == all_rows()).all(-1).double().mean(0)
    exact = law.log_prob(all_rows()).exp().double()
    assert ((share - exact).abs() < 5 * (exact * (1 - exact) / 20_000).sqrt()).all()


def test_columns_one_after_the_other_are_a_full_gaussian():
    units = MixedUnits([NormalUnits(1, 1e-9), NormalUnits(1, 1e-9)], num_hidden=0)
    with torch.no_grad():
        units.context.around[2, 0] = 0.8  # the location of the second, after its scale's
    law = units(torch.tensor([0.0, 0.0, 0.0, math.log(0.6)]))
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    exact = torch.distributions.MultivariateNormal(torch.zeros(2), covariance)
    rows = torch.randn(7, 2)
    torch.testing.assert_close(law.log_prob(rows), exact.log_prob(rows), atol=1e-4, rtol=1e-4)


def test_gradients_pass_by_what_is_missing():
    units = MixedUnits([NormalUnits(1), OneHot(3), Spins(1)], 2)
    rows = torch.tensor([[NAN, 1.0, -1.0, -1.0, 1.0], [0.3, NAN, NAN, NAN, NAN]])
    activations = torch.zeros(2, units.num_parameters, requires_grad=True)
    units(activations).log_prob(rows).sum().backward()
    assert activations.grad.isfinite().all()
    assert (activations.grad[0, :2] == 0).all() and (activations.grad[1, 2:] == 0).all()
    assert all(p.grad.isfinite().all() for p in units.parameters())


def test_units_that_do_not_fit_are_told():
    with pytest.raises(ValueError, match=r"columns are \[\], but"):
        MixedUnits([])
    with pytest.raises(TypeError, match="a column is 3, but"):
        MixedUnits([3])
    with pytest.raises(ValueError, match="num_hidden is -1, but"):
        MixedUnits([Spins(1)], -1)
    with pytest.raises(ValueError, match="a column is MixedUnits, whose"):
        MixedUnits([MixedUnits([Spins(1)], 0)])
    with pytest.raises(ValueError, match="has 3 inputs, but two"):
        Flagged(BeliefNetwork([3, 2]))


# --- the machine -----------------------------------------------------------------------------


def machine(output, num_spins=3):
    torch.manual_seed(1)
    n = output.num_units
    prior = QuantumPriorLayer(num_spins, num_samples=64)
    return HelmholtzMachine(
        Flagged(BeliefNetwork([2 * n, num_spins])),
        BeliefNetwork([num_spins, n], output=output),
        prior,
    )


def test_missing_and_middle_are_not_the_same():
    model = machine(MixedUnits([NormalUnits(2), Spins(1)]))
    states = torch.ones(3)
    middle, missing = torch.tensor([[0.0, 0.0, 1.0], [NAN, 0.0, 1.0]])
    log_q = [model.recognition.log_prob([v, states]) for v in (middle, missing)]
    assert not torch.allclose(*log_q)
    # The twin: a plain recognition is shown the same by the machine.
    plain = BeliefNetwork([3, 3])
    twin = HelmholtzMachine(plain, model.generator, model.prior)
    assert torch.equal(twin.seen(middle), twin.seen(missing))


def test_what_does_not_count_may_be_nan():
    network = BeliefNetwork([2, 3])
    rows = torch.tensor([[1.0, -1.0, NAN], [NAN, 1.0, 1.0]])
    states = torch.ones(2, 2)
    observed = ~rows.isnan()
    known = network.log_prob([states, rows], observed)
    terms = unit_log_prob(network.conditional(0, states), rows)
    torch.testing.assert_close(known, torch.where(observed, terms, 0.0).sum(-1))
    assert network.log_prob([states, rows]).isnan().all()


@pytest.mark.parametrize("num_hidden", [None, 2])
def test_log_likelihood_of_known_entries_is_that_of_enumeration(num_hidden):
    units = mixed(num_hidden)
    model = machine(units)
    model.prior.estimate_log_z()
    rows = all_rows()[:4].masked_fill(PATTERNS[1], NAN)
    deep = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    with torch.no_grad():
        joint = model.log_joint([rows.unsqueeze(1).expand(4, 8, 5), deep.expand(4, 8, 3)])
        g = torch.Generator().manual_seed(0)
        sampled = model.log_prob(rows, 20_000, generator=g)
        found = impute(model, rows, 20_000, generator=g)
    # The last column alone is missing, so that both laws are the same.
    torch.testing.assert_close(sampled, joint.logsumexp(1), atol=0.03, rtol=0)
    torch.testing.assert_close(found.log_prob, joint.logsumexp(1), atol=0.03, rtol=0)


@pytest.mark.parametrize(
    "objective", [WakeSleep(), ReweightedWakeSleep(3), ReweightedWakeSleep(3, fill_missing=True)]
)
def test_training_with_missing_entries_stays_finite_and_learns(objective):
    data = table()
    units = MixedUnits([NormalUnits(1), NormalUnits(1), Spins(1), OneHot(3)], num_hidden=2)
    model = machine(units)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    before = float(model.log_prob(data.train, 50).detach().mean())
    for _ in range(60):
        loss = objective(model, data.train, model.prior.draw())["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.prior.estimate_log_z()
    after = float(model.log_prob(data.train, 50).detach().mean())
    assert math.isfinite(after) and after > before + 0.2
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_filling_learns_from_the_likelihood_of_known_entries():
    units = mixed(2)
    model = machine(units)
    model.prior.estimate_log_z()
    # The first column is missing, and the others see it.
    row = all_rows()[:1].masked_fill(PATTERNS[4], NAN)
    parameters = [units.context.into, units.context.around, model.generator.layers[0].weight]
    complete = all_rows()[(all_rows()[:, 1:] == row[:, 1:]).all(-1)]
    deep = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    rows = complete.unsqueeze(1).expand(2, 8, 5)
    exact = -model.log_joint([rows, deep.expand(2, 8, 3)], torch.ones(1, 3)).logsumexp((0, 1))
    g = torch.Generator().manual_seed(0)
    slopes = [torch.autograd.grad(exact, parameters)]
    for fill_missing in (True, False):
        loss = reweighted_wake_loss(
            model, row, 50_000, torch.ones(1, 3), fill_missing=fill_missing, generator=g
        )
        slopes.append(torch.autograd.grad(loss.theta, parameters))
    truth, filled, left_out = (torch.cat([x.flatten() for x in slope]) for slope in slopes)
    assert float((filled - truth).norm()) < 0.03 * float(truth.norm())
    # The twin: where it is left out, columns learn to do without the first.
    assert float((left_out - truth).norm()) > 0.1 * float(truth.norm())


def test_dreams_are_hidden_as_data_are():
    r"""Recognition learns its bits in the sleep phase only where dreams have missing units."""
    model = machine(MixedUnits([Spins(1), Spins(1)]))
    for rows, learns in ((torch.tensor([[NAN, 1.0]]), True), (torch.ones(1, 2), False)):
        model.zero_grad()
        WakeSleep()(model, rows, model.prior.draw())["sleep_phi"].backward()
        bits = model.recognition.recognition.layers[0].weight.grad[:, 2]
        assert bool((bits != 0).any()) == learns


# --- the rival -------------------------------------------------------------------------------


def test_the_gaussian_of_complete_rows_is_exact():
    rows = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double()
    law = ConditionalGaussian(rows)
    exact = torch.distributions.MultivariateNormal(rows.mean(0), rows.T.cov(correction=0))
    torch.testing.assert_close(law.log_prob(rows), exact.log_prob(rows))


def test_the_gaussian_climbs_and_is_the_marginal():
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(80, 3, generator=g).double() @ torch.randn(3, 3, generator=g).double()
    rows[torch.rand(rows.shape, generator=g) < 0.3] = NAN
    scores = [
        float(ConditionalGaussian(rows, num_steps=k).log_prob(rows).mean()) for k in range(5)
    ]
    assert scores == sorted(scores) and scores[0] < scores[4]
    law = ConditionalGaussian(rows)
    some = torch.tensor([[0.4, NAN, -0.2]]).double()
    keep = torch.tensor([0, 2])
    marginal = torch.distributions.MultivariateNormal(
        law.mean[keep], law.covariance[keep][:, keep]
    )
    torch.testing.assert_close(law.log_prob(some), marginal.log_prob(some[:, keep]))
    c = law.covariance
    solved = torch.linalg.solve(c[keep][:, keep], some[0, keep] - law.mean[keep])
    torch.testing.assert_close(law.impute(some)[0, 1], law.mean[1] + c[1, keep] @ solved)


def test_impute_needs_mixed_units():
    with pytest.raises(TypeError, match="the output is Spins, but missing"):
        impute(machine(Spins(2)), torch.ones(1, 2))


def test_a_rival_that_cannot_be_fitted_is_told():
    with pytest.raises(ValueError, match="rows are 1, but"):
        ConditionalGaussian(torch.ones(1, 2))
    with pytest.raises(ValueError, match="ridge is -1, but"):
        ConditionalGaussian(torch.ones(2, 2), ridge=-1)


# --- the system ------------------------------------------------------------------------------


def test_the_machine_is_better_than_the_gaussian(tmp_path):
    report = reproduce(MixedTables.small(), tmp_path)
    for arms in report["arms"].values():
        ours, rival = arms["machine, columns in order"], arms["Gaussian"]
        assert ours["test"]["mean"] > rival["test"]["mean"]
        assert rival["test"]["mean"] > arms["independent columns"]["test"]["mean"]
    assert report["arms"]["0%"]["independent columns"]["test"]["mean"] == pytest.approx(
        -33.31, abs=0.01
    )
    assert "Gaussian" in report["headline"]
