r"""Recognition by a Boltzmann machine for each datum, against independent spins."""

from __future__ import annotations

__all__ = ["QuantumRecognition"]

import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qahm_torch.annealer import AnnealerSampler
from qahm_torch.data import BarsAndStripes, OptDigits, TensorDataModule
from qahm_torch.device import AnnealerWarning
from qahm_torch.ising import all_states
from qahm_torch.nn import BeliefNetwork, HelmholtzMachine
from qahm_torch.objectives import Objective, ReweightedWakeSleep, WakeSleep, sleep_loss
from qahm_torch.priors import ConditionalBoltzmann, QuantumPriorLayer, exact_posterior
from qahm_torch.samplers import ExactSampler, GibbsSampler
from qahm_torch.simulator import SimulatedAnnealer
from qahm_torch.systems.known_machines import NUM_SWEEPS, known_machine, recognition_by
from qahm_torch.systems.recognition_plots import (
    AUTOREGRESSIVE,
    BEST,
    BOLTZMANN,
    DERIVED,
    INDEPENDENT,
    NATIVE,
    TRAINED,
    plot_device,
    plot_known,
    plot_learning,
)
from qahm_torch.systems.recognition_slack import best_independent, log_joint_table, slack_of
from qahm_torch.systems.system import Case, Report, System

LEARNERS = (INDEPENDENT, AUTOREGRESSIVE, BOLTZMANN)
BARS, DIGITS, KNOWN = "bars and stripes", "digits", "known machine"
PRIOR = "prior, all data"


