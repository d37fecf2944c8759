r"""Samples of a device as seeds of Gibbs chains, and as places between which chains jump."""

from __future__ import annotations

__all__ = ["Seeds"]

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qahm_torch.annealer import AnnealerSampler
from qahm_torch.data import BarsAndStripes
from qahm_torch.device import AnnealerWarning
from qahm_torch.ising import CouplingGraph, Ising, Samples, moments
from qahm_torch.priors import QuantumPriorLayer
from qahm_torch.samplers import AnnealedSampler, Darting, GibbsSampler, Sampler, TemperingSampler
from qahm_torch.simulator import SimulatedAnnealer
from qahm_torch.systems.system import Case, Report, System

DARTING = "device, darting"


@dataclass(frozen=True)
class Seeds(System):
    r"""Gibbs chains of a machine of many modes, started at random or at samples of a device.

    A restricted Boltzmann machine learns bars and stripes by exact likelihood, so that each
    pattern is a mode, and is sampled in four ways: Gibbs chains from random spins, Gibbs chains
    from reads of a device whose control errors grow, `Darting` between these reads, and the
    classical rivals `AnnealedSampler` and `TemperingSampler`. Two errors are measured against
    enumeration: that of the moments, and that of the weights of modes (total variation, of the
    patterns among each other). Draws of the exact law tell what is left to chance.

    What is found: the device finds the modes, also with control errors, but weighs them wrongly,
    and sweeps do not repair that; even without control errors its reads are not quite exact draws.
    Chains that start at random overtake it after a few sweeps, unless it has no errors. `Darting`
    does repair it, since it asks of the device only where the modes are. For this machine
    `TemperingSampler` does as well without a device.

    Arguments:
        side: The number of rows and columns of a pattern; the machine has as many hidden units as
            visible ones.
        num_updates: The number of updates of exact maximum likelihood, by Adam.
        lr: Their learning rate.
        beta: The inverse temperature of the device, unknown to what asks it.
        noises: The standard deviations of control errors of programmed fields and couplings.
        sweeps: The numbers of sweeps after which chains are measured.
        num_reads: The number of chains, and of reads.
        num_rounds: The number of rounds of `Darting`.
        num_seeds: The number of seeds, each with a machine and a chip of its own.

    References:
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
        |   computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757
        | Quantum annealing enhanced Markov-chain Monte Carlo (Arai & Kadowaki, 2025)
        | https://arxiv.org/abs/2502.08060
    """

    title = "Device samples as seeds of chains"

    side: int = 4
    num_updates: int = 300
    lr: float = 0.05
    beta: float = 6.0
    noises: tuple[float, ...] = (0.0, 0.01, 0.03, 0.06)
    sweeps: tuple[int, ...] = (0, 1, 10, 100, 1000)
    num_reads: int = 1000
    num_rounds: int = 10
    num_seeds: int = 5

    @classmethod
    def small(cls) -> Seeds:
        return cls(side=3, noises=(0.0, 0.03), sweeps=(0, 10, 100), num_seeds=2)

    def cases(self) -> list[Case]:
        return [{"seed": seed} for seed in range(self.num_seeds)]

    def run_case(self, **case: Any) -> dict[str, Any]:
        torch.manual_seed(case["seed"])
        truth = _enumerated(self._trained())
        arms = [
            {"arm": "exact draws", "noise": None, "sweeps": 0, **truth.errors(self._exact(truth))},
            *self._swept("random", None, self._random(truth.ising), truth),
            *self._classical(truth),
        ]
        for noise in self.noises:
            arms += self._through_device(truth, noise, case["seed"])
        return {"mass_of_modes": truth.modes.sum().item(), "arms": arms}

    def summarize(self, results: list[dict[str, Any]]) -> Report:
        names = [(a["arm"], a["noise"], a["sweeps"]) for a in results[0]["arms"]]
        rows = []
        for k, (arm, noise, sweeps) in enumerate(names):
            row: dict[str, Any] = {"arm": arm, "noise": noise, "sweeps": sweeps}
            for error in ("moments", "weights"):
                values = torch.tensor([r["arms"][k][error] for r in results])
                row[error] = values.mean().item()
                row[f"{error}_range"] = [values.min().item(), values.max().item()]
            rows.append(row)
        return {"rows": rows}

    def headline(self, report: Report) -> str:
        noise, last = max(self.noises), max(self.sweeps)

        def weights(arm: str, noise: float | None, sweeps: int) -> str:
            return f"{_row(report, arm, noise, sweeps)['weights']:.2f}"

        return (
            f"error of the weights of modes at control errors of {noise:g}: reads"
            f" {weights('device', noise, 0)}, after {last} sweeps"
            f" {weights('device', noise, last)}, darting {weights(DARTING, noise, 0)};"
            f" random starts after {last} sweeps {weights('random', None, last)}, tempering"
            f" {weights('TemperingSampler', None, 0)}, exact draws"
            f" {weights('exact draws', None, 0)} ({self.num_seeds} seeds)"
        )

    def _plot(self, report: Report) -> Figure:
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        axes = figure.subplots(1, 2)
        for axis, error in zip(axes, ("moments", "weights"), strict=True):
            self._plot_sweeps(axis, report, error)
        axes[0].set_ylabel("rms error of moments")
        axes[1].set_ylabel("total variation of the weights of modes")
        axes[1].legend(fontsize=7, loc="upper right", bbox_to_anchor=(1.62, 1.0))
        return figure

    def _trained(self) -> QuantumPriorLayer:
        r"""Returns a restricted machine that has learned the patterns."""
        data = BarsAndStripes(self.side)
        data.setup()
        size = self.side**2
        layer = QuantumPriorLayer(
            CouplingGraph.bipartite(size, size), hidden=range(size, 2 * size)
        )
        states = _all_spins(size)
        optimizer = torch.optim.Adam(layer.parameters(), lr=self.lr)
        for _ in range(self.num_updates):
            optimizer.zero_grad()
            log_z = (-layer.free_energy(states)).logsumexp(0)
            (layer.free_energy(data.train).mean() + log_z).backward()
            optimizer.step()
        return layer

    def _exact(self, truth: Truth) -> Samples:
        index = torch.multinomial(truth.law, self.num_reads, replacement=True)
        visible = truth.states[index]
        hidden = torch.where(
            torch.rand_like(truth.hidden[index]) * 2 - 1 < truth.hidden[index], 1.0, -1.0
        )
        return Samples(torch.cat([visible, hidden], -1))

    def _random(self, ising: Ising) -> Samples:
        return Samples(torch.randint(0, 2, (self.num_reads, ising.num_spins)) * 2.0 - 1)

    def _classical(self, truth: Truth) -> list[dict[str, Any]]:
        rivals: list[Sampler] = [AnnealedSampler(), TemperingSampler(100)]
        return [
            {
                "arm": type(rival).__name__,
                "noise": None,
                "sweeps": 0,
                **truth.errors(rival.sample(truth.ising, self.num_reads)),
            }
            for rival in rivals
        ]

    def _through_device(self, truth: Truth, noise: float, seed: int) -> list[dict[str, Any]]:
        device = SimulatedAnnealer(
            "chimera", 4, beta=self.beta, h_noise=noise, J_noise=noise, chip_seed=seed, seed=seed
        )
        with warnings.catch_warnings():
            # That reads of a noisy device are not thermal is what is measured here.
            warnings.simplefilter("ignore", AnnealerWarning)
            reads = AnnealerSampler(device).sample(truth.ising, self.num_reads)
        darting = Darting(_Given(reads), self.num_rounds).sample(truth.ising, self.num_reads)
        row = {"arm": DARTING, "noise": noise, "sweeps": 0, **truth.errors(darting)}
        return [*self._swept("device", noise, reads, truth), row]

    def _swept(
        self, arm: str, noise: float | None, start: Samples, truth: Truth
    ) -> list[dict[str, Any]]:
        r"""Returns the errors of Gibbs chains, from their start on."""
        rows, spins, done = [], start.spins, 0
        for sweeps in sorted(self.sweeps):
            if sweeps > done:
                gibbs = GibbsSampler(sweeps - done)
                spins = gibbs.sample(truth.ising, self.num_reads, state=spins).spins
                done = sweeps
            errors = truth.errors(Samples(spins))
            rows.append({"arm": arm, "noise": noise, "sweeps": sweeps, **errors})
        return rows

    def _plot_sweeps(self, axis: Any, report: Report, error: str) -> None:
        arms: list[tuple[str, float | None]] = [("random", None)]
        arms += [("device", noise) for noise in self.noises]
        for color, (arm, noise) in enumerate(arms):
            rows = [r for r in report["rows"] if (r["arm"], r["noise"]) == (arm, noise)]
            sweeps = [r["sweeps"] for r in rows]
            name = "random starts" if noise is None else f"device, errors {noise:g}"
            axis.plot(sweeps, [r[error] for r in rows], color=f"C{color}", label=name)
            low, high = zip(*(r[f"{error}_range"] for r in rows), strict=True)
            axis.fill_between(sweeps, low, high, color=f"C{color}", alpha=0.15, lw=0)
            if noise is not None:
                value = _row(report, DARTING, noise, 0)[error]
                axis.plot(max(sweeps) * 2, value, "D", ms=4, color=f"C{color}")
        axis.plot([], [], "kD", ms=4, label=f"{DARTING}, {self.num_rounds} rounds")
        for style, arm in ((":", "exact draws"), ("--", "TemperingSampler")):
            value = _row(report, arm, None, 0)[error]
            axis.axhline(value, color="k", ls=style, lw=0.8, label=arm)
        axis.set(xscale="symlog", xlabel="Gibbs sweeps", xlim=(-0.2, None), ylim=(0, None))


