r"""Mixed data with missing entries: a table of continuous, binary and categorical columns."""

from __future__ import annotations

__all__ = ["MixedTables"]

import copy
import time
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.distributions import Normal

from qahm_torch.data import Column, MixedTable
from qahm_torch.evaluation import ConditionalGaussian, impute
from qahm_torch.nn import (
    BeliefNetwork,
    Flagged,
    HelmholtzMachine,
    MixedUnits,
    NormalUnits,
    OneHot,
    Spins,
    Units,
)
from qahm_torch.objectives import ReweightedWakeSleep
from qahm_torch.priors import QuantumPriorLayer
from qahm_torch.samplers import ExactSampler
from qahm_torch.systems.system import Case, Report, System

BASELINES = ("independent columns", "Gaussian", "Gaussian of logarithms")
# Whether positive columns are taken by their logarithm, and whether columns see those before them.
MACHINES = {
    "machine, columns apart": (True, False),
    "machine, columns in order, no logarithms": (False, True),
    "machine, columns in order": (True, True),
}
TIMING = "30000 x 14 table"
# s1 to s6 are serum measurements, of which s5 is a logarithm already. The order is the one in
# which columns see each other: fats, HDL, cholesterol, then LDL and a ratio, made of those.
_NAMES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6", "quartile")
_ORDER = ("sex", "age", "bmi", "bp", "s5", "s3", "s1", "s2", "s4", "s6", "quartile")
_NUM_VAL, _NUM_TEST = 60, 120


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

    Arguments:
        missing: The rates of missing entries.
        machines: The kinds of machines that are compared, of those in `MACHINES`.
        seeds: The seeds of the training; the split and what is missing are the same for all.
        num_spins: The number of spins u.
        num_hidden: The number of hidden units of recognition.
        num_context: The number of hidden units per column by which it sees those before it.
        learning_rate: The step size of Adam.
        weight_decay: The decay of all weights, decoupled.
        num_epochs: The greatest number of epochs.
        patience: The number of epochs without a better validation likelihood after which it stops.
        num_particles: The number of hidden states per datum in training.
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
    machines: tuple[str, ...] = tuple(MACHINES)
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
            num_epochs=50,
            num_particles=5,
            num_test_particles=100,
            num_updates=5,
        )

    def cases(self) -> list[Case]:
        cases: list[Case] = []
        for rate in self.missing:
            cases += [{"arm": arm, "missing": rate, "seed": 0} for arm in BASELINES]
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
        if arm in BASELINES:
            return _baseline(arm, missing)
        with_logs, in_order = MACHINES[arm]
        data = diabetes(missing, with_logs)
        torch.manual_seed(seed)
        machine = self.machine(data, in_order)
        stop = self.fit(machine, data)
        return {**stop, **self._scores(machine, data, seed)}

    def machine(self, data: MixedTable, in_order: bool) -> HelmholtzMachine:
        r"""Returns an untrained machine for a table."""
        units = MixedUnits(
            [_units_of(column) for column in data.columns],
            self.num_context if in_order else None,
        )
        inputs, spins, hidden = 2 * units.num_units, self.num_spins, self.num_hidden
        network = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, spins))
        generator = BeliefNetwork([spins, units.num_units], output=units)
        for name, parameter in generator.layers.named_parameters():
            # Columns are standardized, so that spins that say little are the place to begin.
            nn.init.normal_(parameter, std=0.1 if "weight" in name else 0.0)
        return HelmholtzMachine(
            Flagged(BeliefNetwork([inputs, spins], layers=[network])),
            generator,
            QuantumPriorLayer(spins, sampler=ExactSampler(), num_samples=256),
        )

    def fit(self, machine: HelmholtzMachine, data: MixedTable) -> dict[str, float]:
        r"""Trains a machine, and leaves it as it was at its best validation likelihood."""
        objective = self._objective(machine, data)
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
        chosen = {rate: _best(arms, self.machines) for rate, arms in table.items()}
        timing = next(r for r in results if r["arm"] == TIMING)
        return {"arms": table, "chosen": chosen, "timing": timing}

    def headline(self, report: Report) -> str:
        told = []
        for rate, arms in report["arms"].items():
            ours = arms[report["chosen"][rate]]["test"]["mean"]
            rival = arms["Gaussian"]["test"]["mean"]
            told.append(f"{ours:.2f} at {rate} missing (Gaussian {rival:.2f})")
        return f"{', '.join(told)} nats per datum"

    def plot(self, report: Report) -> Figure:
        figure = Figure(figsize=(9, 3), layout="constrained")
        names = {"test": "test log-likelihood (nats per datum)"}
        names["error"] = "error of missing numbers (sd)"
        names["accuracy"] = "accuracy of missing classes"
        every = [*BASELINES, *self.machines]
        panels = figure.subplots(1, 3, sharey=True)
        for axes, (name, label) in zip(panels, names.items(), strict=True):
            for j, (rate, arms) in enumerate(report["arms"].items()):
                shown = [arm for arm in every if name in arms[arm]]
                low, mean, high = ([arms[a][name][k] for a in shown] for k in _SPREAD)
                places = [every.index(arm) + 0.2 * j for arm in shown]
                axes.hlines(places, low, high, color=f"C{j}")
                axes.plot(mean, places, "o", color=f"C{j}", label=f"{rate} missing")
            axes.set_xlabel(label)
        panels[0].set_yticks(range(len(every)), every)
        panels[0].invert_yaxis()
        panels[0].legend(frameon=False)
        return figure

    def _scores(self, machine: HelmholtzMachine, data: MixedTable, seed: int) -> dict[str, Any]:
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
        gain = log_p - _rival(data, "Gaussian")
        return {
            "test": float(log_p.mean()),
            "gain": float(gain.mean()),
            "gain_stderr": float(gain.std() / len(gain) ** 0.5),
            **_errors(data, values),
        }

    def _timed(self, missing: float) -> dict[str, Any]:
        r"""Returns the time of an update on a synthetic table of the size of the Adult data."""
        data = synthetic(missing)
        torch.manual_seed(0)
        machine = self.machine(data, in_order=True)
        objective = ReweightedWakeSleep(self.num_particles)
        optimizer = self._optimizer(machine)
        before = _score(machine, data, data.val, 100)
        begin = time.perf_counter()
        for _, batch in zip(range(self.num_updates), data.train_dataloader(), strict=False):
            _update(machine, objective, optimizer, batch)
        seconds = time.perf_counter() - begin
        after = _score(machine, data, data.val, 100)
        milliseconds = 1000 * seconds / self.num_updates
        return {"before": before, "after": after, "milliseconds": round(milliseconds, 2)}

    def _objective(self, machine: HelmholtzMachine, data: MixedTable) -> ReweightedWakeSleep:
        # Columns that see none before them can be left out; others have to be filled in.
        fill = machine.generator.output.is_sequential and bool(data.train.isnan().any())
        return ReweightedWakeSleep(self.num_particles, fill_missing=fill)

    def _optimizer(self, machine: HelmholtzMachine) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            machine.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )


