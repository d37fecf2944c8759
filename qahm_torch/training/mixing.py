r"""As many sweeps of the negative phase as its chains need to mix."""

from __future__ import annotations

__all__ = ["MixingControl"]

import math
from typing import Any

import pytorch_lightning as pl

from qahm_torch.priors import BoltzmannPrior
from qahm_torch.samplers import Wrapper
from qahm_torch.training.callbacks import mixing_of, record
from qahm_torch.training.prior_module import boltzmann_of


class MixingControl(pl.Callback):
    r"""Sets the number of sweeps of the negative phase by how well its chains mix.

    As training strengthens couplings, chains of a fixed number of sweeps fall behind the model,
    its gradient is wrong, and training diverges late. At the end of an epoch the autocorrelation
    time of the chains is measured, as `ChainDiagnostics` does: the worst over energy and spins, in
    calls of the sampler. Beyond `target` there are more sweeps in the same ratio, up to four times
    as many at once; below a quarter of it there are half as many, but not fewer than at first.

    A prior that comes with chains, as one that is fine-tuned, is measured before the first update
    too, until there are sweeps enough: its couplings are those of a trained model by then.

    Logged are `prior/num_sweeps`, what it is from then on, and what `ChainDiagnostics` logs. The
    number is saved in checkpoints. A sampler without sweeps, or one that bills, is left alone.

    Arguments:
        target: The autocorrelation time that is wanted, in calls of the sampler.
        max_sweeps: The largest number of sweeps.
        num_draws: The number of calls of the sampler in a measurement.
        every_n_epochs: How often to measure.

    Raises:
        ValueError: If the target or `max_sweeps` is not positive, or there are fewer than 8 draws.

    References:
        | Training restricted Boltzmann machines using approximations to the likelihood gradient
          (Tieleman, 2008)
        | https://doi.org/10.1145/1390156.1390290
        | An efficient probabilistic hardware architecture for diffusion-like models (Jelincic et
          al., 2025), for late divergence and its control
        | https://arxiv.org/abs/2510.23972

    Example:
        >>> MixingControl(target=2.0).changed(10, time=5.0, least=10)
        25
    """

    def __init__(
        self,
        target: float = 4.0,
        max_sweeps: int = 1000,
        num_draws: int = 64,
        every_n_epochs: int = 1,
    ):
        if not target > 0:
            raise ValueError(f"target is {target}, but an autocorrelation time is positive")
        if max_sweeps < 1:
            raise ValueError(f"max_sweeps is {max_sweeps}, but at least 1 sweep is needed")
        if num_draws < 8:
            raise ValueError(f"num_draws is {num_draws}, but at least 8 draws are needed")
        self.target = target
        self.max_sweeps = max_sweeps
        self.num_draws = num_draws
        self.every_n_epochs = every_n_epochs
        self._least: int | None = None  # the number of sweeps at first
        self._now: int | None = None
        self._resumed: dict[str, int] | None = None

    def changed(self, num_sweeps: int, time: float, least: int) -> int:
        r"""Returns the number of sweeps after a measurement.

        Arguments:
            num_sweeps: The number of sweeps now.
            time: The autocorrelation time, in calls; NaN where no spin moves.
            least: The number of sweeps below which it does not fall.
        """
        ratio = 4.0 if math.isnan(time) else min(4.0, time / self.target)
        if ratio > 1:
            return max(num_sweeps, min(self.max_sweeps, math.ceil(num_sweeps * ratio)))
        return max(least, num_sweeps // 2) if ratio < 0.25 else num_sweeps

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        sampler = _with_sweeps(boltzmann_of(pl_module))
        if sampler is None:
            return
        if self._resumed is not None:
            self._least, sampler.num_sweeps = self._resumed["least"], self._resumed["now"]
            self._now, self._resumed = sampler.num_sweeps, None
            return
        self._least = self._now = sampler.num_sweeps
        while self._is_given_more(trainer, pl_module):
            pass

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._is_given_more(trainer, pl_module)

    def _is_given_more(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> bool:
        r"""Sets the number of sweeps by a measurement, and returns whether there are more now."""
        prior = boltzmann_of(pl_module)
        sampler = _with_sweeps(prior)
        if sampler is None or self._least is None:
            return False
        measured = mixing_of(prior, self.num_draws)
        if not measured:
            return False
        former: int = sampler.num_sweeps
        time = measured["prior/autocorrelation_time"]
        sampler.num_sweeps = self._now = self.changed(former, time, self._least)
        record(trainer, {**measured, "prior/num_sweeps": self._now})
        return self._now > former

    def state_dict(self) -> dict[str, Any]:
        return {} if self._least is None else {"least": self._least, "now": self._now}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = dict(state_dict) or None


def _with_sweeps(prior: BoltzmannPrior | None) -> Any:
    r"""Returns the sampler of a number of sweeps: the prior's, or the one that it is around."""
    sampler = None if prior is None else prior.sampler
    while not isinstance(getattr(sampler, "num_sweeps", None), int):
        if not isinstance(sampler, Wrapper):
            return None
        sampler = sampler.sampler
    return sampler
