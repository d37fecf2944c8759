r"""Other platforms: circuits as priors, by themselves, from readings, in a machine, and large."""

from __future__ import annotations

__all__ = ["Circuits"]

import math
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure

from qahm_torch.systems.circuit_digits import PRIORS, fit_digits
from qahm_torch.systems.circuit_lattice import Lattice, fit_lattice
from qahm_torch.systems.circuit_patterns import (
    CIRCUITS,
    READINGS,
    fit_by_likelihood,
    fit_by_mmd,
    milliseconds,
)
from qahm_torch.systems.system import Case, Report, System

LIKELIHOOD, LOSSES, DIGITS, LATTICE, TIME = "likelihood", "losses", "digits", "lattice", "time"
SPLITS = ("test", "validation")
TRAINED_BY = ("likelihood", "MMD, exact", READINGS)


@dataclass(frozen=True)
class Circuits(System):
    r"""Circuits of gates in the place of a Boltzmann machine, simulated here.

    A Born machine (`CircuitPrior`) has the interface of all priors. Four things are measured:

    *Likelihood.* Circuits learn bars and stripes by exact likelihood, beside restricted Boltzmann
    machines, with the same learning rate and updates. A circuit is told by its gates and its
    number of layers: rotations and CZ or CNOT gates on a line, or XX gates on all pairs.

    *Losses.* One circuit learns the same patterns by exact likelihood, by the exact maximum mean
    discrepancy, and by that from readings alone (`SampledMMD`), as from a device. All are compared
    by exact likelihood, and by the mass on patterns.

    *Digits.* A Helmholtz machine of gray digits has, as its prior, independent spins, a Boltzmann
    machine on all pairs, or a circuit, of as many units each.

    *Lattice.* A circuit of commuting gates (`IQPCircuit`), too large to be simulated, learns
    samples of an Ising model on a square lattice without field, by parities (`ParityMMD`). Its
    gates flip one qubit, two neighbors, square blocks, or all. The discrepancy is from held-out
    samples; that of training samples from them tells what is left to chance.

    What is found: the restricted machines are at the best possible likelihood with the fewest
    parameters and with each seed. Of the circuits, only the deepest with RY and CNOT gates gets
    close; others, that with XX gates among them, depend much on the seed, or stay below. Readings
    alone bring the circuit nearly as far as its likelihood does, at the price of three hundred
    circuits with a thousand readings each, per update. In the machine of digits it makes no
    difference: all priors are level within half a nat, and independent spins are first, so that
    nothing is gained by circuits or by couplings there. What does matter is the learning rate of
    the prior, above all for the Boltzmann machine. The large circuit has correlations close to
    those of the lattice, and a discrepancy many times less than independent spins have, though
    more than that of training samples. Its gates and its start were chosen for the lattice: in
    trials from other angles, or with gates of one and two qubits alone, it was no better than
    independent spins.

    Arguments:
        side: The number of rows and columns of a pattern.
        circuits: The circuits that learn by likelihood: gates, and the number of layers.
        hidden: The numbers of hidden units of the restricted machines.
        num_updates: The number of updates by likelihood, by Adam.
        lr: Their learning rate, also that of the losses.
        of_losses: The circuit that learns by several losses.
        num_loss_updates: The number of updates by each of these losses.
        num_samples: The number of readings at each setting of the angles.
        bandwidths: The bandwidths of the discrepancy of patterns.
        num_units: The number of units of a prior of digits.
        num_hidden: The number of units of the layer above the pixels.
        num_epochs: The number of epochs of digits.
        machine_lr: The first learning rate of Adam for digits, which falls to 0 by a cosine.
        prior_lrs: The rates of the prior itself, of which each prior has the better one by the
            mean likelihood of validation data.
        num_particles: The number of particles of a likelihood of digits.
        lattice: The side of the lattice, whose qubits are that squared.
        blocks: The sides of the blocks.
        coupling: The coupling of neighbors, which order above 0.44.
        num_rows: The number of training samples, and of held-out ones.
        lattice_bandwidths: The bandwidths of the discrepancy of the lattice.
        num_lattice_updates: The number of updates of the lattice, by Adam.
        lattice_lr: Their first learning rate, which falls to 0 by a cosine.
        timed: The numbers of qubits for which a likelihood and its gradient are timed.
        num_seeds: The number of seeds.

    References:
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
        |   computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757
        | A generative modeling approach for benchmarking and training shallow quantum circuits
          (Benedetti et al., 2019)
        | https://arxiv.org/abs/1801.07686
        | Train on classical, deploy on quantum: scaling generative quantum machine learning to a
          thousand qubits (Recio-Armengol et al., 2025)
        | https://arxiv.org/abs/2503.02934
    """

    title = "Circuits as priors"

    side: int = 3
    circuits: tuple[str, ...] = CIRCUITS
    hidden: tuple[int, ...] = (6, 12, 15)
    num_updates: int = 500
    lr: float = 0.05
    of_losses: str = "RY RZ CNOT, 8"
    num_loss_updates: int = 300
    num_samples: int = 1000
    bandwidths: tuple[float, ...] = (0.5, 1.0, 2.0)
    num_units: int = 10
    num_hidden: int = 24
    num_epochs: int = 120
    machine_lr: float = 0.03
    prior_lrs: tuple[float, ...] = (0.03, 0.003)
    num_particles: int = 500
    lattice: int = 14
    blocks: tuple[int, ...] = (2, 4, 7)
    coupling: float = 0.35
    num_rows: int = 2000
    lattice_bandwidths: tuple[float, ...] = (4.0, 8.0)
    num_lattice_updates: int = 600
    lattice_lr: float = 0.02
    timed: tuple[int, ...] = (10, 16)
    num_seeds: int = 4

    @classmethod
    def small(cls) -> Circuits:
        return cls(
            circuits=("RY RZ CNOT, 4",),
            hidden=(6,),
            num_updates=150,
            of_losses="RY RZ CNOT, 2",
            num_loss_updates=40,
            num_samples=200,
            num_units=4,
            num_epochs=3,
            prior_lrs=(0.03,),
            num_particles=20,
            lattice=6,
            blocks=(2, 3),
            num_rows=500,
            lattice_bandwidths=(2.0,),
            num_lattice_updates=100,
            timed=(4,),
            num_seeds=1,
        )

    def cases(self) -> list[Case]:
        arms = {
            LIKELIHOOD: [*self.circuits, *(f"RBM, {hidden}" for hidden in self.hidden)],
            LOSSES: TRAINED_BY,
            LATTICE: ["IQP"],
        }
        cases: list[Case] = [
            {"part": part, "arm": arm, "seed": seed}
            for part in arms
            for arm in arms[part]
            for seed in range(self.num_seeds)
        ]
        cases += [
            {"part": DIGITS, "arm": arm, "prior_lr": prior_lr, "seed": seed}
            for arm in PRIORS
            for prior_lr in self.prior_lrs
            for seed in range(self.num_seeds)
        ]
        timed: Case = {"part": TIME, "arm": self.of_losses, "seed": 0}
        return cases + [{**timed, "num_qubits": n} for n in self.timed]

    def run_case(self, **case: Any) -> dict[str, Any]:
        part, arm, seed = (case[name] for name in ("part", "arm", "seed"))
        torch.manual_seed(seed)
        if part == LIKELIHOOD:
            return fit_by_likelihood(arm, self.side, self.num_updates, self.lr)
        if part == LOSSES:
            return self._fit_by_loss(arm)
        if part == DIGITS:
            settings = self.num_units, self.num_hidden, self.num_epochs, self.machine_lr
            return fit_digits(arm, *settings, case["prior_lr"], self.num_particles)
        if part == LATTICE:
            return self._fit_lattice()
        return milliseconds(arm, case["num_qubits"])

    def summarize(self, results: list[dict[str, Any]]) -> Report:
        def rows(part: str, *names: str) -> list[dict[str, Any]]:
            found = [r for r in results if r["part"] == part]
            return [
                _row(arm, [r for r in found if r["arm"] == arm], names)
                for arm in dict.fromkeys(r["arm"] for r in found)
            ]

        return {
            "best": -math.log(2 ** (self.side + 1) - 2),
            LIKELIHOOD: rows(LIKELIHOOD, "nats", "mass"),
            LOSSES: rows(LOSSES, "nats", "mass", "mmd"),
            DIGITS: [self._chosen(arm, results) for arm in PRIORS],
            LATTICE: self._lattice_row([r for r in results if r["part"] == LATTICE]),
            TIME: [
                {k: r[k] for k in ("num_qubits", "torch", "pennylane") if k in r}
                for r in results
                if r["part"] == TIME
            ],
        }

    def headline(self, report: Report) -> str:
        rows = report[LIKELIHOOD]
        num_circuits = len(self.circuits)
        best, machine = (
            max(some, key=lambda row: row["nats"]["mean"])
            for some in (rows[:num_circuits], rows[num_circuits:])
        )
        losses = {row["arm"]: row["nats"]["mean"] for row in report[LOSSES]}
        digits = {row["arm"]: row["test"]["mean"] for row in report[DIGITS]}
        lattice = report[LATTICE]
        found, independent = (lattice["mmd"][k]["mean"] for k in ("after", "independent spins"))
        return (
            f"nats of bars and stripes: {best['arm']} layers {best['nats']['mean']:.2f}"
            f" ({best['num_parameters']} parameters), RBM {machine['nats']['mean']:.2f}"
            f" ({machine['num_parameters']}), best possible"
            f" {report['best']:.2f}; from readings {losses[READINGS]:.2f}, where the likelihood"
            f" gives {losses['likelihood']:.2f}; digits"
            f" {', '.join(f'{arm} {nats:.2f}' for arm, nats in digits.items())}; MMD^2 of"
            f" {lattice['num_qubits']} qubits {found:.1e}, independent spins {independent:.1e}"
            f" ({self.num_seeds} seeds)"
        )

    def _plot(self, report: Report) -> Figure:
        figure = Figure(figsize=(13, 3.4), layout="constrained")
        axes = figure.subplots(1, 4)
        self._plot_likelihood(axes[0], report)
        self._plot_losses(axes[1], report)
        self._plot_digits(axes[2], report)
        self._plot_lattice(axes[3], report)
        return figure

    def _fit_by_loss(self, arm: str) -> dict[str, Any]:
        return fit_by_mmd(
            arm,
            self.of_losses,
            self.side,
            self.num_loss_updates,
            self.lr,
            self.num_samples,
            self.bandwidths,
        )

    def _fit_lattice(self) -> dict[str, Any]:
        return fit_lattice(
            Lattice(self.lattice, self.blocks),
            self.coupling,
            self.num_rows,
            self.lattice_bandwidths,
            self.num_lattice_updates,
            self.lattice_lr,
        )

    def _chosen(self, arm: str, results: list[dict[str, Any]]) -> dict[str, Any]:
        r"""Returns the row of a prior of digits, at the learning rate with the best validation."""
        found = [r for r in results if r["part"] == DIGITS and r["arm"] == arm]
        rows = [
            {
                "prior_lr": prior_lr,
                **_row(arm, [r for r in found if r["prior_lr"] == prior_lr], SPLITS),
            }
            for prior_lr in self.prior_lrs
        ]
        best = max(rows, key=lambda row: row["validation"]["mean"])
        tests = {f"{row['prior_lr']:g}": row["test"]["mean"] for row in rows}
        return {**best, "test_by_prior_lr": tests}

    def _lattice_row(self, found: list[dict[str, Any]]) -> dict[str, Any]:
        r"""Returns the means over seeds of the lattice."""
        curves = {k: [r["correlations"][k] for r in found] for k in found[0]["correlations"]}
        return {
            "num_qubits": self.lattice**2,
            "num_parameters": found[0]["num_parameters"],
            "mmd": _means_of([r["mmd"] for r in found]),
            "correlations": {k: torch.tensor(c).mean(0).tolist() for k, c in curves.items()},
        }

    def _plot_likelihood(self, axis: Any, report: Report) -> None:
        for row in report[LIKELIHOOD]:
            is_circuit, nats = row["arm"] in self.circuits, row["nats"]
            error = [[nats["mean"] - nats["lowest"]], [nats["highest"] - nats["mean"]]]
            axis.errorbar(
                row["num_parameters"],
                nats["mean"],
                error,
                fmt="o" if is_circuit else "s",
                ms=4,
                capsize=2,
                label=row["arm"] + (" layers" if is_circuit else " hidden units"),
            )
        axis.axhline(report["best"], color="k", ls=":", lw=0.8)
        axis.set(xlabel="parameters", ylabel="log-likelihood (nats)", title="bars and stripes")
        axis.set_ylim(bottom=report["best"] - 2.4)  # room for the legend
        axis.legend(fontsize=5.5, loc="lower right", ncols=2)

    def _plot_losses(self, axis: Any, report: Report) -> None:
        for color, row in enumerate(report[LOSSES]):
            curves = torch.tensor(row["curves"])
            x = torch.linspace(0, self.num_loss_updates, curves.shape[1])
            axis.plot(x, curves.mean(0), color=f"C{color}", lw=1.2, label=row["arm"])
            low, high = curves.min(0).values, curves.max(0).values
            axis.fill_between(x, low, high, color=f"C{color}", alpha=0.2, lw=0)
        axis.axhline(report["best"], color="k", ls=":", lw=0.8)
        axis.set(xlabel="updates", title=f"by loss ({self.of_losses} layers)")
        axis.legend(fontsize=6)

    def _plot_digits(self, axis: Any, report: Report) -> None:
        for place, row in enumerate(report[DIGITS]):
            axis.plot([place] * len(row["test"]["all"]), row["test"]["all"], "o", ms=3)
        names = [row["arm"] for row in report[DIGITS]]
        axis.set_xticks(range(len(names)), names, rotation=20, fontsize=6)
        axis.set(
            ylabel="test log-density (nats)", title=f"digits, prior of {self.num_units} units"
        )

    def _plot_lattice(self, axis: Any, report: Report) -> None:
        for name, style in (("data", "k-"), ("circuit", "o")):
            y = report[LATTICE]["correlations"][name]
            axis.plot(range(1, len(y) + 1), y, style, ms=4, label=name)
        axis.axhline(0, color="C1", ls="--", lw=0.8, label="independent spins")
        title = f"{report[LATTICE]['num_qubits']} qubits, commuting gates"
        axis.set(xlabel="distance on the lattice", ylabel="correlation", title=title)
        axis.legend(fontsize=7)


def _row(arm: str, found: list[dict[str, Any]], names: tuple[str, ...]) -> dict[str, Any]:
    r"""Returns the row of an arm, from the results of its seeds."""
    row: dict[str, Any] = {"arm": arm, **_means_of([{n: r[n] for n in names} for r in found])}
    for name in ("num_parameters", "circuits_per_update"):
        if name in found[0]:
            row[name] = found[0][name]
    if "mmd" in names:
        row["curves"] = [r["curve"] for r in found]
    return row


def _means_of(found: list[dict[str, float]]) -> dict[str, dict[str, Any]]:
    r"""Returns mean, least and greatest value of each of some numbers, and all of them."""
    columns = {name: [r[name] for r in found] for name in found[0]}
    return {
        name: {
            "mean": sum(values) / len(values),
            "lowest": min(values),
            "highest": max(values),
            "all": values,
        }
        for name, values in columns.items()
    }
