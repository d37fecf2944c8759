r"""How far a training is: one bar for all of it, or a few lines where nobody watches."""

from __future__ import annotations

__all__ = ["RunProgress"]

import logging
import math
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

# With and without an end.
_BAR = "{desc} |{bar}| {percentage:.0f} %, {remaining} left{postfix}"
_COUNT = "{desc}, {n_fmt} updates in {elapsed}{postfix}"
_SECONDS_BETWEEN_SHOWS = 0.1
# Of lines within an epoch: those at its end come when they come.
_SECONDS_BETWEEN_LINES = 30.0
_LOGGERS = ("", "pytorch_lightning", "lightning_fabric")


class RunProgress(ProgressBar):
    r"""Shows on stderr how far a training is, and how much time the whole of it still takes.

    On a terminal it is one bar, with the epoch, the time that is left and the values that are
    logged for the progress bar; validations have none of their own. Warnings and messages go above
    it. Elsewhere, as in a file, it is a line after an epoch, about `num_lines` of them in all; in
    long epochs also some within them. The time left counts validations by those before. It is not
    known where a training has no end, nor how soon a callback stops it.

    Arguments:
        num_lines: The number of lines of a whole training, where stderr is no terminal.

    Raises:
        ValueError: If it is not positive.

    Example:
        >>> trainer = pl.Trainer(callbacks=[RunProgress(num_lines=10)], logger=False)
        >>> type(trainer.progress_bar_callback).__name__
        'RunProgress'
    """

    def __init__(self, num_lines: int = 20):
        super().__init__()
        if num_lines < 1:
            raise ValueError(f"num_lines is {num_lines}, but at least 1 line is needed")
        self.num_lines = num_lines
        self._is_on = True
        self._total: int | None = None
        self._begun = (0, 0.0)  # the updates and the time at which this start began
        self._shown = 0.0
        self._next_line = 0.0
        self._bar: Any = None
        self._open = ExitStack()

    def disable(self) -> None:
        self._is_on = False

    def enable(self) -> None:
        self._is_on = True

    def print(self, *args: Any, sep: str = " ", **kwargs: Any) -> None:
        tqdm.write(sep.join(map(str, args)), **kwargs)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._is_on:
            return
        step, steps = trainer.global_step, trainer.estimated_stepping_batches
        # Below 0 for data without an end.
        self._total = int(steps) if math.isfinite(steps) and steps >= 0 else None
        self._begun = step, time.monotonic()
        self._next_line = self._mark_after(step)
        if sys.stderr.isatty():
            self._open_bar(self._epoch(trainer), self._total, step)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        now = time.monotonic()
        if self._bar is None:
            if self._is_on and now - max(self._shown, self._begun[1]) > _SECONDS_BETWEEN_LINES:
                self._line(trainer)
        elif now - self._shown > _SECONDS_BETWEEN_SHOWS:
            self._show(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._bar is not None:
            self._show(trainer)
        elif self._is_on:
            self._line(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn in ("validate", "test"):
            self._open_evaluation(self.validation_description, trainer.num_val_batches)
        elif self._bar is not None:
            self._show(trainer, ", validation")

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._open_evaluation(self.test_description, trainer.num_test_batches)

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if self._bar is not None and trainer.state.fn == "validate":
            self._bar.update()

    def on_test_batch_end(self, *args: Any) -> None:
        if self._bar is not None:
            self._bar.update()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._close()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._close()

    def _open_bar(self, name: str, total: float | None, done: int = 0) -> None:
        self._close()
        self._bar = tqdm(
            desc=name,
            total=total,
            initial=done,
            bar_format=_COUNT if total is None else _BAR,
            dynamic_ncols=True,
            smoothing=0,  # by all that has passed: validations come now and then
            file=sys.stderr,
        )
        self._open.enter_context(_above_bars())

    def _open_evaluation(self, name: str, sizes: list[int | float] | int | float) -> None:
        total = sum(sizes) if isinstance(sizes, list) else sizes
        if self._is_on and sys.stderr.isatty() and math.isfinite(total):
            self._open_bar(name.lower(), total)

    def _close(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
        self._open.close()

    def _show(self, trainer: pl.Trainer, doing: str = "") -> None:
        self._shown = time.monotonic()
        self._bar.set_description_str(self._epoch(trainer) + doing, refresh=False)
        values = _values(trainer)
        self._bar.set_postfix_str(values, refresh=False)
        self._bar.n = trainer.global_step
        self._bar.refresh()

    def _line(self, trainer: pl.Trainer) -> None:
        step = trainer.global_step
        if step < self._next_line:
            return
        self._shown, self._next_line = time.monotonic(), self._mark_after(step)
        start, began = self._begun
        passed = self._shown - began
        done = f"update {step}" + ("" if self._total is None else f" of {self._total}")
        told = f"{self._epoch(trainer)}, {done}, {tqdm.format_interval(passed)} passed"
        if self._total is not None and step > start:
            left = passed * (self._total - step) / (step - start)
            told += f", {tqdm.format_interval(left)} left"
        values = _values(trainer)
        print(told + (f": {values}" if values else ""), file=sys.stderr, flush=True)

    def _mark_after(self, step: int) -> float:
        r"""Returns the number of updates at which the next line is due."""
        if self._total is None:
            return max(1, 2 * step)
        share = math.floor(step * self.num_lines / max(1, self._total) + 1)
        return share * self._total / self.num_lines

    def _epoch(self, trainer: pl.Trainer) -> str:
        told = f"epoch {trainer.current_epoch + 1}"
        batches = trainer.num_training_batches
        if self._total is None or not math.isfinite(batches) or batches == 0:
            return told
        updates = math.ceil(batches / trainer.accumulate_grad_batches)
        return f"{told}/{math.ceil(self._total / updates)}"


def _values(trainer: pl.Trainer) -> str:
    metrics = trainer.progress_bar_metrics.items()
    return ", ".join(f"{name} {float(value):.4g}" for name, value in metrics)


@contextmanager
def _above_bars() -> Iterator[None]:
    r"""Lets warnings and the messages of loggers stand above bars, and not within them."""
    former = warnings.showwarning

    def show(*args: Any, **kwargs: Any) -> None:
        with tqdm.external_write_mode(file=sys.stderr):
            former(*args, **kwargs)

    # A logger that does not write to a terminal would be made to.
    loggers = [x for x in map(logging.getLogger, _LOGGERS) if any(map(_is_console, x.handlers))]
    warnings.showwarning = show
    try:
        with logging_redirect_tqdm(loggers):
            yield
    finally:
        warnings.showwarning = former


def _is_console(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and handler.stream in (
        sys.stdout,
        sys.stderr,
    )
