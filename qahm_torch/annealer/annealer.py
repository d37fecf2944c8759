r"""The annealer as a sampler of Boltzmann machines."""

from __future__ import annotations

__all__ = ["AnnealerSampler", "AnnealerWarning"]

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from qahm_torch.annealer.archive import AnswerArchive
from qahm_torch.annealer.ledger import TimeLedger
from qahm_torch.annealer.program import ChainBreaks, RangePolicy
from qahm_torch.annealer.records import Lost, unanswered
from qahm_torch.annealer.run import Gathered, Run, Runner, collect
from qahm_torch.annealer.settings import AnnealSettings
from qahm_torch.annealer.site import Site, SiteSettings
from qahm_torch.annealer.temperature import measure_heat
from qahm_torch.device.chip import Chip
from qahm_torch.device.door import Device
from qahm_torch.device.errors import AnnealerError, BudgetError, RejectedError
from qahm_torch.device.opening import check_spec, open_device
from qahm_torch.device.patience import Clock, RetryPolicy
from qahm_torch.ising import Beta, Chains, CouplingGraph, Ising, Samples, thermal_misfit
from qahm_torch.ising.temperature import estimate_beta_two_scales
from qahm_torch.samplers.gibbs import GibbsSampler
from qahm_torch.samplers.sampler import Sampler, Submission

# About what published schedules give for present machines, and weak enough for all ranges.
TYPICAL_BETA = 6.0
CALIBRATIONS = 3
CALIBRATION_READS = 1000
CALIBRATED = 0.05


class AnnealerWarning(UserWarning):
    r"""Something about the device that a user should know; the training goes on."""


