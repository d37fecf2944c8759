r"""The loss of one update, for optimizers that ask for it several times."""

from __future__ import annotations

__all__ = ["FirstAsked", "Reweighted", "reweighted"]

from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.ising import Ising, Samples


class FirstAsked(NamedTuple):
    r"""The samples of an update, and the model that they are of."""

    ising: Ising
    samples: Samples


class Reweighted(NamedTuple):
    r"""Samples with the weights of another model, and by how much its log Z is larger."""

    samples: Samples
    log_ratio: Tensor  # a scalar


@torch.no_grad()
def reweighted(first: FirstAsked, ising: Ising) -> Reweighted:
    r"""Returns the samples of one classical model with weights of another.

    .. math::
        \log \frac{Z(\theta)}{Z(\theta_0)} \approx \log \frac{\sum_k w_k \, e^{E_0(s_k) - E(s_k)}}
        {\sum_k w_k},

    whose gradient is that of the weighted moments: all that an optimizer asks of one update is
    then one function, along which it can search.

    Arguments:
        first: The samples, and their model.
        ising: The other model.

    References:
        | Constrained Monte Carlo maximum likelihood for dependent data (Geyer & Thompson, 1992)
        | https://doi.org/10.1111/j.2517-6161.1992.tb01443.x
    """
    spins, own = first.samples.spins, first.samples.weights
    log_weights = first.ising.energy(spins) - ising.energy(spins)
    log_own = torch.zeros_like(log_weights) if own is None else own.to(log_weights).log()
    total = log_own + log_weights
    weights = torch.softmax(total, 0)
    samples = first.samples._replace(weights=weights)
    return Reweighted(samples, total.logsumexp(0) - log_own.logsumexp(0))
