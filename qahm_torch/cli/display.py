r"""What a training shows where nobody has said otherwise: one bar, and what is news."""

from __future__ import annotations

__all__ = ["by_default", "size_of", "without_noise"]

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pytorch_lightning.callbacks import ModelSummary, ProgressBar
from torch import nn

from qahm_torch.training import RunProgress

_LOGGER = "pytorch_lightning.utilities.rank_zero"
# Advertisements, and what there is none of; how a training has ended is told in the end.
_NO_NEWS = ("Tip: ", "TPU available: False", "`Trainer.fit` stopped: `max_")
_WARNINGS = (
    r"Checkpoint directory .* is not empty",  # of a run that goes on
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning's own use of torch
)


def by_default(settings: Mapping[str, Any]) -> dict[str, Any]:
    r"""Returns settings of a trainer that show a run, beside those that the user has made.

    The bar is `RunProgress`, unless there is another one or `enable_progress_bar` is false. A
    table of the model is there only for who asks for it.
    """
    callbacks = settings.get("callbacks") or []
    callbacks = list(callbacks) if isinstance(callbacks, list) else [callbacks]
    shown: dict[str, Any] = {}
    has_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
    if not has_bar and settings.get("enable_progress_bar") is not False:
        shown["callbacks"] = [*callbacks, RunProgress()]
    has_summary = any(isinstance(callback, ModelSummary) for callback in callbacks)
    if not has_summary and settings.get("enable_model_summary") is None:
        shown["enable_model_summary"] = False
    return shown


def size_of(model: nn.Module) -> str:
    r"""Returns what a model is and how large, in a line.

    Example:
        >>> size_of(nn.Linear(9, 100))
        'Linear of 1,000 parameters'
        >>> size_of(nn.Linear(9, 100).requires_grad_(False))
        'Linear of 1,000 parameters, of which 0 are trained'
    """
    parameters = list(model.parameters())
    total = sum(p.numel() for p in parameters)
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    kind = type(getattr(model, "machine", None) or getattr(model, "layer", None) or model)
    some = "" if trained == total else f", of which {trained:,} are trained"
    return f"{kind.__name__} of {total:,} parameters{some}"


@contextmanager
def without_noise() -> Iterator[None]:
    r"""Leaves out what Lightning says to everybody, whatever is trained."""
    logger = logging.getLogger(_LOGGER)
    with warnings.catch_warnings():
        for text in _WARNINGS:
            warnings.filterwarnings("ignore", text)
        logger.addFilter(_is_news)
        try:
            yield
        finally:
            logger.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    return not any(noise in text for noise in _NO_NEWS)