class AnnealerSampler(Sampler):
    r"""Samples with a quantum annealer, its mock or a simulated one.

    The device is programmed with :math:`h / \beta` and :math:`J / \beta`, where beta is its
    effective inverse temperature, so that what it draws follows the model. Around that, this class

    - *places* the model on the chip and keeps the placement; where qubits or the chip have changed
      it places the model anew and warns;
    - *finds beta* by maximum pseudo-likelihood in each answer, and tracks it by a filter; the
      first call spends up to three problems on it;
    - *keeps to the ranges* of the chip, by the policy that was set, and reports what it did;
    - *averages over gauges*, decodes chains, and reports how many broke;
    - *keeps account* of QPU time and stops before a budget is exceeded;
    - *archives* each answer as soon as it is there;
    - *bounds every wait*, tries again what may be tried again, and tells what went wrong in an
      `AnnealerError`; a fallback sampler stands in if there is one.

    `submit` returns at once (but for the first call, which places and calibrates), and the device
    works while the caller goes on.

    With `num_sweeps` above 0, samples are the start of that many Gibbs sweeps of the model, which
    makes the model explicit; with 0 it is what the device gives (a gray box). There are no chains:
    the state that comes back is that of the fallback sampler, if it stood in.

    `info` of the answer has `backend`, `beta` (used) and `beta_stderr`, `beta_measured`,
    `thermal_misfit` (see `thermal_misfit`), `chain_break_fraction`, `chain_strength`, `clipped`,
    `scale` (below 1 if rescaled), `qpu_access_time` in seconds, `num_copies` and `problem_ids`.

    Arguments:
        device: A structured dimod sampler, or a specification of one that is built when it is
            first needed: a dict of `class_path` and `init_args`. Credentials are D-Wave's own
            matter and are refused here.
        beta: The effective inverse temperature, or "auto" to find and track it.
        placement: "auto", "native", "clique", "biclique", "general" or "given".
        embedding: The qubits of each spin, for "given".
        copies: How many copies of the model are programmed side by side, or "auto" for as many as
            fit; each read then gives so many samples.
        range_policy: What is done with values out of range: "error", "clip" or "rescale".
        chain_strength: The coupling within chains in units of the model; None for a choice.
        chain_breaks: "majority" vote, or "discard" of rows with a broken chain.
        num_gauges: The number of random gauges per call, each of which is a problem of its own; 0
            for no gauge.
        num_sweeps: The number of Gibbs sweeps after the device.
        anneal: The settings of the anneal.
        initial_beta: The first guess at beta.
        drift: The relative standard deviation of beta from call to call.
        misfit_tolerance: The thermal misfit from which on there is a warning.
        budget: The QPU seconds that may be spent; None for no limit.
        fallback: A sampler for when the device fails or the budget is spent; None to raise.
        policy: Deadlines and retries.
        archive: The folder of the archive; None for none.
        seed: The seed of the placement.

    Raises:
        TypeError, ValueError: If a setting is not possible; in `sample` also if the model has a
            transverse field.
        AnnealerError: In `sample` and `result`, if the device fails and there is no fallback.

    References:
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
          computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757
        | Estimation of effective temperatures in quantum annealers for sampling applications
          (Benedetti et al., 2016)
        | https://arxiv.org/abs/1510.07611

    Example:
        >>> from qahm_torch import SimulatedAnnealer
        >>> sampler = AnnealerSampler(SimulatedAnnealer("chimera", 2, beta=2.0, seed=0))
        >>> ising = Ising(CouplingGraph.complete(4), torch.ones(4), -torch.ones(6) / 2)
        >>> samples = sampler.sample(ising, 100)
        >>> samples.spins.shape
        torch.Size([100, 4])
        >>> 1 < samples.info["beta"] < 3
        True
    """

    is_billed = True

    def __init__(
        self,
        device: dict[str, Any] | Any,
        *,
        beta: float | Literal["auto"] = "auto",
        placement: Literal["auto", "native", "clique", "biclique", "general", "given"] = "auto",
        embedding: Mapping[Any, Sequence[int]] | None = None,
        copies: int | Literal["auto"] = 1,
        range_policy: RangePolicy = "error",
        chain_strength: float | None = None,
        chain_breaks: ChainBreaks = "majority",
        num_gauges: int = 1,
        num_sweeps: int = 0,
        anneal: AnnealSettings | None = None,
        initial_beta: float = TYPICAL_BETA,
        drift: float = 0.02,
        misfit_tolerance: float = 0.25,
        budget: float | None = None,
        fallback: Sampler | None = None,
        policy: RetryPolicy | None = None,
        archive: str | Path | None = None,
        seed: int = 0,
    ):
        check_spec(device)
        _check_choice("range_policy", range_policy, ("error", "clip", "rescale"))
        _check_choice("chain_breaks", chain_breaks, ("majority", "discard"))
        if beta != "auto" and not beta > 0:
            raise ValueError(f"beta is {beta}, but it is positive, or 'auto'")
        if chain_strength is not None and not chain_strength > 0:
            raise ValueError(f"chain_strength is {chain_strength}, but it is positive, or None")
        if num_gauges < 0 or num_sweeps < 0:
            raise ValueError(f"{num_gauges} gauges and {num_sweeps} sweeps; 0 is the least")
        self.device = device
        self.beta = beta
        self.range_policy = range_policy
        self.chain_strength = chain_strength
        self.chain_breaks = chain_breaks
        self.num_gauges = num_gauges
        self.num_sweeps = num_sweeps
        self.anneal = anneal or AnnealSettings()
        self.misfit_tolerance = misfit_tolerance
        self.fallback = fallback
        self.policy = policy or RetryPolicy()
        self.ledger = TimeLedger(budget)
        self.archive = None if archive is None else AnswerArchive(archive)
        start = initial_beta if beta == "auto" else float(beta)
        self.site_settings = SiteSettings(placement, embedding, copies, seed, start, drift)
        self._opened: Device | None = None
        self._sites: list[Site] = []
        self._learned: list[dict[str, Any]] = []
        self._device_state: dict[str, Any] | None = None
        self._last: Tensor | None = None
        self._resting_until = 0.0
        self._warned: set[str] = set()

    @property
    def chip(self) -> Chip:
        r"""What the device says of itself; opens it."""
        return self._open().chip

    def site(self, graph: CouplingGraph) -> Site:
        r"""Returns where a graph is placed on the chip and what is known of its temperature."""
        for site in self._sites:
            if site.graph == graph:
                return site
        learned = [s for s in self._learned if Site.is_of(s, graph)]
        site = Site(graph, self.chip, self.site_settings, learned[0] if learned else None)
        if site.moved:
            self._warn("placement", f"the model was placed anew on {self.chip.name}: {site.moved}")
        self._sites.append(site)
        return site

    def estimate_time(self, graph: CouplingGraph, num_samples: int) -> float | None:
        r"""Returns the QPU seconds that a call is estimated to take, before it is made.

        Without what the first call spends on finding beta. None where the device says nothing of
        its times.
        """
        return self._runner().estimate(self.site(graph), num_samples)

    def _sample(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None,
        state: Chains | None,
        generator: torch.Generator | None,
    ) -> Samples:
        return self._submit(
            ising, num_samples, clamp=clamp, state=state, generator=generator
        ).result()

    def _submit(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None,
        state: Chains | None,
        generator: torch.Generator | None,
    ) -> Submission:
        ising = ising.detach()

        def stand_in(error: AnnealerError) -> Samples:
            return self._stand_in(error, ising, num_samples, clamp, state, generator)

        if self._is_resting():
            return Submission(lambda: stand_in(AnnealerError("the device rests after a failure")))
        try:
            site = self.site(ising.graph)
            self._calibrate(site, ising, num_samples, generator)
            runs = self._runner().start(site, ising, num_samples, clamp, self._last, generator)
        except AnnealerError as error:
            failure = error
            self._let_go(error)
            if self.fallback is None:
                raise
            return Submission(lambda: stand_in(failure))

        def resolve() -> Samples:
            try:
                return self._collected(site, ising, runs, num_samples, clamp, generator)
            except AnnealerError as error:
                self._let_go(error)
                if self.fallback is None:
                    raise
                return stand_in(error)

        return Submission(resolve)

    @torch.no_grad()
    def measure_beta(
        self,
        ising: Ising,
        num_samples: int,
        scale: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Beta:
        r"""Returns beta by two programmings of a model, at full strength and at a lesser one.

        Unlike what is tracked it looks at energies as a whole and not at single spins (see
        `estimate_beta_two_scales`): where the two differ, the samples are not thermal. Both
        programmings are paid for. It does not enter the filter.

        Arguments:
            ising: The model.
            num_samples: The number of samples at each strength.
            scale: The lesser strength; None for one at which the energies of the two sets are
                about 1.5 of their standard deviations apart.
            generator: The source of random numbers.
        """
        site = self.site(ising.graph)

        def draw(strength: float) -> tuple[Tensor, float]:
            r"""Returns samples, and what the model was multiplied by when it was programmed."""
            model = ising.detach().scaled(strength)
            runs = self._runner().start(
                site, model, num_samples, None, None, generator, purpose="calibration"
            )
            spins = self._gather(runs, ising, num_samples, None, generator).spins
            return spins, strength * runs[0].program.scale / runs[0].program.beta

        full, unit = draw(1.0)
        scale = _telling_scale(ising, full) if scale is None else scale
        # Where the range has held the full model down, the lesser one starts from there.
        weak, lesser = draw(scale * unit * site.tracker.beta.value)
        ratio = estimate_beta_two_scales(ising, full, weak, lesser / unit)
        return Beta(ratio.value / unit, ratio.stderr / unit)

    def recover(self) -> int:
        r"""Fetches answers that were submitted and never came, into the archive.

        Returns:
            The number of answers that were found.

        Raises:
            ValueError: If there is no archive.
            AnnealerError: If one of them could not be fetched, after the others were.
        """
        if self.archive is None:
            raise ValueError("without an archive there is no record of what was submitted")
        found, failure = 0, None
        for lost in unanswered(self.archive):
            try:
                found += self._recovers(lost)
            except AnnealerError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return found

    def _recovers(self, lost: Lost) -> bool:
        r"""Fetches one answer, if there is one."""
        clock = Clock(self.policy.timeout)
        problem_id = lost.problem_id or self._open().find(lost.job.label, clock)
        return problem_id is not None and self._runner().fetch(lost, problem_id, clock) is not None

    def state_dict(self) -> dict[str, Any]:
        r"""Returns placements, temperatures and the account, in plain containers."""
        graphs = [site.graph for site in self._sites]
        learned = [s for s in self._learned if not any(Site.is_of(s, g) for g in graphs)]
        state: dict[str, Any] = {
            "sites": [*learned, *(site.state_dict() for site in self._sites)],
            "ledger": self.ledger.state_dict(),
        }
        device = self._state_of_device()
        return state if device is None else {**state, "device": device}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        r"""Takes over what an earlier sampler had learned; the device is not opened for it."""
        self._sites = []
        self._learned = list(state.get("sites", []))
        if "ledger" in state:
            self.ledger.load_state_dict(state["ledger"])
        self._device_state = state.get("device")
        if self._opened is not None:
            self._restore_device(self._opened)

    def _open(self) -> Device:
        if self._opened is None:
            self._opened = open_device(self.device, self.policy)
            self._restore_device(self._opened)
            self.anneal.check(self._opened.chip)
        return self._opened

    def _let_go(self, error: AnnealerError) -> None:
        r"""Forgets a device that refuses problems, so that the next call finds it as it is now."""
        if isinstance(error, RejectedError) and isinstance(self.device, dict):
            self._learned, self._sites = self.state_dict()["sites"], []
            self._device_state = self._state_of_device()
            self._opened = None

    def _state_of_device(self) -> dict[str, Any] | None:
        save = getattr(getattr(self._opened, "sampler", None), "state_dict", None)
        return self._device_state if save is None else save()

    def _restore_device(self, device: Device) -> None:
        load = getattr(getattr(device, "sampler", None), "load_state_dict", None)
        if load is not None and self._device_state is not None:
            load(self._device_state)
        self._device_state = None

    def _runner(self) -> Runner:
        return Runner(
            device=self._open(),
            ledger=self.ledger,
            archive=self.archive,
            policy=self.policy,
            anneal=self.anneal,
            range_policy=self.range_policy,
            chain_strength=self.chain_strength,
            num_gauges=self.num_gauges,
        )

    def _calibrate(
        self, site: Site, ising: Ising, num_samples: int, generator: torch.Generator | None
    ) -> None:
        r"""Finds a first beta, where none is known and the model can tell."""
        if self.beta != "auto" or site.tracker.is_calibrated:
            return
        if not (ising.h.any() or ising.J.any()):
            return
        reads = min(num_samples, CALIBRATION_READS)
        # Until beta is known, chains are as strong as can be, and what does not fit is rescaled.
        runner = replace(self._runner(), range_policy="rescale", chain_strength=math.inf)
        for _ in range(CALIBRATIONS):
            runs = runner.start(site, ising, reads, None, None, generator, purpose="calibration")
            gathered = self._gather(runs, ising, reads, None, generator)
            measured = _in_device_units(measure_heat(ising, gathered.spins).ratio, runs[0])
            site.tracker.restart(measured)
            if abs(math.log(site.tracker.beta.value / runs[0].program.beta)) < CALIBRATED:
                return

    def _gather(
        self,
        runs: list[Run],
        ising: Ising,
        num_samples: int,
        clamp: Tensor | None,
        generator: torch.Generator | None,
    ) -> Gathered:
        return collect(runs, num_samples, ising.num_spins, clamp, self.chain_breaks, generator)

    def _collected(
        self,
        site: Site,
        ising: Ising,
        runs: list[Run],
        num_samples: int,
        clamp: Tensor | None,
        generator: torch.Generator | None,
    ) -> Samples:
        gathered = self._gather(runs, ising, num_samples, clamp, generator)
        info = {**gathered.info, "backend": self.chip.name, "num_copies": site.num_copies}
        if runs:
            info.update(beta=runs[0].program.beta, beta_stderr=site.tracker.beta.stderr)
        if clamp is None:
            info.update(self._measure(site, ising, runs[0], gathered.spins))
        spins = gathered.spins.to(ising.h)
        self._last = gathered.spins
        self._resting_until = 0.0
        self._warned.discard("fallback")
        if self.num_sweeps:
            sweeps = GibbsSampler(self.num_sweeps)
            after = sweeps.sample(ising, len(spins), clamp=clamp, state=spins, generator=generator)
            spins, info["num_sweeps"] = after.spins, self.num_sweeps
        return Samples(spins, info=info)

    def _measure(self, site: Site, ising: Ising, run: Run, spins: Tensor) -> dict[str, Any]:
        r"""Measures the temperature of samples, takes it into the filter and warns."""
        if not (ising.h.any() or ising.J.any()):
            return {}
        heat = measure_heat(ising, spins)
        measured = _in_device_units(heat.ratio, run)
        # What was clipped is another model, of which the samples tell no temperature of this one.
        whole = run.program.num_clipped == 0
        if self.beta == "auto" and whole and site.tracker.update(measured):
            self._warn("jump", f"beta of {self.chip.name} has jumped to {measured.value:.3g}")
        beta = min(max(heat.ratio.value, 0.0), 1e3)
        misfit, scatter = thermal_misfit(heat.ising, heat.spins, beta)
        if misfit > max(self.misfit_tolerance, scatter):
            self._warn(
                "misfit",
                f"samples of {self.chip.name} are not thermal: the fields that spins obey are off "
                f"by {misfit:.0%}. Control noise, chains that are too weak or an anneal that is "
                "too short may be the cause; num_sweeps > 0 brings samples closer to the model",
            )
        return {
            "beta_measured": measured.value,
            "beta_measured_stderr": measured.stderr,
            "thermal_misfit": misfit,
        }

    def _is_resting(self) -> bool:
        return self.fallback is not None and time.monotonic() < self._resting_until

    def _stand_in(
        self,
        error: AnnealerError,
        ising: Ising,
        num_samples: int,
        clamp: Tensor | None,
        state: Any,
        generator: torch.Generator | None,
    ) -> Samples:
        assert self.fallback is not None
        if not self._is_resting():
            self._resting_until = time.monotonic() + self.policy.cooldown
        if isinstance(error, BudgetError):
            self._resting_until = float("inf")
        self._warn("fallback", f"{type(self.fallback).__name__} stands in: {error}")
        if state is None and self._last is not None and len(self._last) == num_samples:
            state = self._last
        samples = self.fallback.sample(
            ising, num_samples, clamp=clamp, state=state, generator=generator
        )
        info = {**(samples.info or {}), "fallback": f"{type(error).__name__}: {error}"}
        return samples._replace(info=info)

    def _warn(self, kind: str, message: str) -> None:
        r"""Warns of each kind once; a user who trains for a week has seen it."""
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(message, AnnealerWarning, stacklevel=3)

    def __getstate__(self) -> dict[str, Any]:
        # Threads and sessions belong to this process; what was learned goes along.
        if isinstance(self.device, dict):
            device_state = self._state_of_device()
            return {**self.__dict__, "_opened": None, "_device_state": device_state}
        return {**self.__dict__, "_opened": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> AnnealerSampler:
        # There is one device and one account, whoever holds a copy of the model.
        return self


def _in_device_units(ratio: Beta, run: Run) -> Beta:
    unit = run.program.beta / run.program.scale
    return Beta(ratio.value * unit, ratio.stderr * unit)


def _telling_scale(ising: Ising, spins: Tensor) -> float:
    # The mean energy falls by its variance per unit of beta.
    return max(0.3, 1 - 1.5 / float(ising.energy(spins.to(ising.h)).std()))


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, not one of {', '.join(choices)}")
