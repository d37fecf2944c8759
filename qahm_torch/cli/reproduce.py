r"""`qahm reproduce`: a system of the source paper, measured anew."""

from __future__ import annotations

__all__ = ["parser", "run"]

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from qahm_torch.cli.arguments import Parser
from qahm_torch.cli.configs import (
    asks_help,
    configs_of,
    read_config,
    systems_like,
    with_paths,
)
from qahm_torch.cli.mistakes import UsageError, reading
from qahm_torch.cli.outputs import check_writable


def parser(system: type | None = None) -> Parser:
    r"""Returns the parser; of help alone if there is no class of systems."""
    parser = Parser(
        prog="qahm reproduce",
        description="Measures a system of the source paper anew, from a configuration: "
        "`qahm reproduce --config seeds`. A run that was stopped goes on. With --config and "
        "--help, the settings of its system are listed, too.",
    )
    parser.add_argument("--config", action="config", help="The configuration, by path or name.")
    parser.add_argument("--name", type=str, required=True, help="The name of the run.")
    parser.offers["config"] = systems_like
    parser.add_output("folder", "The folder; runs/NAME if not set.", is_folder=True)
    about = "The system and its settings."
    if system is None:
        parser.add_argument("--system", type=Any, required=True, help=about)
    else:
        for known in _subclasses(system):
            # The parser does not find the types of a dataclass whose annotations are postponed,
            # and would take anything.
            known.__init__.__annotations__ = get_type_hints(known.__init__)  # type: ignore[misc]
        parser.add_subclass_arguments(system, "system", required=True, help=about)
    return parser


def run(arguments: list[str]) -> None:
    r"""Runs a system, and tells its number and where the report is."""
    arguments = with_paths(arguments)
    if asks_help(arguments) and not configs_of(arguments):
        # What `--system` takes would have to be imported, for seconds.
        parser().parse_args(arguments)
    if not configs_of(arguments) and not any("--system" in word for word in arguments):
        raise UsageError("no system is named: give --config, as `qahm reproduce --config seeds`")
    for path in configs_of(arguments):
        if "model" in read_config(path):
            raise UsageError(f"{path} is of a model: it is trained by `qahm fit --config {path}`")

    from qahm_torch.systems import System, reproduce
    from qahm_torch.training.naming import parsing

    full = parser(System)
    with parsing(), reading(full):
        settings = full.parse_args(arguments)
        system = _built(full, settings)
    folder = Path(settings.folder or Path("runs") / settings.name)
    check_writable(folder, is_folder=True, name="the folder")
    report = reproduce(system, folder)
    print(report["headline"])
    print(folder / "report.json")
    print(folder / "figure.png")


def _built(parser: Parser, settings: Any) -> Any:
    try:
        system = parser.instantiate_classes(settings)["system"]
    except ValueError as error:
        raise UsageError(str(error)) from error
    for name in (field.name for field in fields(system) if field.name.startswith("num_")):
        number = getattr(system, name)
        if number is not None and number < 1:
            raise UsageError(f"system.{name} is {number}, but at least 1 is needed")
    return system


def _subclasses(kind: type) -> Iterator[type]:
    inner: type
    for inner in kind.__subclasses__():
        yield inner
        yield from _subclasses(inner)
