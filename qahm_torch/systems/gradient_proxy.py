r"""Watching and mending the gradient of a device whose errors last."""

from __future__ import annotations

__all__ = ["GradientProxy"]

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qahm_torch.data import OptDigits
from qahm_torch.device import AnnealerWarning
from qahm_torch.evaluation import GradientRule, corrected_moments, gradient_direction
from qahm_torch.ising import (
    CouplingGraph,
    Ising,
    Moments,
    Samples,
    agreement,
    exact_log_partition,
    exact_moments,
    log_partition,
    moments,
)
from qahm_torch.priors import BoltzmannPrior, QuantumPriorLayer
from qahm_torch.samplers import Checked, ExactSampler, Sampler, Submission, Wrapper
from qahm_torch.systems.proxy_figure import proxy_figure
from qahm_torch.systems.small_chip import NUM_SPINS, SmallChip
from qahm_torch.systems.system import Case, Report, System

RULES = get_args(GradientRule)
GAUGES, EMBEDDED, REFERENCE = "raw, gauges", "embedded", "reference alone"
LIES, REPLACED = "lies", "lies, replaced"


@dataclass(frozen=True)
class GradientProxy(System):
    r"""A device whose errors last gives gradients that a reference judges and mends.

    A fully visible machine of 16 spins, the liveliest pixels of handwritten digits, is trained
    through a simulated annealer of 20 qubits, whose fields and couplings are off for good. At each
    update the device gives its moments, and `gradient_direction` tells what is wrong with the
    gradient. The arms are the rules of `corrected_moments`: "raw" takes the gradient as it is,
    "flip" turns it around as a whole where its product with the exact gradient is negative,
    "signs" turns each component around whose sign is wrong, and "mix" weighs the moments of the
    device and those of a few reads of a reference by inverse variance and squared bias.
    "reference alone" has these few reads only. "raw, gauges" draws a random gauge in each call,
    which turns lasting errors into passing ones and needs no reference. "embedded" is
    `EmbeddedPrior`, which learns all fields and couplings of the device, and so the errors away.

    Measured is the exact mean negative log-likelihood of the machine that is written down, over
    the last quarter of the updates; and, at the end, that of the law of the device itself, which
    is what a gray box is used for. The source suggests to detect a wrong direction of the gradient
    by a proxy and to correct it, and leaves open how.

    In further cases the device has no errors, and lies at known calls: it gives its spins with the
    other sign, or those of a model of opposite couplings. `Checked` is to find these calls and no
    other ones.

    What is found: the raw gradient leads to a machine that is as wrong as the device is, while the
    law of the device itself becomes about the best one. A gray box has nothing to mend, and
    `EmbeddedPrior` ends about where the raw gradient does, since either learns the errors away.
    For who wants the machine that is written down: "flip" stops the machine from running away, and
    stops learning where the two gradients are at right angles, far from the best. "signs" takes
    the exact signs and so comes close. "mix" leaves the device less and less weight. It is better
    than the reference alone where the device has no errors, and worse where it has some: the noise
    of reads averages out from update to update and the bias does not, which the weight of a single
    call cannot know. Gauges help where errors are small.

    Without errors the plain cosine falls below one half, and all verdicts are "noise only". With
    errors the raw gradient comes to rest at the wrong place, where it has no direction of its own:
    then the verdict is "unclear", and that the moments are wrong is told by the p-value. All lies
    are caught, without a false alarm. At the largest errors a few couplings were clipped to the
    range of the device, with the raw gradient and with `EmbeddedPrior`.

    Arguments:
        num_qubits: The number of qubits of the chip in use, from 16 to 20.
        num_updates: The number of updates.
        lr: The learning rate of gradient descent.
        momentum: Its momentum.
        num_reads: The number of reads of the device.
        num_reference: The number of reads of the reference in "mix" and "reference alone".
        beta: The inverse temperature of the device, which is known.
        strengths: The standard deviations of the lasting errors of fields and couplings, in the
            units of the device; times `beta` in those of the machine.
        level: The probability of a false alarm per call.
        num_lies: The number of calls in which the device lies, in the last two thirds of the
            updates: what the weak machine of the first ones gives is too much like a lie.
        every: The number of updates from one measurement to the next.
        num_seeds: The number of seeds, each with a chip of its own.

    References:
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
        |   computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757
        | Quantum-assisted learning of hardware-embedded probabilistic graphical models
          (Benedetti et al., 2017)
        | https://arxiv.org/abs/1609.02542
    """

    title = "A proxy for the direction of the gradient"

    num_qubits: int = 20
    num_updates: int = 120
    lr: float = 0.1
    momentum: float = 0.5
    num_reads: int = 1000
    num_reference: int = 100
    beta: float = 3.0
    strengths: tuple[float, ...] = (0.0, 0.05, 0.15, 0.4)
    level: float = 1e-4
    num_lies: int = 10
    every: int = 5
    num_seeds: int = 3

    @classmethod
    def small(cls) -> GradientProxy:
        return cls(
            num_qubits=17,
            num_updates=30,
            num_reads=300,
            strengths=(0.0, 0.4),
            num_lies=4,
            num_seeds=1,
        )

    def cases(self) -> list[Case]:
        arms = [(arm, s) for s in self.strengths for arm in (*RULES, GAUGES, EMBEDDED)]
        arms += [(arm, 0.0) for arm in (REFERENCE, LIES, REPLACED)]
        return [
            {"arm": arm, "strength": strength, "seed": seed}
            for seed in range(self.num_seeds)
            for arm, strength in arms
        ]

    def run_case(self, **case: Any) -> dict[str, Any]:
        torch.manual_seed(case["seed"])
        chip = SmallChip(self.num_qubits, self.beta, case["strength"], case["seed"])
        with warnings.catch_warnings():
            # That the reads are not those of the model is what is measured here.
            warnings.simplefilter("ignore", AnnealerWarning)
            if case["arm"] == EMBEDDED:
                return self._train_embedded(chip)
            return self._train(chip, case["arm"])

    def _train_embedded(self, chip: SmallChip) -> dict[str, Any]:
        prior, data = chip.embedded(self.num_reads), _pixels()
        optimizer, clipped = self._optimizer(prior), 0
        for _ in range(self.num_updates):
            samples = prior.draw()
            clipped += _clipped(samples)
            optimizer.zero_grad()
            (-prior.log_prob(data, samples).mean()).backward()
            optimizer.step()
        written = -prior.logical_log_prob(data).mean().item()
        device = -chip.law(prior).logical_log_prob(data).mean().item()
        return {"nats": [written], "device_nats": device, "clipped": clipped}

    def _train(self, chip: SmallChip, arm: str) -> dict[str, Any]:
        data = _pixels()
        known = moments(chip.graph, data)
        layer = QuantumPriorLayer(
            chip.graph, sampler=self._sampler(chip, arm), num_samples=self.num_reads
        )
        optimizer = self._optimizer(layer)
        nats, checks, weights, alarms, clipped = [_nats(layer, data)], [], [], [], 0
        for update in range(1, self.num_updates + 1):
            ising, samples = layer.ising().detach(), layer.draw()
            clipped += _clipped(samples)
            if (samples.info or {}).get("disagrees", False):
                alarms.append(update)
            if update % self.every == 0 and arm != REFERENCE:
                checks.append(self._check(known, ising, samples))
            negative, weight = self._negative(arm, known, ising, samples)
            weights.append(weight)
            optimizer.zero_grad()
            log_z = log_partition(layer.h, layer.J, layer.log_z, partial(_given, negative))
            (layer.energy(data).mean() + log_z).backward()
            optimizer.step()
            if update % self.every == 0:
                nats.append(_nats(layer, data))
        told = {**_told(arm, checks, weights), "alarms": alarms, "clipped": clipped}
        law = chip.law(chip.programmed(layer.ising().detach()))
        return {"nats": nats, "device_nats": -law.logical_log_prob(data).mean().item(), **told}

    def summarize(self, results: list[dict[str, Any]]) -> Report:
        keys = dict.fromkeys((r["arm"], r["strength"]) for r in results)
        rows = [
            self._row([r for r in results if (r["arm"], r["strength"]) == key]) for key in keys
        ]
        chip = SmallChip(self.num_qubits, self.beta)
        return {"best": _best(chip.graph, _pixels()), "rows": rows, "lies": self._caught(results)}

    def headline(self, report: Report) -> str:
        rows = {(r["arm"], r["strength"]): r for r in report["rows"]}

        def told(arm: str, of: str = "nats") -> str:
            return " / ".join(f"{rows[arm, s][of]:.2f}" for s in self.strengths)

        lies = report["lies"]
        strengths = " / ".join(f"{s:g}" for s in self.strengths)
        return (
            f"nats (less is better; best possible {report['best']:.2f}) at lasting errors of"
            f" {strengths}: raw {told('raw')}, flip {told('flip')}, signs {told('signs')}, mix"
            f" {told('mix')} (weight of the device {told('mix', 'weight')}), reference alone"
            f" {rows[REFERENCE, 0.0]['nats']:.2f}, gauges {told(GAUGES)}; of the device itself:"
            f" raw {told('raw', 'device_nats')}, embedded {told(EMBEDDED, 'device_nats')};"
            f" {lies['caught']} of {lies['told']} lies caught, {lies['false_alarms']} false alarms"
            f" in {lies['honest']} calls ({self.num_seeds} seeds)"
        )

    def _plot(self, report: Report) -> Figure:
        return proxy_figure(report, (*RULES, GAUGES), EMBEDDED, REFERENCE)

    def _optimizer(self, prior: BoltzmannPrior) -> torch.optim.Optimizer:
        return torch.optim.SGD(prior.parameters(), lr=self.lr, momentum=self.momentum)

    def _sampler(self, chip: SmallChip, arm: str) -> Sampler:
        if arm == REFERENCE:
            return ExactSampler()
        sampler = chip.sampler(num_gauges=1 if arm == GAUGES else 0)
        if arm not in (LIES, REPLACED):
            return sampler
        liar = _Liar(sampler, self._lies())
        return Checked(liar, ExactSampler(), level=self.level, replace=arm == REPLACED)

    def _lies(self) -> dict[int, str]:
        r"""Returns what the lies are, by the number of the update."""
        start = self.num_updates // 3
        step = (self.num_updates - start) / self.num_lies
        calls = [start + round(step * (k + 0.5)) for k in range(self.num_lies)]
        return {call: "sign" if k % 2 else "model" for k, call in enumerate(calls)}

    def _check(self, known: Moments, ising: Ising, samples: Samples) -> dict[str, Any]:
        found = gradient_direction(
            ising.graph, known, samples.spins, exact_moments(ising), level=self.level
        )
        told = found._asdict()
        # JSON has no word for a cosine that is not known.
        told["cosine"] = None if found.cosine != found.cosine else found.cosine
        return told

    def _negative(
        self, arm: str, known: Moments, ising: Ising, samples: Samples
    ) -> tuple[Moments, float]:
        r"""Returns the moments of the negative phase by an arm, and the weight of the device."""
        graph = ising.graph
        found = moments(graph, samples.spins)
        if arm in ("mix", REFERENCE):
            few = ExactSampler().sample(ising, self.num_reference).spins
            weight = agreement(graph, samples.spins, few).weight if arm == "mix" else 0.0
            return corrected_moments("mix", known, found, moments(graph, few), weight), weight
        rule: GradientRule = "flip" if arm == "flip" else "signs" if arm == "signs" else "raw"
        reference = found if rule == "raw" else exact_moments(ising)
        return corrected_moments(rule, known, found, reference), 1.0

    def _row(self, found: list[dict[str, Any]]) -> dict[str, Any]:
        r"""Returns the row of an arm at one strength, of its results of all seeds."""
        row: dict[str, Any] = {"arm": found[0]["arm"], "strength": found[0]["strength"]}
        nats = torch.tensor([_last_quarter(r["nats"]) for r in found])
        device = torch.tensor([r["device_nats"] for r in found])
        for name, values in (("nats", nats), ("device_nats", device)):
            row[name] = values.mean().item()
            row[f"{name}_range"] = [values.min().item(), values.max().item()]
        row["clipped"] = sum(r["clipped"] for r in found)
        if row["arm"] == EMBEDDED:
            return row
        row["weight"] = sum(r["weight"] for r in found) / len(found)
        curves = torch.tensor([r["nats"] for r in found])
        row["nats_curve"] = curves.mean(0).tolist()
        if row["arm"] == "mix":
            row["weight_curve"] = torch.tensor([r["weights"] for r in found]).mean(0).tolist()
        verdicts = [verdict for r in found for verdict in r["verdicts"]]
        if verdicts:
            row["plain_cosine"] = sum(r["plain_cosine"] for r in found) / len(found)
            row["verdicts"] = {v: verdicts.count(v) / len(verdicts) for v in sorted({*verdicts})}
        return row

    def _caught(self, results: list[dict[str, Any]]) -> dict[str, int]:
        r"""Returns how many lies were told and caught, and how many honest calls were flagged."""
        runs = [r for r in results if r["arm"] in (LIES, REPLACED)]
        lies = self._lies()
        alarms = [alarm for r in runs for alarm in r["alarms"]]
        caught = sum(alarm in lies for alarm in alarms)
        return {
            "told": len(lies) * len(runs),
            "caught": caught,
            "honest": (self.num_updates - len(lies)) * len(runs),
            "false_alarms": len(alarms) - caught,
        }


