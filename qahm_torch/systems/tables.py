r"""Mixed data with missing entries: a table of continuous, binary and categorical columns."""

from __future__ import annotations

__all__ = ["MixedTables"]

import copy
import time
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from qahm_torch.data import Column, Diabetes, MixedTable, hide_at_random
from qahm_torch.evaluation import impute
from qahm_torch.nn import (
    BeliefNetwork,
    Flagged,
    HelmholtzMachine,
    MixedUnits,
)
from qahm_torch.objectives import ReweightedWakeSleep
from qahm_torch.priors import QuantumPriorLayer
from qahm_torch.samplers import ExactSampler
from qahm_torch.systems.system import Case, Report, System
from qahm_torch.systems.table_rivals import RIVALS, fill_errors, rival_log_prob, rival_scores


class Kind(NamedTuple):
    r"""What sets one machine apart from another."""

    with_logs: bool = True  # whether positive columns are taken by their logarithm
    in_order: bool = True  # whether columns see those before them
    with_spins: bool = True  # whether columns see the spins
    num_particles: int | None = None  # another number of hidden states in training


MACHINES = {
    "machine, columns apart": Kind(in_order=False),
    "machine, columns in order, no logarithms": Kind(with_logs=False),
    "machine, columns in order": Kind(),
    "machine, columns in order, 2 particles": Kind(num_particles=2),
}
# Not a machine to choose: it tells what the spins are good for.
ABLATION = "columns in order, no spins"
KINDS = {**MACHINES, ABLATION: Kind(with_spins=False)}
TIMING = "30000 x 14 table"


