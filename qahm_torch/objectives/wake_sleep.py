r"""Wake-sleep: the losses of its two phases, and the objective that is their sum."""

from __future__ import annotations

__all__ = ["WakeSleep", "dream_seeds", "sleep_loss", "wake_loss"]

import torch
from torch import Tensor

from qahm_torch.ising import Samples
from qahm_torch.nn import HelmholtzMachine
from qahm_torch.objectives.class_units import ClassUnits, View
from qahm_torch.objectives.objective import Objective, check_weight


def wake_loss(
    machine: HelmholtzMachine,
    visible: Tensor,
    negative: Samples | None = None,
    view: View | None = None,
    unit_weights: Tensor | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Returns the loss of the wake phase, which trains the generator and the prior.

    .. math::
        -\frac1B \sum_b \log p(v_b, u_b), \qquad u_b \sim q(u | v_b).

    Its expectation is the variational free energy less the entropy of q, a term without gradient
    in the generator and the prior. The recognition network gets no gradient.

    Arguments:
        machine: The machine.
        visible: Data of shape (*, N_visible).
        negative: Samples of the prior for its negative phase, of shape (S, N); None to call the
            prior's sampler.
        view: What the recognition network sees of the data; None for all of it.
        unit_weights: Weights of the visible units' log-probabilities, of shape (N_visible,); None
            for 1, the log-likelihood.
        generator: The source of random numbers.

    References:
        | The wake-sleep algorithm for unsupervised neural networks (Hinton et al., 1995)
        | https://doi.org/10.1126/science.7761831
    """
    with torch.no_grad():
        seen = visible if view is None else view(visible)
        states = machine.recognition.sample(machine.seen(seen), generator)
    return -machine.log_joint([visible, *states], negative, unit_weights).mean()


def sleep_loss(
    machine: HelmholtzMachine,
    deepest: Tensor,
    view: View | None = None,
    like: Tensor | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Returns the loss of the sleep phase, which trains the recognition network on dreams.

    .. math::
        -\frac1S \sum_s \log q(u_s | v_s), \qquad (u_s, v_s) \sim p(v, u),

    where the dreams grow from the given samples of the prior: those of the negative phase, so that
    a device is programmed once per update. The generator and the prior get no gradient.

    Arguments:
        machine: The machine.
        deepest: Samples of the deepest layer, of shape (S, N_deepest).
        view: What the recognition network sees of a dream; None for all of it.
        like: Data (B, N_visible) whose missing units, NaN, are not seen of the dreams either, one
            row after the other; None where nothing is missing.
        generator: The source of random numbers.
    """
    dream = [deepest, *machine.generator.sample(deepest, generator)][::-1]
    seen = dream[0] if view is None else view(dream[0])
    if like is not None:
        # Dreams know nothing of the data, so that any order of rows is as good as a random one.
        rows = torch.arange(len(seen), device=seen.device) % len(like)
        seen = seen.masked_fill(like.isnan()[rows], machine.recognition.unknown)
    return -machine.recognition.log_prob([seen, *dream[1:]]).mean()


class WakeSleep(Objective):
    r"""Wake-sleep: the generator and the prior learn from data, recognition from dreams.

    Its losses are `wake_theta`, the `wake_loss`, and `sleep_phi`, the `sleep_loss`; the loss that
    is minimized is the first plus `sleep_phi` times the second, which share no parameter.

    Arguments:
        sleep_phi: The weight of the recognition network's loss.
        class_weight: The weight of the class units' log-probability in the wake phase. Above 1,
            hidden states are drawn to tell classes apart, at some cost in likelihood; what is
            evaluated always has weight 1.
        hide_classes: The probability with which a datum's class is hidden from recognition, so
            that the network learns to infer without it. Needs a machine with class units.

    Raises:
        ValueError: If a setting is out of its range.

    References:
        | The wake-sleep algorithm for unsupervised neural networks (Hinton et al., 1995)
        | https://doi.org/10.1126/science.7761831

    Example:
        >>> from qahm_torch import BeliefNetwork, QuantumPriorLayer
        >>> networks = BeliefNetwork([6, 3]), BeliefNetwork([3, 6])
        >>> machine = HelmholtzMachine(*networks, QuantumPriorLayer(3))
        >>> list(WakeSleep()(machine, torch.ones(4, 6), machine.prior.draw()))
        ['loss', 'wake_theta', 'sleep_phi']
    """

    def __init__(
        self, sleep_phi: float = 1.0, class_weight: float = 1.0, hide_classes: float = 0.0
    ):
        self.sleep_phi = check_weight("sleep_phi", sleep_phi)
        self.class_weight = class_weight
        self.hide_classes = hide_classes
        self._classes = ClassUnits(class_weight, hide_classes)

    def __call__(
        self,
        machine: HelmholtzMachine,
        batch: Tensor,
        negative: Samples,
        *,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        view = self._classes.view(machine, generator)
        weights = self._classes.unit_weights(machine, batch)
        seeds = dream_seeds(machine, negative, batch, generator)
        sleep = sleep_loss(machine, seeds, view, batch, generator=generator)
        wake = wake_loss(machine, batch, negative, view, weights, generator=generator)
        return {"loss": wake + self.sleep_phi * sleep, "wake_theta": wake, "sleep_phi": sleep}

    def check(self, machine: HelmholtzMachine) -> None:
        self._classes.check(machine)


def dream_seeds(
    machine: HelmholtzMachine,
    negative: Samples,
    like: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Returns equally weighted states of the deepest layer, (S, N_deepest), to dream from.

    Arguments:
        machine: The machine.
        negative: Samples of its prior, of shape (S, N), weighted or not.
        like: A tensor of the dtype and the device that are wanted.
        generator: The source of random numbers.
    """
    spins = machine.prior.to_visible(negative.spins.to(like))
    if negative.weights is None:
        return spins
    chosen = torch.multinomial(negative.weights, len(spins), replacement=True, generator=generator)
    return spins[chosen]
