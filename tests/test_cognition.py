import math

import pytest
import torch
from scipy.linalg import expm

from qahm_torch.cognition import (
    GAMBLES,
    QUESTION_ORDERS,
    CellModel,
    Gamble,
    QuestionOrder,
    aic,
    bic,
    deviance,
    fit,
    gamble_models,
    interference_cells,
    order_models,
    quantum_question,
    qubit_cells,
    resample,
)
from qahm_torch.systems import Cognition, reproduce

F64 = torch.float64
# AIC by study and model, in the order of the models.
PUBLISHED = {
    "gamble, .36": (385.24, 397.93, 406.76, 387.00),
    "gamble, .39": (388.14, 398.36, 405.47, 390.14),
    "Clinton-Gore": (1969.98, 2030.97, 1963.83, 1965.82),
    "Gingrich-Dole": (2059.75, 2177.76, 2059.32, 2061.31),
    "White-Black": (2225.92, 2214.55, 2157.47, 2158.92),
    "Rose-Jackson": (2337.65, 2421.72, 2303.00, 2276.43),
    "lab, race": (590.52, 573.84, 567.27, 567.79),
    "lab, affirmative action": (498.99, 512.35, 502.02, 503.32),
}
QQ = {
    "Clinton-Gore": (0.0031, 0.11),
    "Gingrich-Dole": (0.0031, 0.09),
    "White-Black": (0.0189, 0.74),
    "Rose-Jackson": (-0.1514, -5.30),
    "lab, race": (-0.0757, -1.22),
    "lab, affirmative action": (-0.0430, -0.83),
}
BIC = {
    ("Clinton-Gore", "order-free"): 1984.32,
    ("Clinton-Gore", "QQ equality"): 1987.73,
    ("Clinton-Gore", "saturated"): 1994.49,
    ("Gingrich-Dole", "order-free"): 2073.85,
    ("Gingrich-Dole", "QQ equality"): 2082.83,
    ("lab, race", "qubit"): 584.07,
    ("lab, race", "QQ equality"): 584.33,
    ("lab, affirmative action", "order-free"): 509.23,
    ("lab, affirmative action", "QQ equality"): 519.07,
}
ORDER_EFFECTS = (10.16, 4.44, 73.00, 67.22, 28.73, 1.67)
MODELS = {**gamble_models(), **order_models()}


def fitted(model, counts, **settings):
    return fit(model, counts, generator=torch.Generator().manual_seed(0), **settings)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return reproduce(Cognition.small(), tmp_path_factory.mktemp("cognition"))


@pytest.fixture(scope="module")
def rows(report):
    return {row["study"]: row for row in report["rows"]}


@pytest.mark.parametrize("study", PUBLISHED)
def test_criteria_of_akaike(study, rows):
    found = [judged["aic"] for judged in rows[study]["models"].values()]
    assert found == pytest.approx(PUBLISHED[study], abs=0.01)


def test_criteria_of_schwarz(rows):
    for (study, model), value in BIC.items():
        assert rows[study]["models"][model]["bic"] == pytest.approx(value, abs=0.01)


def test_what_is_best_depends_on_the_criterion(rows):
    by_aic = [rows[study]["best_by_aic"] for study in PUBLISHED]
    by_bic = [rows[study]["best_by_bic"] for study in PUBLISHED]
    qq = "QQ equality"
    assert by_aic == ["quantum", "quantum", qq, qq, qq, "saturated", qq, "order-free"]
    order_free = ["order-free", "order-free"]
    assert by_bic[:6] == ["quantum", "quantum", *order_free, qq, "saturated"]
    assert by_bic[6:] == ["qubit", "order-free"]


def test_the_qubit_loses_and_quantum_models_gain_at_most_2(rows):
    for row in rows.values():
        models = row["models"]
        if "qubit" in models:
            assert models["qubit"]["aic_gap"] > 6
            assert models["QQ equality"]["aic_gap"] >= -2
        else:
            assert -2 <= models["quantum"]["aic_gap"] < -1.7


def test_bootstraps_tell_true_models_from_false_ones(rows):
    # A qubit is refused, and the QQ equality where z is large, by as few tables as there are.
    order = rows["Rose-Jackson"]["models"]
    assert order["qubit"]["p_value"] == order["QQ equality"]["p_value"] == pytest.approx(1 / 21)
    assert rows["Clinton-Gore"]["models"]["QQ equality"]["p_value"] > 0.3
    assert rows["Clinton-Gore"]["models"]["saturated"]["p_value"] == 1
    for row in rows.values():
        for judged in row["models"].values():
            low, high = judged["aic_gap_interval"]
            assert low <= high
            assert judged["aic_range"][1] - judged["aic_range"][0] < 1e-3


def test_order_effects(rows):
    found = [rows[study]["likelihood_ratio"] for study in QQ]
    assert found == pytest.approx(ORDER_EFFECTS, abs=0.01)