@dataclass(frozen=True)
class MixedTables(System):
    r"""A machine with visible units of several kinds, on a table with missing entries.

    .. math::
        p(v) = \sum_u p(u) \prod_{k \text{ known}} p_k(v_k \mid u, v_{<k})

    It is composed of `MixedTable` (maps fitted to training rows, NaN where an entry is missing),
    `MixedUnits` (normal units, a spin, a one-hot code; each column may see those before it),
    `Flagged` recognition (a bit for each missing unit), a Boltzmann machine on all pairs of spins,
    and reweighted wake-sleep. The table is scikit-learn's diabetes in original units: nine
    continuous columns, sex, and the quartile of the progression. Likelihoods are densities of
    original values. Settings and the kind of machine are chosen by validation rows alone.

    The rivals are fitted to training and validation rows together; the machines see validation
    rows only to stop. Where entries are missing, columns that see those before them are filled in
    along with the spins, in training as in tests. Missing at random at the given rates are entries
    of all rows, test included; the likelihood then is that of the known entries.

    Found: columns that see those before them beat a full Gaussian in likelihood with and without
    missing entries, and columns apart do not. Spins help where entries are missing, and change
    little on complete rows. Missing numbers are filled in less precisely than by the Gaussian.

    Arguments:
        missing: The rates of missing entries.
        machines: The kinds of machines that are compared, of those in `KINDS`.
        seeds: The seeds of the training; the split and what is missing are the same for all.
        num_spins: The number of spins u.
        num_hidden: The number of hidden units of recognition.
        num_context: The number of hidden units per column by which it sees those before it.
        learning_rate: The step size of Adam.
        weight_decay: The decay of all weights, decoupled.
        num_epochs: The greatest number of epochs.
        patience: The number of epochs without a better validation likelihood after which it stops.
        num_particles: The number of hidden states per datum in training, where a kind has none of
            its own.
        num_test_particles: The number of particles of a test likelihood and of an imputation.
        num_updates: The number of updates that are timed on a synthetic table of the size of the
            Adult data, 30000 rows of 14 columns.

    References:
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
        |   computers (Perdomo-Ortiz et al., 2018), section III D
        | https://arxiv.org/abs/1708.09757
        | Least angle regression (Efron, Hastie, Johnstone, Tibshirani, 2004), for the table
        | https://doi.org/10.1214/009053604000000067

    Example:
        >>> system = MixedTables.small()
        >>> {case["arm"] for case in system.cases()} >= {"Gaussian", "machine, columns in order"}
        True
    """

    title: ClassVar[str] = "Mixed data with missing entries"

    missing: tuple[float, ...] = (0.0, 0.2)
    machines: tuple[str, ...] = tuple(KINDS)
    seeds: tuple[int, ...] = (0, 1, 2)
    num_spins: int = 8
    num_hidden: int = 32
    num_context: int = 16
    learning_rate: float = 5e-3
    weight_decay: float = 0.3
    num_epochs: int = 300
    patience: int = 60
    num_particles: int = 10
    num_test_particles: int = 1000
    num_updates: int = 300

    @classmethod
    def small(cls) -> MixedTables:
        return cls(
            machines=("machine, columns in order",),
            seeds=(0,),
            num_epochs=40,
            num_particles=5,
            num_test_particles=100,
            num_updates=5,
        )

    def cases(self) -> list[Case]:
        cases: list[Case] = []
        for rate in self.missing:
            cases += [{"arm": arm, "missing": rate, "seed": 0} for arm in RIVALS]
            cases += [
                {"arm": arm, "missing": rate, "seed": seed}
                for arm in self.machines
                for seed in self.seeds
            ]
        return [*cases, {"arm": TIMING, "missing": 0.1, "seed": 0}]

    def run_case(self, **case: Any) -> dict[str, Any]:
        arm, missing, seed = (case[name] for name in ("arm", "missing", "seed"))
        if arm == TIMING:
            return self._timed(missing)
        if arm in RIVALS:
            return rival_scores(arm, missing)
        kind = KINDS[arm]
        data = Diabetes(missing, kind.with_logs)
        data.setup()
        torch.manual_seed(seed)
        machine = self.machine(data, kind)
        stop = self.fit(machine, data, kind)
        return {**stop, **self._scores(machine, data, seed)}

    def machine(self, data: MixedTable, kind: Kind) -> HelmholtzMachine:
        r"""Returns an untrained machine for a table."""
        units = MixedUnits(
            [column.units() for column in data.columns],
            self.num_context if kind.in_order else None,
        )
        inputs, spins, hidden = 2 * units.num_units, self.num_spins, self.num_hidden
        network = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, spins))
        generator = BeliefNetwork([spins, units.num_units], output=units)
        for name, parameter in generator.layers.named_parameters():
            # Columns are standardized, so that spins that say little are the place to begin.
            std = 0.1 if "weight" in name and kind.with_spins else 0.0
            nn.init.normal_(parameter, std=std)
            parameter.requires_grad_(kind.with_spins or "weight" not in name)
        return HelmholtzMachine(
            Flagged(BeliefNetwork([inputs, spins], layers=[network])),
            generator,
            QuantumPriorLayer(spins, sampler=ExactSampler(), num_samples=256),
        )

    def fit(self, machine: HelmholtzMachine, data: MixedTable, kind: Kind) -> dict[str, float]:
        r"""Trains a machine, and leaves it as it was at its best validation likelihood."""
        objective = self._objective(data, kind)
        optimizer = self._optimizer(machine)
        best, best_epoch, state = -float("inf"), 0, machine.state_dict()
        for epoch in range(1, self.num_epochs + 1):
            for batch in data.train_dataloader():
                _update(machine, objective, optimizer, batch)
            if epoch % 5 == 0:
                score = _score(machine, data, data.val, 100)
                if score > best:
                    best, best_epoch, state = score, epoch, copy.deepcopy(machine.state_dict())
            if epoch - best_epoch >= self.patience:
                break
        machine.load_state_dict(state)
        return {"validation": best, "epoch": best_epoch}

    def summarize(self, results: list[dict[str, Any]]) -> Report:
        table: dict[str, Any] = {}
        for rate in self.missing:
            rows = [r for r in results if r["missing"] == rate and r["arm"] != TIMING]
            arms = dict.fromkeys(r["arm"] for r in rows)
            table[f"{rate:.0%}"] = {
                arm: _spreads([r for r in rows if r["arm"] == arm]) for arm in arms
            }
        chosen = {
            rate: _best(arms, [arm for arm in self.machines if arm != ABLATION])
            for rate, arms in table.items()
        }
        timing = next(r for r in results if r["arm"] == TIMING)
        return {"arms": table, "chosen": chosen, "timing": timing}

    def headline(self, report: Report) -> str:
        told = []
        for rate, arms in report["arms"].items():
            ours = arms[report["chosen"][rate]]["test"]["mean"]
            rival = arms["Gaussian"]["test"]["mean"]
            told.append(f"{ours:.2f} at {rate} missing (Gaussian {rival:.2f})")
        return f"{', '.join(told)} nats per datum"

    def _plot(self, report: Report) -> Figure:
        figure = Figure(figsize=(10, 3.5), layout="constrained")
        names = {"test": "test log-likelihood\nabove the Gaussian (nats)"}
        names["error"] = "error of missing\nnumbers (sd)"
        names["accuracy"] = "accuracy of missing\nclasses"
        every = [*RIVALS, *self.machines]
        panels = figure.subplots(1, 3, sharey=True)
        for axes, (name, label) in zip(panels, names.items(), strict=True):
            for j, (rate, arms) in enumerate(report["arms"].items()):
                shown = [arm for arm in every if name in arms[arm]]
                zero = arms["Gaussian"][name]["mean"] if name == "test" else 0.0
                low, mean, high = ([arms[a][name][k] - zero for a in shown] for k in _SPREAD)
                places = [every.index(arm) + 0.2 * j for arm in shown]
                axes.hlines(places, low, high, color=f"C{j}")
                axes.plot(mean, places, "o", color=f"C{j}", label=f"{rate} missing")
            axes.set_xlabel(label)
        panels[0].set_yticks(range(len(every)), every)
        panels[0].invert_yaxis()
        panels[0].legend(frameon=False, loc="lower left")
        return figure

    def _scores(self, machine: HelmholtzMachine, data: Diabetes, seed: int) -> dict[str, Any]:
        r"""Returns likelihoods of test rows, and how well a machine fills in what is missing."""
        rows, num_particles = data.test, self.num_test_particles
        generator = torch.Generator().manual_seed(seed)
        jacobian = data.log_jacobian(rows)
        filled = impute(
            machine,
            rows,
            num_particles,
            # Original values for numbers and units for classes: a mean of a class says little.
            statistic=lambda units: torch.cat([data.decode(units), units.double()], -1),
            generator=generator,
        )
        log_p = filled.log_prob + jacobian
        means, units = filled.mean.split([len(data.columns), data.num_visible], dim=-1)
        values = torch.stack(
            [
                means[:, k] if column.is_real else data.decode(units)[:, k]
                for k, column in enumerate(data.columns)
            ],
            -1,
        )
        rival = Diabetes(data.missing, with_logs=False)
        rival.setup()
        gain = log_p - rival_log_prob(rival, "Gaussian")
        return {
            "test": float(log_p.mean()),
            "gain": float(gain.mean()),
            "gain_stderr": float(gain.std() / len(gain) ** 0.5),
            **fill_errors(data, values),
        }

    def _timed(self, missing: float) -> dict[str, Any]:
        r"""Returns the time of an update on a synthetic table of the size of the Adult data."""
        data = synthetic(missing)
        torch.manual_seed(0)
        machine = self.machine(data, Kind())
        objective = self._objective(data, Kind())
        optimizer = self._optimizer(machine)
        before = _score(machine, data, data.val, 100)
        begin = time.perf_counter()
        for _, batch in zip(range(self.num_updates), data.train_dataloader(), strict=False):
            _update(machine, objective, optimizer, batch)
        seconds = time.perf_counter() - begin
        after = _score(machine, data, data.val, 100)
        milliseconds = 1000 * seconds / self.num_updates
        return {"before": before, "after": after, "milliseconds": round(milliseconds, 2)}

    def _objective(self, data: MixedTable, kind: Kind) -> ReweightedWakeSleep:
        # Columns that see none before them can be left out; others have to be filled in.
        fill = kind.in_order and bool(data.train.isnan().any())
        num_particles = kind.num_particles or self.num_particles
        return ReweightedWakeSleep(num_particles, fill_missing=fill)

    def _optimizer(self, machine: HelmholtzMachine) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            machine.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )


