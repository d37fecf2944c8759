r"""Models of a gamble that is played again, told its outcome or not."""

from __future__ import annotations

__all__ = ["gamble_models", "interference_cells"]

import math

import torch
from torch import Tensor

from qahm_torch.cognition.cell_model import CellModel

# Beliefs (won, lost) by actions (play again, or not).
UTILITY = ((1.0, 0.0), (0.0, -1.0))
FLIP = ((0.0, 1.0), (1.0, 0.0))
DISSONANCE = ((1, 0, 1, 0), (0, -1, 0, 1), (1, 0, -1, 0), (0, 1, 0, 1))
BELIEFS = ((1.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 1.0), (0.5**0.5,) * 4)  # won, lost, unknown


def interference_cells(mu: Tensor, gamma: Tensor) -> Tensor:
    r"""Returns the probabilities of the quantum model of Pothos and Busemeyer.

    A state over beliefs and actions begins with both actions alike, and the belief that is told or
    both beliefs alike. It evolves for a time of :math:`\pi / 2`, by which its beliefs interfere:

    .. math::
        H = \frac{1}{\sqrt{1 + \mu^2}} \, I \otimes \begin{pmatrix} \mu & 1 \\ 1 & -\mu
        \end{pmatrix} - \frac{\gamma}{\sqrt{2}} \begin{pmatrix} 1 & 0 & 1 & 0 \\ 0 & -1 & 0 & 1 \\
        1 & 0 & -1 & 0 \\ 0 & 1 & 0 & 1 \end{pmatrix}, \qquad
        \psi = e^{-i \pi H / 2} \, \psi_0,

    and the gamble is played again with probability :math:`|\psi_1|^2 + |\psi_3|^2`. Without
    :math:`\gamma` the law of total probability holds.

    Arguments:
        mu: The utility of playing again, of shape (*).
        gamma: The strength by which beliefs and actions are brought into line, of shape (*).

    Returns:
        The probabilities, of shape (*, 3, 2): won, lost and unknown by playing again and not.

    References:
        | A quantum probability explanation for violations of 'rational' decision theory (Pothos &
          Busemeyer, 2009)
        | https://doi.org/10.1098/rspb.2009.0121
    """
    utility, flip, dissonance = (mu.new_tensor(m) for m in (UTILITY, FLIP, DISSONANCE))
    mu, gamma = mu[..., None, None], gamma[..., None, None]
    action = (mu * utility + flip) / (1 + mu.square()).sqrt()
    both = torch.block_diag(*2 * (torch.ones_like(flip),))
    hamiltonian = both * action.tile(2, 2) - gamma / math.sqrt(2) * dissonance
    evolution = torch.linalg.matrix_exp(-0.5j * math.pi * hamiltonian)
    start = mu.new_tensor(BELIEFS) / math.sqrt(2)
    weights = (start.to(evolution) @ evolution.mT).abs().square()
    actions: Tensor = weights.unflatten(-1, (2, 2)).sum(-2)
    return actions


def gamble_models() -> dict[str, CellModel]:
    r"""Returns the models of a gamble by name, whose cells are of shape (*, 3, 2).

    Those who are told that they won, that they lost, or nothing play again with these
    probabilities:

    - `quantum`: those of `interference_cells`, of 2 parameters.
    - `classical`: a, b and w a + (1 - w) b, the law of total probability, of 3.
    - `classical, w 1/2`: the same with w of 1/2, of 2.
    - `saturated`: any, of 3.
    """
    models = (
        CellModel("quantum", 2, lambda x: interference_cells(*x.unbind(-1))),
        CellModel("classical", 3, _total_probability),
        CellModel("classical, w 1/2", 2, _even_odds),
        CellModel("saturated", 3, lambda x: _two_cells(x.sigmoid())),
    )
    return {model.name: model for model in models}


def _two_cells(p: Tensor) -> Tensor:
    return torch.stack([p, 1 - p], -1)


def _total_probability(x: Tensor) -> Tensor:
    won, lost, weight = x.sigmoid().unbind(-1)
    return _two_cells(torch.stack([won, lost, weight * won + (1 - weight) * lost], -1))


def _even_odds(x: Tensor) -> Tensor:
    return _total_probability(torch.cat([x, torch.zeros_like(x[..., :1])], -1))
