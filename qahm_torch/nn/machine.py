r"""The Helmholtz machine: recognition, generator and a prior over the deepest layer."""

from __future__ import annotations

__all__ = ["HelmholtzMachine"]

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from qahm_torch.ising import Samples
from qahm_torch.nn.belief import BeliefNetwork
from qahm_torch.nn.class_reading import read_classes, weigh_observed, weighed_classes
from qahm_torch.nn.distributions import draw, uniform_like
from qahm_torch.nn.mixed import Filled, MixedDistribution
from qahm_torch.nn.prior import Prior
from qahm_torch.nn.recognition import Draw, Recognition
from qahm_torch.nn.saving import Portable
from qahm_torch.nn.units import Units

# Importance sampling is cut into pieces of about so many visible units, which fit into the cache.
UNITS_PER_CHUNK = 4_000_000


class HelmholtzMachine(Portable):
    r"""A deep generative model with a prior, such as a Boltzmann machine, as its deepest layer.

    .. math::
        p(v, u_1, \dots, u_L) = p(v | u_1) \cdots p(u_{L-1} | u_L) \, p(u_L),

    where the generator gives the conditionals and the prior :math:`p(u_L)`. The recognition
    :math:`q(u_1, \dots, u_L | v)` runs the other way and proposes hidden states of data.

    Shapes: visible states are (*, N_visible). A unit that is not known, such as the class of a
    picture to be classified, is `recognition.unknown` in what the recognition sees: 0, or NaN
    where it is told by bits (`Flagged`). In data it is NaN, which does not count where the units
    are `OneHot`, such as the class, or `MixedUnits`. A method that draws does so from
    its `generator` alone, on the device of the machine, if it is given one.

    Arguments:
        recognition: Whatever draws hidden states of data, such as a `BeliefNetwork`.
        generator: The network from the deepest layer to data.
        prior: The law of the deepest units, such as a `QuantumPriorLayer`.

    Raises:
        ValueError: If the states of the three do not fit each other.

    References:
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
          computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757

    Example:
        >>> from qahm_torch import QuantumPriorLayer
        >>> machine = HelmholtzMachine(
        ...     BeliefNetwork([6, 4, 3]), BeliefNetwork([3, 4, 6]), QuantumPriorLayer(3)
        ... )
        >>> machine.generate(5).shape
        torch.Size([5, 6])
    """

    def __init__(self, recognition: Recognition, generator: BeliefNetwork, prior: Prior):
        super().__init__()
        if recognition.widths != generator.widths[::-1]:
            raise ValueError(
                f"the states of the recognition, data first, have widths "
                f"{list(recognition.widths)}, but those of the generator have "
                f"{list(generator.widths[::-1])}"
            )
        if prior.num_visible != generator.widths[0]:
            raise ValueError(
                f"the prior has {prior.num_visible} visible spins, but the deepest layer has "
                f"{generator.widths[0]} units"
            )
        self.recognition = recognition
        self.generator = generator
        self.prior = prior

    @property
    def num_classes(self) -> int:
        r"""The number of class units, which come last among the visible units; 0 if none."""
        return self.generator.output.num_classes

    @property
    def num_pixels(self) -> int:
        r"""The number of visible units that are not class units."""
        return self.generator.widths[-1] - self.num_classes

    def forward(self, visible: Tensor) -> Tensor:
        r"""Returns the log-weights of one hidden state per row, an estimate of the ELBO."""
        return self.log_weights(visible, 1)[0]

    def log_joint(
        self,
        states: Sequence[Tensor],
        negative: Tensor | Samples | None = None,
        observed: Tensor | None = None,
    ) -> Tensor:
        r"""Returns :math:`\log p(v, u_1, \dots, u_L)` in nats, of shape (*).

        Arguments:
            states: The states [v, u_1, ..., deepest], each (*, width).
            negative: Samples of the prior to use for its gradient (see `QuantumPriorLayer`).
            observed: Which visible units count, or how much, broadcastable to v; None for all.

        Raises:
            ValueError: If the first visible states of all are not what the units take.
        """
        self.look_once(states[0], self.generator.output, observed)
        prior = self.prior.log_prob(states[-1], negative)
        return prior + self.generator.log_prob(states[::-1], observed)

    def infer(
        self, visible: Tensor, num_particles: int, *, generator: torch.Generator | None = None
    ) -> Draw:
        r"""Returns hidden states [u_1, ..., deepest] of shape (K, *, width) and log q (K, *)."""
        visible = self.seen(visible.to(self._like))
        return self.recognition.draw(visible.expand(num_particles, *visible.shape), generator)

    def seen(self, visible: Tensor) -> Tensor:
        r"""Returns what recognition sees of visible states, NaN where a unit is not known."""
        unknown = self.recognition.unknown
        return visible.masked_fill(visible.isnan(), unknown)

    def log_weights(
        self, visible: Tensor, num_particles: int, *, generator: torch.Generator | None = None
    ) -> Tensor:
        r"""Returns :math:`\log p(v, u^k) - \log q(u^k | v)` for K draws, of shape (K, *)."""
        states, log_q = self.infer(visible, num_particles, generator=generator)
        v = visible.to(self._like).expand(num_particles, *visible.shape)
        return self.log_joint([v, *states]) - log_q

    def log_prob(
        self, visible: Tensor, num_particles: int, *, generator: torch.Generator | None = None
    ) -> Tensor:
        r"""Returns an estimate of :math:`\log p(v)` in nats, of shape (*), by importance sampling.

        :math:`\log \frac1K \sum_k p(v, u^k) / q(u^k | v)` is below log p(v) on average, by a bias
        that vanishes as K grows, given log Z; the error of a prior's estimate of it adds to that.

        Arguments:
            visible: Visible states of shape (*, N_visible).
            num_particles: The number of hidden states K per row.
            generator: The source of randomness.

        Raises:
            ValueError: If there is no particle.

        References:
            | Importance weighted autoencoders (Burda et al., 2015)
            | https://arxiv.org/abs/1509.00519
        """
        if num_particles < 1:
            raise ValueError(f"num_particles is {num_particles}, but at least 1 is needed")
        chunk = max(1, UNITS_PER_CHUNK // max(1, visible.numel()))
        sizes = [min(chunk, num_particles - k) for k in range(0, num_particles, chunk)]
        weights = (self.log_weights(visible, size, generator=generator) for size in sizes)
        totals = [log_w.logsumexp(0) for log_w in weights]
        return torch.stack(totals).logsumexp(0) - math.log(num_particles)

    @torch.no_grad()
    def dream(self, num_samples: int, *, generator: torch.Generator | None = None) -> list[Tensor]:
        r"""Returns states drawn from the model, [deepest, ..., u_1, v], each (n, width)."""
        deepest = self.prior.to_visible(self.prior.sample(num_samples, generator=generator))
        deepest = deepest.to(self._like)
        return [deepest, *self.generator.sample(deepest, generator)]

    def generate(self, num_samples: int, *, generator: torch.Generator | None = None) -> Tensor:
        r"""Returns visible states drawn from the model, of shape (n, N_visible)."""
        return self.dream(num_samples, generator=generator)[-1]

    @torch.no_grad()
    def reconstruct(
        self,
        visible: Tensor,
        depth: int | None = None,
        num_draws: int = 1,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Returns the mean of the visible units after a trip into the machine and back.

        Of visible units that have no exact mean, each trip brings a draw (see
        `BeliefNetwork.mean`).

        Arguments:
            visible: Visible states of shape (*, N_visible).
            depth: The hidden layer at which to turn round, 1 for the first; None for the deepest.
            num_draws: The number of trips to average over; each draws its own hidden states.
            generator: The source of randomness.

        Raises:
            ValueError: If there is no hidden layer of that depth.
        """
        num_hidden = len(self.generator.layers)
        depth = num_hidden if depth is None else depth
        if not 1 <= depth <= num_hidden:
            raise ValueError(f"depth is {depth}, but hidden layers are 1 to {num_hidden}")
        state = self.infer(visible, num_draws, generator=generator).states[depth - 1]
        for k in range(num_hidden - depth, num_hidden - 1):
            state = draw(self.generator.conditional(k, state), generator)
        return self.generator.mean(state, generator).mean(0)

    @torch.no_grad()
    def fill(
        self,
        visible: Tensor,
        states: Sequence[Tensor],
        *,
        generator: torch.Generator | None = None,
    ) -> Filled:
        r"""Returns visible states whose missing columns are drawn, and the known ones' log p.

        .. math::
            \log p(u) + \sum_{i \text{ known}} \log p(v_i \mid v_{<i}, u)

        With the q of hidden states that were proposed it makes the weight of filled rows, whose
        mean is the likelihood of the known units (see `MixedDistribution.fill`).

        Arguments:
            visible: Visible states of shape (*, N_visible), NaN where they are missing.
            states: Hidden states [u_1, ..., deepest], each (*, width).
            generator: The source of randomness.

        Raises:
            TypeError: If the visible units are not `MixedUnits`.
        """
        output = self.generator.conditional(len(self.generator.layers) - 1, states[0])
        if not isinstance(output, MixedDistribution):
            raise TypeError(
                f"the output is {_kind(self.generator.output)}, but missing units are filled in "
                "by MixedUnits"
            )
        filled = output.fill(visible, generator)
        # Nothing of the visible units counts here: what is left is that of the hidden ones.
        nothing = torch.zeros_like(filled.values)
        hidden = self.log_joint([filled.values, *states], observed=nothing)
        return Filled(filled.values, hidden + filled.log_prob)

    @torch.no_grad()
    def complete(
        self,
        visible: Tensor,
        mask: Tensor,
        num_particles: int = 64,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Returns visible states in which what is not observed has been filled in.

        Hidden states are proposed from the observed units and one of K is chosen by its
        importance weight, so the fill-in is a sample of p(unobserved | observed) up to a bias
        that vanishes as K grows.

        Arguments:
            visible: Visible states of shape (*, N_visible); unobserved values do not matter.
            mask: True where a unit is observed, broadcastable to `visible`.
            num_particles: The number of proposals K.
            generator: The source of randomness.

        Raises:
            ValueError: If visible units depend on each other, so that unobserved ones cannot be
                left out of the weights.
        """
        if self.generator.output.is_sequential:
            raise ValueError(
                f"the output is {_kind(self.generator.output)}, with units that depend on those "
                "before them, but completion needs independent ones given the first hidden layer"
            )
        visible = visible.to(self._like)
        mask = mask.expand(visible.shape)
        states, log_w = weigh_observed(self, visible, mask, num_particles, generator)
        # A draw with these log-weights, by Gumbel noise.
        gumbel = -torch.log(-torch.log(uniform_like(log_w, generator)))
        chosen = (log_w + gumbel).argmax(0, keepdim=True).unsqueeze(-1)
        first = states[0].gather(0, chosen.expand(-1, *states[0].shape[1:])).squeeze(0)
        filled = draw(self.generator.conditional(len(states) - 1, first), generator)
        return torch.where(mask, visible, filled)

    @torch.no_grad()
    def classify(
        self,
        visible: Tensor,
        num_particles: int = 64,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Returns the probability of each class given the pixels, of shape (*, num_classes).

        .. math::
            p(c | x) \approx \sum_k \bar w_k \, p(c | u_1^k), \qquad
            w_k = p(x, u^k) / q(u^k | x),

        by self-normalized importance sampling, from the joint model with the class hidden. Columns
        of a table that are missing are summed out, or drawn on the way where others see them (see
        `fill`).

        Arguments:
            visible: Visible states (*, N_visible), whose class units are not looked at.
            num_particles: The number of hidden states K per row.
            generator: The source of randomness.

        Raises:
            ValueError: If the machine has no class units.
        """
        return weighed_classes(self, visible, num_particles, generator)

    @torch.no_grad()
    def read_out(
        self,
        visible: Tensor,
        num_particles: int = 64,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Returns the generator's class probabilities at what recognition sees in the pixels.

        .. math::
            \frac1K \sum_k p(c | u_1^k), \qquad u^k \sim q(u | x),

        of shape (*, num_classes). It takes the recognition at its word where `classify` weighs its
        proposals by the model, whose few effective particles make that one noisier.

        Arguments:
            visible: Visible states (*, N_visible), whose class units are not looked at.
            num_particles: The number of hidden states K per row.
            generator: The source of randomness.

        Raises:
            ValueError: If the machine has no class units.
        """
        return read_classes(self, visible, num_particles, generator)

    @property
    def _like(self) -> Tensor:
        r"""A tensor with the dtype and the device of the machine."""
        return next(self.generator.parameters())


def _kind(units: Units) -> str:
    return type(units).__name__