_SPREAD = ("min", "mean", "max")


def synthetic(missing: float, num_rows: int = 30_000) -> MixedTable:
    r"""Returns a table of six numbers and eight classes that a hidden class and a factor rule."""
    generator = torch.Generator().manual_seed(0)
    kind = torch.randint(4, (num_rows,), generator=generator)
    factor = torch.randn(num_rows, 1, generator=generator)
    noise = torch.randn(num_rows, 6, generator=generator)
    real = kind.unsqueeze(-1) * torch.linspace(-1, 1, 6) + factor + noise
    rows, columns = [real.double()], [Column(f"number {k}", "continuous") for k in range(6)]
    for k, size in enumerate((2, 2, 7, 16, 7, 14, 6, 5)):
        drawn = torch.randint(size, (num_rows,), generator=generator)
        kept = torch.rand(num_rows, generator=generator) < 0.5
        rows.append(torch.where(kept, kind % size, drawn).double().unsqueeze(-1))
        columns.append(
            Column(f"class {k}", "binary")
            if size == 2
            else Column(f"class {k}", "categorical", size)
        )
    rows_of_all = hide_at_random(torch.cat(rows, -1), missing)
    data = MixedTable(rows_of_all, columns, batch_size=64, num_val=200, num_test=1000)
    data.setup()
    return data


def _update(
    machine: HelmholtzMachine,
    objective: ReweightedWakeSleep,
    optimizer: torch.optim.Optimizer,
    batch: Tensor,
) -> None:
    loss = objective(machine, batch, machine.prior.draw())["loss"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def _score(machine: HelmholtzMachine, data: MixedTable, rows: Tensor, num_particles: int) -> float:
    r"""Returns the log-likelihood of rows in original units, with log Z as it is now."""
    cast(QuantumPriorLayer, machine.prior).estimate_log_z()
    found = impute(machine, rows, num_particles, batch_size=len(rows) // 10)
    return float((found.log_prob + data.log_jacobian(rows)).mean())


def _spreads(results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    r"""Returns mean, minimum and maximum over seeds of all that was measured."""
    names = [name for name in results[0] if name not in ("arm", "missing", "seed")]
    spreads = {}
    for name in names:
        values = [r[name] for r in results]
        spreads[name] = {"min": min(values), "mean": sum(values) / len(values), "max": max(values)}
    return spreads


def _best(arms: dict[str, Any], names: list[str]) -> str:
    r"""Returns the arm with the best validation likelihood."""
    return max(names, key=lambda name: float(arms[name]["validation"]["mean"]))
