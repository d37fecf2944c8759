r"""A quantum Boltzmann machine trained by its likelihood, against one trained by the bound."""

from __future__ import annotations

__all__ = ["QuantumGibbs"]

import time
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qahm_torch.data import OptDigits
from qahm_torch.ising import exact_log_probs
from qahm_torch.nn import BeliefNetwork, HelmholtzMachine
from qahm_torch.objectives import WakeSleep
from qahm_torch.priors import BoltzmannPrior, QuantumGibbsPrior, QuantumPriorLayer
from qahm_torch.samplers import PathIntegralSampler
from qahm_torch.systems.system import Case, Report, System

BOUND, EXACT, LEARNED, SAMPLED = "bound", "exact", "learned", "sampled"
PARTS = ("fields", "gradients", "times", "machines")
QUANTUM, CLASSICAL, FACTORIAL = "quantum", "classical", "factorial"


@dataclass(frozen=True)
class QuantumGibbs(System):
    r"""A quantum Boltzmann machine whose likelihood and whose field are learned exactly.

    Four parts. *Fields*: a machine of 8 spins learns 8 features of digits, which are the mean
    grays of blocks, above or below their median, at several transverse fields: by the
    Golden-Thompson bound with the field held, by the exact likelihood with the field held, by the
    exact likelihood with the field learned, and so by sampled world lines. *Gradients*: the
    sampled gradient against that of the density matrix, in units of its standard errors, for
    random machines. *Times*: an update through world lines of many spins, in units of one of the
    classical machine. *Machines*: a Helmholtz machine on digits whose prior is quantum with a
    learned field, classical, or without couplings, trained alike by wake-sleep.

    What is found: these data say nothing of the field. Whatever it is at first, the likelihood
    ends within a thousandth of a nat of the same value, also if it is trained on the bound, whose
    slack grows from 0.002 nats to nearly 10: what spoils the bound is its value, and with it any
    hope to learn the field by it. By the likelihood the field does move, from weak and from strong
    starts towards the middle, where the likelihood is flat. The sampled gradient has no bias
    beyond its errors, but by its noise training with a constant number of lines ends a few
    thousandths of a nat lower. An update through world lines costs a few hundred classical ones.
    As a prior on digits the three are level.

    Arguments:
        gammas: The transverse fields, at first.
        num_updates: The number of updates of a machine, by Adam on all training data.
        lr: Their learning rate, which falls to 0 by a cosine.
        num_samples: The number of free world lines of a sampled update.
        num_held: The number of training data of a sampled update.
        sizes: The numbers of spins at which the gradient is checked.
        num_gradients: The number of sampled gradients, of 500 data and 1000 free lines each,
            which are drawn anew.
        large: The number of spins of which an update is timed.
        deepest: The number of deepest units of a Helmholtz machine.
        num_machine_updates: The number of its updates, by Adam with 100 images each.
        machine_lr: Their learning rate.
        num_seeds: The number of seeds.

    References:
        | Quantum Boltzmann machine (Amin et al., 2018)
        | https://arxiv.org/abs/1601.02036
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
        |   computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757
    """

    title = "Quantum Gibbs prior with a field that learns"

    gammas: tuple[float, ...] = (0.02, 0.3, 1.0, 2.0)
    num_updates: int = 400
    lr: float = 0.03
    num_samples: int = 500
    num_held: int = 200
    sizes: tuple[int, ...] = (6, 8, 10)
    num_gradients: int = 40
    large: int = 60
    deepest: int = 8
    num_machine_updates: int = 1500
    machine_lr: float = 0.005
    num_seeds: int = 3

    @classmethod
    def small(cls) -> QuantumGibbs:
        return cls(
            gammas=(0.3, 2.0),
            num_updates=60,
            num_samples=100,
            num_held=50,
            sizes=(4,),
            num_gradients=10,
            large=16,
            deepest=4,
            num_machine_updates=50,
            num_seeds=1,
        )

    def cases(self) -> list[Case]:
        kinds: list[Case] = [
            {"part": "fields", "arm": arm, "gamma": gamma}
            for gamma in self.gammas
            for arm in (BOUND, EXACT, LEARNED, SAMPLED)
        ]
        kinds += [{"part": "gradients", "num_spins": n} for n in self.sizes]
        kinds += [{"part": "times", "gamma": gamma} for gamma in self.gammas]
        kinds += [{"part": "machines", "arm": a} for a in (QUANTUM, CLASSICAL, FACTORIAL)]
        return [{**kind, "seed": seed} for kind in kinds for seed in range(self.num_seeds)]

    def run_case(self, **case: Any) -> dict[str, Any]:
        torch.manual_seed(case["seed"])
        if case["part"] == "fields":
            return self._learn(case["arm"], case["gamma"])
        if case["part"] == "gradients":
            return self._check_gradient(case["num_spins"])
        if case["part"] == "times":
            return self._time(case["gamma"])
        return self._train_machine(case["arm"])

    def summarize(self, results: list[dict[str, Any]]) -> Report:
        return {part: _means([r for r in results if r["part"] == part]) for part in PARTS}

    def headline(self, report: Report) -> str:
        rows = {(row["arm"], row["gamma"]): row for row in report["fields"]}
        low, high = self.gammas[0], self.gammas[-1]
        scores = ", ".join(f"{row['rms_z']:.2f}" for row in report["gradients"])
        machines = {row["arm"]: f"{row['nats']:.2f}" for row in report["machines"]}
        return (
            f"nats of 8 features at Gamma {low:g} to {high:g}: trained on the bound"
            f" {rows[BOUND, low]['nats']:.3f} to {rows[BOUND, high]['nats']:.3f} (the bound is"
            f" {rows[BOUND, high]['slack']:.2f} below at {high:g}), on the likelihood"
            f" {rows[EXACT, low]['nats']:.3f} to {rows[EXACT, high]['nats']:.3f}, Gamma learned"
            f" {rows[LEARNED, low]['nats']:.3f} to {rows[LEARNED, high]['nats']:.3f}; sampled"
            f" gradient at {', '.join(map(str, self.sizes))} spins: errors of {scores} standard"
            f" errors; as a prior on digits {machines[QUANTUM]}, classical"
            f" {machines[CLASSICAL]}, factorial {machines[FACTORIAL]} ({self.num_seeds} seeds)"
        )

    def _plot(self, report: Report) -> Figure:
        figure = Figure(figsize=(9, 3), layout="constrained")
        axes = figure.subplots(1, 3)
        for color, arm in enumerate((BOUND, EXACT, LEARNED, SAMPLED)):
            rows = [row for row in report["fields"] if row["arm"] == arm]
            label = f"trained on the {arm}" if arm == BOUND else arm
            _plot_row(axes[0], rows, "nats", label, f"C{color}")
            if arm in (LEARNED, SAMPLED):
                _plot_row(axes[1], rows, "field", arm, f"C{color}")
            if arm == BOUND:
                _plot_row(axes[2], rows, "slack", arm, f"C{color}")
        for axis in axes:
            axis.set_xscale("log")
        for axis in axes[1:]:
            axis.set_yscale("log")
        axes[1].plot(self.gammas, self.gammas, "k:", lw=0.8, label="as it was")
        axes[0].set(xlabel="Gamma at first", ylabel="log-likelihood (nats)")
        axes[1].set(xlabel="Gamma at first", ylabel="Gamma after training")
        axes[2].set(xlabel="Gamma", ylabel="likelihood less bound (nats)")
        axes[0].legend(fontsize=7)
        axes[1].legend(fontsize=7)
        return figure

    def _learn(self, arm: str, gamma: float) -> dict[str, Any]:
        r"""Returns exact likelihoods of a machine of 8 spins that was trained on features."""
        train, test = _features()
        prior = _prior(arm, gamma, train.shape[1], self.num_samples)
        trained = [p for p in prior.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=self.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.num_updates)
        for _ in range(self.num_updates):
            batch = train
            if arm == SAMPLED:
                batch = train[torch.randint(len(train), (self.num_held,))]
            optimizer.zero_grad()
            (-prior(batch).mean()).backward()
            optimizer.step()
            schedule.step()
        exact = _exact_nats(prior, train)
        prior.estimate_log_z()
        bound = (-prior.energy(train).mean() - prior.log_z).item()
        field = prior.ising().gamma
        return {
            "nats": exact,
            "test_nats": _exact_nats(prior, test),
            "slack": exact - bound,
            "field": 0.0 if field is None else field.mean().item(),
        }

    def _check_gradient(self, num_spins: int) -> dict[str, Any]:
        r"""Returns how far sampled gradients are from the exact one, in standard errors."""
        gamma = 0.5 + torch.rand(num_spins)
        bound: BoltzmannPrior = QuantumPriorLayer(num_spins, gamma=gamma)
        exact = QuantumGibbsPrior(num_spins, gamma=gamma, exact=True)
        # Lines that run on would make one gradient depend on the others, and their errors with it.
        lines = QuantumGibbsPrior(
            num_spins,
            gamma=gamma,
            exact=False,
            num_samples=1000,
            persistent=False,
            sampler=PathIntegralSampler(200),
            held_sampler=PathIntegralSampler(50),
        )
        h = 0.3 * torch.randn_like(exact.h)
        J = 0.3 * torch.randn_like(exact.J)
        for prior in (bound, exact, lines):
            prior.h.data.copy_(h)
            prior.J.data.copy_(J)
        data = torch.randint(2, (5, num_spins)) * 2.0 - 1
        wanted, many = _gradient(exact, data), data.repeat(100, 1)
        found = torch.stack([_gradient(lines, many) for _ in range(self.num_gradients)])
        errors = found.std(0) / self.num_gradients**0.5
        z = (found.mean(0) - wanted) / errors
        off = _gradient(bound, data) - wanted[: len(h) + len(J)]
        return {
            "rms_z": z.square().mean().sqrt().item(),
            "largest_z": z.abs().max().item(),
            "components": len(z),
            "largest_error_of_bound": off.abs().max().item(),
        }

    def _time(self, gamma: float) -> dict[str, Any]:
        r"""Returns the seconds of an update through lines, and of one of a classical machine."""
        data = torch.randint(2, (100, self.large)) * 2.0 - 1
        quantum = QuantumGibbsPrior(self.large, gamma=gamma, num_samples=1000)
        classical = QuantumPriorLayer(self.large, num_samples=1000)
        seconds = {}
        for name, prior in (("quantum", quantum), ("classical", classical)):
            prior(data).mean().backward()
            start = time.perf_counter()
            for _ in range(3):
                prior(data).mean().backward()
            seconds[name] = (time.perf_counter() - start) / 3
        return {"seconds": seconds["quantum"], "ratio": seconds["quantum"] / seconds["classical"]}

    def _train_machine(self, arm: str) -> dict[str, Any]:
        r"""Returns the likelihood of a Helmholtz machine on black and white digits."""
        train, test = _digits()
        widths = [train.shape[1], self.deepest]
        prior: BoltzmannPrior = QuantumPriorLayer(self.deepest, num_samples=200)
        if arm == QUANTUM:
            prior = QuantumGibbsPrior(self.deepest, num_samples=200)
        if arm == FACTORIAL:
            prior.J.data.zero_()
            prior.J.requires_grad_(False)
        machine = HelmholtzMachine(BeliefNetwork(widths), BeliefNetwork(widths[::-1]), prior)
        trained = [p for p in machine.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=self.machine_lr)
        objective = WakeSleep()
        for _ in range(self.num_machine_updates):
            batch = train[torch.randint(len(train), (100,))]
            optimizer.zero_grad()
            objective(machine, batch, prior.draw())["loss"].backward()
            optimizer.step()
        prior.estimate_log_z()
        with torch.no_grad():
            nats = machine.log_prob(test, 500).mean().item()
        field = prior.ising().gamma
        return {"nats": nats, "field": 0.0 if field is None else field.mean().item()}


