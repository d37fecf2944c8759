r"""`qahm fit`, `validate` and `test`, as far as nothing has to be imported for them."""

from __future__ import annotations

__all__ = ["TAKEN", "about", "run"]

from qahm_torch.cli.configs import (
    OPTIONS,
    asks_help,
    configs_of,
    find_config,
    read_config,
    with_paths,
)
from qahm_torch.cli.mistakes import UsageError, hint

HELP = """\
usage: qahm {command} --config CONFIG [options]

{what}

{options}

`qahm {command} --config digits --help` lists all of them: those of the trainer, and those of the
model and of the data that the configuration names.
"""
# What each option takes, and what for; the last are all settings of a kind.
TAKEN = {
    "--config": (
        "CONFIG",
        "a YAML file, or the name of a configuration of the package, such as\n"
        "digits; of several, each changes what those before it have said",
    ),
    "--ckpt_path": ("FILE", "{checkpoint}"),
    "--name": ("NAME", "the run folder is runs/NAME/version_N"),
    "--seed_everything": ("SEED", "the seed of all random numbers"),
    "--num_threads": ("NUM", "the number of threads of the processor"),
    "--finetune": (
        "RUN",
        "the checkpoint or run folder whose weights the training starts from",
    ),
    "--finetune_partial": (
        "BOOL",
        "whether to take what fits of them, where the model is another one",
    ),
    "--freeze": ("LIST", "prefixes of the names of parameters that are not trained"),
    "--trainer.NAME": (
        "VALUE",
        "a setting of Lightning's trainer, such as --trainer.max_epochs 20",
    ),
    "--model.NAME": ("VALUE", "a setting of the model, such as --model.prior_lr 0.01"),
    "--data.NAME": ("VALUE", "a setting of the data, such as --data.batch_size 50"),
    "--print_config": ("", "print the configuration, and do nothing"),
}
WHAT = {
    "fit": "Trains a model, and leaves its checkpoints and curves in a run folder.",
    "validate": "Measures a trained model on its validation data.",
    "test": "Measures a trained model on its test data.",
}
CHECKPOINTS = {"fit": "a checkpoint of a run that goes on where it was"}


def run(arguments: list[str]) -> None:
    r"""Runs a command, its name first.

    Raises:
        UsageError: If the command line, or a configuration that it names, is not what it takes.
    """
    command, *rest = arguments
    rest = with_paths(rest)
    configs = configs_of(rest)
    if asks_help(rest) and not configs:
        print(HELP.format(command=command, what=WHAT[command], options=_options(command)), end="")
        return
    _check(command, rest, configs)
    if asks_help(rest):
        from qahm_torch.cli.model_options import print_help

        print_help(command, configs)
        return

    from qahm_torch.cli import fit

    fit.run([command, *rest])


def about(command: str, option: str) -> str:
    r"""Returns what an option is for, in a line or several."""
    checkpoint = CHECKPOINTS.get(command, "the checkpoint that is measured")
    return TAKEN[option][1].format(checkpoint=checkpoint)


def _options(command: str) -> str:
    names = {option: f"{option} {taken}".rstrip() for option, (taken, _) in TAKEN.items()}
    width = max(map(len, names.values()))
    lines = []
    for option, name in names.items():
        first, *rest = about(command, option).splitlines()
        lines += [f"  {name:<{width}}  {first}", *(f"{'':<{width + 4}}{line}" for line in rest)]
    return "\n".join(lines)


def _check(command: str, rest: list[str], configs: list[str]) -> None:
    for path in configs:
        if "system" in read_config(path):
            raise UsageError(
                f"{path} is of a system: `qahm reproduce --config {path}` measures it"
            )
    if rest and not rest[0].startswith("-"):
        raise UsageError(f"{rest[0]} is no option{_meant(rest[0])}")
    if not configs and not any(word.startswith(("--model", "--print_config")) for word in rest):
        raise UsageError(
            f"{command} needs a configuration, of the package or your own: "
            f"`qahm {command} --config digits`, or `--config my.yaml`{_hint(rest)}"
        )


def _hint(words: list[str]) -> str:
    said = (hint(word.partition("=")[0], OPTIONS[:1]) for word in words if word not in OPTIONS)
    return next(filter(None, said), "")


def _meant(word: str) -> str:
    try:
        find_config(word)
    except FileNotFoundError:
        return ""
    return f"; did you mean --config {word}?"
