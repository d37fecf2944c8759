r"""Dreams of a class: states of a machine given what its class units are."""

from __future__ import annotations

__all__ = ["class_dreams"]

import torch
from torch import Tensor

from qahm_torch.nn.class_reading import class_law, sees_columns
from qahm_torch.nn.distributions import draw
from qahm_torch.nn.machine import HelmholtzMachine

# Dreams come so many at a time for each row that waits, as if all of ten classes were dreamt of
# about equally often, and not fewer than are cheap.
_DREAMS_PER_ROW, _FEWEST = 10, 256


@torch.no_grad()
def class_dreams(
    machine: HelmholtzMachine,
    classes: Tensor,
    *,
    max_dreams: int = 200_000,
    generator: torch.Generator | None = None,
) -> list[Tensor]:
    r"""Returns states drawn from a machine given its classes, [deepest, ..., u_1, v].

    .. math::
        p(u_1, \dots, u_L, x \mid c) = \frac{p(u_1, \dots, u_L) \, p(c \mid u_1)}{p(c)} \,
        p(x \mid u_1)

    since the features x and the class c depend on each other through :math:`u_1` only. Hidden
    states are dreamt, each draws its class, and each is kept for the first row that waits for that
    class. Where the class sees the columns before it (`MixedUnits` with a context), these are
    dreamt with the hidden states, and kept with them. So they are draws of the conditional law, as
    good as the samples of the prior, and a class takes 1 / p(c) dreams a row.

    Arguments:
        machine: A machine with class units.
        classes: The classes, whole numbers from 0, of shape (n,).
        max_dreams: The number of dreams after which a row that still waits is an error.
        generator: The source of randomness.

    Returns:
        The states, each of shape (n, width), row by row in the order of the classes.

    Raises:
        ValueError: If the machine has no class units, a class is out of range, or some class is
            not dreamt of often enough.

    Example:
        >>> from qahm_torch import BeliefNetwork, Concatenated, OneHot, QuantumPriorLayer, Spins
        >>> output = Concatenated([Spins(4), OneHot(3)])
        >>> machine = HelmholtzMachine(
        ...     BeliefNetwork([7, 2]), BeliefNetwork([2, 7], output=output), QuantumPriorLayer(2)
        ... )
        >>> class_dreams(machine, torch.tensor([2, 0]))[-1][:, 4:]
        tensor([[-1., -1.,  1.],
                [ 1., -1., -1.]])
    """
    waiting = _checked(machine, classes)
    output = len(machine.generator.layers) - 1
    # Otherwise columns are drawn in the end, for the rows alone.
    with_columns = sees_columns(machine)
    like = next(machine.generator.parameters())
    widths = machine.generator.widths[: None if with_columns else -1]
    states = [like.new_empty(len(waiting), width) for width in widths]
    num_dreams, round_size = 0, max(_FEWEST, _DREAMS_PER_ROW * len(waiting))
    while bool((waiting >= 0).any()):
        if num_dreams >= max_dreams:
            raise ValueError(_told(waiting, num_dreams))
        dreams = _hidden_dreams(machine, min(round_size, max_dreams - num_dreams), generator)
        law = machine.generator.conditional(output, dreams[-1])
        if with_columns:
            dreams.append(draw(law, generator))
            dreamt = dreams[-1][:, machine.num_pixels :].argmax(-1)
        else:
            dreamt = draw(class_law(law), generator).argmax(-1)
        num_dreams += len(dreamt)
        rows, found = _matches(waiting, dreamt)
        for state, dream in zip(states, dreams, strict=True):
            state[rows] = dream[found]
        waiting[rows] = -1
    if with_columns:
        return states
    visible = draw(machine.generator.conditional(output, states[-1]), generator)
    visible[:, machine.num_pixels :] = -1
    visible[torch.arange(len(visible)), machine.num_pixels + classes.to(like.device)] = 1
    return [*states, visible]


def _hidden_dreams(
    machine: HelmholtzMachine, num_samples: int, generator: torch.Generator | None
) -> list[Tensor]:
    r"""Returns hidden states drawn from the model, [deepest, ..., u_1]."""
    like = next(machine.generator.parameters())
    deepest = machine.prior.to_visible(machine.prior.sample(num_samples, generator=generator))
    states = [deepest.to(like)]
    for k in range(len(machine.generator.layers) - 1):
        states.append(draw(machine.generator.conditional(k, states[-1]), generator))
    return states


def _matches(waiting: Tensor, dreamt: Tensor) -> tuple[Tensor, Tensor]:
    r"""Returns rows that wait for a class, and dreams of it, each in order."""
    pairs = []
    for label in waiting[waiting >= 0].unique():
        rows, found = (waiting == label).nonzero()[:, 0], (dreamt == label).nonzero()[:, 0]
        number = min(len(rows), len(found))
        pairs.append((rows[:number], found[:number]))
    rows, found = (torch.cat(part) for part in zip(*pairs, strict=True))
    return rows, found


def _checked(machine: HelmholtzMachine, classes: Tensor) -> Tensor:
    r"""Returns a copy of the classes, which are those of a machine."""
    if machine.num_classes == 0:
        raise ValueError(
            f"the output is {type(machine.generator.output).__name__}, but dreams of a class need "
            "one that is OneHot or ends with it; MixedUnits say so by has_classes"
        )
    if classes.ndim != 1 or classes.is_floating_point():
        raise ValueError(
            f"classes have shape {tuple(classes.shape)} and dtype {classes.dtype}, but whole "
            "numbers of shape (n,) are needed"
        )
    outside = classes[(classes < 0) | (classes >= machine.num_classes)].tolist()
    if outside:
        raise ValueError(
            f"classes hold {outside[0]}, but the classes are 0 to {machine.num_classes - 1}"
        )
    return classes.to(next(machine.generator.parameters()).device, copy=True)


def _told(waiting: Tensor, num_dreams: int) -> str:
    missing = waiting[waiting >= 0]
    label, number = int(missing[0]), int((missing == missing[0]).sum())
    return (
        f"after {num_dreams} dreams {number} of class {label} are missing: the machine dreams of "
        "it too rarely; raise max_dreams, or train with the class"
    )