def _plot_row(axis: Any, rows: list[Report], name: str, label: str, color: str) -> None:
    r"""Plots means over seeds and their range, by the field at first."""
    x = [row["gamma"] for row in rows]
    axis.plot(x, [row[name] for row in rows], "o-", ms=3, lw=1, color=color, label=label)
    low, high = zip(*(row[f"{name}_range"] for row in rows), strict=True)
    axis.fill_between(x, low, high, color=color, alpha=0.2, lw=0)


def _prior(arm: str, gamma: float, num_spins: int, num_samples: int) -> BoltzmannPrior:
    if arm == BOUND:
        return QuantumPriorLayer(num_spins, gamma=gamma)
    exact = arm != SAMPLED
    prior = QuantumGibbsPrior(num_spins, gamma=gamma, exact=exact, num_samples=num_samples)
    prior.gamma.requires_grad_(arm != EXACT)
    return prior


def _gradient(prior: BoltzmannPrior, data: Tensor) -> Tensor:
    prior.zero_grad()
    prior(data).mean().backward()
    return torch.cat([p.grad for p in prior.parameters() if p.grad is not None])


@torch.no_grad()
def _exact_nats(prior: BoltzmannPrior, spins: Tensor) -> float:
    places = 2 ** torch.arange(spins.shape[1])
    return exact_log_probs(prior.ising())[((spins > 0) * places).sum(-1)].mean().item()