@dataclass(frozen=True)
class QuantumRecognition(System):
    r"""The deepest recognition layer as a Boltzmann machine, one of the source's next steps.

    The bound of a Helmholtz machine is below log p(v) by the divergence of q(u|v) from the
    posterior, here called slack. Independent spins have to leave some where the posterior has
    correlations; `ConditionalBoltzmann` need not. All is exact, by enumeration, in three parts:

    - *Known machines*, whose visible spins have a few parents each and whose prior has couplings.
      Recognition alone is trained, on dreams. With one or two parents the posterior is exactly a
      conditional Boltzmann machine of linear fields (`exact_posterior`).
    - *Learning*: whole machines are trained on bars and stripes, thresholded digits and data of a
      known machine of three parents, with the same updates and learning rate for all
      recognitions. Log-likelihoods are of test data, or of the known law.
    - *Devices*: the problems and the QPU time that a draw for each of some data takes, at 100
      reads a datum.

    What is found: on known machines of one or two parents the derived recognition leaves no slack,
    while the best independent spins for each datum leave more than a tenth of a nat. Trained on
    dreams, machines for each datum come to a hundredth of that, by enumeration or by chains (to a
    tenth with three parents, where spins interact in threes). Independent spins trained so leave
    about three times as much as the best ones, since dreams teach them the marginal laws, and a
    layer in between mends little of it. Autoregressive spins, which need no sampler, leave less
    than two thirds of what the best independent ones do, and more than Boltzmann machines.

    In learning there is no such gain. The mean slack is lower in all six settings, down to about
    a quarter by reweighted wake-sleep on digits. But the likelihood is not higher: it is the same
    within the scatter of seeds, a hundredth of a nat higher on data of the known machine by
    reweighted wake-sleep, and a fifth of a nat lower on average, and lower in each seed, on digits
    by reweighted wake-sleep. A generator that learns together with independent spins ends where
    these nearly suffice: the best of them would leave two hundredths of a nat at most.

    On a device, what is drawn for each datum is programmed for each datum. Side by side on the
    chip, all data take one problem and its reads, less time than the prior takes for as many
    samples. On this machine, a call for 1000 data takes some milliseconds.

    Arguments:
        num_hidden: The number of hidden spins of known machines and of what learns from them.
        num_visible: The number of their visible spins.
        parents: The numbers of parents of visible spins.
        coupling: The standard deviation of the couplings of the prior of known machines.
        num_dreams: The number of dreams of an update.
        recognition_lr: The first learning rate of Adam where recognition is trained alone.
        learners_hidden: The number of hidden spins of machines that learn bars and stripes or
            digits.
        lr: The first learning rate of Adam where whole machines are trained, the best of three
            on validation digits, in the mean over recognitions.
        num_updates: The number of updates of all of them, over which learning rates fall to 1 %.
        num_data: The number of data that a device draws for.
        num_reads: The number of reads for each of them.
        chip: The size of the simulated Pegasus chip.
        every: The number of updates from one exact likelihood to the next.
        num_seeds: The number of seeds.

    References:
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
        |   computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757
    """

    title = "Quantum recognition"

    num_hidden: int = 8
    num_visible: int = 10
    parents: tuple[int, ...] = (1, 2, 3)
    coupling: float = 0.5
    num_dreams: int = 500
    recognition_lr: float = 0.02
    learners_hidden: int = 8
    lr: float = 0.03
    num_updates: int = 1000
    num_data: int = 20
    num_reads: int = 100
    chip: int = 6
    every: int = 200
    num_seeds: int = 3

    @classmethod
    def small(cls) -> QuantumRecognition:
        return cls(
            num_hidden=5,
            num_visible=7,
            parents=(2,),
            num_dreams=200,
            recognition_lr=0.05,
            learners_hidden=4,
            num_updates=100,
            num_data=6,
            chip=3,
            every=50,
            num_seeds=1,
        )

    def cases(self) -> list[Case]:
        cases: list[Case] = []
        for seed in range(self.num_seeds):
            cases += [{"part": "device", "seed": seed}]
            for parents in self.parents:
                derived = (DERIVED,) if parents <= 2 else ()
                arms = (*derived, BEST, *TRAINED)
                cases += [
                    {"part": "known", "parents": parents, "arm": arm, "seed": seed} for arm in arms
                ]
            cases += [
                {"part": "learning", "data": data, "objective": by, "arm": arm, "seed": seed}
                for data in (BARS, DIGITS, KNOWN)
                for by in _objectives()
                for arm in LEARNERS
            ]
        return cases

    def run_case(self, **case: Any) -> dict[str, Any]:
        torch.manual_seed(case["seed"])
        if case["part"] == "device":
            return {"calls": self._calls(case["seed"])}
        if case["part"] == "known":
            return self._on_known(case["parents"], case["arm"])
        return self._learned(case["data"], case["objective"], case["arm"])

    def summarize(self, results: list[dict[str, Any]]) -> Report:
        known = [r for r in results if r["part"] == "known"]
        learning = [r for r in results if r["part"] == "learning"]
        calls = [{**call, "seed": r["seed"]} for r in results for call in r.get("calls", [])]
        counted = ("problems", "qpu_seconds", "first_problems", "first_qpu_seconds", "error")
        return {
            "known": _rows(known, ("parents", "arm"), ("slack",)),
            "learning": _rows(
                _with_gains(learning),
                ("data", "objective", "arm"),
                ("nats", "gain", "slack", "best_independent"),
            ),
            "device": _rows(calls, ("arm", "data"), (*counted, "milliseconds")),
        }

    def headline(self, report: Report) -> str:
        two = {r["arm"]: r["slack"] for r in report["known"] if r["parents"] == 2}
        calls = {r["arm"]: r for r in report["device"]}
        each, beside = calls[_problems_of(1)], calls[_problems_of(self.num_data)]
        gains = ", ".join(
            f"{row['gain']:+.2f} on {row['data']} by {row['objective']}"
            for row in report["learning"]
            if row["arm"] == BOLTZMANN
        )
        return (
            f"slack in nats with two parents: Boltzmann derived {abs(two[DERIVED]):.4f}, trained"
            f" {two[BOLTZMANN]:.4f}, independent {two[BEST]:.3f} at best, trained"
            f" {two[INDEPENDENT]:.3f}, autoregressive {two[AUTOREGRESSIVE]:.3f}; learned nats"
            f" against independent: {gains}; a draw for {self.num_data} data:"
            f" {each['problems']:.0f} problems and {each['qpu_seconds']:.2f} s of QPU time,"
            f" side by side {beside['problems']:.0f} and {beside['qpu_seconds']:.2f} s"
            f" ({self.num_seeds} seeds)"
        )

    def _plot(self, report: Report) -> Figure:
        figure = Figure(figsize=(12, 3.8), layout="constrained")
        axes = figure.subplots(1, 4)
        plot_known(axes[0], report["known"])
        plot_learning(axes[1], report["learning"], "slack")
        plot_learning(axes[2], report["learning"], "gain")
        plot_device(axes[3], report["device"])
        return figure

    def _on_known(self, parents: int, arm: str) -> dict[str, Any]:
        machine = self._known(parents)
        v = all_states(self.num_visible, torch.float32)
        joint = log_joint_table(machine, v)
        law = joint.logsumexp(-1).exp()
        if arm == BEST:
            return {"slack": float(law @ best_independent(joint))}
        if arm == DERIVED:
            prior = machine.prior
            assert isinstance(prior, QuantumPriorLayer)
            machine.recognition = exact_posterior(machine.generator, prior)
        else:
            machine.recognition = recognition_by(arm, self.num_visible, self.num_hidden)
            self._dream(machine)
        return {"slack": float(law @ slack_of(machine, v, joint).slack)}

    def _known(self, parents: int) -> HelmholtzMachine:
        sizes = self.num_hidden, self.num_visible
        return known_machine(*sizes, parents, self.coupling, self.num_dreams)

    def _dream(self, machine: HelmholtzMachine) -> None:
        r"""Trains the recognition alone."""
        optimizer = torch.optim.Adam(machine.recognition.parameters(), lr=self.recognition_lr)
        falling = self._falling(optimizer)
        for _ in range(self.num_updates):
            optimizer.zero_grad()
            sleep_loss(machine, machine.prior.draw().spins).backward()
            optimizer.step()
            falling.step()

    def _falling(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LinearLR:
        return torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, self.num_updates)

    def _learned(self, name: str, objective: str, arm: str) -> dict[str, Any]:
        train, test, law = self._data(name)
        visible = train.shape[1]
        hidden = self.num_hidden if name == KNOWN else self.learners_hidden
        prior = QuantumPriorLayer(hidden, sampler=ExactSampler(), num_samples=200)
        generator = BeliefNetwork([hidden, visible])
        machine = HelmholtzMachine(recognition_by(arm, visible, hidden), generator, prior)
        optimizer = torch.optim.Adam(machine.parameters(), lr=self.lr)
        falling, losses, curve = self._falling(optimizer), _objectives()[objective], []
        for update in range(self.num_updates):
            if update % self.every == 0:
                prior.estimate_log_z()
                curve.append(float(law @ slack_of(machine, test).log_prob))
            optimizer.zero_grad()
            batch = train[torch.randint(len(train), (100,))]
            losses(machine, batch, prior.draw())["loss"].backward()
            optimizer.step()
            falling.step()
        prior.estimate_log_z()
        joint = log_joint_table(machine, test)
        nats, slack = (float(law @ part) for part in slack_of(machine, test, joint))
        best = float(law @ best_independent(joint))
        return {"nats": nats, "slack": slack, "best_independent": best, "curve": [*curve, nats]}

    def _data(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        r"""Returns training rows, test rows, and the weights of the latter."""
        if name == KNOWN:
            machine, test = self._known(3), all_states(self.num_visible, torch.float32)
            law = log_joint_table(machine, test).logsumexp(-1).exp()
            return machine.generate(100 * self.num_updates), test, law
        data: TensorDataModule = BarsAndStripes(4)
        if name == DIGITS:
            data = OptDigits(classes=False, dequantize=False)
        data.setup()
        train, test = (torch.where(x > 0, 1.0, -1.0) for x in (data.train, data.test))
        return train, test, torch.full((len(test),), 1 / len(test), dtype=torch.float64)

    def _calls(self, seed: int) -> list[dict[str, Any]]:
        r"""Returns what draws take, by the posterior of a known machine of two parents."""
        machine = self._known(2)
        data = machine.generate(self.num_data)
        prior = machine.prior
        assert isinstance(prior, QuantumPriorLayer)
        recognition = exact_posterior(machine.generator, prior)
        prior.sampler = self._annealer(seed)
        total = self.num_data * self.num_reads
        calls = [{"arm": PRIOR, **_billed(prior.sampler, lambda: prior.sample(total))}]
        rows = recognition.machines(data)
        exact = rows.moments(torch.ones(len(data))).mean
        for number in dict.fromkeys([1, max(1, self.num_data // 4), self.num_data]):
            recognition.sampler = sampler = self._annealer(seed)
            recognition.rows_per_problem = number
            draws = []

            def draw() -> None:
                draws.append(recognition.draws(rows, self.num_reads))  # noqa: B023

            told = _billed(sampler, draw)
            error = (draws[-1].mean(0) - exact).square().mean().sqrt().item()
            calls.append({"arm": _problems_of(number), **told, "error": error})
        return [*({**call, "data": self.num_data} for call in calls), self._native(recognition)]

    def _native(self, recognition: ConditionalBoltzmann) -> dict[str, Any]:
        r"""Returns what a call for 1000 data takes on this machine, by chains."""
        recognition.sampler = GibbsSampler(NUM_SWEEPS)
        rows = recognition.machines(torch.randint(0, 2, (1000, self.num_visible)) * 2.0 - 1)
        times = []
        for _ in range(11):
            start = time.perf_counter()
            recognition.draws(rows, 1)
            times.append(1000 * (time.perf_counter() - start))
        return {"arm": NATIVE, "data": len(rows.fields), "milliseconds": statistics.median(times)}

    def _annealer(self, seed: int) -> AnnealerSampler:
        chip = SimulatedAnnealer("pegasus", self.chip, beta=5.0, chip_seed=seed, seed=seed)
        return AnnealerSampler(chip)


def _objectives() -> dict[str, Objective]:
    return {"wake-sleep": WakeSleep(), "reweighted": ReweightedWakeSleep(num_particles=5)}


def _problems_of(number: int) -> str:
    return "a problem per datum" if number == 1 else f"a problem per {number} data"


def _billed(sampler: AnnealerSampler, draw: Callable[[], object]) -> dict[str, Any]:
    r"""Returns the problems and the QPU seconds of the first draw, with calibration, and after."""
    account = sampler.account
    told: dict[str, Any] = {}
    with warnings.catch_warnings():
        # Reads of few samples tell little of the temperature, and are not checked here.
        warnings.simplefilter("ignore", AnnealerWarning)
        for prefix in ("first_", ""):
            before = account.num_problems, account.measured
            draw()
            told[f"{prefix}problems"] = account.num_problems - before[0]
            told[f"{prefix}qpu_seconds"] = account.measured - before[1]
    return told


def _with_gains(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    r"""Returns results with their log-likelihood above that of independent spins, same seed."""

    def place(result: dict[str, Any]) -> tuple[Any, ...]:
        return result["data"], result["objective"], result["seed"]

    base = {place(r): r["nats"] for r in results if r["arm"] == INDEPENDENT}
    return [{**r, "gain": r["nats"] - base[place(r)]} for r in results]


def _rows(
    results: list[dict[str, Any]], by: Sequence[str], numbers: Sequence[str]
) -> list[dict[str, Any]]:
    r"""Returns the means and ranges of numbers over seeds, by what else is in the results."""
    rows = []
    for key in dict.fromkeys(tuple(r[name] for name in by) for r in results):
        found = [r for r in results if tuple(r[name] for name in by) == key]
        row: dict[str, Any] = dict(zip(by, key, strict=True))
        for number in numbers:
            values = [r[number] for r in found if number in r]
            if values:
                row[number] = sum(values) / len(values)
                row[f"{number}_range"] = [min(values), max(values)]
        rows.append(row)
    return rows
