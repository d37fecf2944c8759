r"""Quantum-like correlations in human judgments, told by criteria of information."""

from __future__ import annotations

__all__ = ["Cognition"]

from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qahm_torch.cognition import (
    GAMBLES,
    QUESTION_ORDERS,
    CellModel,
    Fit,
    aic,
    bic,
    deviance,
    fit,
    gamble_models,
    order_models,
    quantum_question,
    resample,
)
from qahm_torch.systems.system import Case, Report, System

SATURATED = "saturated"
NUM_RESTARTS = 2  # of a fit to a drawn table, beside that from the fit to what was found
ROUNDING = 1e-6


@dataclass(frozen=True)
class Cognition(System):
    r"""Classical and quantum models of human judgments, fitted to published counts.

    A gamble that is played again, or not, breaks the law of total probability, and two questions
    have other answers in the other order. Models with fewer parameters than the saturated one,
    which has the proportions that were found, are compared with it by the criteria of Akaike and
    of Schwarz

    .. math:: AIC = 2 k - 2 \log L, \qquad BIC = k \log n - 2 \log L.

    Intervals of AIC, relative to the saturated model, hold 95 % of bootstrap tables, drawn from
    the proportions that were found. They tell how much other people would change it, and lie high:
    tables that are drawn from a table are noisier than it. Whether a model may be true is told by
    its parametric bootstrap: the share of tables drawn from the fitted model that it misses by as
    much as the one that was found.

    What is found: the quantum model of the gamble has the least AIC, whether .36 or .39 of those
    who are told nothing play again, and gains at most 2 over the saturated model, which is all
    that one parameter less can gain. Of question order, two bases of one qubit lose to the
    saturated model by AIC in each of the six sets, and are best by BIC in the small set of race
    only. What is best by AIC in four sets is the QQ equality, again by at most 2; it follows from
    quantum models, but not from them alone: classical models obey it, too. By BIC the law that is
    free of order wins three sets, that of Clinton and Gore, which is the source's own, among them.
    So that quantum models explain these data better depends on the criterion, and by what is left
    to chance it is not settled.

    The three answers to the gamble are taken as those of different people, since only their
    proportions are published; they are of the same 98.

    Arguments:
        num_tables: The number of tables of a bootstrap, for each seed.
        num_starts: The number of random starts of a fit to what was found.
        num_iterations: The number of steps of a fit.
        num_seeds: The number of seeds, of the starts and of the tables.

    References:
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
        |   computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757
        | A quantum probability explanation for violations of 'rational' decision theory (Pothos &
          Busemeyer, 2009)
        | https://doi.org/10.1098/rspb.2009.0121
        | Context effects produced by question orders reveal quantum nature of human judgments
          (Wang et al., 2014)
        | https://doi.org/10.1073/pnas.1407756111
        | Testing quantum-like models of judgment for question order effect (Boyer-Kassem et al.,
          2016)
        | https://arxiv.org/abs/1501.04901
    """

    title = "Quantum-like correlations in human judgments"

    num_tables: int = 400
    num_starts: int = 64
    num_iterations: int = 100
    num_seeds: int = 5

    @classmethod
    def small(cls) -> Cognition:
        return cls(num_tables=20, num_starts=32, num_iterations=50, num_seeds=2)

    def cases(self) -> list[Case]:
        studies = [*GAMBLES, *QUESTION_ORDERS]
        return [{"study": s, "seed": seed} for s in studies for seed in range(self.num_seeds)]

    def run_case(self, **case: Any) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(case["seed"])
        counts, models = _study(case["study"])
        asked = counts.sum(-1)
        proportions = counts / asked.unsqueeze(-1)
        tables = resample(proportions, asked, self.num_tables, generator=generator)
        judged = {
            name: self._judge(model, counts, tables, generator) for name, model in models.items()
        }
        return {"models": judged}

    def summarize(self, results: list[dict[str, Any]]) -> Report:
        rows = []
        for study in (*GAMBLES, *QUESTION_ORDERS):
            found = [r["models"] for r in results if r["study"] == study]
            models = {name: _over_seeds([f[name] for f in found]) for name in found[0]}
            for judged in models.values():
                judged["aic_gap"] = judged["aic"] - models[SATURATED]["aic"]
                judged["bic_gap"] = judged["bic"] - models[SATURATED]["bic"]
            best = {
                f"best_by_{criterion}": min(models, key=lambda name: models[name][criterion])
                for criterion in ("aic", "bic")
            }
            rows.append({"study": study, **_order_effect(study, models), **best, "models": models})
        return {"rows": rows}

    def headline(self, report: Report) -> str:
        rows = {row["study"]: row for row in report["rows"]}
        gambles = [
            f"{rows[study]['models']['quantum']['aic']:.2f} and"
            f" {rows[study]['models'][SATURATED]['aic']:.2f} ({study.split()[-1]})"
            for study in GAMBLES
        ]
        orders = [rows[study] for study in QUESTION_ORDERS]
        losses = sum(row["models"]["qubit"]["aic_gap"] > 0 for row in orders)
        best = {
            criterion: ", ".join(
                f"{name} {sum(row[f'best_by_{criterion}'] == name for row in orders)}"
                for name in order_models()
            )
            for criterion in ("aic", "bic")
        }
        return (
            f"AIC of a gamble, quantum and saturated: {', '.join(gambles)}; question order: a"
            f" qubit loses to the saturated model by AIC in {losses} of {len(orders)} sets; sets"
            f" in which a model is best, by AIC: {best['aic']}; by BIC: {best['bic']}"
            f" ({self.num_seeds} seeds)"
        )

    def _plot(self, report: Report) -> Figure:
        figure = Figure(figsize=(10, 4), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        rows = report["rows"]
        names = [n for n in {**gamble_models(), **order_models()} if n != SATURATED]
        for axis, criterion in zip(axes, ("aic", "bic"), strict=True):
            for color, name in enumerate(names):
                _points(axis, rows, name, criterion, f"C{color}")
            axis.axvline(0, color="k", lw=0.5)
            axis.set_xscale("symlog", linthresh=10)
            axis.set_xlabel(f"{criterion.upper()} minus that of the saturated model")
        axes[0].set_yticks(range(len(rows)), [row["study"] for row in rows])
        axes[0].invert_yaxis()
        figure.legend(*axes[1].get_legend_handles_labels(), fontsize=8, loc="outside right upper")
        return figure

    def _judge(
        self, model: CellModel, counts: Tensor, tables: Tensor, generator: torch.Generator
    ) -> dict[str, Any]:
        r"""Returns how well a model does, and how it would do on other tables."""
        found = fit(
            model,
            counts,
            num_starts=self.num_starts,
            num_iterations=self.num_iterations,
            generator=generator,
        )
        k, asked = model.num_parameters, counts.sum(-1)
        free = counts[:, 1:].numel()  # parameters of the saturated model
        gaps = self._deviances(model, tables, found, generator) - 2 * (free - k)
        true = resample(found.cells, asked, self.num_tables, generator=generator)
        missed = self._deviances(model, true, found, generator)
        as_far = missed >= deviance(found.log_likelihood, counts) - ROUNDING
        return {
            "num_parameters": k,
            "aic": aic(found.log_likelihood, k).item(),
            "bic": bic(found.log_likelihood, k, asked.sum().item()).item(),
            "aic_gap_interval": gaps.quantile(gaps.new_tensor([0.025, 0.975])).tolist(),
            "p_value": (1 + as_far.sum().item()) / (1 + len(true)),
            "parameters": found.parameters.tolist(),
        }

    def _deviances(
        self, model: CellModel, tables: Tensor, found: Fit, generator: torch.Generator
    ) -> Tensor:
        r"""Returns by how much a model misses tables that are like one that it was fitted to."""
        other = fit(
            model,
            tables,
            start=found.parameters,
            num_starts=NUM_RESTARTS,
            num_iterations=self.num_iterations,
            generator=generator,
        )
        return deviance(other.log_likelihood, tables)


def _study(name: str) -> tuple[Tensor, dict[str, CellModel]]:
    if name in GAMBLES:
        return GAMBLES[name].counts, gamble_models()
    return QUESTION_ORDERS[name].counts, order_models()


def _over_seeds(found: list[dict[str, Any]]) -> dict[str, Any]:
    r"""Returns the best fit of all seeds, and the means of what was drawn."""
    intervals = torch.tensor([f["aic_gap_interval"] for f in found])
    best = min(found, key=lambda f: f["aic"])
    return {
        **best,
        "aic_range": [best["aic"], max(f["aic"] for f in found)],
        "aic_gap_interval": intervals.mean(0).tolist(),
        "aic_gap_interval_ranges": [[c.min().item(), c.max().item()] for c in intervals.T],
        "p_value": sum(f["p_value"] for f in found) / len(found),
    }


def _order_effect(study: str, models: dict[str, dict[str, Any]]) -> dict[str, float]:
    r"""Returns what is measured of question orders only."""
    if study not in QUESTION_ORDERS:
        return {}
    question = quantum_question(QUESTION_ORDERS[study].counts)
    free, saturated = models["order-free"], models[SATURATED]
    more = saturated["num_parameters"] - free["num_parameters"]
    ratio = free["aic"] - saturated["aic"] + 2 * more
    return {"q": question.q.item(), "z": question.z.item(), "likelihood_ratio": ratio}


def _points(axis: Any, rows: list[dict[str, Any]], name: str, criterion: str, color: str) -> None:
    r"""Draws a model where there is a fit of it, with the intervals of the bootstrap."""
    places = [i for i, row in enumerate(rows) if name in row["models"]]
    judged = [rows[i]["models"][name] for i in places]
    x = [j[f"{criterion}_gap"] for j in judged]
    # The interval of BIC is that of AIC, moved.
    low, high = (
        [j["aic_gap_interval"][end] + v - j["aic_gap"] for j, v in zip(judged, x, strict=True)]
        for end in (0, 1)
    )
    shifted = [i + 0.12 * (int(color[1:]) % 3 - 1) for i in places]
    axis.hlines(shifted, low, high, color=color, alpha=0.5, lw=3)
    axis.plot(x, shifted, "o", ms=4, color=color, label=name)