def _digits() -> tuple[Tensor, Tensor]:
    r"""Returns black and white digits of training and test."""
    data = OptDigits(classes=False)
    data.setup()
    return torch.where(data.train > 0, 1.0, -1.0), torch.where(data.test > 0, 1.0, -1.0)


def _features() -> tuple[Tensor, Tensor]:
    r"""Returns 8 features of the digits: the grays of blocks of 2 x 4 pixels, by their median."""
    data = OptDigits(classes=False)
    data.setup()
    train, test = (
        rows.view(-1, 4, 2, 2, 4).mean((2, 4)).flatten(1) for rows in (data.train, data.test)
    )
    median = train.median(0).values
    return torch.where(train > median, 1.0, -1.0), torch.where(test > median, 1.0, -1.0)


def _means(results: list[dict[str, Any]]) -> list[Report]:
    r"""Returns a row for each kind of case: means over seeds, and the ranges of what varies."""
    named = ("part", "arm", "gamma", "num_spins")
    rows: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for result in results:
        rows.setdefault(tuple(result.get(name) for name in named), []).append(result)
    report = []
    for found in rows.values():
        row = {name: found[0][name] for name in named if name in found[0] and name != "part"}
        for name in found[0].keys() - {*named, "seed"}:
            values = [r[name] for r in found]
            row[name] = sum(values) / len(values)
            row[f"{name}_range"] = [min(values), max(values)]
        report.append(dict(sorted(row.items())))
    return report
