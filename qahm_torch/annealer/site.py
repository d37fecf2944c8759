r"""A model on a chip: where it is, and at what temperature the chip samples it."""

from __future__ import annotations

__all__ = ["BetaTracker", "Heat", "Site", "measure_heat"]

import math
import warnings
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from qahm_torch.annealer.placement import PlacedModel, Placement
from qahm_torch.annealer.program import Program, prepare, shares
from qahm_torch.annealer.run import Call, Gathered, Runner
from qahm_torch.annealer.search import place
from qahm_torch.annealer.settings import PlacementSettings, TrackingSettings
from qahm_torch.device.chip import Chip
from qahm_torch.device.errors import AnnealerWarning
from qahm_torch.ising import (
    Beta,
    Chains,
    CouplingGraph,
    Ising,
    SampleInfo,
    Samples,
    estimate_beta,
    estimate_beta_two_scales,
    merge_tied,
    thermal_misfit,
)

# What the first call spends on finding beta, and when it is found.
CALIBRATIONS = 3
CALIBRATION_READS = 1000
CALIBRATED = 0.05
# A prior that takes all devices in: a factor of 20 either way at three standard deviations.
UNKNOWN = 1.0
JUMP = 5.0
# In this field, heat flips 1 spin in 400, and errors of reading about 1 in 1000.
CUTOFF = 3.0
# The relative error up to which a temperature by whole strands is preferred.
TELLING = 0.1


