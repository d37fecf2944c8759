r"""What the commands share: their arguments and the trained model."""

from __future__ import annotations

__all__ = [
    "Parser",
    "Trained",
    "TrainedPrior",
    "anneal_prior",
    "load_machine",
    "load_model",
    "parser_of",
]

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jsonargparse import ArgumentParser

from qahm_torch.cli.mistakes import UsageError, hint, reading
from qahm_torch.cli.offers import Offer
from qahm_torch.cli.outputs import check_writable
from qahm_torch.cli.run_folders import runs_like

# What takes seconds is imported where it is used, so that help and errors come at once.
if TYPE_CHECKING:
    from qahm_torch.data import TensorDataModule
    from qahm_torch.nn import HelmholtzMachine, Prior


class Trained(NamedTuple):
    r"""A trained machine, its data and where it came from."""

    machine: HelmholtzMachine
    data: TensorDataModule
    checkpoint: Path
    folder: Path


class TrainedPrior(NamedTuple):
    r"""A prior that was trained alone, its data and where it came from."""

    prior: Prior
    data: TensorDataModule
    checkpoint: Path
    folder: Path


class _Output(NamedTuple):
    is_folder: bool
    suffix: str | Sequence[str]


class Parser(ArgumentParser):
    r"""A parser that says in a sentence what it does not take.

    Numbers out of range and outputs that cannot be written are found before anything is computed.

    Attributes:
        offers: What a shell is told of the values of arguments, by their names: for the word that
            has been begun, words that it may become.
    """

    def __init__(self, **kwargs: Any):
        # Parsers of classes within are made of this one, with arguments of their own.
        super().__init__(**{"exit_on_error": False, "allow_abbrev": False, **kwargs})
        self.offers: dict[str, Offer] = {}
        self._least: dict[str, int] = {}
        self._choices: dict[str, tuple[Any, ...]] = {}
        self._outputs: dict[str, _Output] = {}

    def add_count(self, name: str, default: int | None, least: int, help: str) -> None:
        r"""Adds an option that is a whole number, `least` or more."""
        kind: Any = int if default is not None else int | None
        self.add_argument(f"--{name}", type=kind, default=default, help=help)
        self._least[name] = least

    def add_choice(self, name: str, values: tuple[Any, ...], default: Any, help: str) -> None:
        r"""Adds an option that is one of some values, all of one type."""
        shown = f"{{{','.join(map(str, values))}}}"
        kind = type(default)
        self.add_argument(f"--{name}", type=kind, default=default, metavar=shown, help=help)
        self._choices[name] = values
        self.offers[name] = lambda _: map(str, values)

    def add_output(
        self,
        name: str,
        help: str,
        is_folder: bool = False,
        suffix: str | Sequence[str] = (),
    ) -> None:
        r"""Adds an option that is a file, or a folder, which is written in the end."""
        self.add_argument(f"--{name}", type=str | None, default=None, help=help)
        self._outputs[name] = _Output(is_folder, suffix)

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        r"""Returns the values of all arguments.

        Raises:
            UsageError: If there is one that is not taken.
        """
        with reading(self):
            settings = super().parse_args(*args, **kwargs)
        self._check(settings)
        return settings

    def _check(self, settings: Any) -> None:
        for name, least in self._least.items():
            if settings[name] is not None and settings[name] < least:
                raise UsageError(
                    f"--{name} is {settings[name]}, but a whole number of at least {least} is "
                    "needed"
                )
        for name, values in self._choices.items():
            if settings[name] not in values:
                near = hint(str(settings[name]), map(str, values))
                known = ", ".join(map(str, values))
                raise UsageError(f"--{name} is {settings[name]}, but it is one of {known}{near}")
        for name, output in self._outputs.items():
            if settings[name] is not None:
                check_writable(settings[name], output.is_folder, f"--{name}", output.suffix)


def parser_of(command: str, description: str) -> Parser:
    r"""Returns the parser of a command, with the arguments that all of them have."""
    parser = Parser(prog=f"qahm {command}", description=description)
    parser.add_argument(
        "run",
        type=str,
        help="A run folder, of which the highest version that has ended counts, or a checkpoint.",
    )
    parser.offers["run"] = runs_like
    parser.add_argument(
        "--trust",
        action="store_true",
        help="Import the classes that the checkpoint names, whosever they are. To import a module "
        "is to run it: only for files of which you know where they are from.",
    )
    parser.add_argument("--seed", type=int, default=0, help="The seed of all random numbers.")
    return parser


def load_model(settings: Any) -> Trained | TrainedPrior:
    r"""Returns the model of a run and its data, and seeds the random numbers.

    Raises:
        ValueError: If the run has trained neither a Helmholtz machine nor a prior alone, or not on
            one of the data modules.
    """
    import torch

    from qahm_torch.data import TensorDataModule
    from qahm_torch.training import MachineModule, MaximumLikelihood, keep_memory, load_run

    keep_memory()
    run = load_run(settings.run, settings.trust)
    # Not among the results, which may be read by a program.
    print(f"taken: {run.checkpoint}", file=sys.stderr)
    torch.manual_seed(settings.seed)
    if isinstance(run.data, TensorDataModule):
        if isinstance(run.module, MachineModule):
            return Trained(run.module.machine, run.data, run.checkpoint, run.folder)
        if isinstance(run.module, MaximumLikelihood):
            return TrainedPrior(run.module.layer, run.data, run.checkpoint, run.folder)
    raise ValueError(
        f"{run.checkpoint} is of {type(run.module).__name__} on {type(run.data).__name__}, but "
        "this command takes a MachineModule or MaximumLikelihood on a TensorDataModule"
    )


def load_machine(settings: Any) -> Trained:
    r"""Returns the machine of a run and its data, and seeds the random numbers.

    Raises:
        ValueError: If the run has not trained a Helmholtz machine on one of the data modules.
    """
    trained = load_model(settings)
    if isinstance(trained, TrainedPrior):
        raise ValueError(
            f"{trained.checkpoint} is of {type(trained.prior).__name__} alone, but this command "
            "takes a HelmholtzMachine; `qahm evaluate`, `report` and `generate` take both"
        )
    return trained


def anneal_prior(machine: HelmholtzMachine, num_temperatures: int) -> None:
    r"""Makes a Boltzmann machine draw independent samples, without its device or its chains.

    Other priors draw their samples by themselves.
    """
    from qahm_torch.priors import BoltzmannPrior
    from qahm_torch.samplers import AnnealedSampler

    if isinstance(machine.prior, BoltzmannPrior):
        machine.prior.sampler = AnnealedSampler(num_temperatures)
