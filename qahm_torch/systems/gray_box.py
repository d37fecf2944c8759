r"""Digits restored on a device that has been trained as a whole, qubit by qubit."""

from __future__ import annotations

__all__ = ["GrayBox"]

import copy
import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qahm_torch.annealer import AnnealerSampler, EmbeddedPrior, ProgramSettings
from qahm_torch.data import OptDigits42, hide_block, hide_pixels
from qahm_torch.device import AnnealerWarning
from qahm_torch.evaluation import nearest_neighbors
from qahm_torch.priors import BoltzmannPrior, QuantumPriorLayer, restore
from qahm_torch.samplers import GibbsSampler
from qahm_torch.simulator import SimulatedAnnealer
from qahm_torch.systems.digit_rivals import RIVALS, restored_by_rival
from qahm_torch.systems.digit_scores import (
    KINDS,
    NUM_CLASSES,
    NUM_PIXELS,
    SHAPE,
    restoration_scores,
)
from qahm_torch.systems.system import Case, Report, System

LOGICAL, PROGRAMMED, WHOLE = "logical machine", "logical machine, programmed", "whole device"
NUM_SHOWN = 8
# Sweeps by which the logical machine is read without a device.
READING_SWEEPS = 100


@dataclass(frozen=True)
class GrayBox(System):
    r"""A fully visible Boltzmann machine on a device of which all qubits and couplers learn.

    42 pixels of a digit and 4 class units are all coupled with each other, which takes strands of
    qubits on a Chimera chip with missing qubits. `EmbeddedPrior` is trained on the device as a
    whole: every field and every coupling, those inside strands included, by the reads of the
    device, so that no strength of strands and no temperature is set. Then pixels are hidden, at
    random places or in a block, and restored on the device, together with the class: qubits of
    known pixels are absorbed into the fields of the others, one programming per picture.

    Rivals are the means of pixels, naive Bayes, the nearest neighbors, and the logical machine
    (`QuantumPriorLayer` on the complete graph, trained and read by Gibbs sampling), also when it
    is programmed on the device at its true temperature with strands of a set strength.
    The two trained machines have the same learning rate, data and number of updates, and both are
    taken at the update that restored validation pictures best. Validation chose the learning rate
    too, that of the device with one seed.

    Errors of the device are drawn anew in each call ("noise") or are the chip's own ("errors").

    What is found: on a device without errors the machine restores at least as well as the logical
    one. At the reference noise it is worse, by less than 2 % of the hidden pixels on average (by
    more for a block in two of three seeds), and ahead of means and of naive Bayes; four
    programmings of a picture, which share its reads, win a part back. At 0.05 it is about level
    with naive Bayes, and at 0.1 worse. Training the device as a whole pays where errors are large:
    at 0.1 the programmed logical machine, with its temperature known, is no better than means. At
    the reference noise the two are level, and errors that last are learned away no better than
    noise. Five nearest neighbors are at least as good as any machine here, but for one without
    errors, which is level with them. Of the drawn digits, seven in ten at the reference noise are
    of one class and nearest to a training digit of it, fewer with more noise.

    Arguments:
        size: The number of rows and of columns of the cells of the chip.
        missing_qubits: The number of qubits that do not work.
        beta: The inverse temperature of the device.
        num_sweeps: The number of sweeps that stand for an anneal.
        noises: The standard deviations of control errors that are drawn anew in each call, in the
            units of the chip.
        errors: Those of control errors that last.
        reference: The one of `noises` that the headline and pictures are of.
        lr: The learning rate, of Adam.
        other_lrs: Learning rates that validation has compared with it.
        num_updates: The number of updates, each with all training pictures.
        every: The number of updates from one validation to the next.
        num_reads: The number of reads, or chains, of an update.
        num_restoring: The number of reads, or samples, for a picture.
        fraction: The fraction of pixels that are hidden at random.
        block: The numbers of rows and columns of a block that is hidden.
        num_averaged: The number of programmings, under gauges of their own, over which the same
            number of reads is spread where control errors are averaged.
        num_val: The number of validation pictures.
        num_test: The number of test pictures.
        num_seeds: The number of seeds, each with a split, a machine and a chip of its own.

    References:
        | Quantum-assisted learning of hardware-embedded probabilistic graphical models
          (Benedetti et al., 2017)
        | https://arxiv.org/abs/1609.02542
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
        |   computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757
    """

    title = "Digits restored on a device trained as a whole (gray box)"

    size: int = 16
    missing_qubits: int = 40
    beta: float = 3.0
    num_sweeps: int = 100
    noises: tuple[float, ...] = (0.0, 0.02, 0.05, 0.1)
    errors: tuple[float, ...] = (0.05,)
    reference: float = 0.02
    lr: float = 0.01
    other_lrs: tuple[float, ...] = (0.003, 0.03)
    num_updates: int = 200
    every: int = 50
    num_reads: int = 300
    num_restoring: int = 100
    fraction: float = 0.3
    block: tuple[int, int] = (3, 4)
    num_averaged: int = 4
    num_val: int = 40
    num_test: int = 150
    num_seeds: int = 3

    @classmethod
    def small(cls) -> GrayBox:
        return cls(
            noises=(0.02,),
            errors=(),
            lr=0.03,
            other_lrs=(),
            num_updates=40,
            every=20,
            num_reads=100,
            num_restoring=30,
            num_averaged=2,
            num_val=10,
            num_test=40,
            num_seeds=1,
        )

    def cases(self) -> list[Case]:
        seeds, lrs = range(self.num_seeds), (self.lr, *self.other_lrs)
        first = _noise(self.reference)
        devices = sorted(self._devices(), key=lambda name: name != first)
        arms: list[tuple[str, str, float, int]]
        arms = [(arm, "", 0.0, seed) for arm in RIVALS for seed in seeds]
        arms += [(LOGICAL, "", lr, seed) for lr in lrs for seed in seeds]
        arms += [(WHOLE, first, lr, 0) for lr in self.other_lrs]
        for device in devices:
            arms += [(arm, device, self.lr, seed) for arm in (WHOLE, PROGRAMMED) for seed in seeds]
        return [dict(zip(("arm", "device", "lr", "seed"), case, strict=True)) for case in arms]

    def run_case(self, **case: Any) -> dict[str, Any]:
        arm, device, seed = case["arm"], case["device"], case["seed"]
        data = self.data(seed)
        if arm in RIVALS:
            hidden = {kind: self.hide(data, data.test, kind) for kind in KINDS}
            rows = {
                k: restored_by_rival(arm, data.train, h, NUM_CLASSES) for k, h in hidden.items()
            }
            return restoration_scores(data.test, hidden, rows)
        torch.manual_seed(seed)
        annealer = self.annealer(device, seed) if device else None
        with warnings.catch_warnings():
            # That reads of a noisy device are not thermal is what is measured here.
            warnings.simplefilter("ignore", AnnealerWarning)
            on_device = annealer if arm == WHOLE else None
            prior, told = self.train(data, case["lr"], on_device)
            if arm == PROGRAMMED and annealer is not None:
                prior.sampler = annealer
            told.update(self._tested(prior, data, annealer))
            if annealer is not None and device == _noise(self.reference):
                told.update(self._averaged(prior, data, annealer))
        if (device, case["lr"], seed) != (_noise(self.reference), self.lr, 0):
            told.pop("pictures", None)
        return told

    def data(self, seed: int) -> OptDigits42:
        r"""Returns the digits, split by a seed."""
        data = OptDigits42(num_val=self.num_val, num_test=self.num_test, seed=seed)
        data.setup()
        return data

    def hide(self, data: OptDigits42, rows: Tensor, kind: str) -> Tensor:
        r"""Returns rows in which pixels and all class units are NaN, at the same places always."""
        generator = torch.Generator().manual_seed(data.seed)
        if kind == "random":
            hidden = hide_pixels(rows, NUM_PIXELS, self.fraction, generator)
        else:
            hidden = hide_block(rows, SHAPE, self.block, generator)
        hidden[:, NUM_PIXELS:] = torch.nan
        return hidden

    def annealer(self, device: str, seed: int) -> AnnealerSampler:
        r"""Returns a device by its name."""
        chip = SimulatedAnnealer(
            "chimera",
            self.size,
            missing_qubits=self.missing_qubits,
            beta=self.beta,
            num_sweeps=self.num_sweeps,
            chip_seed=seed,
            seed=seed,
            **self._devices()[device],
        )
        programming = ProgramSettings(range_policy="clip")
        return AnnealerSampler(chip, beta=self.beta, programming=programming)

    def train(
        self, data: OptDigits42, lr: float, annealer: AnnealerSampler | None = None
    ) -> tuple[BoltzmannPrior, dict[str, Any]]:
        r"""Returns a trained machine, the logical one without a device, and what is told of it."""
        prior: BoltzmannPrior
        if annealer is None:
            prior = QuantumPriorLayer(data.num_visible, num_samples=self.num_reads)
        else:
            prior = EmbeddedPrior.on_device(data.num_visible, annealer, num_samples=self.num_reads)
        optimizer = torch.optim.Adam(prior.parameters(), lr=lr)
        best, told, state = 1.0, {"validation": 1.0, "update": 0}, prior.state_dict()
        for update in range(1, self.num_updates + 1):
            optimizer.zero_grad()
            (-prior(data.train).mean()).backward()
            optimizer.step()
            if update % self.every == 0:
                error = self._validated(prior, data)
                if error < best:
                    best, told = error, {"validation": error, "update": update}
                    state = copy.deepcopy(prior.state_dict())
        prior.load_state_dict(state)
        if annealer is not None:
            # Those of validation included.
            told["programmings_of_training"] = annealer.account.num_problems
        return prior, told

    def summarize(self, results: list[dict[str, Any]]) -> Report:
        rows = []
        for name in dict.fromkeys((r["arm"], r["device"], r["lr"]) for r in results):
            found = [r for r in results if (r["arm"], r["device"], r["lr"]) == name]
            row: dict[str, Any] = dict(zip(("arm", "device", "lr"), name, strict=True))
            for key, value in found[0].items():
                if key not in ("arm", "device", "lr", "seed", "pictures"):
                    values = [r[key] for r in found]
                    row[key] = sum(values) / len(values)
                    if isinstance(value, float):
                        row[f"{key}_range"] = [min(values), max(values)]
            rows.append(row)
        pictures = next(
            r["pictures"]
            for r in results
            if (r["arm"], r["device"], r["lr"]) == (WHOLE, _noise(self.reference), self.lr)
        )
        return {"rows": rows, "pictures": pictures}

    def headline(self, report: Report) -> str:
        def errors(arm: str, device: str, lr: float) -> str:
            row = _row(report, arm, device, lr)
            return "/".join(f"{100 * row[f'error_{kind}']:.1f}" for kind in KINDS)

        device = _noise(self.reference)
        rivals = ", ".join(f"{arm} {errors(arm, '', 0.0)}" for arm in RIVALS)
        row = _row(report, WHOLE, device, self.lr)
        return (
            f"% of hidden pixels restored wrongly, at random places / in a block: on the device"
            f" ({device}) {errors(WHOLE, device, self.lr)}, logical machine"
            f" {errors(LOGICAL, '', self.lr)}, {rivals}; {row['programmings_of_picture']:g}"
            f" programming per picture ({self.num_seeds} seeds)"
        )

    def _plot(self, report: Report) -> Figure:
        figure = Figure(figsize=(11, 4.6), layout="constrained")
        halves: Any = figure.subfigures(1, 2, width_ratios=(1, 1.25))
        left, right = halves
        _plot_pictures(left, report["pictures"])
        axes = right.subplots(1, 2, sharey=True)
        titles = {"random": f"{self.fraction:.0%} of pixels hidden", "block": "a block hidden"}
        for axis, kind in zip(axes, KINDS, strict=True):
            self._plot_noise(axis, report, f"error_{kind}")
            axis.set(title=titles[kind], xlabel="control errors (units of the chip)")
        axes[0].set(ylabel="hidden pixels restored wrongly", ylim=(0, None))
        axes[1].legend(fontsize=6.5, loc="lower right")
        return figure

    def _plot_noise(self, axis: Any, report: Report, name: str) -> None:
        for color, arm in enumerate((WHOLE, PROGRAMMED)):
            for style, values, call in (("o-", self.noises, _noise), ("D", self.errors, _lasting)):
                rows = [_row(report, arm, call(value), self.lr) for value in values]
                mean = [row[name] for row in rows]
                label = arm if style == "o-" else f"{arm}, lasting errors"
                axis.plot(values, mean, style, ms=4, color=f"C{color}", label=label)
                for value, row in zip(values, rows, strict=True):
                    axis.vlines(value, *row[f"{name}_range"], color=f"C{color}", lw=1, alpha=0.5)
        lines = [(LOGICAL, self.lr), *((arm, 0.0) for arm in RIVALS)]
        for style, (arm, lr) in zip(("-", ":", "--", "-."), lines, strict=True):
            axis.axhline(_row(report, arm, "", lr)[name], color="k", ls=style, lw=0.8, label=arm)

    def _devices(self) -> dict[str, dict[str, Any]]:
        r"""Returns the settings of each device, by its name."""
        anew = {_noise(x): {"h_noise": x, "J_noise": x} for x in self.noises}
        return {**anew, **{_lasting(x): {"h_error": x, "J_error": x} for x in self.errors}}

    def _validated(self, prior: BoltzmannPrior, data: OptDigits42) -> float:
        r"""Returns the error on hidden pixels of validation pictures, mean over kinds."""
        found = self._restored(prior, data, data.val)
        scores = restoration_scores(data.val, *found)
        return sum(float(scores[f"error_{kind}"]) for kind in KINDS) / len(KINDS)

    def _restored(
        self, prior: BoltzmannPrior, data: OptDigits42, rows: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        r"""Returns pictures with hidden pixels, and what the machine makes of them."""
        sampler = prior.sampler
        if isinstance(sampler, GibbsSampler):
            sampler = GibbsSampler(READING_SWEEPS)
        hidden = {kind: self.hide(data, rows, kind) for kind in KINDS}
        found = {
            kind: restore(prior, h, self.num_restoring, sampler=sampler)
            for kind, h in hidden.items()
        }
        return hidden, found

    def _tested(
        self, prior: BoltzmannPrior, data: OptDigits42, annealer: AnnealerSampler | None
    ) -> dict[str, Any]:
        r"""Returns errors on test pictures, and what drawing and restoring has cost."""
        before = 0 if annealer is None else annealer.account.num_problems
        hidden, found = self._restored(prior, data, data.test)
        told: dict[str, Any] = restoration_scores(data.test, hidden, found)
        if annealer is None:
            return told
        problems = annealer.account.num_problems - before
        told["programmings_of_picture"] = problems / (len(KINDS) * len(data.test))
        drawn = prior.draw()
        visible = prior.to_visible(drawn.spins)
        told["drawn_of_one_class"] = _agreement(visible, data)
        told["clipped"] = (drawn.info or {}).get("clipped", 0)
        if isinstance(prior, EmbeddedPrior):
            told["num_qubits"] = prior.graph.num_spins
            told["longest_strand"] = max(map(len, prior.strands))
            told["broken"] = prior.is_broken(drawn.spins).double().mean().item()
            told["pictures"] = _pictures(data, hidden, found, visible)
        return told

    def _averaged(
        self, prior: BoltzmannPrior, data: OptDigits42, annealer: AnnealerSampler
    ) -> dict[str, float]:
        r"""Returns errors on test pictures where several programmings share the reads of each."""
        annealer.programming = replace(annealer.programming, num_gauges=self.num_averaged)
        scores = restoration_scores(data.test, *self._restored(prior, data, data.test))
        return {f"averaged_{name}": value for name, value in scores.items()}


def _noise(value: float) -> str:
    return f"noise {value:g}"


def _lasting(value: float) -> str:
    return f"errors {value:g}"


def _agreement(drawn: Tensor, data: OptDigits42) -> float:
    r"""Returns how many drawn digits are of one class, which is that of the nearest digit."""
    nearest = data.train[
        nearest_neighbors(drawn[:, :NUM_PIXELS], data.train[:, :NUM_PIXELS]).index
    ]
    return (drawn[:, NUM_PIXELS:] == nearest[:, NUM_PIXELS:]).all(-1).double().mean().item()


def _pictures(
    data: OptDigits42, hidden: dict[str, Tensor], found: dict[str, Tensor], drawn: Tensor
) -> dict[str, Any]:
    r"""Returns a few pictures of each kind, with 0 for what is hidden."""
    rows = {"test digits": data.test}
    for kind in KINDS:
        rows[f"{kind}: hidden"] = hidden[kind].nan_to_num(nan=0.0)
        rows[f"{kind}: restored"] = found[kind].sign()
    rows["drawn"] = drawn
    return {name: values[:NUM_SHOWN, :NUM_PIXELS].int().tolist() for name, values in rows.items()}


def _plot_pictures(figure: Any, pictures: dict[str, Any]) -> None:
    axes = figure.subplots(len(pictures), NUM_SHOWN)
    for row, (name, values) in zip(axes, pictures.items(), strict=True):
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=7)
        for axis, pixels in zip(row, values, strict=True):
            image = torch.tensor(pixels).view(SHAPE).numpy()
            axis.imshow(-image, cmap="gray", vmin=-1, vmax=1)
            axis.set(xticks=[], yticks=[])


def _row(report: Report, arm: str, device: str, lr: float) -> dict[str, Any]:
    rows: list[dict[str, Any]] = report["rows"]
    (row,) = (r for r in rows if (r["arm"], r["device"], r["lr"]) == (arm, device, lr))
    return row
