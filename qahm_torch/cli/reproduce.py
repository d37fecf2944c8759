r"""`qahm reproduce`: a system of the source paper, measured anew."""

from __future__ import annotations

__all__ = ["run"]

from pathlib import Path

from jsonargparse import ArgumentParser

from qahm_torch.cli.configs import with_paths
from qahm_torch.systems import System, reproduce
from qahm_torch.training.naming import parsing


def run(arguments: list[str]) -> None:
    r"""Runs a system, and tells its number and where the report is."""
    parser = ArgumentParser(
        prog="qahm reproduce",
        description="Measures a system of the source paper anew, from a configuration: "
        "`qahm reproduce --config seeds`. A run that was stopped goes on.",
    )
    parser.add_argument("--config", action="config", help="The configuration, by path or name.")
    parser.add_argument("--name", type=str, required=True, help="The name of the run.")
    parser.add_argument(
        "--folder", type=str | None, default=None, help="The folder; runs/NAME if not set."
    )
    about = "The system and its settings."
    parser.add_subclass_arguments(System, "system", required=True, help=about)
    with parsing():
        settings = parser.parse_args(with_paths(arguments))
        system = parser.instantiate_classes(settings)["system"]
    folder = Path(settings.folder or Path("runs") / settings.name)
    report = reproduce(system, folder)
    print(report["headline"])
    print(folder / "report.json")
    print(folder / "figure.png")
