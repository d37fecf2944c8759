r"""How a machine tells classes: from its hidden states, weighed by the model or not."""

from __future__ import annotations

__all__ = [
    "class_law",
    "hide",
    "read_classes",
    "sees_columns",
    "weigh_observed",
    "weighed_classes",
]

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution

from qahm_torch.nn.belief import BeliefNetwork
from qahm_torch.nn.distributions import Joint, uniform_like
from qahm_torch.nn.mixed import Filled, MixedDistribution, MixedUnits
from qahm_torch.nn.recognition import Draw, Recognition


class Machine(Protocol):
    r"""What is asked of a `HelmholtzMachine` here."""

    recognition: Recognition
    generator: BeliefNetwork

    @property
    def num_classes(self) -> int: ...

    @property
    def num_pixels(self) -> int: ...

    def infer(
        self, visible: Tensor, num_particles: int, *, generator: torch.Generator | None = None
    ) -> Draw: ...

    def fill(
        self,
        visible: Tensor,
        states: Sequence[Tensor],
        *,
        generator: torch.Generator | None = None,
    ) -> Filled: ...

    def log_joint(
        self, states: Sequence[Tensor], negative: None = None, observed: Tensor | None = None
    ) -> Tensor: ...


def weighed_classes(
    machine: Machine,
    visible: Tensor,
    num_particles: int,
    generator: torch.Generator | None,
) -> Tensor:
    r"""Returns the probabilities of classes (*, num_classes), as `HelmholtzMachine.classify` has.

    Raises:
        ValueError: If the machine has no class units.
    """
    features = _features(machine, visible)
    if sees_columns(machine):
        states, log_q = machine.infer(features, num_particles, generator=generator)
        rows = features.expand(num_particles, *features.shape)
        filled = machine.fill(rows, states, generator=generator)
        log_w, values = filled.log_prob - log_q, filled.values
    else:
        known = ~features.isnan()
        states, log_w = weigh_observed(machine, features, known, num_particles, generator)
        values = features
    return (torch.softmax(log_w, 0).unsqueeze(-1) * _probs(machine, states[0], values)).sum(0)


def read_classes(
    machine: Machine,
    visible: Tensor,
    num_particles: int,
    generator: torch.Generator | None,
) -> Tensor:
    r"""Returns the probabilities of classes (*, num_classes), as `HelmholtzMachine.read_out` has.

    Raises:
        ValueError: If the machine has no class units.
    """
    features = _features(machine, visible)
    states = machine.infer(features, num_particles, generator=generator).states
    if sees_columns(machine):
        rows = features.expand(num_particles, *features.shape)
        features = machine.fill(rows, states, generator=generator).values
    return _probs(machine, states[0], features).mean(0)


def weigh_observed(
    machine: Machine,
    visible: Tensor,
    mask: Tensor,
    num_particles: int,
    generator: torch.Generator | None,
) -> tuple[list[Tensor], Tensor]:
    r"""Returns hidden states (K, *, width), proposed from observed units, and log-weights (K, *).

    Arguments:
        machine: The machine.
        visible: Visible states (*, N_visible).
        mask: Where they are observed, of the same shape.
        num_particles: The number of hidden states K per row.
        generator: The source of randomness.
    """
    like = next(machine.generator.parameters())
    seen = torch.where(mask, visible.to(like), machine.recognition.unknown)
    states, log_q = machine.infer(seen, num_particles, generator=generator)
    v = seen.expand(num_particles, *seen.shape)
    return states, machine.log_joint([v, *states], observed=mask) - log_q


def class_law(law: Distribution, values: Tensor | None = None) -> Distribution:
    r"""Returns the law of the class units, which come last, of that of the visible units.

    Arguments:
        law: The law of the visible units given the first hidden layer.
        values: Visible states, for columns that see those before them.

    Raises:
        ValueError: If the class sees the columns before it, and these are not given.
    """
    if isinstance(law, Joint):
        return law.parts[-1]
    if not isinstance(law, MixedDistribution):
        return law
    if values is None and law.context is not None:
        raise ValueError(
            "the class depends on the columns before it, but it has to depend on the hidden "
            "states only: take MixedUnits whose num_hidden is None"
        )
    return law.last_column(law.activations if values is None else values)


def sees_columns(machine: Machine) -> bool:
    r"""Returns whether classes depend on other columns directly, and not by hidden states only."""
    output = machine.generator.output
    return isinstance(output, MixedUnits) and output.is_sequential


def hide(
    visible: Tensor,
    num_pixels: int,
    probability: float,
    unknown: float = 0.0,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Returns visible states in which the class units of random rows are not known.

    Arguments:
        visible: Visible states of shape (*, N_visible).
        num_pixels: The number of units before the class units.
        probability: The probability that a row's class is hidden.
        unknown: What stands for a unit that is not known.
        generator: The source of randomness, on the device of the states.
    """
    keep = uniform_like(visible[..., 0], generator) >= probability
    seen = visible.clone()
    seen[..., num_pixels:].masked_fill_(~keep.unsqueeze(-1), unknown)
    return seen


def _features(machine: Machine, visible: Tensor) -> Tensor:
    r"""Returns visible states in which no class is known, NaN."""
    if machine.num_classes == 0:
        raise ValueError(
            f"the output is {type(machine.generator.output).__name__}, but class units need one "
            "that is OneHot or ends with it; MixedUnits say so by has_classes"
        )
    features = visible.to(next(machine.generator.parameters()), copy=True)
    features[..., machine.num_pixels :] = torch.nan
    return features


def _probs(machine: Machine, first: Tensor, values: Tensor) -> Tensor:
    r"""Returns the probabilities of the classes given states of the first hidden layer."""
    visible = machine.generator.conditional(len(machine.generator.layers) - 1, first)
    return (class_law(visible, values).mean + 1) / 2
