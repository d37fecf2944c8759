r"""The annealer as a sampler of Boltzmann machines."""

from __future__ import annotations

__all__ = ["AnnealerSampler"]

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from qahm_torch.annealer.account import TimeAccount, estimate_access_time
from qahm_torch.annealer.archive import AnswerArchive
from qahm_torch.annealer.ledger import booked
from qahm_torch.annealer.recovery import recovered
from qahm_torch.annealer.run import Runner
from qahm_torch.annealer.settings import (
    AnnealSettings,
    PlacementSettings,
    ProgramSettings,
    TrackingSettings,
)
from qahm_torch.annealer.site import Site
from qahm_torch.device.chip import Chip
from qahm_torch.device.door import Device
from qahm_torch.device.errors import (
    AnnealerWarning,
    DeviceOfflineError,
    ProblemFailedError,
    RejectedError,
)
from qahm_torch.device.opening import check_spec, open_device
from qahm_torch.device.patience import RetryPolicy
from qahm_torch.ising import Beta, Chains, CouplingGraph, Ising, Samples
from qahm_torch.samplers import DeferredSampler, Submission

# After these the solver may be gone or changed, and another one may do.
SOLVER_FAILURES = (DeviceOfflineError, ProblemFailedError, RejectedError)


class AnnealerSampler(DeferredSampler):
    r"""Samples with a quantum annealer, its mock or a simulated one.

    The device is programmed with :math:`h / \beta` and :math:`J / \beta`, where beta is its
    effective inverse temperature, so that what it draws follows the model. Around that, this class

    - *places* the model on the chip and keeps the placement; where qubits or the chip have changed
      it places the model anew and warns;
    - *finds beta* by maximum pseudo-likelihood in each answer, and tracks it by a filter; the
      first call spends up to three problems on it;
    - *keeps to the ranges* of the chip, by the policy that was set, and reports what it did;
    - *averages over gauges*, decodes strands of qubits, and reports how many broke;
    - *finds another solver*, in the next call, where the one in use is gone or has changed;
    - *keeps account* of QPU time and stops before a budget is exceeded;
    - *archives* each answer as soon as it is there;
    - *bounds every wait*, tries again what may be tried again, and tells what went wrong in an
      `AnnealerError`.

    `submit` returns at once (but for the first call, which places and calibrates), and the device
    works while the caller goes on.

    What comes back is what the device gives (a gray box). `Swept` around it makes the model
    explicit, and with `Fallback` another sampler stands in where the device fails. The state that
    comes back is the samples: reverse anneals start from it, and so does a sampler that stands in.

    `info` of the answer has `backend`, `beta` (used) and `beta_stderr`, `beta_measured`,
    `thermal_misfit` (see `thermal_misfit`), `chain_break_fraction`, `chain_strength`, `clipped`,
    `scale` (below 1 if rescaled), `qpu_access_time` in seconds, `num_copies` and `problem_ids`.

    Arguments:
        device: A structured dimod sampler, or a specification of one that is built when it is
            first needed: a dict of `class_path` and `init_args`. Credentials are D-Wave's own
            matter and are refused here.
        beta: The effective inverse temperature, or "auto" to find and track it.
        placement: How models are placed on the chip.
        programming: How they are programmed.
        tracking: What is assumed of the temperature, and expected of samples.
        anneal: How the device anneals.
        budget: The QPU seconds that may be spent; None for no limit.
        policy: Deadlines and retries.
        archive: The folder of the archive; None for none.

    Raises:
        TypeError, ValueError: If a setting is not possible; in `sample` also if spins are held row
            by row where broken samples are discarded.
        AnnealerError: In `sample`, `submit` and `result`, if the device fails.

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

    keeps_chains = True
    is_billed = True

    def __init__(
        self,
        device: dict[str, Any] | Any,
        *,
        beta: float | Literal["auto"] = "auto",
        placement: PlacementSettings | None = None,
        programming: ProgramSettings | None = None,
        tracking: TrackingSettings | None = None,
        anneal: AnnealSettings | None = None,
        budget: float | None = None,
        policy: RetryPolicy | None = None,
        archive: str | Path | None = None,
    ):
        check_spec(device)
        if beta != "auto" and not 0 < beta < math.inf:
            raise ValueError(f"beta is {beta}, but it is positive and finite, or 'auto'")
        self.device = device
        self.beta: float | Literal["auto"] = beta
        self.placement = placement or PlacementSettings()
        self.programming = programming or ProgramSettings()
        self.tracking = tracking or TrackingSettings()
        self.anneal = anneal or AnnealSettings()
        self.account = TimeAccount(budget)
        self.policy = policy or RetryPolicy()
        self.archive = None if archive is None else AnswerArchive(archive)
        self._opened: Device | None = None
        self._is_anew = False  # whether what is opened next has failed before
        self._sites: list[Site] = []
        self._learned: list[dict[str, Any]] = []
        self._device_state: dict[str, Any] | None = None

    @property
    def chip(self) -> Chip:
        r"""What the device says of itself; opens it."""
        return self._open().chip

    def site(self, graph: CouplingGraph) -> Site:
        r"""Returns where a graph is placed on the chip and what is known of its temperature."""
        for site in self._sites:
            if site.graph == graph:
                return site
        learned = next((s for s in self._learned if Site.is_of(s, graph)), None)
        site = Site(graph, self.chip, self.placement, self.beta, self.tracking, learned)
        self._sites.append(site)
        return site

    def estimate_time(self, graph: CouplingGraph, num_samples: int) -> float | None:
        r"""Returns the QPU seconds that a call is estimated to take, before it is made.

        Without what the first call spends on finding beta. None where the device says nothing of
        its times.
        """
        site, runner = self.site(graph), self._runner()
        return runner.estimate(len(site.placement.qubits), site.reads(num_samples, runner))

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
        with self._in_use():
            site = self.site(ising.graph)
            return site.compare_scales(
                ising.detach(), num_samples, scale, self._runner(), generator
            )

    def recover(self) -> int:
        r"""Fetches answers that were submitted and never came, into the archive.

        An answer that could not be read, or was of another job, is asked for again: by the id of
        its problem, and by its label where that id leads elsewhere. Problems that a living process
        waits for are left alone, and those that the service does not know stay booked; an
        `AnnealerWarning` says how many. One recovery works on an archive at a time.

        Returns:
            The number of answers that were found.

        Raises:
            ValueError: If there is no archive.
            ArchiveError: If it cannot be written, or another recovery does not end.
            AnnealerError: If one of them could not be fetched, after the others were; it says what
                became of all, and where what could not be read is kept.
        """
        if self.archive is None:
            raise ValueError("archive is None, but only an archive knows what was submitted")
        with self.archive.recovering(self.policy.timeout):
            known = recovered(self.archive, self._runner)
        if known.failures:
            known.failures[0].add(f"In all, {known.told()}")
            raise known.failures[0]
        if known.num_waiting or known.num_unlisted:
            warnings.warn(known.told(), AnnealerWarning, stacklevel=2)
        return known.num_found

    def state_dict(self) -> dict[str, Any]:
        r"""Returns placements, temperatures and the account, in plain containers."""
        graphs = [site.graph for site in self._sites]
        learned = [s for s in self._learned if not any(Site.is_of(s, g) for g in graphs)]
        state: dict[str, Any] = {
            "sites": [*learned, *(site.state_dict() for site in self._sites)],
            "account": self.account.state_dict(),
        }
        device = self._state_of_device()
        return state if device is None else {**state, "device": device}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        r"""Takes over what an earlier sampler had learned; the device is not opened for it.

        The archive tells what the account has spent since, in a process that was killed.
        """
        self._sites = []
        self._learned = list(state.get("sites", []))
        if "account" in state:
            self._load_account(state["account"])
        self._device_state = state.get("device")
        if self._opened is not None:
            self._restore_device(self._opened)

    def _load_account(self, state: dict[str, Any]) -> None:
        self.account.load_state_dict(state)
        if self.archive is not None:
            self.account.load_state_dict(booked(self.archive, self.account.state_dict()))

    def _submit(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None,
        state: Chains | None,
        generator: torch.Generator | None,
    ) -> Submission:
        held = _held(ising, num_samples, clamp)
        if self.programming.chain_breaks == "discard" and clamp is not None and clamp.ndim == 2:
            raise ValueError(
                f"chain_breaks is 'discard' and clamp has {len(clamp)} rows, but each row needs "
                "its sample: chain_breaks='majority' gives one"
            )
        with self._in_use():
            site, runner = self.site(ising.graph), self._runner()
            call = site.ask(ising, held, state, runner, generator)

        def resolve() -> Samples:
            with self._in_use(runner.device):
                return site.answer(ising, call, generator)

        return Submission(resolve)

    def _runner(self) -> Runner:
        return Runner(
            device=self._open(),
            account=self.account,
            archive=self.archive,
            policy=self.policy,
            programming=self.programming,
            anneal=self.anneal,
        )

    def _open(self) -> Device:
        if self._opened is None:
            self._opened = open_device(self.device, self.policy, self._is_anew, _look)
            self._is_anew = False
            self._restore_device(self._opened)
            self.anneal.check(self._opened.chip)
        return self._opened

    @contextmanager
    def _in_use(self, device: Device | None = None) -> Iterator[None]:
        r"""Forgets a device that has failed, so that the next call finds what is online then.

        What was learned, the account and the archive stay.
        """
        try:
            yield
        except SOLVER_FAILURES:
            self._forget(device or self._opened)
            raise

    def _forget(self, device: Device | None) -> None:
        # One that others have found anew meanwhile is not to blame.
        if device is None or device is not self._opened:
            return
        if not (device.is_remote or isinstance(self.device, dict)):
            return
        self._learned, self._sites = self.state_dict()["sites"], []
        self._device_state = self._state_of_device()
        self._opened, self._is_anew = None, True
        # What is given up may be broken in any way, and must not hide why it was given up.
        with suppress(Exception):
            device.close()

    def _state_of_device(self) -> dict[str, Any] | None:
        save = getattr(getattr(self._opened, "sampler", None), "state_dict", None)
        return self._device_state if save is None else save()

    def _restore_device(self, device: Device) -> None:
        load = getattr(getattr(device, "sampler", None), "load_state_dict", None)
        if load is not None and self._device_state is not None:
            load(self._device_state)
        self._device_state = None

    def __getstate__(self) -> dict[str, Any]:
        # Threads and sessions belong to this process; what was learned goes along.
        if isinstance(self.device, dict):
            device_state = self._state_of_device()
            return {**self.__dict__, "_opened": None, "_device_state": device_state}
        return {**self.__dict__, "_opened": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> AnnealerSampler:
        # There is one device and one account, whoever holds a copy of the model.
        return self


def _look(device: Device) -> None:
    r"""Raises ValueError if a chip says of itself what nobody can place models on, or pay for."""
    chip = device.chip
    if chip.num_qubits == 0:
        raise ValueError(f"{chip.name} has no qubits")
    chip.graph()
    seconds = estimate_access_time(chip, chip.num_qubits)
    if seconds is not None and not 0 <= seconds < math.inf:
        raise ValueError(f"a problem of {chip.name} would take {seconds} s by its own timing data")


def _held(ising: Ising, num_samples: int, clamp: Tensor | None) -> Tensor:
    r"""Returns the held spins of each sample, 0 for free ones, of shape (S, N)."""
    if clamp is None:
        return torch.zeros(num_samples, ising.num_spins)
    return clamp.detach().cpu().expand(num_samples, -1)
