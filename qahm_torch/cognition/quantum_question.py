r"""The quantum question equality, which needs no fit."""

from __future__ import annotations

__all__ = ["QuantumQuestion", "quantum_question"]

from typing import NamedTuple

from torch import Tensor


class QuantumQuestion(NamedTuple):
    r"""By how much the equality is missed, and by how many standard errors, both of shape (*)."""

    q: Tensor
    z: Tensor


def quantum_question(counts: Tensor) -> QuantumQuestion:
    r"""Tests whether two answers are alike with the same probability in both orders of asking.

    .. math::
        q = \big( p(A_y B_y) + p(A_n B_n) \big) - \big( p(B_y A_y) + p(B_n A_n) \big), \qquad
        z = \frac{q}{\sqrt{s (1 - s) (1 / n_1 + 1 / n_2)}},

    where s is the share of all people whose answers are alike. Answers that are projections of a
    quantum state have q = 0, and so do some classical models.

    Arguments:
        counts: A first and B first by the answers (yes, yes), (yes, no), (no, yes) and (no, no) to
            A and B, of shape (*, 2, 4), as of `QuestionOrder.counts`.

    Raises:
        ValueError: If counts have another shape.

    References:
        | Context effects produced by question orders reveal quantum nature of human judgments
          (Wang et al., 2014)
        | https://doi.org/10.1073/pnas.1407756111
    """
    if counts.shape[-2:] != (2, 4):
        raise ValueError(f"counts are of shape {tuple(counts.shape)}, but it is (*, 2, 4)")
    alike, asked = counts[..., 0] + counts[..., 3], counts.sum(-1)
    share = alike.sum(-1) / asked.sum(-1)
    q = alike[..., 0] / asked[..., 0] - alike[..., 1] / asked[..., 1]
    return QuantumQuestion(q, q / (share * (1 - share) * (1 / asked).sum(-1)).sqrt())
