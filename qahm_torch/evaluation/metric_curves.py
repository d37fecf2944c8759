r"""Learning curves: what a run has logged, read back and drawn."""

from __future__ import annotations

__all__ = ["learning_curves", "read_metrics"]

import csv
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qahm_torch.evaluation.figures import blank_figure
from qahm_torch.evaluation.style import FAINT, INK, PALETTE, paper_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = tuple[Sequence[int], Sequence[float]]

STAGE_COLORS = {"train": FAINT, "val": PALETTE[0], "test": PALETTE[1]}
STAGES = {"train": "training", "val": "validation", "test": "test"}
# What a person calls the quantities that are logged here.
TITLES = {
    "accuracy": "accuracy",
    "autocorrelation_time": "autocorrelation time of the chains (sweeps)",
    "beta": "inverse temperature of the samples",
    "chain_break_fraction": "broken strands",
    "kl": "divergence of the bits from the prior (nats)",
    "log_likelihood": "log-likelihood (nats)",
    "log_z": "log Z of the prior (nats)",
    "loss": "loss (nats)",
    "num_sweeps": "sweeps per update",
    "qpu_seconds": "QPU time (s)",
    "qpu_seconds_left": "QPU time left (s)",
    "r_hat": "R-hat of the chains",
    "reconstruction": "reconstruction (nats)",
    "reconstruction_mse": "reconstruction error (squared)",
    "sleep_phi": "sleep loss of recognition (nats)",
    "wake_phi": "wake loss of recognition (nats)",
    "wake_theta": "wake loss of generator and prior (nats)",
}
# Quantities that are widths of another one: how many of them its band goes to each side.
BANDS = {"log_z_width": ("log_z", 0.5), "beta_stderr": ("beta", 1.96)}
# A curve of more than three times as many points is drawn by its means over as many parts.
BINS = 60
STAGE = re.compile(r"^(train|val|test)(?:ing|idation)?[/_.-](?=.)")
CADENCE = re.compile(r"(?<=.)_(step|epoch)$")


def learning_curves(metrics: Mapping[str, Curve]) -> Figure:
    r"""Returns a figure of metrics against training steps, one panel for each quantity.

    Curves that differ only in their stage (`train_loss`, `val/loss`) or in their cadence
    (`loss_step`, `loss_epoch`) share a panel. Values that are not finite leave a hole. A quantity
    that never changes has no panel, unless there would be none; its value is told by the run. A
    long noisy curve is drawn by its means over parts of the run, with a band between the 10 % and
    the 90 % quantile; the bracket of log Z and the error of beta are bands of what they are of.

    Arguments:
        metrics: The steps and the values of each metric, as `read_metrics` returns them.

    Raises:
        ValueError: If there is no metric, or one has not as many steps as values.

    Example:
        >>> curves = {"train_loss": ([0, 1, 2], [3.0, 2.0, 1.5]), "val_loss": ([1], [2.5])}
        >>> [axes.get_title("left") for axes in learning_curves(curves).axes]
        ['loss (nats)']
    """
    with paper_style():
        return _learning_curves(metrics)