class Site:
    r"""The placement of a graph on a chip, with the temperature at which the chip samples it.

    Arguments:
        graph: The graph of the model.
        chip: The chip.
        placement: How to place it, where it has not been placed before.
        beta: The effective inverse temperature, or "auto" to find and track it.
        tracking: What is assumed of the temperature, and expected of samples.
        learned: The `state_dict` of an earlier site of the same graph. Its placement is kept where
            it is still possible; otherwise a warning says why it is not.

    Raises:
        PlacementError: If the model does not fit on the chip.
    """

    def __init__(
        self,
        graph: CouplingGraph,
        chip: Chip,
        placement: PlacementSettings,
        beta: float | Literal["auto"],
        tracking: TrackingSettings,
        learned: dict[str, Any] | None = None,
    ):
        self.graph = graph
        self.chip = chip
        self.tracking = tracking
        self.is_tracked = beta == "auto"
        start = tracking.initial_beta if beta == "auto" else float(beta)
        self.tracker = BetaTracker(start, tracking.drift)
        self._warned: set[str] = set()
        known = None
        if learned is not None:
            self.tracker.load_state_dict(learned["tracker"])
            self._moved_from(learned.get("chip", chip.name))
            known = Placement.from_state(learned["placement"])
        self.placement = place(graph, chip, placement, known)
        self._placed = PlacedModel(graph, self.placement, chip)

    @staticmethod
    def is_of(state: dict[str, Any], graph: CouplingGraph) -> bool:
        r"""Whether a state is of this graph."""
        return CouplingGraph(state["num_spins"], state["edges"], state["labels"]) == graph

    def state_dict(self) -> dict[str, Any]:
        r"""Returns the placement and the temperature, in plain containers."""
        return {
            "num_spins": self.graph.num_spins,
            "edges": self.graph.edges,
            "labels": list(self.graph.labels),
            "chip": self.chip.name,
            "placement": self.placement.state(),
            "tracker": self.tracker.state_dict(),
        }

    def ask(
        self,
        ising: Ising,
        held: Tensor,
        chains: Chains | None,
        runner: Runner,
        generator: torch.Generator | None,
    ) -> Call:
        r"""Submits a model, and finds beta before where it is to be found and is not known.

        Arguments:
            ising: The model.
            held: The held spins of each sample, 0 for free ones, of shape (S, N).
            chains: Where reverse anneals start, one chain per sample.
            runner: The device.
            generator: The source of random numbers.
        """
        if self.is_tracked and not self.tracker.is_calibrated and _is_telling(ising):
            self.calibrate(ising, len(held), runner, generator)
        return self._launch(ising, held, runner, generator, chains)

    def answer(self, ising: Ising, call: Call, generator: torch.Generator | None) -> Samples:
        r"""Waits for the samples, and takes what they tell of the temperature into the filter."""
        (spins, told), heat = _read(ising, call, generator)
        info: SampleInfo = {**told, "backend": self.chip.name}
        info["num_copies"] = self.placement.num_copies
        if call.runs:
            info["beta"], info["beta_stderr"] = call.program.beta, self.tracker.beta.stderr
        if heat is not None:
            info.update(self._measured(heat, call.program))
        if not call.is_reverse:
            info["start"] = "fresh"  # a forward anneal forgets where it was
        state = Chains(spins.to(ising.h.device))
        return Samples(spins.to(ising.h), state=state, info=info)

    def calibrate(
        self, ising: Ising, num_samples: int, runner: Runner, generator: torch.Generator | None
    ) -> None:
        r"""Finds a first beta by up to three problems of at most so many samples."""
        # Until beta is known, strands are as strong as can be, and what does not fit is rescaled.
        bold = replace(runner.programming, range_policy="rescale", chain_strength=math.inf)
        runner = replace(runner, programming=bold)
        held = torch.zeros(min(num_samples, CALIBRATION_READS), ising.num_spins)
        for _ in range(CALIBRATIONS):
            call = self._launch(ising, held, runner, generator, purpose="calibration")
            _, heat = _read(ising, call, generator)
            if heat is None:
                return
            self.tracker.restart(_in_device_units(heat.ratio, call.program))
            if abs(math.log(self.tracker.beta.value / call.program.beta)) < CALIBRATED:
                return

    @torch.no_grad()
    def compare_scales(
        self,
        ising: Ising,
        num_samples: int,
        scale: float | None,
        runner: Runner,
        generator: torch.Generator | None,
    ) -> Beta:
        r"""Returns beta by two programmings of a model, at full strength and at a lesser one.

        Arguments:
            ising: The model.
            num_samples: The number of samples at each strength.
            scale: The lesser strength; None for one at which the energies of the two sets are
                about 1.5 of their standard deviations apart.
            runner: The device.
            generator: The source of random numbers.
        """
        held = torch.zeros(num_samples, ising.num_spins)

        def draw(strength: float) -> tuple[Tensor, float]:
            r"""Returns samples, and what the model was multiplied by when it was programmed."""
            scaled = ising.scaled(strength)
            call = self._launch(scaled, held, runner, generator, purpose="calibration")
            made = call.program
            return call.gathered(generator).spins, strength * made.scale / made.beta

        full, unit = draw(1.0)
        scale = _telling_scale(ising, full) if scale is None else scale
        # Where the range has held the full model down, the lesser one starts from there.
        weak, lesser = draw(scale * unit * self.tracker.beta.value)
        ratio = estimate_beta_two_scales(ising, full, weak, lesser / unit)
        return Beta(ratio.value / unit, ratio.stderr / unit)

    def reads(self, num_samples: int, runner: Runner) -> list[int]:
        r"""Returns the number of reads of each problem of a call without held spins."""
        copies = self.placement.num_copies
        parts = shares(torch.arange(num_samples), copies, self.chip, runner.programming)
        return [-(-len(part) // copies) for part in parts]

    def _launch(
        self,
        ising: Ising,
        held: Tensor,
        runner: Runner,
        generator: torch.Generator | None,
        chains: Chains | None = None,
        purpose: str = "samples",
    ) -> Call:
        beta, settings = self.tracker.beta.value, runner.programming
        parts = self._placed.parts(ising, held)
        problems = prepare(parts, self.chip, beta, settings, generator)
        starts = None if chains is None else chains.spins
        return runner.launch(problems, held, starts, generator, purpose)

    def _measured(self, heat: Heat, made: Program) -> SampleInfo:
        r"""Takes the temperature of samples into the filter, and warns where they have none."""
        measured = _in_device_units(heat.ratio, made)
        # What was clipped is another model, of which the samples tell no temperature of this one.
        is_whole = made.num_clipped == 0
        if self.is_tracked and is_whole and self.tracker.update(measured):
            self._warn("jump", f"beta of {self.chip.name} has jumped to {measured.value:.3g}")
        beta = min(max(heat.ratio.value, 0.0), 1e3)
        misfit, scatter = thermal_misfit(heat.ising, heat.spins, beta)
        if misfit > max(self.tracking.misfit_tolerance, scatter):
            self._warn(
                "misfit",
                f"samples of {self.chip.name} are not thermal: the fields that spins obey are off "
                f"by {misfit:.0%}. Control noise, strands that are too weak or an anneal that is "
                "too short may be the cause; Swept(sampler) brings samples closer to the model",
            )
        return {
            "beta_measured": measured.value,
            "beta_measured_stderr": measured.stderr,
            "thermal_misfit": misfit,
        }

    def _moved_from(self, name: str) -> None:
        r"""Doubts what was learned on another chip, each of which has its own temperature."""
        if name != self.chip.name:
            self.tracker.doubt()
            message = f"the model was placed anew: {self.chip.name} takes the place of {name}"
            self._warn("moved", f"{message}, and its temperature is found anew")

    def _warn(self, kind: str, message: str) -> None:
        r"""Warns of each kind once; a user who trains for a week has seen it."""
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(message, AnnealerWarning, stacklevel=3)


class Heat(NamedTuple):
    r"""The temperature of samples in units of the model, and what it was measured by."""

    ising: Ising
    spins: Tensor
    ratio: Beta


def measure_heat(ising: Ising, spins: Tensor) -> Heat:
    r"""Measures the temperature of samples (S, N).

    Where strands of qubits are spins of the model, as in `EmbeddedPrior`, a strand is asked as a
    whole, if that tells enough: within it, errors of reading would be taken for heat.
    """
    spins = spins.to(ising.h)
    merged, values = merge_tied(ising, spins, CUTOFF)
    if merged is not ising and _is_telling(merged):
        ratio = estimate_beta(merged, values, cutoff=CUTOFF)
        if ratio.stderr < TELLING * ratio.value:
            return Heat(merged, values, ratio)
    return Heat(ising, spins, estimate_beta(ising, spins, cutoff=CUTOFF))


class BetaTracker:
    r"""A Kalman filter of the logarithm of beta, which moves as a random walk.

    .. math::
        \log \beta_{t+1} = \log \beta_t + \mathcal N(0, \text{drift}^2), \qquad
        \log \hat\beta_t = \log \beta_t + \mathcal N(0, \sigma_t^2 / \hat\beta_t^2),

    with :math:`\hat\beta_t \pm \sigma_t` the estimate of one answer. An estimate that is beyond 5
    standard errors of what the filter expects counts as a jump: the filter starts anew from it.

    Arguments:
        initial: The first guess.
        drift: The relative standard deviation of the change from one answer to the next.

    Raises:
        ValueError: If the guess is not positive or the drift negative.

    Example:
        >>> tracker = BetaTracker(initial=5.0, drift=0.0)
        >>> for estimate in (2.9, 3.1, 3.0):
        ...     jumped = tracker.update(Beta(estimate, 0.1))
        >>> round(tracker.beta.value, 2)
        3.0
    """

    def __init__(self, initial: float, drift: float = 0.02):
        if not (initial > 0 and math.isfinite(initial)):
            raise ValueError(f"initial is {initial}, but an inverse temperature is positive")
        if not drift >= 0:
            raise ValueError(f"drift is {drift}, but a standard deviation is not negative")
        self.drift = drift
        self.num_updates = 0
        self._mean = math.log(initial)
        self._variance = UNKNOWN**2

    @property
    def beta(self) -> Beta:
        r"""The present estimate with its standard error."""
        value = math.exp(self._mean)
        return Beta(value, value * math.sqrt(self._variance))

    @property
    def is_calibrated(self) -> bool:
        r"""Whether an answer has been seen."""
        return self.num_updates > 0

    def update(self, measured: Beta) -> bool:
        r"""Takes in the estimate of one answer, and returns whether it was a jump.

        An estimate that is not finite and positive says nothing and is passed over.
        """
        if not (0 < measured.value < math.inf and math.isfinite(measured.stderr)):
            return False
        observed = math.log(measured.value)
        noise = (measured.stderr / measured.value) ** 2
        expected = self._variance + self.drift**2
        surprise = observed - self._mean
        jumped = self.is_calibrated and abs(surprise) > JUMP * math.sqrt(expected + noise)
        if jumped:
            expected = surprise**2
        gain = expected / (expected + noise) if expected + noise > 0 else 0.0
        self._mean += gain * surprise
        self._variance = (1 - gain) * expected
        self.num_updates += 1
        return jumped

    def restart(self, measured: Beta) -> None:
        r"""Forgets what was and starts from an estimate, if it says something."""
        self.doubt()
        self.update(measured)

    def doubt(self) -> None:
        r"""Keeps the estimate as a first guess only."""
        self._variance = UNKNOWN**2
        self.num_updates = 0

    def state_dict(self) -> dict[str, Any]:
        r"""Returns the filter, in plain containers."""
        return {
            "mean": self._mean,
            "variance": self._variance,
            "num_updates": self.num_updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        r"""Takes over the filter that `state_dict` was called on."""
        self._mean = float(state["mean"])
        self._variance = float(state["variance"])
        self.num_updates = int(state["num_updates"])

    def __repr__(self) -> str:
        return f"BetaTracker({self.beta.value:.4g} +- {self.beta.stderr:.2g})"


def _read(
    ising: Ising, call: Call, generator: torch.Generator | None
) -> tuple[Gathered, Heat | None]:
    r"""Waits for samples, and measures their temperature where they tell one."""
    gathered = call.gathered(generator)
    if call.held.any() or not _is_telling(ising):
        return gathered, None
    return gathered, measure_heat(ising, gathered.spins)


def _is_telling(ising: Ising) -> bool:
    r"""Whether samples of a model tell a temperature."""
    return bool(ising.h.any() or ising.J.any())


def _in_device_units(ratio: Beta, made: Program) -> Beta:
    unit = made.beta / made.scale
    return Beta(ratio.value * unit, ratio.stderr * unit)


def _telling_scale(ising: Ising, spins: Tensor) -> float:
    # The mean energy falls by its variance per unit of beta.
    return max(0.3, 1 - 1.5 / float(ising.energy(spins.to(ising.h)).std()))
