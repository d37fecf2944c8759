r"""The figure of validation likelihoods over hours of training, from the reports in `likelihood`.

python benchmarks/likelihood_curves.py
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from bits_table import goes_on_from

from qahm_torch.evaluation import paper_style, save_figure
from qahm_torch.evaluation.figures import blank_figure

FOLDER = Path(__file__).parent / "likelihood"
# Five, and six colors: thirty curves that differ.
STYLES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))


@paper_style()
def main() -> None:
    curves = {path.stem: _curve(path) for path in sorted(FOLDER.glob("mnist28*.json"))}
    figure = blank_figure(8.0, 3.6, "constrained")
    axes = figure.subplots()
    styles = itertools.cycle(STYLES)
    for (name, (hours, nats)), style in zip(curves.items(), styles, strict=False):
        axes.plot(hours, nats, linestyle=style, marker="o", markersize=2.5, label=name)
    axes.set_xscale("log")
    axes.set_xlabel("hours of training")
    axes.set_ylabel("negative log-likelihood, nats")
    axes.set_title("1000 validation images, bound by 10 draws")
    axes.set_ylim(80, 100)
    axes.xaxis.set_major_formatter("{x:g}")
    figure.legend(loc="outside right upper")
    save_figure(figure, FOLDER / "curves.png")


def _curve(path: Path) -> tuple[list[float], list[float]]:
    training = json.loads(path.read_text())["training"]
    validation, before = training.get("validation", []), _hours_before(path)
    return [before + v["seconds"] / 3600 for v in validation], [-v["nats"] for v in validation]


def _hours_before(path: Path) -> float:
    r"""Returns the hours of training that a run goes on from."""
    start = goes_on_from(path.stem)
    if start is None:
        return 0.0
    source = path.with_stem(start)
    seconds: float = json.loads(source.read_text())["training"]["seconds"]
    return seconds / 3600 + _hours_before(source)


if __name__ == "__main__":
    main()