class _Liar(Wrapper):
    r"""Lies at known calls, which are counted from 1."""

    def __init__(self, sampler: Sampler, lies: dict[int, str]):
        super().__init__(sampler)
        self.lies, self.calls = lies, 0

    def _submit(self, ising: Ising, num_samples: int, **settings: Any) -> Submission:
        self.calls += 1
        lie = self.lies.get(self.calls)
        asked = Ising(ising.graph, ising.h, -ising.J) if lie == "model" else ising
        pending = super()._submit(asked, num_samples, **settings)

        def resolve() -> Samples:
            samples = pending.result()
            return samples._replace(spins=-samples.spins) if lie == "sign" else samples

        return Submission(resolve)


def _told(arm: str, checks: list[dict[str, Any]], weights: list[float]) -> dict[str, Any]:
    r"""Returns what there is to tell of the checks and weights of a run, at length or briefly."""
    late = checks[-(len(checks) // 4) :]
    cosines = [check["plain_cosine"] for check in late]
    told = {
        "weight": _last_quarter(weights),
        "verdicts": [check["verdict"] for check in late],
        "plain_cosine": sum(cosines) / len(cosines) if cosines else None,
    }
    if arm == "raw":
        told["checks"] = checks
    if arm == "mix":
        told["weights"] = weights
    return told


def _given(negative: Moments, h: Tensor, J: Tensor) -> Moments:
    return negative


def _clipped(samples: Samples) -> int:
    return (samples.info or {}).get("clipped", 0)


def _last_quarter(values: list[float]) -> float:
    late = values[-max(1, len(values) // 4) :]
    return sum(late) / len(late)


def _pixels() -> Tensor:
    r"""Returns the liveliest pixels of all digits as spins, of shape (1797, 16)."""
    data = OptDigits(classes=False, dequantize=False, num_val=0, num_test=0)
    data.setup()
    liveliest = data.train.var(0).topk(NUM_SPINS).indices.sort().values
    return torch.where(data.train[:, liveliest] > 0, 1.0, -1.0)


@torch.no_grad()
def _nats(layer: QuantumPriorLayer, spins: Tensor) -> float:
    r"""Returns the exact mean negative log-likelihood of the machine that is written down."""
    return (layer.energy(spins).mean() + exact_log_partition(layer.ising())).item()


def _best(graph: CouplingGraph, spins: Tensor) -> float:
    r"""Returns the least mean negative log-likelihood that a machine on a graph can have."""
    spins = spins.double()
    h, J = spins.new_zeros(graph.num_spins), spins.new_zeros(graph.num_edges)
    optimizer = torch.optim.LBFGS(
        [h.requires_grad_(), J.requires_grad_()], max_iter=200, line_search_fn="strong_wolfe"
    )

    def loss() -> float:
        optimizer.zero_grad()
        machine = Ising(graph, h, J)
        value = machine.energy(spins).mean() + exact_log_partition(machine)
        value.backward()
        return value.item()

    optimizer.step(loss)
    return loss()