class Truth(NamedTuple):
    r"""A restricted machine by enumeration of its visible spins."""

    ising: Ising
    states: Tensor  # of the visible spins
    law: Tensor
    hidden: Tensor  # the means of the hidden spins, given those
    moments: Tensor
    patterns: Tensor
    modes: Tensor  # the probabilities of the patterns

    def errors(self, samples: Samples) -> dict[str, float]:
        r"""Returns the rms error of the moments, and the error of the weights of the modes."""
        spins = samples.spins
        found = torch.cat(list(moments(self.ising.graph, spins)))
        visible = spins[:, : self.patterns.shape[1]]
        hits = (visible.unsqueeze(1) == self.patterns).all(-1).double().mean(0)
        # Chains that are at no mode at all weigh none rightly.
        found_law = hits / hits.sum().clamp(min=1 / len(spins))
        law = self.modes / self.modes.sum()
        return {
            "moments": (found - self.moments).square().mean().sqrt().item(),
            "weights": (found_law - law).abs().sum().item() / 2,
        }


class _Given(Sampler):
    r"""Hands on samples that have been drawn."""

    def __init__(self, samples: Samples):
        self._samples = samples

    def _sample(self, ising: Ising, num_samples: int, **settings: Any) -> Samples:
        return self._samples._replace(state=None)