@pytest.mark.parametrize("study", QQ)
def test_the_quantum_question(study):
    q, z = quantum_question(QUESTION_ORDERS[study].counts)
    assert q.item() == pytest.approx(QQ[study][0], abs=6e-5)
    assert z.item() == pytest.approx(QQ[study][1], abs=6e-3)


def test_cells_go_by_their_names():
    study = QUESTION_ORDERS["Clinton-Gore"]
    assert study.b_first == {"ByAy": 243, "ByAn": 86, "BnAy": 11, "BnAn": 92}
    assert study.counts.tolist() == [[219, 20, 79, 129], [243, 11, 86, 92]]
    assert [int(s.counts.sum()) for s in QUESTION_ORDERS.values()] == [
        *(447 + 432, 437 + 377, 459 + 486, 506 + 462, 116 + 108, 118 + 106)
    ]
    # Pooled as asked, the middle cells would say that order has a large effect.
    wrong = study.counts[:, [0, 2, 1, 3]]
    mixed = torch.stack([study.counts[0], wrong[1]])
    assert (fitted(MODELS["order-free"], mixed).log_likelihood) < -990


def test_interference_is_the_published_one():
    for parameters, published in (
        ((0.59, 1.74), (0.68, 0.58, 0.37)),
        ((0.51, 2.09), (0.81, 0.65, 0.57)),
    ):
        cells = interference_cells(*torch.tensor(parameters, dtype=F64))
        assert cells[:, 0].tolist() == pytest.approx(published, abs=6e-3)
        assert cells.sum(-1).tolist() == pytest.approx([1, 1, 1])


def test_no_interference_without_gamma():
    mu = torch.tensor([-1.5, 0.3], dtype=F64)
    cells = interference_cells(mu, torch.zeros(2, dtype=F64))
    # The Hamiltonian of an action squares to 1.
    again = (1 + mu).square() / (2 * (1 + mu.square()))
    torch.testing.assert_close(cells[..., 0], again.unsqueeze(-1).expand(2, 3))


def test_a_qubit_is_that_of_projectors():
    angle, state = torch.tensor(0.7, dtype=F64), torch.tensor([0.4, -0.3], dtype=F64)
    z, x = (
        torch.tensor([[1.0, 0], [0, -1]], dtype=F64),
        torch.tensor([[0, 1.0], [1, 0]], dtype=F64),
    )
    r = state / (1 + state.square().sum()).sqrt()
    rho = (torch.eye(2, dtype=F64) + r[0] * z + r[1] * x) / 2
    a, b = ([(torch.eye(2, dtype=F64) + s * m) / 2 for s in (1, -1)] for m in (z, _turned(z, x)))
    a_first = [(q @ p @ rho @ p @ q).trace() for p in a for q in b]
    b_first = [(p @ q @ rho @ q @ p).trace() for p in a for q in b]
    expected = torch.stack([torch.stack(a_first), torch.stack(b_first)])
    torch.testing.assert_close(qubit_cells(angle, state), expected)
    assert quantum_question(expected).q.abs() < 1e-12


def _turned(z, x):
    half = torch.tensor(expm([[0, -0.35], [0.35, 0]]), dtype=F64)
    assert torch.allclose(half @ z @ half.T, math.cos(0.7) * z + math.sin(0.7) * x)
    return half @ z @ half.T


@pytest.mark.parametrize("study", QUESTION_ORDERS)
def test_fits_are_those_in_closed_form(study):
    counts = QUESTION_ORDERS[study].counts
    proportions = counts / counts.sum(-1, keepdim=True)
    pooled = counts.sum(0) / counts.sum()
    torch.testing.assert_close(fitted(MODELS["order-free"], counts).cells, pooled.expand(2, 4))
    saturated = fitted(order_models()["saturated"], counts)
    torch.testing.assert_close(saturated.cells, proportions)
    assert deviance(saturated.log_likelihood, counts).item() == pytest.approx(0, abs=1e-9)
    # The share of like answers is pooled, and the shares among like and among other ones are not.
    alike = pooled[[0, 3]].sum()
    expected = proportions.clone()
    expected[:, [0, 3]] *= alike / proportions[:, [0, 3]].sum(-1, keepdim=True)
    expected[:, [1, 2]] *= (1 - alike) / proportions[:, [1, 2]].sum(-1, keepdim=True)
    torch.testing.assert_close(fitted(MODELS["QQ equality"], counts).cells, expected)


@pytest.mark.parametrize("study", QUESTION_ORDERS)
def test_the_fit_of_a_qubit_is_in_closed_form(study):
    counts = QUESTION_ORDERS[study].counts
    asked = counts.sum(-1)
    alike = counts[:, [0, 3]].sum() / asked.sum()
    yes_a = counts[0, :2].sum() / asked[0]
    yes_b = counts[1, [0, 2]].sum() / asked[1]
    same = torch.stack([alike, 1 - alike, 1 - alike, alike])
    expected = torch.stack(
        [
            torch.stack([yes_a, yes_a, 1 - yes_a, 1 - yes_a]) * same,
            torch.stack([yes_b, 1 - yes_b, yes_b, 1 - yes_b]) * same,
        ]
    )
    torch.testing.assert_close(fitted(MODELS["qubit"], counts).cells, expected)


