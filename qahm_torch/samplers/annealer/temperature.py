r"""The effective temperature of a device, tracked from answer to answer."""

from __future__ import annotations

__all__ = ["BetaTracker"]

import math
from typing import Any

from qahm_torch.ising import Beta

# A prior that takes all devices in: a factor of 20 either way at three standard deviations.
UNKNOWN = 1.0
JUMP = 5.0


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
