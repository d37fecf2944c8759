r"""What a configuration tells once, and parts of it share."""

from __future__ import annotations

__all__ = ["link_units"]

from typing import Any

from jsonargparse import ArgumentParser

_TARGET = "model.init_args.machine.init_args.units"


def link_units(parser: ArgumentParser) -> None:
    r"""Lets a machine that takes `units`, such as `TableMachine`, have those of the data set.

    Arguments:
        parser: A parser with the subclasses `model` and `data`.
    """
    parser.link_arguments("data", _TARGET, compute_fn=_units, apply_on="instantiate")


def _units(data: Any) -> Any:
    # Without them the machine says what it needs.
    return getattr(data, "units", None)
