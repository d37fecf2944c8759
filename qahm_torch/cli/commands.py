r"""The commands that there are, what they are for, and the help that lists them."""

from __future__ import annotations

__all__ = ["COMMANDS", "Command", "usage"]

from typing import NamedTuple

_HEAD = """\
usage: qahm COMMAND [options]

Train and use quantum-assisted Helmholtz machines.

commands:
"""
_FOOT = """\

`qahm COMMAND --help` lists the options of a command. A trained machine is named by its run folder,
of which the highest version that has ended counts, or by a checkpoint file.
"""


class Command(NamedTuple):
    r"""A command, and how it is told."""

    module: str  # of this room, and imported only when it is asked for
    about: str
    example: str  # what follows `qahm` and its name


COMMANDS = {
    "fit": Command("running", "train a model from a YAML file", "--config configs/digits.yaml"),
    "validate": Command(
        "running", "validate a model, as fit takes it", "--config ... --ckpt_path ..."
    ),
    "test": Command("running", "test a model, as fit takes it", "--config ... --ckpt_path ..."),
    "generate": Command("generate", "draw dreams of a trained machine", "runs/digits --class 7"),
    "complete": Command("complete", "fill in hidden cells of test rows", "runs/digits"),
    "classify": Command("classify", "tell the classes of rows", "runs/digits"),
    "evaluate": Command("evaluate", "measure a trained machine, as JSON", "runs/digits"),
    "export": Command("export", "write a file and a card of a machine", "runs/digits"),
    "report": Command("report", "draw a trained machine's figures", "runs/digits"),
    "runs": Command("run_table", "list runs and what they reached", ""),
    "compare": Command("compare", "two runs side by side", "runs/a runs/b"),
    "device": Command("device", "what fits on a chip, and what it costs", "--num_spins [60]"),
    "reproduce": Command("reproduce", "measure a system of the source paper", "--config seeds"),
    "completion": Command("shells", "let a shell complete by the tab key", "bash"),
}


def usage() -> str:
    r"""Returns the help of `qahm` itself, with the commands in columns."""
    names = max(map(len, COMMANDS))
    abouts = max(len(command.about) for command in COMMANDS.values())
    lines = (
        f"  {name:<{names}}  {command.about:<{abouts}}  qahm {name} {command.example}".rstrip()
        for name, command in COMMANDS.items()
    )
    return "\n".join([_HEAD.rstrip("\n"), *lines, _FOOT])
