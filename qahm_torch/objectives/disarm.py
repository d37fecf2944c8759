r"""The evidence lower bound through pairs of opposite draws."""

from __future__ import annotations

__all__ = ["DisARM"]

from typing import cast

import torch
from torch import Tensor

from qahm_torch.ising import Samples
from qahm_torch.nn import BeliefNetwork, HelmholtzMachine
from qahm_torch.nn.distributions import uniform_like
from qahm_torch.nn.units import Spins
from qahm_torch.objectives.bound import BoundTerms
from qahm_torch.objectives.objective import Objective, check_weight


class DisARM(Objective):
    r"""The evidence lower bound, by pairs of draws from opposite ends of the same noise.

    With spins :math:`s_i = +1` where :math:`u_i < \sigma(l_i)`, and :math:`\tilde s_i` the same of
    :math:`1 - u_i`, for uniform u and the log-odds l of the recognition, the gradient of
    :math:`E_q[f]`, beside that of f itself, is

    .. math::
        \frac{\partial}{\partial l_i} = E \Big[ \frac{f(s) - f(\tilde s)}{2} \,
        \frac{s_i - \tilde s_i}{2} \, \sigma(|l_i|) \Big], \qquad
        f(s) = \log p(v | s) + \beta \, \big( \log p(s) - \log q(s | v) \big).

    It is without bias, at the cost of two passes of the generator and none of a relaxation.

    Its losses are the bound, `reconstruction`, the mean of :math:`-\log p(v | u)`, and `kl`, an
    estimate of the divergence of the recognition from the prior.

    Arguments:
        num_pairs: The number of pairs of draws of each datum.
        kl_weight: The weight :math:`\beta` of the divergence.

    Raises:
        ValueError: If there is no pair, or the weight is negative; in `check` if the recognition
            is anything but a `BeliefNetwork` of one layer of spins.

    References:
        | DisARM: an antithetic gradient estimator for binary latent variables (Dong, Mnih, Tucker,
          2020)
        | https://arxiv.org/abs/2006.10680

    Example:
        >>> from qahm_torch import QuantumPriorLayer
        >>> networks = BeliefNetwork([6, 3]), BeliefNetwork([3, 6])
        >>> machine = HelmholtzMachine(*networks, QuantumPriorLayer(3))
        >>> losses = DisARM()(machine, torch.ones(4, 6), machine.prior.draw())
        >>> losses["loss"].backward()
    """

    def __init__(self, num_pairs: int = 1, kl_weight: float = 1.0):
        if num_pairs < 1:
            raise ValueError(f"num_pairs is {num_pairs}, but at least 1 is needed")
        self.num_pairs = num_pairs
        self.kl_weight = check_weight("kl_weight", kl_weight)

    def __call__(
        self,
        machine: HelmholtzMachine,
        batch: Tensor,
        negative: Samples,
        *,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        recognition = cast(BeliefNetwork, machine.recognition)
        odds = 2 * recognition.activations(0, machine.seen(batch))
        odds = odds.expand(self.num_pairs, *odds.shape)
        # What f depends on by itself comes through log q, which is of the draws as they are.
        spins, opposite = _pair(odds.detach(), generator)
        both = torch.cat([spins, opposite])
        log_q = torch.nn.functional.logsigmoid(both * torch.cat([odds, odds])).sum(-1)
        terms = BoundTerms.of(machine, batch, [both], log_q, negative)
        f = terms.log_weights(self.kl_weight)
        first, second = f.detach().chunk(2)
        slope = (
            (first - second).unsqueeze(-1) / 4 * (spins - opposite) * odds.detach().abs().sigmoid()
        )
        score = (slope * odds).sum(-1).mean()
        return terms.losses(-(f.mean() + score - score.detach()))

    def check(self, machine: HelmholtzMachine) -> None:
        recognition = machine.recognition
        if not isinstance(recognition, BeliefNetwork):
            raise ValueError(
                f"the recognition is {type(recognition).__name__}, but DisARM needs a "
                "BeliefNetwork of one layer of spins; VIMCO takes any"
            )
        if len(recognition.layers) != 1 or type(recognition.output) is not Spins:
            raise ValueError(
                f"the recognition has {len(recognition.layers)} layers, the last one "
                f"{type(recognition.output).__name__}, but DisARM needs one layer of Spins; VIMCO "
                "takes any"
            )


def _pair(odds: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    r"""Returns two draws of spins with these log-odds, from opposite ends of the same noise."""
    noise, up = uniform_like(odds, generator), odds.sigmoid()
    return tuple(2 * (u < up).to(odds) - 1 for u in (noise, 1 - noise))  # type: ignore[return-value]
