r"""The console script `qahm`."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys

from qahm_torch.cli.commands import COMMANDS, usage
from qahm_torch.cli.mistakes import UsageError, hint, told

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    r"""Runs a command and returns its exit status.

    The status is 2 where the command line, or a configuration that it names, is not what the
    command takes, and 1 for other errors of the user's making. They are told in a sentence; with
    `QAHM_TRACEBACK=1` in the environment, with their traceback. Interrupted from the keyboard the
    status is 130, and by SIGTERM 143, as shells have it.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    command, *rest = arguments
    if command == "--version":
        from qahm_torch import __version__

        print(__version__)
        return 0
    if command not in COMMANDS:
        near = hint(command, [*COMMANDS, "--help", "--version"])
        print(
            f"qahm: error: no command {command!r}; there are {', '.join(COMMANDS)}{near}",
            file=sys.stderr,
        )
        return 2
    # Only now, because what the commands import takes seconds.
    name = COMMANDS[command].module
    module = importlib.import_module(f"qahm_torch.cli.{name}")
    try:
        module.run([command, *rest] if name == "running" else rest)
    except Exception as error:
        if os.environ.get("QAHM_TRACEBACK") or not _is_users(error):
            raise
        print(f"qahm: error: {_told(error)}", file=sys.stderr)
        return 2 if _is_usage(error) else 1
    except (KeyboardInterrupt, SystemExit) as error:
        status = _signal_status(error)
        if status is None:
            raise
        return status
    return 0


def _signal_status(error: BaseException) -> int | None:
    r"""Returns the status of a process that a signal has ended; None if none has."""
    # Lightning makes an exit of both, and says neither the status nor, of the first, the reason.
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return 128 + signal.SIGINT
    names = {kind.__name__ for kind in type(error).__mro__}
    return 128 + signal.SIGTERM if "SIGTERMException" in names else None


def _is_usage(error: Exception) -> bool:
    return isinstance(error, (UsageError, argparse.ArgumentError))


def _is_users(error: Exception) -> bool:
    # By name, because to import the types takes seconds.
    names = {kind.__name__ for kind in type(error).__mro__}
    known = (ValueError, OSError, ImportError, MemoryError, argparse.ArgumentError)
    others = {"AnnealerError", "MisconfigurationException", "OutOfMemoryError"}
    return isinstance(error, known) or bool(names & others)


def _told(error: Exception) -> str:
    if isinstance(error, argparse.ArgumentError):
        return told(str(error))
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__