_SPREAD = ("min", "mean", "max")


def diabetes(missing: float, with_logs: bool) -> MixedTable:
    r"""Returns scikit-learn's diabetes in original units, with entries missing at random.

    Arguments:
        missing: The probability of an entry to be missing, in all rows.
        with_logs: Whether positive columns are taken by their logarithm.
    """
    from sklearn.datasets import load_diabetes  # only now, because it takes time

    held = load_diabetes(scaled=False)
    rows, target = torch.tensor(held.data), torch.tensor(held.target)
    rows[:, 1] -= 1
    edges = torch.quantile(target, torch.tensor([0.25, 0.5, 0.75], dtype=target.dtype))
    rows = torch.cat([rows, torch.bucketize(target, edges).unsqueeze(-1).double()], -1)
    rows = rows[:, [_NAMES.index(name) for name in _ORDER]]
    kinds = {"sex": Column("sex", "binary"), "quartile": Column("quartile", "categorical", 4)}
    positive = [with_logs and name != "s5" for name in _ORDER]
    columns = [
        kinds.get(name) or Column(name, "positive" if is_positive else "continuous")
        for name, is_positive in zip(_ORDER, positive, strict=True)
    ]
    return _table(_hidden(rows, missing), columns, _NUM_VAL, _NUM_TEST)


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
    return _table(_hidden(torch.cat(rows, -1), missing), columns, 1000, 1000)


