r"""Whether packages to compare with are installed."""

from __future__ import annotations

__all__ = ["is_installed"]

import importlib.util


def is_installed(name: str) -> bool:
    r"""Returns whether there is a module of a name, such as "dwave.plugins.torch"."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False
