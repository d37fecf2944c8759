r"""What a machine has learned put to use elsewhere: for few labels, and for other digits."""

from __future__ import annotations

__all__ = ["Transfer"]

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from matplotlib.figure import Figure

from qahm_torch.data import MNIST8, OptDigits, TensorDataModule
from qahm_torch.systems.digit_machine import DigitMachine
from qahm_torch.systems.few_labels import BOLTZMANN, FACTORIAL, NET, FewLabels
from qahm_torch.systems.fine_tuning import SCRATCH, STARTS, FineTuning
from qahm_torch.systems.system import Case, Report, System

LABELS, TUNING = "few labels", "fine-tuning"
ROTATED = "rotated"


@dataclass(frozen=True)
class Transfer(System):
    r"""Few labels, and fine-tuning, of Helmholtz machines on digits of 8 x 8 pixels.

    *Few labels.* A machine of pixels and class learns from all images, of which few have a class.
    Where there is none, the class does not count in the likelihood and is hidden from recognition.
    It is compared with a net of the widths of the recognition that has the images with a class
    alone, and whose dropout, weight decay and time to stop are chosen; and with a logistic
    regression on the means of the machine's first hidden layer. What is chosen, is chosen by
    validation images with labels, which are as many for all.

    *Fine-tuning.* A machine of one kind of digits is the start of one for others: all of it, or
    its networks with a prior that starts anew, against a start from scratch.

    What is found: a net of the labels alone is ahead of the machine's own classification, by
    little at 100 labels and by much at 1000. A regression on the features of the machine is level
    with the net at 100 labels, and behind it at 1000. A Boltzmann prior has the better likelihood
    and no better features than a factorial one. (The weight and the share of labels were chosen at
    100 labels.) As a start for other digits a machine is worth several times the updates that are
    made on them, and little of that is in the prior.

    Arguments:
        images: The data: MNIST, brought to the size of the small digits, or those themselves.
        machine: The machine and its updates.
        labels: How machines and nets learn from few labels.
        tuning: How a machine is trained, and fine-tuned.
        arms: The arms of few labels.
        starts: The starts of fine-tuning.
        num_seeds: The number of seeds, which are of weights, of the choice of labels and of draws.

    References:
        | Semi-supervised learning with deep generative models (Kingma et al., 2014)
        | https://arxiv.org/abs/1406.5298
        | How transferable are features in deep neural networks? (Yosinski et al., 2014)
        | https://arxiv.org/abs/1411.1792
    """

    title = "Few labels, and fine-tuning"

    images: Literal["mnist", "optdigits"] = "mnist"
    machine: DigitMachine = field(default_factory=DigitMachine)
    labels: FewLabels = field(default_factory=FewLabels)
    tuning: FineTuning = field(default_factory=FineTuning)
    arms: tuple[str, ...] = (BOLTZMANN, FACTORIAL, NET)
    starts: tuple[str, ...] = STARTS
    num_seeds: int = 3

    @classmethod
    def small(cls) -> Transfer:
        return cls(
            images="optdigits",
            machine=DigitMachine(num_hidden=30, num_deepest=10),
            labels=FewLabels(numbers=(50,), num_updates=250, num_net_updates=200, num_looks=2),
            tuning=FineTuning(
                targets=(ROTATED,), num_source_updates=300, num_updates=80, num_looks=4
            ),
            num_seeds=1,
        )

    def cases(self) -> list[Case]:
        labels = [
            {"part": LABELS, "number": number, "arm": arm, "seed": seed}
            for number in self.labels.numbers
            for arm in self.arms
            for seed in range(self.num_seeds)
        ]
        return labels + [{"part": TUNING, "seed": seed} for seed in range(self.num_seeds)]

    def run_case(self, **case: Any) -> dict[str, Any]:
        seed = case["seed"]
        torch.manual_seed(seed)
        if case["part"] == LABELS:
            data = self._data(self.images, seed=seed, num_labels=case["number"])
            return self.labels.run(case["arm"], data, self.machine)
        source = self.tuning.source(self._data(self.images), self.machine)
        runs = []
        for target in self.tuning.targets:
            data = self._data(target)
            for start in self.starts:
                torch.manual_seed(seed)
                found = self.tuning.run(source, start, data, self.machine)
                runs.append({"target": target, "start": start, **found})
        return {"runs": runs}

    def summarize(self, results: list[dict[str, Any]]) -> Report:
        labels = [
            self._label_row(number, arm, [r for r in results if _is_of(r, number, arm)])
            for number in self.labels.numbers
            for arm in self.arms
        ]
        runs = [run for r in results if r["part"] == TUNING for run in r["runs"]]
        tuning = [
            self._tuning_row(target, start, runs)
            for target in self.tuning.targets
            for start in self.starts
        ]
        return {"labels": labels, "tuning": tuning}

    def headline(self, report: Report) -> str:
        labels = "; with ".join(self._told_labels(report, n) for n in self.labels.numbers)
        tuning = "; ".join(self._told_tuning(report, target) for target in self.tuning.targets)
        return (
            f"% of test digits right with {labels}; test nats after up to"
            f" {self.tuning.num_updates} updates, {tuning} ({self.num_seeds} seeds)"
        )

    def _plot(self, report: Report) -> Figure:
        targets = self.tuning.targets
        figure = Figure(figsize=(4.2 * (1 + len(targets)), 3.6), layout="constrained")
        first, *others = figure.subplots(1, 1 + len(targets), squeeze=False)[0]
        self._plot_labels(first, report)
        for axis, target in zip(others, targets, strict=True):
            rows = [row for row in report["tuning"] if row["target"] == target]
            for color, row in enumerate(rows):
                axis.plot(
                    row["updates"], row["curve"], color=f"C{color}", lw=1.2, label=row["start"]
                )
                ends = row["lowest"], row["highest"]
                axis.fill_between(row["updates"], *ends, color=f"C{color}", alpha=0.2, lw=0)
            top, low = max(max(r["curve"]) for r in rows), min(r["curve"][1] for r in rows)
            axis.set_ylim(low - 0.2 * (top - low), top + 0.1 * (top - low))
            axis.set(title=f"{self.images} to {target}", xlabel="updates on the target")
            axis.set(ylabel="validation log-likelihood (nats)")
            axis.legend(fontsize=8, loc="lower right")
        return figure

    def _plot_labels(self, axis: Any, report: Report) -> None:
        bars = [(row["arm"], "accuracy") for row in report["labels"]]
        names = list(dict.fromkeys(arm for arm, _ in bars))
        shown = [(arm, arm, "accuracy") for arm in names]
        if BOLTZMANN in names:
            shown.append((f"features of the {BOLTZMANN}", BOLTZMANN, "by_features"))
        width = 0.8 / len(shown)
        for k, (name, arm, of) in enumerate(shown):
            rows = [row[of] for row in report["labels"] if row["arm"] == arm]
            x = [i + (k - (len(shown) - 1) / 2) * width for i in range(len(rows))]
            mean = [100 * row["mean"] for row in rows]
            reach = [
                [100 * abs(row[end] - row["mean"]) for row in rows]
                for end in ("lowest", "highest")
            ]
            axis.bar(x, mean, 0.9 * width, yerr=reach, label=name, error_kw={"lw": 0.8})
        numbers = self.labels.numbers
        axis.set_xticks(range(len(numbers)), [f"{number} labels" for number in numbers])
        least = min(row["accuracy"]["lowest"] for row in report["labels"])
        axis.set(ylabel="% of test digits right", ylim=(100 * least - 10, 100))
        axis.legend(fontsize=7, loc="upper left")

    def _told_labels(self, report: Report, number: int) -> str:
        rows = [row for row in report["labels"] if row["number"] == number]
        arms = [f"{row['arm']} {_percent(row['accuracy'])}" for row in rows]
        arms += [
            f"regression on features of the Boltzmann one {_percent(row['by_features'])}"
            for row in rows
            if row["arm"] == BOLTZMANN
        ]
        return f"{number} labels: {', '.join(arms)}"

    def _told_tuning(self, report: Report, target: str) -> str:
        rows = [row for row in report["tuning"] if row["target"] == target]
        starts = [f"{row['start']} {row['test_nats']['mean']:.2f}{_speed(row)}" for row in rows]
        return f"{self.images} to {target}: {', '.join(starts)}"

    def _label_row(self, number: int, arm: str, found: list[dict[str, Any]]) -> Report:
        names = [name for name in ("accuracy", "by_features", "nats") if name in found[0]]
        return {"number": number, "arm": arm, **{n: _spread([r[n] for r in found]) for n in names}}

    def _tuning_row(self, target: str, start: str, runs: list[dict[str, Any]]) -> Report:
        r"""Returns what one start gave, and how soon it was where a start from scratch ends."""
        curves = _curves(runs, target, start)
        row: Report = {
            "target": target,
            "start": start,
            "test_nats": _spread(
                [r["test_nats"] for r in runs if (r["target"], r["start"]) == (target, start)]
            ),
            "updates": self.tuning.updates(),
            "curve": curves.mean(0).tolist(),
            "lowest": curves.min(0).values.tolist(),
            "highest": curves.max(0).values.tolist(),
        }
        if SCRATCH in self.starts:
            goal = _curves(runs, target, SCRATCH).mean(0).max()
            reached = (curves.mean(0) >= goal).nonzero()[:, 0]
            row["updates_to_scratch"] = row["updates"][int(reached[0])] if len(reached) else None
        return row

    def _data(self, name: str, seed: int = 0, num_labels: int | None = None) -> TensorDataModule:
        few: Any = {"num_labels": num_labels}
        degrees = 180.0 if name == ROTATED else 0.0
        of = self.images if name == ROTATED else name
        if of == "optdigits":
            # The seed of these digits is that of their split, too, which is to be the same.
            return OptDigits(max_degrees=degrees, **few)
        return MNIST8(max_degrees=degrees, seed=seed, **few)


def _is_of(result: dict[str, Any], number: int, arm: str) -> bool:
    return (result["part"], result.get("number"), result.get("arm")) == (LABELS, number, arm)


def _curves(runs: list[dict[str, Any]], target: str, start: str) -> torch.Tensor:
    found = [r["nats"] for r in runs if (r["target"], r["start"]) == (target, start)]
    return torch.tensor(found, dtype=torch.float64)


def _spread(values: list[float]) -> dict[str, float]:
    r"""Returns the mean of values, and their range."""
    return {"mean": sum(values) / len(values), "lowest": min(values), "highest": max(values)}


def _percent(spread: dict[str, float]) -> str:
    return f"{100 * spread['mean']:.1f}"


def _speed(row: Report) -> str:
    reached = row.get("updates_to_scratch")
    if row["start"] == SCRATCH or reached is None:
        return ""
    return f" (scratch's best after {reached})"
