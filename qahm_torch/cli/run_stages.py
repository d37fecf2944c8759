r"""How far a measurement of several stages is, on a terminal."""

from __future__ import annotations

__all__ = ["Stages"]

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from qahm_torch.evaluation.watching import watched

_BAR = "{desc} |{bar}| {percentage:.0f} %, {remaining} left"


class Stages:
    r"""Shows a bar for each stage on stderr, which goes when the stage has ended.

    Where stderr is no terminal, there is nothing to see.

    Arguments:
        number: The number of all stages.
    """

    def __init__(self, number: int):
        self.number = number
        self._begun = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        r"""Shows the batches of what is measured within, or the name where it has none."""
        self._begun += 1
        if not sys.stderr.isatty():
            yield
            return
        text = f"{name} ({self._begun} of {self.number})"
        bar = tqdm(desc=text, bar_format="{desc}", leave=False, dynamic_ncols=True, smoothing=0)

        def show(done: int, total: int) -> None:
            bar.bar_format, bar.total = _BAR, total
            bar.update(done - bar.n)

        try:
            with watched(show):
                yield
        finally:
            bar.close()