@torch.no_grad()
def _enumerated(layer: QuantumPriorLayer) -> Truth:
    ising, size = layer.ising().detach(), layer.num_visible
    states = _all_spins(size)
    law = (-layer.free_energy(states)).double().softmax(0)
    fields = ising.fields(torch.cat([states, torch.zeros_like(states)], -1))[:, size:]
    hidden = -torch.tanh(fields)
    i, j = ising.graph.edges.unbind(-1)
    means = torch.cat([states, hidden], -1).double()
    pairs = (means.T * law) @ means  # of a visible and a hidden spin
    exact = torch.cat([law @ means, pairs[i, j]]).float()
    data = BarsAndStripes(round(size**0.5))
    data.setup()
    bits = (data.train > 0).long() @ 2 ** torch.arange(size - 1, -1, -1)
    return Truth(ising, states, law, hidden, exact, data.train, law[bits])


def _all_spins(size: int) -> Tensor:
    r"""Returns all states in the order of binary numbers, of shape (2^size, size)."""
    bits = torch.arange(2**size).unsqueeze(-1) >> torch.arange(size - 1, -1, -1) & 1
    return bits * 2.0 - 1


def _row(report: Report, arm: str, noise: float | None, sweeps: int) -> dict[str, Any]:
    rows: list[dict[str, Any]] = report["rows"]
    (row,) = (r for r in rows if (r["arm"], r["noise"], r["sweeps"]) == (arm, noise, sweeps))
    return row
