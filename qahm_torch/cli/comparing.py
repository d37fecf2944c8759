r"""What two runs were told and what they reached, and whether it differs beyond the errors."""

from __future__ import annotations

__all__ = ["Figure", "beyond_errors", "compared", "doubts", "told"]

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from qahm_torch.cli.columns import aligned, brief
from qahm_torch.cli.run_records import REPORT, read_json, run_folder_of
from qahm_torch.nn.newest import STATUS_FILE

# Of two independent errors; a difference of no more than so many is none.
_STDERRS = 2.0
_NOT_SETTINGS = {"config", "ckpt_path", "name"}


class Figure(NamedTuple):
    r"""A number of a run, the bracket of its estimate, and its error as a mean over test data."""

    value: float
    lower: float
    upper: float
    stderr: float | None = None  # None where the report has no error


def compared(*paths: str) -> dict[str, Any]:
    r"""Returns the settings in which two runs differ, and their numbers, for JSON."""
    folders = [run_folder_of(path) for path in paths]
    reports = [read_json(folder / REPORT) for folder in folders]
    return {
        "runs": [str(folder) for folder in folders],
        "settings": _differing(*(_settings(folder) for folder in folders)),
        "numbers": [_row(*row) for row in _rows(*map(_figures, folders, reports))],
    }


def told(comparison: dict[str, Any]) -> str:
    r"""Returns a comparison as two tables."""
    a, b = comparison["runs"]
    settings = [[name, *map(brief, pair)] for name, pair in comparison["settings"].items()]
    numbers = [
        [row["name"], _number(row["a"]), _number(row["b"]), _verdict(row)]
        for row in comparison["numbers"]
    ]
    parts = [
        aligned([["settings that differ", a, b], *settings]) if settings else "no setting differs",
        aligned([["numbers", a, b, "difference"], *numbers]) if numbers else "no numbers yet",
    ]
    return "\n\n".join(parts)


def doubts(comparison: dict[str, Any]) -> Iterator[str]:
    r"""Yields why numbers are not there, or not comparable."""
    folders = comparison["runs"]
    reports = [read_json(Path(folder, REPORT)) for folder in folders]
    for folder, report in zip(folders, reports, strict=True):
        if not report:
            yield f"{folder} has no {REPORT}: run `qahm evaluate {folder}`"
    a, b = reports
    if a and b:
        for name in ("data", "num_test"):
            if a.get(name) != b.get(name):
                yield f"{name} differ, {a.get(name)} and {b.get(name)}: other test data"


def beyond_errors(a: Figure, b: Figure) -> bool | None:
    r"""Returns whether two numbers differ by more than their errors; None where one has none.

    Example:
        >>> beyond_errors(Figure(0.90, 0.90, 0.90, 0.03), Figure(0.99, 0.99, 0.99, 0.01))
        True
        >>> beyond_errors(Figure(-80, -80.1, -79, 0.2), Figure(-79.5, -79.5, -79.5, 0.2))
        False
    """
    if a.stderr is None or b.stderr is None:
        return None
    gap = max(a.lower - b.upper, b.lower - a.upper)
    return gap > _STDERRS * math.hypot(a.stderr, b.stderr)


def _figures(folder: Path, report: dict[str, Any]) -> dict[str, Figure]:
    seconds: Any = read_json(folder / STATUS_FILE).get("qpu_seconds")
    figures = [*_all_figures(report), ("seconds of QPU time", Figure(seconds, seconds, seconds))]
    return {name: figure for name, figure in figures if _is_known(figure)}


def _all_figures(report: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    training, num_test = report.get("training") or {}, report.get("num_test")
    likelihood = (report.get("likelihood") or {}).get("nats")
    if likelihood:
        bracket = [likelihood[name] for name in ("value", "lower", "upper", "stderr")]
        yield "log-likelihood, nats", Figure(*bracket)
    for rule, share in (report.get("classification_accuracy") or {}).items():
        if share is None:
            continue
        stderr = math.sqrt(share * (1 - share) / num_test) if num_test else None
        yield f"accuracy, {rule.replace('_', ' ')}", Figure(share, share, share, stderr)
    alone: dict[str, Any] = {
        "evidence bound, nats": (report.get("bound") or {}).get("value"),
        **_named("reconstruction error, ", report.get("reconstruction_mse")),
        **_named("nearest training datum, ", report.get("nearest_training_distance")),
        **{f"error of {c['name']}": c["error"] for c in report.get("columns") or []},
        "parameters": report.get("num_parameters"),
        "updates": training.get("updates"),
        "seconds of training": training.get("seconds"),
    }
    for name, value in alone.items():
        yield name, Figure(value, value, value)


def _named(prefix: str, values: dict[str, Any] | None) -> dict[str, Any]:
    # Of a reconstruction, the error of one draw.
    found = {k: v["one_draw"] if isinstance(v, dict) else v for k, v in (values or {}).items()}
    return {prefix + name.replace("_", " "): value for name, value in found.items()}


def _is_known(figure: Figure) -> bool:
    return None not in (figure.value, figure.lower, figure.upper)


def _rows(
    a: dict[str, Figure], b: dict[str, Figure]
) -> Iterator[tuple[str, Figure | None, Figure | None]]:
    for name in {**a, **b}:
        yield name, a.get(name), b.get(name)


def _row(name: str, a: Figure | None, b: Figure | None) -> dict[str, Any]:
    found = {"name": name, "a": a and a._asdict(), "b": b and b._asdict()}
    if a is None or b is None:
        return {**found, "difference": None, "beyond_errors": None}
    return {**found, "difference": b.value - a.value, "beyond_errors": beyond_errors(a, b)}


def _settings(folder: Path) -> dict[str, Any]:
    r"""Returns the settings of a run by their whole names.

    Raises:
        FileNotFoundError: If the run has no configuration.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, which `qahm fit` writes")
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {k: v for k, v in _flat(config) if k.partition(".")[0] not in _NOT_SETTINGS}


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value or ())
    for key, item in inner:
        # A class stands for itself, and its arguments are its own.
        path = name if key in ("init_args", "class_path") else f"{name}.{key}".lstrip(".")
        if isinstance(item, dict) or (isinstance(item, list) and any(_is_nested(i) for i in item)):
            yield from _flat(item, path)
        else:
            yield path, item


def _is_nested(value: Any) -> bool:
    return isinstance(value, (dict, list))


def _differing(a: dict[str, Any], b: dict[str, Any]) -> dict[str, list[Any]]:
    pairs = {name: [a.get(name), b.get(name)] for name in {**a, **b}}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _number(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return "-"
    told = brief(figure["value"])
    if figure["stderr"] is not None:
        told += f" ± {figure['stderr']:.2g}"
    if figure["lower"] != figure["upper"]:
        told += f" [{brief(figure['lower'])}, {brief(figure['upper'])}]"
    return told


def _verdict(row: dict[str, Any]) -> str:
    if row["difference"] is None:
        return "-"
    words = {True: ", beyond the errors", False: ", within the errors", None: ""}
    return f"{row['difference']:+.4g}{words[row['beyond_errors']]}"
