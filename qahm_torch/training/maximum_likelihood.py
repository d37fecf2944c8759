r"""Maximum likelihood for a prior alone, as a Lightning module."""

from __future__ import annotations

__all__ = ["MaximumLikelihood"]

from functools import partial
from typing import Any, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from qahm_torch.ising import Samples
from qahm_torch.nn import Prior, Spins, Units
from qahm_torch.priors import BoltzmannPrior
from qahm_torch.priors.sharing import refuse_second_bill
from qahm_torch.training.prior_module import Interval, PriorModule, boltzmann_of
from qahm_torch.training.repeated import FirstAsked, Reweighted, reweighted


class MaximumLikelihood(PriorModule):
    r"""Trains a prior on spins directly.

    The negative phase of a Boltzmann machine is what its sampler gives: with `negative="sampler"`
    its own chains (persistent contrastive divergence if the layer is persistent and the sampler
    Gibbs), with `negative="data"` chains that start at the data in every step (contrastive
    divergence; k is the number of sweeps of the sampler, which must take chains as its state).

    *Optimizers that ask again.* LBFGS asks for the loss of an update several times. The samples
    are then those of the first time with weights of the present model, so that the loss is one
    function and a device is asked once. Weights lose their meaning over long ways: `max_iter` is
    better few, and `line_search_fn` "strong_wolfe".

    Arguments:
        layer: The prior.
        negative: Where the chains of the negative phase start, "sampler" or "data".
        optimizer: Returns the optimizer of parameter groups; None for Adam at 1e-2.
        lr_scheduler: Returns the learning-rate schedule; None for a constant rate.
        lr_scheduler_interval: When the schedule is stepped, after each "epoch" or each "step",
            which is an update.

    Raises:
        ValueError: If `negative` is neither of the two, or "data" and the prior no Boltzmann
            machine.
        RuntimeError: In training, if the optimizer asks again, and samples can have no other
            weights: those of a transverse field, or with "data".

    References:
        | Training products of experts by minimizing contrastive divergence (Hinton, 2002)
        | https://doi.org/10.1162/089976602760128018
        | Training restricted Boltzmann machines using approximations to the likelihood gradient
          (Tieleman, 2008)
        | https://doi.org/10.1145/1390156.1390290

    Example:
        >>> from qahm_torch import QuantumPriorLayer
        >>> module = MaximumLikelihood(QuantumPriorLayer(4), negative="data")
        >>> module.training_step(torch.ones(5, 4), 0).backward()
    """

    def __init__(
        self,
        layer: Prior,
        negative: Literal["sampler", "data"] = "sampler",
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Interval = "epoch",
    ):
        optimizer = optimizer or partial(torch.optim.Adam, lr=1e-2, fused=True)
        super().__init__(
            optimizer, lr_scheduler, None, lr_scheduler_interval=lr_scheduler_interval
        )
        if negative not in ("sampler", "data"):
            raise ValueError(f"negative is {negative!r}, but there are 'sampler' and 'data'")
        if negative == "data" and not isinstance(layer, BoltzmannPrior):
            raise ValueError(
                f"negative is 'data', but {type(layer).__name__} is no Boltzmann machine, whose "
                "chains could start there"
            )
        self.layer = layer
        self.start = negative
        self._first: FirstAsked | None = None  # of the update that runs

    @property
    def prior(self) -> Prior:
        return self.layer

    @property
    def visible_units(self) -> Units:
        return Spins(self.layer.num_visible)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        batch = self.states_of(batch)
        self.negative, log_ratio = self._negative_of(batch)
        loss = log_ratio - self.layer.log_prob(batch, self.negative).mean()
        self._log_train({"loss": loss})
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(self.states_of(batch), "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(self.states_of(batch), "test")

    def why_not_again(self) -> str:
        prior = boltzmann_of(self)
        if prior is None:
            return ""
        if self.start == "data":
            return "its negative phase is drawn anew from the data each time"
        return "" if prior.gamma is None else "samples of a transverse field have no other weights"

    def _negative_of(self, batch: Tensor) -> Reweighted:
        r"""Returns the negative phase, and what log Z has grown by where it is asked for again."""
        prior = boltzmann_of(self)
        if prior is not None and self._first is not None and self._num_asked > 0:
            return reweighted(self._first, prior.ising())
        if prior is not None and self.start == "data":
            samples = _from_data(prior, batch)
        else:
            samples = self.draw_negative()
        self._first = None if prior is None else FirstAsked(prior.ising().detach(), samples)
        return Reweighted(samples, batch.new_zeros(()))

    def _evaluate(self, batch: Tensor, stage: str) -> None:
        value = self.layer(batch).mean()
        self.log(
            f"{stage}/log_likelihood", value, prog_bar=True, batch_size=len(batch), sync_dist=True
        )


@torch.no_grad()
def _from_data(prior: BoltzmannPrior, batch: Tensor) -> Samples:
    r"""Returns samples whose chains start at visible spins (B, N_visible)."""
    refuse_second_bill(prior.sampler)
    start = prior.from_visible(batch.to(prior.h))
    return prior.sampler.sample(prior.ising().detach(), len(batch), state=start)
