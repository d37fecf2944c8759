r"""The options of a training, found without importing what is trained."""

from __future__ import annotations

__all__ = ["options_of_training"]

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qahm_torch.cli.class_arguments import arguments_of
from qahm_torch.cli.configs import configs_of, find_config, models_like, read_config
from qahm_torch.cli.mistakes import UsageError
from qahm_torch.cli.offers import Offer, Option, nothing
from qahm_torch.cli.run_folders import checkpoints_like, runs_like
from qahm_torch.cli.running import TAKEN, about

_OFFERS: dict[str, Offer] = {
    "--config": models_like,
    "--ckpt_path": checkpoints_like,
    "--finetune": runs_like,
    "--finetune_partial": lambda _: ("true", "false"),
}


def options_of_training(command: str, typed: Sequence[str]) -> dict[str, Option]:
    r"""Returns the options of `qahm fit` and its kin by their names.

    Of the model and the data they are those of the classes that the configurations name.

    Arguments:
        command: One of fit, validate and test.
        typed: The words that have been typed after it.
    """
    options = {name: _option(command, name) for name in TAKEN if not name.endswith(".NAME")}
    options["-c"] = options["--config"]
    options["--help"] = options["-h"] = Option("list the options", None)
    for name in arguments_of("pytorch_lightning.Trainer"):
        options[f"--trainer.{name}"] = Option("a setting of Lightning's trainer", nothing)
    for path in configs_of(typed):
        for name, value in _settings_in(path):
            options[f"--{name}"] = Option(f"{value} in the configuration", nothing)
    return options


def _option(command: str, name: str) -> Option:
    told = " ".join(about(command, name).split())
    return Option(told, _OFFERS.get(name, nothing) if TAKEN[name][0] else None)


def _settings_in(path: str) -> Iterator[tuple[str, Any]]:
    try:
        config = read_config(find_config(path))
    except (OSError, UsageError):
        return
    for part in ("model", "data"):
        yield from _settings(part, config.get(part))


def _settings(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    r"""Yields a setting and those within it by their whole names, with plain values."""
    if isinstance(value, Mapping) and {"class_path", "init_args"} & value.keys():
        path, given = value.get("class_path"), value.get("init_args") or {}
        yield name, path or "changed"
        for key, inner in given.items():
            yield from _settings(f"{name}.{key}", inner)
        for key in arguments_of(path) if isinstance(path, str) else ():
            if key not in given:
                yield f"{name}.{key}", "not"
    else:
        yield name, value
