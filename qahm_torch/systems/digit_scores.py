r"""How well digits are restored: pixels that are wrong, classes that are right."""

from __future__ import annotations

__all__ = ["KINDS", "NUM_CLASSES", "NUM_PIXELS", "SHAPE", "restoration_scores"]

from torch import Tensor

SHAPE, NUM_PIXELS, NUM_CLASSES = (7, 6), 42, 4
KINDS = ("random", "block")  # of hidden pixels


def restoration_scores(
    rows: Tensor, hidden: dict[str, Tensor], found: dict[str, Tensor]
) -> dict[str, float]:
    r"""Returns how many hidden pixels are wrong, and how many classes are right, by kind.

    Arguments:
        rows: The true rows of shape (B, 46).
        hidden: For each kind, the rows with NaN for what was hidden.
        found: For each kind, what was made of those: the sign of a pixel is its value, and the
            greatest class unit that of its class.
    """
    scores = {}
    for kind in KINDS:
        lost = hidden[kind][:, :NUM_PIXELS].isnan()
        wrong = (found[kind] > 0) != (rows > 0)
        guess, truth = (x[:, NUM_PIXELS:].argmax(-1) for x in (found[kind], rows))
        scores[f"error_{kind}"] = wrong[:, :NUM_PIXELS][lost].double().mean().item()
        scores[f"accuracy_{kind}"] = (guess == truth).double().mean().item()
    return scores
