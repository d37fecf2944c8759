r"""The effective temperature of a device: measured in an answer, tracked from one to the next."""

from __future__ import annotations

__all__ = ["BetaTracker", "Heat", "measure_heat"]

import math
from typing import Any, NamedTuple

from torch import Tensor

from qahm_torch.ising import Beta, Ising, estimate_beta, merge_tied

# A prior that takes all devices in: a factor of 20 either way at three standard deviations.
UNKNOWN = 1.0
JUMP = 5.0
# In this field, heat flips 1 spin in 400, and errors of reading about 1 in 1000.
CUTOFF = 3.0
# The relative error up to which a temperature by whole chains is preferred.
TELLING = 0.1


class Heat(NamedTuple):
    r"""The temperature of samples in units of the model, and what it was measured by."""

    ising: Ising
    spins: Tensor
    ratio: Beta


def measure_heat(ising: Ising, spins: Tensor) -> Heat:
    r"""Measures the temperature of samples.

    Where chains of qubits are spins of the model, as in `EmbeddedPrior`, a chain is asked as a
    whole, if that tells enough: within it, errors of reading would be taken for heat.
    """
    spins = spins.to(ising.h)
    merged, values = merge_tied(ising, spins, CUTOFF)
    if merged is not ising and (merged.h.any() or merged.J.any()):
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
        self._variance = UNKNOWN**2
        self.num_updates = 0
        self.update(measured)

    def state_dict(self) -> dict[str, Any]:
        return {
            "mean": self._mean,
            "variance": self._variance,
            "num_updates": self.num_updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._mean = float(state["mean"])
        self._variance = float(state["variance"])
        self.num_updates = int(state["num_updates"])

    def __repr__(self) -> str:
        return f"BetaTracker({self.beta.value:.4g} +- {self.beta.stderr:.2g})"
