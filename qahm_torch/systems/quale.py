r"""Training through a device whose temperature nobody tells, against contrastive divergence."""

from __future__ import annotations

__all__ = ["QuALe"]

import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qahm_torch.annealer import AnnealerSampler, ProgramSettings
from qahm_torch.data import BarsAndStripes
from qahm_torch.device import AnnealerWarning
from qahm_torch.ising import CouplingGraph, Samples, all_states
from qahm_torch.priors import QuantumPriorLayer
from qahm_torch.samplers import GibbsSampler, Sampler
from qahm_torch.simulator import SimulatedAnnealer
from qahm_torch.systems.system import Case, Report, System

JUMP = "jump"
CLASSICAL = {"CD-1": 1, "PCD": 1, "CD-100": 100}  # sweeps of Gibbs sampling per update
QUALE, FIXED = "QuALe", "one suitable beta"


@dataclass(frozen=True)
class QuALe(System):
    r"""Quantum-assisted learning: a restricted machine, begun by CD-1, goes on with a device.

    A restricted Boltzmann machine learns bars and stripes by CD-1 and goes on by one of: CD-1;
    persistent contrastive divergence; CD-100; a device whose effective temperature is estimated
    at every update (QuALe); a device that is taken to be at one wrong temperature; and, which the
    source leaves out, a device that is taken to be at one suitable temperature, that of its
    average problem. The device's temperature differs from problem to problem by a spread, and in a
    further case jumps in mid-run. Likelihoods are exact. All have the same patterns, numbers of
    chains or reads, learning rate and momentum. Couplings beyond the range of the device are
    clipped, which happened in one run (QuALe at the spread of 0.6), the lowest of its arm.

    What is found: the order of the source. QuALe is above CD-1 and level with CD-100, and a beta
    taken ten times too large ruins the machine. One suitable beta ends about as well, as long as
    there is one; with a spread over problems, one of three seeds was thrown far back on the way,
    and none with QuALe. When the temperature jumps, only the estimate at every update follows. A
    beta taken three times too large throws the machine back at first, and ends best of all, which
    is luck of these data: the machine becomes too strong by that factor, and where all patterns
    are equally likely, a strong machine is right.

    Arguments:
        side: The number of rows and columns of a pattern; the machine has as many hidden units as
            visible ones.
        num_updates: The number of updates by CD-1, and again by each arm.
        lr: The learning rate of gradient descent.
        momentum: Its momentum.
        num_reads: The number of chains, and of reads of the device.
        beta: The inverse temperature of the device, unknown to QuALe.
        wrong: Factors of the betas that are taken to be true by the arms that are wrong, on the
            devices of the least and of the largest spread.
        spreads: The standard deviations of the log of beta over problems.
        jump: The factor by which beta jumps, in the case without a spread, half way.
        every: The number of updates from one likelihood to the next.
        num_seeds: The number of seeds, each with a machine and a chip of its own.

    References:
        | Estimation of effective temperatures in quantum annealers for sampling applications: a
          case study with possible applications in deep learning (Benedetti et al., 2016)
        | https://arxiv.org/abs/1510.07611
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
        |   computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757
    """

    title = "Learning at an unknown temperature (QuALe)"

    side: int = 4
    num_updates: int = 250
    lr: float = 0.02
    momentum: float = 0.5
    num_reads: int = 1000
    beta: float = 12.0
    wrong: tuple[float, ...] = (0.5, 3.0, 10.0)
    spreads: tuple[float, ...] = (0.0, 0.6)
    jump: float = 2.0
    every: int = 10
    num_seeds: int = 3

    @classmethod
    def small(cls) -> QuALe:
        return cls(
            side=3, num_updates=100, num_reads=300, wrong=(10.0,), spreads=(0.3,), num_seeds=1
        )

    def cases(self) -> list[Case]:
        arms = [(arm, "") for arm in CLASSICAL]
        arms += [(arm, device) for device in self._spreads() for arm in (QUALE, FIXED)]
        ends = dict.fromkeys([_spread(self.spreads[0]), _spread(self.spreads[-1])])
        arms += [(_wrong(factor), device) for device in ends for factor in self.wrong]
        return [
            {"arm": arm, "device": device, "seed": seed}
            for arm, device in arms
            for seed in range(self.num_seeds)
        ]

    def run_case(self, **case: Any) -> dict[str, Any]:
        torch.manual_seed(case["seed"])
        layer, patterns = self._machine()
        start = self._train(layer, patterns, "CD-1")
        if case["device"]:
            layer.sampler = self._annealer(case["arm"], case["device"], case["seed"])
        with warnings.catch_warnings():
            # That reads are not thermal, and that beta has changed, is what is measured here.
            warnings.simplefilter("ignore", AnnealerWarning)
            after = self._train(layer, patterns, case["arm"], jumps=case["device"] == JUMP)
        return {"nats": start + after[1:]}

    def summarize(self, results: list[dict[str, Any]]) -> Report:
        names = list(dict.fromkeys((r["arm"], r["device"]) for r in results))
        rows = []
        for arm, device in names:
            found = [r["nats"] for r in results if (r["arm"], r["device"]) == (arm, device)]
            curves = torch.tensor(found, dtype=torch.float64)
            rows.append(
                {
                    "arm": arm,
                    "device": device,
                    "nats": curves[:, -1].mean().item(),
                    "nats_range": [curves[:, -1].min().item(), curves[:, -1].max().item()],
                    "curve": curves.mean(0).tolist(),
                    "lowest": curves.min(0).values.tolist(),
                    "highest": curves.max(0).values.tolist(),
                }
            )
        starts = [r["nats"][self.num_updates // self.every] for r in results]
        best = -math.log(2 ** (self.side + 1) - 2)
        return {"best": best, "start": sum(starts) / len(starts), "rows": rows}

    def headline(self, report: Report) -> str:
        rows = {(row["arm"], row["device"]): f"{row['nats']:.2f}" for row in report["rows"]}
        last = _spread(self.spreads[-1])
        wrong = ", ".join(f"{_wrong(f)} {rows[_wrong(f), last]}" for f in self.wrong)
        return (
            f"nats from {report['start']:.2f} on: CD-1 {rows['CD-1', '']}, CD-100"
            f" {rows['CD-100', '']}; a device with a {last} of log beta: QuALe"
            f" {rows[QUALE, last]}, one suitable beta {rows[FIXED, last]}, {wrong};"
            f" after a jump of beta: QuALe {rows[QUALE, JUMP]}, the formerly"
            f" suitable one {rows[FIXED, JUMP]}; best possible {report['best']:.2f}"
            f" ({self.num_seeds} seeds)"
        )

    def _plot(self, report: Report) -> Figure:
        shown = list(dict.fromkeys([_spread(self.spreads[0]), _spread(self.spreads[-1]), JUMP]))
        figure = Figure(figsize=(3.3 * len(shown), 3.4), layout="constrained")
        axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axis, device in zip(axes, shown, strict=True):
            self._plot_device(axis, report, device)
        axes[0].set(
            ylabel="log-likelihood (nats)", ylim=(report["best"] - 3.5, report["best"] + 0.3)
        )
        axes[0].legend(fontsize=6.5, loc="lower left")
        return figure

    def _plot_device(self, axis: Any, report: Report, device: str) -> None:
        rows = [row for row in report["rows"] if row["device"] in ("", device)]
        for color, row in enumerate(rows):
            x = [self.every * k for k in range(len(row["curve"]))]
            axis.plot(x, row["curve"], color=f"C{color}", lw=1.2, label=row["arm"])
            axis.fill_between(x, row["lowest"], row["highest"], color=f"C{color}", alpha=0.2, lw=0)
        axis.axhline(report["best"], color="k", ls=":", lw=0.8, label="best possible")
        axis.axvline(self.num_updates, color="k", lw=0.5)
        if device == JUMP:
            axis.axvline(1.5 * self.num_updates, color="k", lw=0.5, ls="--")
        title = f"beta times {self.jump:g} half way" if device == JUMP else f"{device} of log beta"
        axis.set(xlabel="updates", title=title)

    def _machine(self) -> tuple[QuantumPriorLayer, Tensor]:
        r"""Returns a new machine and the patterns, each about as often as the others."""
        data = BarsAndStripes(self.side)
        data.setup()
        size = self.side**2
        graph = CouplingGraph.bipartite(size, size)
        layer = QuantumPriorLayer(graph, hidden=range(size, 2 * size), num_samples=self.num_reads)
        rows = torch.arange(self.num_reads) % len(data.train)
        return layer, data.train[rows]

    def _spreads(self) -> dict[str, float]:
        r"""Returns the spread of each device, by its name."""
        return {**{_spread(spread): spread for spread in self.spreads}, JUMP: 0.0}

    def _annealer(self, arm: str, device: str, seed: int) -> AnnealerSampler:
        chip = SimulatedAnnealer(
            "chimera",
            self.side,
            beta=self.beta,
            beta_spread=self._spreads()[device],
            chip_seed=seed,
            seed=seed,
        )
        factors = {FIXED: 1.0, **{_wrong(factor): factor for factor in self.wrong}}
        beta: float | Literal["auto"] = "auto" if arm == QUALE else self.beta * factors[arm]
        return AnnealerSampler(chip, beta=beta, programming=ProgramSettings(range_policy="clip"))

    def _train(
        self, layer: QuantumPriorLayer, patterns: Tensor, arm: str, jumps: bool = False
    ) -> list[float]:
        r"""Trains by an arm; returns the exact log-likelihood from the start on."""
        optimizer = torch.optim.SGD(layer.parameters(), lr=self.lr, momentum=self.momentum)
        nats = [_exact_nats(layer, patterns)]
        chains = layer.from_visible(patterns)
        for update in range(1, self.num_updates + 1):
            if jumps and update == self.num_updates // 2 + 1:
                assert isinstance(layer.sampler, AnnealerSampler)
                device: Any = layer.sampler.device
                device.beta *= self.jump
            if arm in CLASSICAL:
                start = chains if arm == "PCD" else layer.from_visible(patterns)
                negative = _swept(layer, GibbsSampler(CLASSICAL[arm]), start)
                chains = negative.spins
            else:
                negative = layer.draw()
            optimizer.zero_grad()
            (-layer.log_prob(patterns, negative).mean()).backward()
            optimizer.step()
            if update % self.every == 0:
                nats.append(_exact_nats(layer, patterns))
        return nats


def _spread(spread: float) -> str:
    r"""Returns the name of the device whose log of beta has a spread over problems."""
    return f"spread {spread:g}"


def _wrong(factor: float) -> str:
    r"""Returns the name of the arm that takes beta to be so many times what it is."""
    return f"beta taken {factor:g}-fold"


@torch.no_grad()
def _swept(layer: QuantumPriorLayer, sampler: Sampler, start: Tensor) -> Samples:
    return sampler.sample(layer.ising().detach(), len(start), state=start)


@torch.no_grad()
def _exact_nats(layer: QuantumPriorLayer, patterns: Tensor) -> float:
    r"""Returns the mean log-likelihood by enumeration of the visible spins."""
    states = all_states(layer.num_visible, dtype=patterns.dtype)
    log_z = (-layer.free_energy(states)).logsumexp(0)
    return (-layer.free_energy(patterns).mean() - log_z).item()