def _table(rows: Tensor, columns: list[Column], num_val: int, num_test: int) -> MixedTable:
    data = MixedTable(rows, columns, batch_size=64, num_val=num_val, num_test=num_test)
    data.setup()
    return data


def _hidden(rows: Tensor, missing: float) -> Tensor:
    r"""Returns rows in which entries are missing at random."""
    chance = torch.rand(rows.shape, generator=torch.Generator().manual_seed(1))
    return torch.where(chance < missing, torch.nan, rows)


def _units_of(column: Column) -> Units:
    if column.is_real:
        # A twentieth of a standard deviation: finer than that, rounded values are a comb.
        return NormalUnits(1, min_scale=0.05)
    return Spins(1) if column.kind == "binary" else OneHot(column.num_categories)


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


def _baseline(arm: str, missing: float) -> dict[str, Any]:
    r"""Returns what a rival gives: test likelihood, and errors of what it fills in."""
    data = diabetes(missing, with_logs=arm == "Gaussian of logarithms")
    # Classes are filled in as numbers, by which a Gaussian regresses them on all others; their
    # codes add up to a constant, hence the ridge.
    fitted = torch.cat([data.train, data.val])
    if arm == "independent columns":
        means = fitted.nanmean(0).double()
        filled = torch.where(data.test.isnan(), means, data.test.double())
    else:
        filled = ConditionalGaussian(fitted, ridge=1e-3).impute(data.test)
    return {"test": float(_rival(data, arm).mean()), **_errors(data, data.decode(filled))}


def _rival(data: MixedTable, arm: str) -> Tensor:
    r"""Returns a rival's log-likelihood of the known entries of each test row, of shape (R,)."""
    total = data.log_jacobian(data.test)
    fitted, numbers = torch.cat([data.train, data.val]), []
    for k, column in enumerate(data.columns):
        own, known = data.split(fitted)[k], data.split(data.test)[k]
        if column.is_real:
            numbers.append((own, known))
        else:
            total = total + _frequency(own, known)
    rows, tests = (torch.cat(parts, -1).double() for parts in zip(*numbers, strict=True))
    if arm == "independent columns":
        mean = rows.nanmean(0)
        law = Normal(mean, (rows - mean).square().nanmean(0).sqrt(), validate_args=False)
        return total + law.log_prob(tests).nan_to_num(nan=0.0).sum(-1)
    return total + ConditionalGaussian(rows).log_prob(tests)


def _frequency(own: Tensor, known: Tensor) -> Tensor:
    r"""Returns the log of how frequent the classes of some units are among those of others."""
    up = (own[~own[:, 0].isnan()] > 0).double().mean(0)
    # A single spin has two classes; among the units of one-hot codes one is up.
    frequency = torch.where(known > 0, up, 1 - up if known.shape[-1] == 1 else 1.0)
    logs: Tensor = frequency.log().masked_fill(known.isnan(), 0.0)
    return logs.sum(-1)


def _errors(data: MixedTable, values: Tensor) -> dict[str, Any]:
    r"""Returns errors of test entries that were missing and filled in, nothing if none was."""
    complete = diabetes(0.0, with_logs=False)
    truth, missing = complete.original.test, data.original.test.isnan()
    if not missing.any():
        return {}
    is_real = torch.tensor([column.is_real for column in data.columns])
    scale = torch.cat([complete.original.train, complete.original.val]).std(0)
    gap = ((values - truth) / scale)[missing & is_real]
    right = (values == truth)[missing & ~is_real]
    return {"error": float(gap.square().mean().sqrt()), "accuracy": float(right.double().mean())}


def _spreads(results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    r"""Returns mean, minimum and maximum over seeds of all that was measured."""
    names = [name for name in results[0] if name not in ("arm", "missing", "seed")]
    spreads = {}
    for name in names:
        values = [r[name] for r in results]
        spreads[name] = {"min": min(values), "mean": sum(values) / len(values), "max": max(values)}
    return spreads


def _best(arms: dict[str, Any], names: tuple[str, ...]) -> str:
    r"""Returns the arm with the best validation likelihood."""
    return max(names, key=lambda name: float(arms[name]["validation"]["mean"]))