def test_total_probability_lies_between():
    counts = GAMBLES["gamble, .36"].counts
    cells = fitted(MODELS["classical"], counts, num_iterations=200).cells
    # Nothing is told to those who act as those who lost, with the proportion of both.
    both = (58 + 35) / 196
    assert cells[:, 0].tolist() == pytest.approx([68 / 98, both, both], abs=1e-5)
    even = fitted(MODELS["classical, w 1/2"], counts).cells[:, 0]
    assert even[2].item() == pytest.approx((even[0] + even[1]).item() / 2)


@pytest.mark.parametrize("name", MODELS)
def test_cells_are_probabilities(name):
    torch.manual_seed(0)
    model = MODELS[name]
    cells = model.cells(3 * torch.randn(50, model.num_parameters, dtype=F64))
    assert cells.min() >= 0
    torch.testing.assert_close(cells.sum(-1), torch.ones(cells.shape[:-1], dtype=F64))


def test_many_tables_are_fitted_at_once():
    model, studies = MODELS["qubit"], list(QUESTION_ORDERS.values())
    counts = torch.stack([study.counts for study in studies])
    found = fitted(model, counts)
    alone = torch.stack([fitted(model, table).log_likelihood for table in counts])
    assert found.parameters.shape == (6, 3) and found.cells.shape == (6, 2, 4)
    torch.testing.assert_close(found.log_likelihood, alone)
    again = fit(model, counts, start=found.parameters, num_starts=1, num_iterations=1)
    assert (again.log_likelihood >= found.log_likelihood).all()


def test_an_empty_cell_does_no_harm():
    counts = torch.tensor([[5.0, 0.0, 3.0, 2.0], [4.0, 1.0, 0.0, 5.0]])
    for model in order_models().values():
        found = fitted(model, counts)
        assert torch.isfinite(found.log_likelihood) and torch.isfinite(found.cells).all()
    assert deviance(found.log_likelihood, counts.double()).item() == pytest.approx(0, abs=1e-3)


def test_tables_are_drawn_by_the_cells():
    cells = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]], dtype=F64)
    asked = torch.tensor([40, 60])
    tables = resample(cells, asked, 5000, generator=torch.Generator().manual_seed(0))
    assert tables.shape == (5000, 2, 3)
    assert (tables.sum(-1) == asked).all()
    errors = (5000 * asked.unsqueeze(-1) * cells * (1 - cells)).sqrt()
    expected = 5000 * asked.unsqueeze(-1) * cells
    assert ((tables.sum(0) - expected) / errors).abs().max() < 5
    assert ((tables.sum(0) - expected.flip(0)) / errors).abs().max() > 5
    spread = tables.var(0) / (asked.unsqueeze(-1) * cells * (1 - cells))
    assert (spread - 1).abs().max() < 0.15


def test_criteria():
    value = torch.tensor(-10.0)
    assert aic(value, 3).item() == 26
    assert bic(value, 3, math.e**2).item() == pytest.approx(26)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: Gamble(99, 58, 35, 98), "won is 99, but 98 were asked"),
        (lambda: QuestionOrder({"AyBy": 1}, {}), "a_first has the cells"),
        (
            lambda: QuestionOrder(
                QUESTION_ORDERS["lab, race"].b_first, QUESTION_ORDERS["lab, race"].a_first
            ),
            "a_first has the cells",
        ),
        (
            lambda: QuestionOrder(
                {**QUESTION_ORDERS["lab, race"].a_first, "AyBn": -1},
                QUESTION_ORDERS["lab, race"].b_first,
            ),
            "no count is below 0",
        ),
        (lambda: CellModel("none", 0, torch.sigmoid), "num_parameters is 0, but"),
        (lambda: fit(MODELS["qubit"], torch.ones(3, 2)), "counts are of shape .3, 2., but"),
        (lambda: fit(MODELS["qubit"], -torch.ones(2, 4)), "counts have -1, but"),
        (lambda: fit(MODELS["qubit"], torch.ones(2, 4), num_starts=0), "num_starts is 0 and"),
        (lambda: quantum_question(torch.ones(4, 2)), "counts are of shape .4, 2., but"),
        (lambda: resample(torch.ones(2, 2) / 2, torch.ones(3), 1), "num_asked is of shape"),
        (lambda: bic(torch.tensor(0.0), 1, 0), "num_data is 0, but"),
    ],
)
def test_what_cannot_be_is_told(call, told):
    with pytest.raises(ValueError, match=told):
        call()