def _learning_curves(metrics: Mapping[str, Curve]) -> Figure:
    quantities, bands = _banded(_quantities(metrics))
    quantities = _changing(quantities)
    columns = min(3, len(quantities))
    rows = -(-len(quantities) // columns)
    figure = blank_figure(0.4 + 3.4 * columns, 0.2 + 2.5 * rows, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for axes, (quantity, curves) in zip(grid, quantities.items(), strict=False):
        _draw_curves(axes, quantity, curves, bands.get(quantity))
    for axes in grid[len(quantities) :]:
        axes.remove()
    return figure


def read_metrics(path: str | os.PathLike[str]) -> dict[str, Curve]:
    r"""Returns what is in the `metrics.csv` of Lightning's `CSVLogger`.

    In such a file each row holds only the metrics that were logged at its step.

    Arguments:
        path: The file to read.

    Returns:
        The steps and values of each metric, in the order of the file's columns and rows. The
        column `epoch`, a clock like `step`, is left out.

    Raises:
        ValueError: If the file has no column `step`, or holds something that is not a number.
        FileNotFoundError: If there is no such file.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "metrics.csv"
        ...     _ = path.write_text("epoch,loss,step,val_loss\n0,3.5,0,\n0,,9,2.5\n")
        ...     read_metrics(path)
        {'loss': ([0], [3.5]), 'val_loss': ([9], [2.5])}
    """
    metrics: dict[str, tuple[list[int], list[float]]] = {}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, restkey="")
        names = list(reader.fieldnames or [])
        if "step" not in names:
            raise ValueError(f"{path} has the columns {names}, but a metrics.csv has one 'step'")
        for row in reader:
            for name in names:
                if name not in ("step", "epoch") and row[name]:
                    steps, values = metrics.setdefault(name, ([], []))
                    steps.append(int(_number(row["step"], "step", path, reader.line_num)))
                    values.append(_number(row[name], name, path, reader.line_num))
    return {name: metrics[name] for name in names if name in metrics}


def _quantities(metrics: Mapping[str, Curve]) -> dict[str, dict[str, Curve]]:
    r"""Returns the curves of each quantity by their names."""
    if not metrics:
        raise ValueError("metrics is empty, but at least one {name: (steps, values)} is needed")
    quantities: dict[str, dict[str, Curve]] = {}
    for name, (steps, values) in metrics.items():
        if len(steps) != len(values):
            raise ValueError(f"{name!r} has {len(steps)} steps, but {len(values)} values")
        quantity = CADENCE.sub("", STAGE.sub("", name))
        quantities.setdefault(quantity, {})[name] = (steps, values)
    return quantities


def _banded(
    quantities: dict[str, dict[str, Curve]],
) -> tuple[dict[str, dict[str, Curve]], dict[str, Curve]]:
    r"""Takes the widths of bands off the quantities, and returns them by what they are around."""
    bands: dict[str, Curve] = {}
    rest: dict[str, dict[str, Curve]] = {}
    for quantity, curves in quantities.items():
        around, factor = BANDS.get(quantity.rpartition("/")[2], (None, 0.0))
        center = quantity[: -len(quantity.rpartition("/")[2])] + str(around)
        if center in quantities:
            ((steps, widths),) = list(curves.values())[:1]
            bands[center] = (steps, [factor * width for width in widths])
        else:
            rest[quantity] = curves
    return rest, bands


def _changing(quantities: dict[str, dict[str, Curve]]) -> dict[str, dict[str, Curve]]:
    r"""Returns the quantities that change, or all if none does."""
    changing = {
        quantity: curves
        for quantity, curves in quantities.items()
        if any(len(set(values)) > 1 or len(values) == 1 for _, values in curves.values())
    }
    return changing or quantities


def _title(quantity: str) -> str:
    name = quantity.rpartition("/")[2]
    return TITLES.get(name, name.replace("_", " "))


def _draw_curves(
    axes: Axes, quantity: str, curves: Mapping[str, Curve], band: Curve | None
) -> None:
    r"""Draws the curves of one quantity."""
    from matplotlib.ticker import MaxNLocator

    for name, (steps, values) in curves.items():
        stage, cadence = STAGE.match(name), CADENCE.search(name)
        words = [STAGES[stage[1]]] if stage else []
        words += [f"each {cadence[1]}"] if cadence else []
        color = STAGE_COLORS[stage[1]] if stage else INK
        if len(steps) > 3 * BINS:
            steps, values, low, high = _binned(steps, values)
            axes.fill_between(steps, low, high, color=color, alpha=0.25, linewidth=0)
        axes.plot(
            steps,
            values,
            label=", ".join(words) or quantity,
            color=color,
            linewidth=0.7 if cadence and cadence[1] == "step" else 1.3,
            marker="o" if len(steps) < 30 else None,
            markersize=3,
        )
    if band is not None:
        _draw_band(axes, next(iter(curves.values())), band)
    axes.set_title(_title(quantity))
    axes.set_xlabel("update")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
    axes.grid()
    axes.tick_params(labelbottom=True)
    if list(curves) != [quantity]:
        axes.legend()


def _binned(
    steps: Sequence[int], values: Sequence[float]
) -> tuple[Sequence[int], Sequence[float], Sequence[float], Sequence[float]]:
    r"""Returns the middles of parts of a curve, the means, and the 10 % and 90 % quantiles."""
    import numpy as np

    parts = [
        part
        for part in np.array_split(np.array([steps, values], dtype=float), BINS, axis=1)
        if np.isfinite(part[1]).any()
    ]
    found = [
        (float(x.mean()), float(np.nanmean(y)), *np.nanquantile(y, [0.1, 0.9]).tolist())
        for x, y in ((x, np.where(np.isfinite(y), y, np.nan)) for x, y in parts)
    ]
    middles, means, low, high = zip(*found, strict=True) if found else ((), (), (), ())
    return middles, means, low, high


def _draw_band(axes: Axes, center: Curve, band: Curve) -> None:
    r"""Draws a band around those values of a curve whose widths are known."""
    width_at = dict(zip(*band, strict=True))
    rows = [(x, y, width_at[x]) for x, y in zip(*center, strict=True) if x in width_at]
    axes.fill_between(
        [x for x, _, _ in rows],
        [y - width for _, y, width in rows],
        [y + width for _, y, width in rows],
        color=INK,
        alpha=0.2,
        linewidth=0,
    )


def _number(text: str, name: str, path: str | os.PathLike[str], line: int) -> float:
    r"""Returns the number in a cell of a table."""
    try:
        return float(text)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name!r} is {text!r} in line {line} of {path}, but a number is needed"
        ) from None
