r"""Running a system, case by case."""

from __future__ import annotations

__all__ = ["reproduce"]

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from qahm_torch.evaluation import save_figure, write_json
from qahm_torch.systems.system import Case, Report, System


def reproduce(system: System, folder: str | os.PathLike[str]) -> Report:
    r"""Runs the cases of a system that have not been run, and writes the report and its figure.

    Arguments:
        system: The system, a dataclass of settings.
        folder: Gets `results.json`, to which each case is added when it is done, `report.json`
            and `figure.png`. What has been done there with the same settings is not done again.

    Returns:
        The report, as it is in `report.json`: what the system makes of its results, with its
        settings, its headline and the results themselves.

    Raises:
        ValueError: If the folder holds results of other settings.
    """
    folder = Path(folder)
    settings = _settings_of(system)
    results = _results_in(folder, settings)
    for case in system.cases():
        if not any(_is_of(result, case) for result in results):
            results.append({**case, **system.run_case(**case)})
            write_json(folder / "results.json", {"settings": settings, "results": results})
    # In the order of the cases, and as they are when read from the file.
    results = _results_in(folder, settings)
    ordered = [r for case in system.cases() for r in results if _is_of(r, case)]
    report = {"settings": settings, **system.summarize(ordered)}
    head = {"title": system.title, "headline": system.headline(report)}
    report = {**head, **report, "results": ordered}
    write_json(folder / "report.json", report)
    save_figure(system.plot(report), folder / "figure.png")
    return report


def _settings_of(system: System) -> dict[str, Any]:
    r"""Returns the name and the settings of a system, as JSON gives them back."""
    settings = dataclasses.asdict(system)  # type: ignore[call-overload]
    plain: dict[str, Any] = json.loads(json.dumps({"system": type(system).__name__, **settings}))
    return plain


def _results_in(folder: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    r"""Returns the results that a folder holds."""
    path = folder / "results.json"
    if not path.exists():
        return []
    held = json.loads(path.read_text())
    for name in settings.keys() | held["settings"].keys():
        value, other = settings.get(name), held["settings"].get(name)
        if value != other:
            raise ValueError(
                f"{name} is {value!r}, but {path} holds results of {other!r}: take another folder"
            )
    results: list[dict[str, Any]] = held["results"]
    return results


def _is_of(result: dict[str, Any], case: Case) -> bool:
    return all(result.get(name) == value for name, value in case.items())
