r"""A stack of restricted machines as the start of a Helmholtz machine, against a random one."""

from __future__ import annotations

__all__ = ["DeepBelief"]

import copy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from qahm_torch.annealer import AnnealerSampler, ProgramSettings
from qahm_torch.data import MNIST28, OptDigits, TensorDataModule
from qahm_torch.evaluation import log_likelihood
from qahm_torch.ising import CouplingGraph
from qahm_torch.nn import BeliefNetwork, HelmholtzMachine
from qahm_torch.objectives import WakeSleep
from qahm_torch.priors import QuantumPriorLayer, stack
from qahm_torch.samplers import GibbsSampler
from qahm_torch.simulator import SimulatedAnnealer
from qahm_torch.systems.system import Case, Report, System

STACK, ANNEALED, RANDOM = "stack", "stack, its top by an annealer", "random start"


@dataclass(frozen=True)
class DeepBelief(System):
    r"""A deep belief network, trained greedily and fine-tuned by wake-sleep.

    A restricted machine learns black and white digits, and another one the hidden spins of the
    first, both by contrastive divergence, or the second one by the reads of an annealer. `stack`
    makes a `HelmholtzMachine` of them, which wake-sleep trains on. It is compared with the machine
    from a random start: after as many updates of wake-sleep, and after as many updates in all,
    those of the greedy training counted. All begin with the visible fields of independent pixels.

    What is found: greedy training is a good start, worth some hundred updates of wake-sleep. After
    as many updates of wake-sleep the stack is ahead of the random start at the lower learning rate
    and not at the higher one, which suits the random start better. With the updates of greedy
    training counted, the random start is ahead by one to two nats. The reads of an annealer whose
    temperature has to be estimated do for the upper machine what contrastive divergence does.

    Arguments:
        images: The data: MNIST or the small digits of scikit-learn, which is made black and white
            at the middle gray.
        num_visible: The number of pixels.
        num_hidden: The number of hidden units.
        num_deepest: The number of hidden units of the upper machine.
        num_train: The number of training images.
        num_greedy: The number of updates of each of the two machines.
        num_fine: The number of updates of wake-sleep after them.
        num_sweeps: The number of sweeps of contrastive divergence.
        lr_greedy: The learning rate of Adam in greedy training, which falls to 0 by a cosine.
        lrs: Its learning rates in wake-sleep, each for all arms.
        batch_size: The number of images of an update.
        num_samples: The number of chains, reads and dreams.
        beta: The inverse temperature of the annealer, which is estimated and not told.
        every: The number of updates from one likelihood to the next.
        num_test: The number of test images.
        num_particles: The number of particles of a likelihood.
        arms: The arms.
        num_seeds: The number of seeds.

    References:
        | A fast learning algorithm for deep belief nets (Hinton, Osindero, Teh, 2006)
        | https://doi.org/10.1162/neco.2006.18.7.1527
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
        |   computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757
    """

    title = "Deep belief network"

    images: Literal["mnist", "optdigits"] = "mnist"
    num_visible: int = 784
    num_hidden: int = 100
    num_deepest: int = 40
    num_train: int = 10_000
    num_greedy: int = 1000
    num_fine: int = 2000
    num_sweeps: int = 5
    lr_greedy: float = 0.002
    lrs: tuple[float, ...] = (0.001, 0.003)
    batch_size: int = 100
    num_samples: int = 500
    beta: float = 12.0
    every: int = 250
    num_test: int = 500
    num_particles: int = 200
    arms: tuple[str, ...] = (STACK, ANNEALED, RANDOM)
    num_seeds: int = 3

    @classmethod
    def small(cls) -> DeepBelief:
        return cls(
            images="optdigits",
            num_visible=64,
            num_hidden=24,
            num_deepest=8,
            num_train=1000,
            num_greedy=150,
            num_fine=150,
            num_samples=100,
            every=75,
            num_test=200,
            num_particles=100,
            num_seeds=1,
        )

    def cases(self) -> list[Case]:
        return [{"arm": arm, "seed": seed} for arm in self.arms for seed in range(self.num_seeds)]

    def run_case(self, **case: Any) -> dict[str, Any]:
        torch.manual_seed(case["seed"])
        train, test = self._digits()
        if case["arm"] == RANDOM:
            machine, before = self._random_machine(train), 0
        else:
            machine, before = self._stacked(train, case["arm"], case["seed"]), 2 * self.num_greedy
        num_updates = 2 * self.num_greedy + self.num_fine - before
        nats = [
            self._fine_tune(copy.deepcopy(machine), train, test, num_updates, lr)
            for lr in self.lrs
        ]
        updates = range(before, before + num_updates + 1, self.every)
        return {"updates": list(updates), "nats": nats}

    def summarize(self, results: list[dict[str, Any]]) -> Report:
        rows = [
            self._row([r for r in results if r["arm"] == arm], arm, k)
            for k in range(len(self.lrs))
            for arm in self.arms
        ]
        return {"rows": rows}

    def headline(self, report: Report) -> str:
        told = []
        for lr in self.lrs:
            rows = {row["arm"]: row for row in report["rows"] if row["lr"] == lr}
            stacks = [
                f"{arm} {row['start']['mean']:.1f} and then {row['after_fine']['mean']:.1f}"
                for arm, row in rows.items()
                if arm != RANDOM
            ]
            random = rows[RANDOM]
            told.append(
                f"learning rate {lr:g}: {', '.join(stacks)}, random start"
                f" {random['after_fine']['mean']:.1f}, after the equal total"
                f" {random['after_all']['mean']:.1f}"
            )
        return (
            f"nats of {self.images}, {self.num_visible}-{self.num_hidden}-{self.num_deepest},"
            f" before and after {self.num_fine} updates of wake-sleep: {'; '.join(told)}"
            f" ({self.num_seeds} seeds)"
        )

    def _plot(self, report: Report) -> Figure:
        figure = Figure(figsize=(8, 3.2 * len(self.lrs)), layout="constrained")
        panels = figure.subplots(len(self.lrs), 2, sharey=True, squeeze=False)
        for axes, lr in zip(panels, self.lrs, strict=True):
            rows = [row for row in report["rows"] if row["lr"] == lr]
            for axis, by_total in zip(axes, (False, True), strict=True):
                for color, row in enumerate(rows):
                    _plot_row(axis, row, f"C{color}", by_total)
            axes[0].set(ylabel="log-likelihood (nats)", title=f"learning rate {lr:g}")
            axes[0].set(xlabel="updates of wake-sleep", xlim=(0, self.num_fine))
            axes[1].set(xlabel="updates in all")
        top = max(max(row["curve"]) for row in report["rows"])
        low = min(row["start"]["mean"] for row in report["rows"] if row["arm"] != RANDOM)
        panels[0][0].set_ylim(low - 0.5 * (top - low), top + 0.2 * (top - low))
        panels[0][1].legend(fontsize=8, loc="lower right")
        return figure

    def _row(self, found: list[dict[str, Any]], arm: str, k: int) -> Report:
        r"""Returns what one arm gave with the learning rate k."""
        curves = torch.tensor([r["nats"][k] for r in found], dtype=torch.float64)
        return {
            "arm": arm,
            "lr": self.lrs[k],
            "start": _spread(curves[:, 0]),
            "after_fine": _spread(curves[:, self.num_fine // self.every]),
            "after_all": _spread(curves[:, -1]),
            "updates": found[0]["updates"],
            "curve": curves.mean(0).tolist(),
            "lowest": curves.min(0).values.tolist(),
            "highest": curves.max(0).values.tolist(),
        }

    def _digits(self) -> tuple[Tensor, Tensor]:
        r"""Returns training and test images of spins."""
        data: TensorDataModule = MNIST28() if self.images == "mnist" else OptDigits(classes=False)
        data.prepare_data()
        data.setup()
        if data.num_visible != self.num_visible:
            raise ValueError(
                f"num_visible is {self.num_visible}, but {self.images} has {data.num_visible} "
                "pixels"
            )
        train, test = (torch.where(rows > 0, 1.0, -1.0) for rows in (data.train, data.test))
        return train[: self.num_train], test[: self.num_test]

    def _random_machine(self, train: Tensor) -> HelmholtzMachine:
        widths = [self.num_visible, self.num_hidden]
        prior = self._restricted(self.num_hidden, self.num_deepest)
        machine = HelmholtzMachine(BeliefNetwork(widths), BeliefNetwork(widths[::-1]), prior)
        output = machine.generator.layers[-1]
        assert isinstance(output, nn.Linear)
        with torch.no_grad():
            output.bias.copy_(-_fields_of_means(train))
        return machine

    def _stacked(self, train: Tensor, arm: str, seed: int) -> HelmholtzMachine:
        r"""Returns the stack of two machines, each trained on what the one before infers."""
        lower = self._restricted(self.num_visible, self.num_hidden)
        self._learn(lower, train)
        inferred = lower.from_visible(train)[:, lower.hidden_units.hidden]
        upper = self._restricted(self.num_hidden, self.num_deepest)
        device = SimulatedAnnealer("zephyr", 12, beta=self.beta, chip_seed=seed, seed=seed)
        clipped = ProgramSettings(range_policy="clip")
        annealer = AnnealerSampler(device, beta="auto", programming=clipped)
        self._learn(upper, inferred, annealer if arm == ANNEALED else None)
        return stack([lower, upper])

    def _restricted(self, num_visible: int, num_hidden: int) -> QuantumPriorLayer:
        graph = CouplingGraph.bipartite(num_visible, num_hidden)
        hidden = range(num_visible, num_visible + num_hidden)
        return QuantumPriorLayer(
            graph, hidden=hidden, sampler=GibbsSampler(10), num_samples=self.num_samples
        )

    def _learn(
        self, machine: QuantumPriorLayer, rows: Tensor, annealer: AnnealerSampler | None = None
    ) -> None:
        r"""Trains a restricted machine, from the fields of independent units."""
        with torch.no_grad():
            machine.h[machine.hidden_units.visible] = _fields_of_means(rows)
        optimizer = torch.optim.Adam(machine.parameters(), lr=self.lr_greedy)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, self.num_greedy))
        gibbs = GibbsSampler(self.num_sweeps)
        for _ in range(self.num_greedy):
            batch, model = self._batch(rows), machine.ising().detach()
            if annealer is None:
                start = machine.from_visible(batch)
                negative = gibbs.sample(model, len(start), state=start)
            else:
                negative = annealer.sample(model, self.num_samples)
            optimizer.zero_grad()
            (-machine.log_prob(batch, negative).mean()).backward()
            optimizer.step()
            schedule.step()

    def _fine_tune(
        self, machine: HelmholtzMachine, train: Tensor, test: Tensor, num_updates: int, lr: float
    ) -> list[float]:
        r"""Trains by wake-sleep; returns the log-likelihoods of test images from the start on."""
        optimizer = torch.optim.Adam(machine.parameters(), lr=lr)
        objective = WakeSleep()
        nats = [self._nats(machine, test)]
        for update in range(1, num_updates + 1):
            optimizer.zero_grad()
            objective(machine, self._batch(train), machine.prior.draw())["loss"].backward()
            optimizer.step()
            if update % self.every == 0:
                nats.append(self._nats(machine, test))
        return nats

    def _batch(self, rows: Tensor) -> Tensor:
        return rows[torch.randint(len(rows), (self.batch_size,))]

    def _nats(self, machine: HelmholtzMachine, test: Tensor) -> float:
        assert isinstance(machine.prior, QuantumPriorLayer)
        # A generator of its own: how often it is looked at does not move what is trained.
        generator = torch.Generator().manual_seed(0)
        with torch.random.fork_rng(devices=()):
            log_z = machine.prior.estimate_log_z(generator=generator)
            return log_likelihood(
                machine, test, log_z=log_z, num_particles=self.num_particles
            ).value


def _fields_of_means(rows: Tensor) -> Tensor:
    r"""Returns the fields with which independent spins have the means of rows."""
    means = rows.mean(0) * len(rows) / (len(rows) + 1)  # as if one more row were undecided
    return -torch.atanh(means)


def _spread(values: Tensor) -> dict[str, float]:
    r"""Returns the mean of values, and their range."""
    return {
        "mean": values.mean().item(),
        "lowest": values.min().item(),
        "highest": values.max().item(),
    }


def _plot_row(axis: Any, row: Report, color: str, by_total: bool) -> None:
    r"""Plots a curve and its range, by the updates of wake-sleep or by all updates."""
    before = 0 if by_total else row["updates"][0]
    x = [update - before for update in row["updates"]]
    axis.plot(x, row["curve"], color=color, lw=1.2, label=row["arm"])
    axis.fill_between(x, row["lowest"], row["highest"], color=color, alpha=0.2, lw=0)
