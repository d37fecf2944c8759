r"""How models of counts are compared: by criteria of information."""

from __future__ import annotations

__all__ = ["aic", "bic", "deviance"]

import math

import torch
from torch import Tensor


def aic(log_likelihood: Tensor, num_parameters: int) -> Tensor:
    r"""Returns the criterion of Akaike, of which less is better.

    .. math:: AIC = 2 k - 2 \log L

    Arguments:
        log_likelihood: The highest log-likelihood log L in nats, of any shape.
        num_parameters: The number k of parameters.

    References:
        | A new look at the statistical model identification (Akaike, 1974)
        | https://doi.org/10.1109/TAC.1974.1100705
    """
    return 2 * num_parameters - 2 * log_likelihood


def bic(log_likelihood: Tensor, num_parameters: int, num_data: float) -> Tensor:
    r"""Returns the criterion of Schwarz, of which less is better.

    .. math:: BIC = k \log n - 2 \log L

    From 8 data on, it charges more for a parameter than the criterion of Akaike.

    Arguments:
        log_likelihood: The highest log-likelihood log L in nats, of any shape.
        num_parameters: The number k of parameters.
        num_data: The number n of data.

    Raises:
        ValueError: If there are no data.

    References:
        | Estimating the dimension of a model (Schwarz, 1978)
        | https://doi.org/10.1214/aos/1176344136
    """
    if num_data < 1:
        raise ValueError(f"num_data is {num_data}, but it is at least 1")
    return num_parameters * math.log(num_data) - 2 * log_likelihood


def deviance(log_likelihood: Tensor, counts: Tensor) -> Tensor:
    r"""Returns twice what a model lacks of the saturated one, which has the proportions found.

    .. math:: D = 2 \sum_{r, c} n_{rc} \log \frac{n_{rc}}{n_r} - 2 \log L

    Where the model is true, and there are many data, it is a chi-square of as many degrees of
    freedom as the model has parameters less.

    Arguments:
        log_likelihood: The highest log-likelihood log L in nats, of shape (*).
        counts: The counts, of shape (*, rows, columns).
    """
    proportions = counts / counts.sum(-1, keepdim=True)
    return 2 * (torch.xlogy(counts, proportions).sum((-2, -1)) - log_likelihood)
