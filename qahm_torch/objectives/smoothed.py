r"""The evidence lower bound of spins that the networks see smoothed."""

from __future__ import annotations

__all__ = ["SmoothedELBO"]

import torch
from torch import Tensor

from qahm_torch.ising import Samples
from qahm_torch.nn import BeliefNetwork, GroupedRecognition, HelmholtzMachine, Prior, Spins
from qahm_torch.nn.smoothing import Smoothing, check_beta
from qahm_torch.objectives.bound import BoundTerms, check_particles
from qahm_torch.objectives.objective import Objective, check_weight


class SmoothedELBO(Objective):
    r"""The evidence lower bound of spins smoothed by overlapping exponentials, as in DVAE++.

    The model is :math:`p(s) \prod_i r(t_i | s_i) \, p(v | t)`, with the smoothing r of `smooth`:
    the generator sees the smoothed states t, and the prior is of the spins s. The recognition
    :math:`q(s, t | v) = \prod_g q(s^{(g)} | v, t^{(<g)}) \, r(t^{(g)} | s^{(g)})` has the same
    r, which therefore cancels from the divergence:

    .. math::
        \log p(v) \ge E_q \Big[ \log p(v | t) + \sum_g H\big( q(s^{(g)} | v, t^{(<g)}) \big)
        + E_q[\log p(s) \mid t] \Big].

    Where log p(s) is linear in each spin, as that of a Boltzmann machine is, nothing but t is
    drawn. Given t, the spins are independent, with means
    :math:`m_i = E[s_i | t] = \tanh(f_i + \beta t_i / 2)`; before the states of its own group are
    known, the mean is :math:`\mu_i = \tanh f_i`. So the last term has the same mean as

    .. math::
        \log p(0) + \sum_g \big[ \log p(m^{(<g)}, \mu^{(g)}, 0) - \log p(m^{(<g)}, 0, 0) \big],

    in which couplings within a group meet :math:`\mu_i \mu_j`, as exact as the entropy, and those
    between groups :math:`m_i \mu_j`, with j in the later one. As t is a smooth function of
    the recognition's parameters and of noise, the gradient of the bound has no bias.

    What it trains is the machine with smoothed states. The machine of spins, which validation
    measures and which generates, is the limit of large beta; a schedule that raises it (see
    `qahm_torch.training.Scheduled`) ends near it.

    Its losses are the bound, `reconstruction`, the mean of :math:`-\log p(v | t)`, and `kl`, an
    estimate of the divergence of the recognition from the prior.

    Arguments:
        beta: The steepness of the exponentials.
        num_draws: The number of draws of each datum, over which the bound is averaged.
        kl_weight: The weight of the divergence. A schedule that raises it to 1 keeps units alive
            at the start.

    Raises:
        ValueError: If beta is not positive or above 50, there is no draw, or the weight is
            negative; in `check` if the recognition is anything but a `GroupedRecognition` or a
            `BeliefNetwork` of one layer of spins, or the prior is not linear in each spin.

    References:
        | DVAE++: discrete variational autoencoders with overlapping transformations (Vahdat et
          al., 2018)
        | https://arxiv.org/abs/1802.04920

    Example:
        >>> from qahm_torch import QuantumPriorLayer
        >>> networks = GroupedRecognition(6, 4, num_groups=2), BeliefNetwork([4, 6])
        >>> machine = HelmholtzMachine(*networks, QuantumPriorLayer(4))
        >>> losses = SmoothedELBO()(machine, torch.ones(5, 6), machine.prior.draw())
        >>> losses["loss"].backward()
    """

    def __init__(self, beta: float = 8.0, num_draws: int = 1, kl_weight: float = 1.0):
        self.beta = check_beta(beta)
        self.num_draws = check_particles(num_draws, 1, "num_draws")
        self.kl_weight = check_weight("kl_weight", kl_weight)

    def __call__(
        self,
        machine: HelmholtzMachine,
        batch: Tensor,
        negative: Samples,
        *,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        recognition = _recognition_of(machine)
        smoothing = Smoothing(self.beta, generator)
        rows = batch.expand(self.num_draws, *batch.shape)
        states, _ = recognition.run(machine.seen(rows), smoothing)
        reconstruction = machine.generator.conditional(0, states[0]).log_prob(rows)
        log_prior = _expected_log_prob(machine.prior, smoothing, negative)
        terms = BoundTerms(reconstruction, -smoothing.entropy - log_prior)
        return terms.losses(-terms.log_weights(self.kl_weight).mean())

    def check(self, machine: HelmholtzMachine) -> None:
        recognition = _recognition_of(machine)
        units = list(recognition.units)
        if len(recognition.widths) != 2 or not all(type(unit) is Spins for unit in units):
            raise ValueError(
                f"the recognition has {len(recognition.widths) - 1} layers, the last one "
                f"{type(units[-1]).__name__}, but SmoothedELBO needs one layer of Spins"
            )
        if not machine.prior.is_multilinear:
            raise ValueError(
                f"the prior is {type(machine.prior).__name__}, whose log-probability is not known "
                "to be linear in each spin, but SmoothedELBO needs such a prior: a "
                "QuantumPriorLayer without hidden spins"
            )


def _recognition_of(machine: HelmholtzMachine) -> BeliefNetwork | GroupedRecognition:
    recognition = machine.recognition
    if not isinstance(recognition, (BeliefNetwork, GroupedRecognition)):
        raise ValueError(
            f"the recognition is {type(recognition).__name__}, but SmoothedELBO needs a "
            "GroupedRecognition, or a BeliefNetwork of one layer of spins"
        )
    return recognition


def _expected_log_prob(prior: Prior, smoothing: Smoothing, negative: Samples) -> Tensor:
    r"""Returns what has the mean of log p(s), (*), given smoothed states of groups of spins."""
    own, before = (torch.cat(m, -1) for m in (smoothing.means, smoothing.posterior_means))
    number = len(smoothing.means)
    of_spin = torch.tensor(
        [g for g, means in enumerate(smoothing.means) for _ in range(means.shape[-1])],
        device=own.device,
    )
    # One row for each group, broadcast over the data.
    group = torch.arange(number, device=own.device).view(-1, *[1] * own.ndim)
    without = torch.where(of_spin < group, before, 0.0)
    with_own = torch.where(of_spin == group, own, without)
    # The first group without its own is log p(0), which cancels the term in front of the sum.
    values = prior.log_prob(torch.cat([with_own, without[1:]]), negative)
    return values[:number].sum(0) - values[number:].sum(0)
