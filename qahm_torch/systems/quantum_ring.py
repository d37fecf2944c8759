r"""The challenge of the source: data that a quantum model explains better than a classical one."""

from __future__ import annotations

__all__ = ["QuantumRing"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qahm_torch.ising import CouplingGraph, Ising, exact_log_probs
from qahm_torch.systems.system import Case, Report, System

STARTS = (0.2, 1.0)  # of the transverse field, whose likelihood can have two maxima


@dataclass(frozen=True)
class QuantumRing(System):
    r"""Classical and quantum Boltzmann machines fitted to draws from a transverse-field ring.

    The data are draws of the spins of a thermal state on a ring, :math:`p(s) = \langle s| e^{-H}
    |s \rangle / Z` with :math:`H = \sum_i h_i Z_i + \sum_i J_i Z_i Z_{i+1} - \Gamma \sum_i X_i`. A
    classical and a quantum machine (the same with one number more, Gamma) are fitted by exact
    likelihood, on the ring and on the complete graph, and are compared by Akaike's criterion

    .. math:: AIC = 2 k - 2 \log L.

    By how much the classical ring should lose is known before: :math:`2 M \, KL - 2`, where M is
    the number of draws and KL the divergence of the true law from the classical ring that is
    closest to it.

    What is found: on the ring the quantum machine wins as predicted, the more the stronger the
    couplings are, and does not win where Gamma is 0. On the complete graph it wins by little or
    nothing, since classical couplings between all spins imitate the quantum ring with more
    numbers, and the data tell Gamma only roughly: the win is one over classical models of the same
    graph, hardly one over classical models.

    Arguments:
        num_spins: The number of spins, at most 12.
        num_draws: The number M of draws.
        gammas: The transverse fields of the true law.
        h_scale: The standard deviation of the true fields.
        J_scale: The standard deviation of the true couplings. The default is one at which the
            predicted win is large; at 1, which was tried first, there is hardly any.
        num_iterations: The number of iterations of a fit, by L-BFGS.
        num_seeds: The number of seeds, each with parameters and draws of its own.

    References:
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
        |   computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757
        | A new look at the statistical model identification (Akaike, 1974)
        | https://doi.org/10.1109/TAC.1974.1100705
    """

    title = "Quantum against classical models of a quantum ring"

    num_spins: int = 6
    num_draws: int = 1000
    gammas: tuple[float, ...] = (0.0, 0.3, 0.6, 1.0, 2.0)
    h_scale: float = 0.5
    J_scale: float = 3.0
    num_iterations: int = 200
    num_seeds: int = 5

    @classmethod
    def small(cls) -> QuantumRing:
        return cls(num_spins=4, gammas=(0.0, 1.0), J_scale=1.0, num_iterations=100, num_seeds=2)

    def cases(self) -> list[Case]:
        return [
            {"gamma": gamma, "seed": seed}
            for gamma in self.gammas
            for seed in range(self.num_seeds)
        ]

    def run_case(self, **case: Any) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(case["seed"])
        law = self._true_law(case["gamma"], generator)
        draws = torch.multinomial(law, self.num_draws, replacement=True, generator=generator)
        seen = torch.bincount(draws, minlength=len(law)).to(law) / self.num_draws
        result: dict[str, Any] = {}
        for name, graph in self._graphs().items():
            classical, _ = self._fit(graph, seen, None)
            fits = [self._fit(graph, seen, start) for start in STARTS]
            quantum, gamma = max(fits)
            gain = 2 * self.num_draws * (quantum - classical) - 2
            result[name] = {"aic_gain": gain, "gamma": gamma}
        closest, _ = self._fit(self._graphs()["ring"], law, None)
        divergence = float(torch.special.entr(law).sum().neg()) - closest
        return {**result, "predicted": 2 * self.num_draws * divergence - 2}

    def summarize(self, results: list[dict[str, Any]]) -> Report:
        values: dict[str, Callable[[dict[str, Any]], float]] = {
            "predicted": lambda r: r["predicted"],
            "ring": lambda r: r["ring"]["aic_gain"],
            "complete": lambda r: r["complete"]["aic_gain"],
            "gamma_on_ring": lambda r: r["ring"]["gamma"],
            "gamma_on_complete": lambda r: r["complete"]["gamma"],
        }
        rows = []
        for gamma in self.gammas:
            row: dict[str, Any] = {"gamma": gamma}
            for name, value in values.items():
                found = torch.tensor([value(r) for r in results if r["gamma"] == gamma])
                row[name] = {
                    "mean": found.mean().item(),
                    "median": found.median().item(),
                    "low": found.min().item(),
                    "high": found.max().item(),
                }
            rows.append(row)
        return {"rows": rows}

    def headline(self, report: Report) -> str:
        first, last = report["rows"][0], report["rows"][-1]
        return (
            f"AIC of the classical ring minus that of the quantum ring, strong couplings (of"
            f" {self.J_scale:g}), at Gamma {last['gamma']:g}:"
            f" {last['ring']['mean']:.0f} (predicted {last['predicted']['mean']:.0f}), at Gamma"
            f" {first['gamma']:g}: {first['ring']['mean']:.1f}; on the complete graph"
            f" {last['complete']['mean']:.1f} ({self.num_seeds} seeds)"
        )

    def _plot(self, report: Report) -> Figure:
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        gammas = [row["gamma"] for row in report["rows"]]
        for color, name in enumerate(("ring", "complete")):
            _band(left, gammas, [row[name] for row in report["rows"]], f"C{color}", name)
            fitted = [row[f"gamma_on_{name}"] for row in report["rows"]]
            _band(right, gammas, fitted, f"C{color}", f"{name}, median", "median")
        predicted = [row["predicted"]["mean"] for row in report["rows"]]
        left.plot(gammas, predicted, "k:", label="ring, predicted")
        left.axhline(0, color="k", lw=0.5)
        left.set(xlabel="true Gamma", ylabel="AIC, classical minus quantum")
        left.set_yscale("symlog", linthresh=10)
        right.plot(gammas, gammas, "k:", label="truth")
        # A weak field of few draws can be fitted by any number.
        right.set(xlabel="true Gamma", ylabel="fitted Gamma", ylim=(0, 2 * max(gammas)))
        left.legend(fontsize=8)
        right.legend(fontsize=8)
        return figure

    def _graphs(self) -> dict[str, CouplingGraph]:
        ring = [(i, (i + 1) % self.num_spins) for i in range(self.num_spins)]
        return {
            "ring": CouplingGraph(self.num_spins, torch.tensor(ring)),
            "complete": CouplingGraph.complete(self.num_spins),
        }

    def _true_law(self, gamma: float, generator: torch.Generator) -> Tensor:
        graph, float64 = self._graphs()["ring"], torch.float64
        h = self.h_scale * torch.randn(graph.num_spins, generator=generator, dtype=float64)
        J = self.J_scale * torch.randn(graph.num_edges, generator=generator, dtype=float64)
        return exact_log_probs(_machine(graph, h, J, torch.tensor(gamma, dtype=float64))).exp()

    def _fit(self, graph: CouplingGraph, law: Tensor, gamma: float | None) -> tuple[float, float]:
        r"""Returns the highest mean log-likelihood under a law, and the transverse field there.

        Arguments:
            graph: The graph of the machine.
            law: The law of the states, in the order of `exact_log_probs`, of shape (2^N,).
            gamma: Where the transverse field starts; None for a classical machine.
        """
        h, J = law.new_zeros(graph.num_spins), law.new_zeros(graph.num_edges)
        field = law.new_tensor(gamma or 0.0)
        parameters = [x.requires_grad_() for x in ([h, J] if gamma is None else [h, J, field])]
        optimizer = torch.optim.LBFGS(
            parameters, max_iter=self.num_iterations, line_search_fn="strong_wolfe"
        )

        def loss() -> float:
            optimizer.zero_grad()
            value = -(law @ exact_log_probs(_machine(graph, h, J, field)))
            value.backward()
            return value.item()

        optimizer.step(loss)
        # The law of the spins does not change with the sign of the transverse field.
        return -loss(), abs(field.item())


def _machine(graph: CouplingGraph, h: Tensor, J: Tensor, gamma: Tensor) -> Ising:
    if not gamma.requires_grad and gamma == 0:
        return Ising(graph, h, J)
    return Ising(graph, h, J, gamma.abs().expand(graph.num_spins))


def _band(
    axis: Any,
    x: list[float],
    rows: list[dict[str, float]],
    color: str,
    name: str,
    middle: str = "mean",
) -> None:
    axis.plot(x, [row[middle] for row in rows], "o-", ms=3, color=color, label=name)
    low, high = [row["low"] for row in rows], [row["high"] for row in rows]
    axis.fill_between(x, low, high, color=color, alpha=0.2, lw=0)
