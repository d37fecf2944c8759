r"""The Helmholtz machine: recognition, generator and a prior over the deepest layer."""

from __future__ import annotations

__all__ = ["HelmholtzMachine", "hide"]

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qahm_torch.ising import Samples
from qahm_torch.nn.belief import BeliefNetwork, Draw
from qahm_torch.nn.prior import Prior
from qahm_torch.nn.units import Concatenated, OneHot

# Importance sampling is cut into pieces of about so many rows, which fit into the cache.
ROWS_PER_CHUNK = 20_000


class HelmholtzMachine(nn.Module):
    r"""A deep generative model with a Boltzmann machine as its deepest layer.

    .. math::
        p(v, u_1, \dots, u_L) = p(v | u_1) \cdots p(u_{L-1} | u_L) \, p(u_L),

    where the generator gives the conditionals and the prior :math:`p(u_L)`. The recognition
    network :math:`q(u_1, \dots, u_L | v)` runs the other way and proposes hidden states of data.

    Shapes: visible states are (*, N_visible). A unit that is not known, such as the class of a
    picture to be classified, is 0 in what the recognition network sees.

    Arguments:
        recognition: The network from data to the deepest layer.
        generator: The network from the deepest layer to data.
        prior: The layer over the deepest units, such as a `QuantumPriorLayer`.

    Raises:
        ValueError: If the widths of the three do not fit each other.

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

    def __init__(self, recognition: BeliefNetwork, generator: BeliefNetwork, prior: Prior):
        super().__init__()
        if recognition.widths != generator.widths[::-1]:
            raise ValueError(
                f"the widths of the recognition network {list(recognition.widths)} are not those "
                f"of the generator {list(generator.widths)} backwards"
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
        output = self.generator.output
        parts = list(output.parts) if isinstance(output, Concatenated) else [output]
        return parts[-1].num_units if isinstance(parts[-1], OneHot) else 0

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
        """
        prior = self.prior.log_prob(states[-1], negative)
        return prior + self.generator.log_prob(states[::-1], observed)

    def infer(self, visible: Tensor, num_particles: int) -> Draw:
        r"""Returns hidden states [u_1, ..., deepest] of shape (K, *, width) and log q (K, *)."""
        visible = visible.to(next(self.recognition.parameters()))
        return self.recognition.draw(visible.expand(num_particles, *visible.shape))

    def log_weights(self, visible: Tensor, num_particles: int) -> Tensor:
        r"""Returns :math:`\log p(v, u^k) - \log q(u^k | v)` for K draws, of shape (K, *)."""
        states, log_q = self.infer(visible, num_particles)
        v = visible.to(log_q).expand(num_particles, *visible.shape)
        return self.log_joint([v, *states]) - log_q

    def log_prob(self, visible: Tensor, num_particles: int) -> Tensor:
        r"""Returns an estimate of :math:`\log p(v)` in nats, of shape (*), by importance sampling.

        :math:`\log \frac1K \sum_k p(v, u^k) / q(u^k | v)` is below log p(v) on average, by a bias
        that vanishes as K grows, given log Z; the error of `prior.log_z` adds to it.

        References:
            | Importance weighted autoencoders (Burda et al., 2015)
            | https://arxiv.org/abs/1509.00519
        """
        rows = max(1, visible[..., 0].numel())
        chunk = max(1, min(num_particles, ROWS_PER_CHUNK // rows))
        total = None
        for start in range(0, num_particles, chunk):
            weights = self.log_weights(visible, min(chunk, num_particles - start))
            part = torch.logsumexp(weights, 0)
            total = part if total is None else torch.logaddexp(total, part)
        assert total is not None
        return total - math.log(num_particles)

    @torch.no_grad()
    def dream(self, num_samples: int) -> list[Tensor]:
        r"""Returns states drawn from the model, [deepest, ..., u_1, v], each (n, width)."""
        deepest = self.prior.to_visible(self.prior.sample(num_samples))
        return [deepest, *self.generator.sample(deepest)]

    def generate(self, num_samples: int) -> Tensor:
        r"""Returns visible states drawn from the model, of shape (n, N_visible)."""
        return self.dream(num_samples)[-1]

    @torch.no_grad()
    def reconstruct(self, visible: Tensor, depth: int | None = None, num_draws: int = 1) -> Tensor:
        r"""Returns the mean of the visible units after a trip into the machine and back.

        Arguments:
            visible: Visible states of shape (*, N_visible).
            depth: The hidden layer at which to turn round, 1 for the first; None for the deepest.
            num_draws: The number of trips to average over; each draws its own hidden states.

        Raises:
            ValueError: If there is no hidden layer of that depth.
        """
        num_hidden = len(self.generator.layers)
        depth = num_hidden if depth is None else depth
        if not 1 <= depth <= num_hidden:
            raise ValueError(f"depth is {depth}, but hidden layers are 1 to {num_hidden}")
        state = self.infer(visible, num_draws).states[depth - 1]
        for k in range(num_hidden - depth, num_hidden - 1):
            activations = self.generator.activations(k, state)
            state = self.generator.units[k].sample(activations)  # type: ignore[operator]
        return self.generator.mean(state).mean(0)

    @torch.no_grad()
    def complete(self, visible: Tensor, mask: Tensor, num_particles: int = 64) -> Tensor:
        r"""Returns visible states in which what is not observed has been filled in.

        Hidden states are proposed from the observed units and one of K is chosen by its
        importance weight, so the fill-in is a sample of p(unobserved | observed) up to a bias
        that vanishes as K grows.

        Arguments:
            visible: Visible states of shape (*, N_visible); unobserved values do not matter.
            mask: True where a unit is observed, broadcastable to `visible`.
            num_particles: The number of proposals K.
        """
        visible = visible.to(self.prior.h)
        mask = mask.expand(visible.shape)
        states, log_w = self._weigh_observed(visible, mask, num_particles)
        first = states[0].movedim(0, -2)
        chosen = torch.distributions.Categorical(logits=log_w.movedim(0, -1)).sample()
        index = chosen[..., None, None].expand(*chosen.shape, 1, first.shape[-1])
        last = len(self.generator.layers) - 1
        parameters = self.generator.activations(last, first.gather(-2, index).squeeze(-2))
        return torch.where(mask, visible, self.generator.output.sample(parameters))

    @torch.no_grad()
    def classify(self, visible: Tensor, num_particles: int = 64) -> Tensor:
        r"""Returns the probability of each class given the pixels, of shape (*, num_classes).

        .. math::
            p(c | x) \approx \sum_k \bar w_k \, p(c | u_1^k), \qquad
            w_k = p(x, u^k) / q(u^k | x),

        by self-normalized importance sampling, from the joint model with the class hidden.

        Arguments:
            visible: Visible states (*, N_visible), whose class units are not looked at.
            num_particles: The number of hidden states K per row.

        Raises:
            ValueError: If the machine has no class units.
        """
        states, log_w = self._weigh_observed(visible, self._pixel_mask(), num_particles)
        return (torch.softmax(log_w, 0).unsqueeze(-1) * self._classes(states[0])).sum(0)

    @torch.no_grad()
    def read_out(self, visible: Tensor, num_particles: int = 64) -> Tensor:
        r"""Returns the generator's class probabilities at what recognition sees in the pixels.

        .. math::
            \frac1K \sum_k p(c | u_1^k), \qquad u^k \sim q(u | x),

        of shape (*, num_classes). It takes the recognition network at its word where `classify`
        weighs its proposals by the model, whose few effective particles make that one noisier.

        Arguments:
            visible: Visible states (*, N_visible), whose class units are not looked at.
            num_particles: The number of hidden states K per row.

        Raises:
            ValueError: If the machine has no class units.
        """
        seen = torch.where(self._pixel_mask(), visible.to(self.prior.h), 0.0)
        return self._classes(self.infer(seen, num_particles).states[0]).mean(0)

    def _pixel_mask(self) -> Tensor:
        if self.num_classes == 0:
            raise ValueError("the machine has no class units: its output does not end with OneHot")
        units = torch.arange(self.generator.widths[-1], device=self.prior.h.device)
        return units < self.num_pixels

    def _classes(self, first: Tensor) -> Tensor:
        return (self.generator.mean(first)[..., self.num_pixels :] + 1) / 2

    def _weigh_observed(
        self, visible: Tensor, mask: Tensor, num_particles: int
    ) -> tuple[list[Tensor], Tensor]:
        seen = torch.where(mask, visible.to(self.prior.h), 0.0)
        states, log_q = self.infer(seen, num_particles)
        v = seen.expand(num_particles, *seen.shape)
        return states, self.log_joint([v, *states], observed=mask) - log_q


def hide(
    visible: Tensor,
    num_pixels: int,
    probability: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Returns visible states in which the class units of random rows are 0, that is, unknown.

    Arguments:
        visible: Visible states of shape (*, N_visible).
        num_pixels: The number of units before the class units.
        probability: The probability that a row's class is hidden.
        generator: The source of random numbers.
    """
    uniform = torch.rand(visible.shape[:-1], generator=generator, device=visible.device)
    keep = uniform >= probability
    seen = visible.clone()
    seen[..., num_pixels:].mul_(keep.unsqueeze(-1))
    return seen
