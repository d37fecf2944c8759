r"""Quantum against classical hidden units, by their number and by the number of parameters."""

from __future__ import annotations

__all__ = ["SemiQuantumUnits"]

import math
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure

from qahm_torch.data import BarsAndStripes
from qahm_torch.priors import SemiQuantumPrior
from qahm_torch.systems.system import Case, Report, System

OPERATORS = {1: "classical", 2: "quantum, Z and X", 3: "quantum, Z, X and Y"}


@dataclass(frozen=True)
class SemiQuantumUnits(System):
    r"""Bars and stripes, learned by restricted machines of classical and of quantum hidden units.

    `SemiQuantumPrior` is trained by exact likelihood, with the same learning rate and updates for
    all numbers of hidden units and of operators. The best log-likelihood is minus the logarithm of
    the number of patterns.

    What is found: by the number of hidden units the quantum machines are far ahead. By the number
    of parameters they are level with classical ones: a qubit with two operators does what two
    classical units do, and has as many parameters. So there are fewer units, and not fewer
    parameters.

    Arguments:
        side: The number of rows and columns of a pattern.
        hidden: The numbers of hidden units.
        operators: The numbers of Pauli operators of a hidden unit; 1 is the classical machine.
        num_updates: The number of updates, by Adam.
        lr: Their learning rate.
        num_seeds: The number of seeds.

    References:
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
        |   computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757
        | Expressive equivalence of classical and quantum restricted Boltzmann machines (Demidik et
          al., 2025)
        | https://arxiv.org/abs/2502.17562
    """

    title = "Semi-quantum hidden units"

    side: int = 3
    hidden: tuple[int, ...] = (1, 2, 3, 4, 6, 9)
    operators: tuple[int, ...] = (1, 2, 3)
    num_updates: int = 2000
    lr: float = 0.05
    num_seeds: int = 5

    @classmethod
    def small(cls) -> SemiQuantumUnits:
        return cls(hidden=(3, 6), operators=(1, 2), num_updates=600, num_seeds=2)

    def cases(self) -> list[Case]:
        return [
            {"operators": operators, "hidden": hidden, "seed": seed}
            for operators in self.operators
            for hidden in self.hidden
            for seed in range(self.num_seeds)
        ]

    def run_case(self, **case: Any) -> dict[str, Any]:
        torch.manual_seed(case["seed"])
        data = BarsAndStripes(self.side)
        data.setup()
        prior = SemiQuantumPrior(self.side**2, case["hidden"], case["operators"])
        optimizer = torch.optim.Adam(prior.parameters(), lr=self.lr)
        for _ in range(self.num_updates):
            optimizer.zero_grad()
            (-prior(data.train).mean()).backward()
            optimizer.step()
        nats = prior(data.train).mean().item()
        return {"num_parameters": prior.num_parameters, "nats": nats}

    def summarize(self, results: list[dict[str, Any]]) -> Report:
        rows = []
        for operators in self.operators:
            for hidden in self.hidden:
                found = [
                    r for r in results if (r["operators"], r["hidden"]) == (operators, hidden)
                ]
                nats = [r["nats"] for r in found]
                rows.append(
                    {
                        "operators": operators,
                        "hidden": hidden,
                        "num_parameters": found[0]["num_parameters"],
                        "nats": sum(nats) / len(nats),
                        "nats_range": [min(nats), max(nats)],
                    }
                )
        return {"best": -math.log(2 ** (self.side + 1) - 2), "rows": rows}

    def headline(self, report: Report) -> str:
        rows = {(row["operators"], row["hidden"]): row for row in report["rows"]}
        told = [
            f"{hidden} {OPERATORS[operators].split(',')[0]}"
            f" {rows[operators, hidden]['nats']:.2f}"
            f" ({rows[operators, hidden]['num_parameters']} parameters)"
            for operators, hidden in ((2, 3), (1, 3), (1, 6))
        ]
        return (
            f"nats of bars and stripes by hidden units: {', '.join(told)}; best possible"
            f" {report['best']:.2f} ({self.num_seeds} seeds)"
        )

    def _plot(self, report: Report) -> Figure:
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        labels = {"hidden": "hidden units", "num_parameters": "parameters"}
        for axis, (of, label) in zip(axes, labels.items(), strict=True):
            for color, operators in enumerate(self.operators):
                rows = [row for row in report["rows"] if row["operators"] == operators]
                x = [row[of] for row in rows]
                axis.plot(x, [r["nats"] for r in rows], "o-", ms=3, label=OPERATORS[operators])
                low, high = zip(*(row["nats_range"] for row in rows), strict=True)
                axis.fill_between(x, low, high, color=f"C{color}", alpha=0.2, lw=0)
            axis.axhline(report["best"], color="k", ls=":", lw=0.8, label="best possible")
            axis.set_xlabel(label)
        axes[0].set_ylabel("log-likelihood (nats)")
        axes[1].legend(fontsize=8)
        return figure
