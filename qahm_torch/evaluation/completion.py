r"""Hidden units of visible states, filled in by a machine, beside the mean of other rows."""

from __future__ import annotations

__all__ = ["Completion", "CompletionError", "complete", "completion_error"]

import math
from typing import NamedTuple

import torch
from torch import Tensor

from qahm_torch.evaluation.imputation import impute
from qahm_torch.nn import HelmholtzMachine, MixedUnits


class Completion(NamedTuple):
    r"""Visible states (B, N_visible) whose hidden units have been filled in."""

    mean: Tensor  # by their means given the others, of which the squared error is the least
    draw: Tensor | None  # by a draw, which looks like data; None for `MixedUnits`


class CompletionError(NamedTuple):
    r"""Mean squared errors over hidden units, the standard error of each over the rows."""

    machine: float
    machine_stderr: float
    baseline: float
    baseline_stderr: float
    num_hidden: int


@torch.no_grad()
def complete(
    machine: HelmholtzMachine,
    visible: Tensor,
    num_particles: int = 64,
    *,
    generator: torch.Generator | None = None,
) -> Completion:
    r"""Returns rows whose hidden units are filled in by self-normalized importance sampling.

    .. math::
        E[v_{hidden} \mid v_{known}] \approx \sum_k \bar w_k \, E[v_{hidden} \mid u_1^k], \qquad
        w_k = p(v_{known}, u^k) / q(u^k \mid v_{known})

    with a bias that vanishes as K grows. For `MixedUnits` it is the mean of `impute`.

    Arguments:
        machine: The machine.
        visible: Visible states of shape (B, N_visible), NaN where they are hidden.
        num_particles: The number of hidden states K per row.
        generator: The source of randomness.

    Raises:
        ValueError: If units depend on those before them, other than in `MixedUnits`, or if there
            is no particle.

    Example:
        >>> from qahm_torch import BeliefNetwork, QuantumPriorLayer
        >>> machine = HelmholtzMachine(
        ...     BeliefNetwork([3, 2]), BeliefNetwork([2, 3]), QuantumPriorLayer(2)
        ... )
        >>> complete(machine, torch.tensor([[1.0, torch.nan, -1.0]])).draw[0, ::2]
        tensor([ 1., -1.])
    """
    if num_particles < 1:
        raise ValueError(f"num_particles is {num_particles}, but at least 1 is needed")
    known = ~visible.isnan()
    if isinstance(machine.generator.output, MixedUnits):
        mean = impute(machine, visible, num_particles, generator=generator).mean
        return Completion(torch.where(known, visible, mean), None)
    # First, since it says what units cannot be completed.
    draw = machine.complete(visible, known, num_particles, generator=generator)
    states, log_q = machine.infer(visible, num_particles, generator=generator)
    rows = visible.nan_to_num(nan=0.0).expand(num_particles, *visible.shape)
    log_w = machine.log_joint([rows, *states], observed=known) - log_q
    means = machine.generator.mean(states[0], generator)
    mean = torch.einsum("kb,kbn->bn", torch.softmax(log_w, 0), means)
    return Completion(torch.where(known, visible, mean), draw)


def completion_error(
    true: Tensor, hidden: Tensor, completed: Tensor, baseline: Tensor
) -> CompletionError:
    r"""Returns the mean squared errors of completed units, and of a baseline.

    Arguments:
        true: Visible states of shape (B, N), NaN where they are not known.
        hidden: True where a unit was hidden, of shape (B, N). Units that are not known anyway do
            not count.
        completed: What they were filled in by, of shape (B, N).
        baseline: What is compared, such as the means of training rows, of shape (N,) or (B, N).

    Raises:
        ValueError: If no known unit was hidden.

    Example:
        >>> true, hidden = torch.tensor([[1.0, -1.0]]), torch.tensor([[True, False]])
        >>> completion_error(true, hidden, torch.tensor([[0.5, -1.0]]), torch.zeros(2))[:3:2]
        (0.25, 1.0)
    """
    counted = hidden & ~true.isnan()
    if not bool(counted.any()):
        raise ValueError("no known unit was hidden, so that there is no error to tell")
    errors = [
        _mean_and_stderr((guess - true).square(), counted) for guess in (completed, baseline)
    ]
    return CompletionError(*errors[0], *errors[1], int(counted.sum()))


def _mean_and_stderr(squares: Tensor, counted: Tensor) -> tuple[float, float]:
    r"""Returns a mean over counted units and its error, by rows: units of a row go together."""
    sums = torch.where(counted, squares, 0.0).double().sum(-1)
    counts = counted.sum(-1).double()
    mean = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return mean, math.nan
    residuals = sums - mean * counts
    return mean, float(residuals.std() * math.sqrt(len(sums)) / counts.sum())
