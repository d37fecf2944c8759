r"""What the commands on trained machines share: their arguments and the machine."""

from __future__ import annotations

__all__ = ["Trained", "anneal_prior", "load_machine", "parser_of"]

import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jsonargparse import ArgumentParser

from qahm_torch.data import TensorDataModule
from qahm_torch.nn import HelmholtzMachine
from qahm_torch.priors import BoltzmannPrior
from qahm_torch.samplers import AnnealedSampler
from qahm_torch.training import MachineModule, keep_memory, load_run


class Trained(NamedTuple):
    r"""A trained machine, its data and where it came from."""

    machine: HelmholtzMachine
    data: TensorDataModule
    checkpoint: Path
    folder: Path


def parser_of(command: str, description: str) -> ArgumentParser:
    r"""Returns the parser of a command, with the arguments that all of them have."""
    parser = ArgumentParser(prog=f"qahm {command}", description=description)
    parser.add_argument(
        "run",
        type=str,
        help="A run folder, of which the highest version that has ended counts, or a checkpoint.",
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="Import the classes that the checkpoint names, whosever they are. To import a module "
        "is to run it: only for files of which you know where they are from.",
    )
    parser.add_argument("--seed", type=int, default=0, help="The seed of all random numbers.")
    return parser


def load_machine(settings: Any) -> Trained:
    r"""Returns the machine of a run and its data, and seeds the random numbers.

    Raises:
        ValueError: If the run has not trained a Helmholtz machine on one of the data modules.
    """
    keep_memory()
    run = load_run(settings.run, settings.trust)
    # Not among the results, which may be read by a program.
    print(f"taken: {run.checkpoint}", file=sys.stderr)
    if not isinstance(run.module, MachineModule) or not isinstance(run.data, TensorDataModule):
        raise ValueError(
            f"{run.checkpoint} is of {type(run.module).__name__} on {type(run.data).__name__}, "
            "but this command takes a MachineModule on a TensorDataModule"
        )
    torch.manual_seed(settings.seed)
    return Trained(run.module.machine, run.data, run.checkpoint, run.folder)


def anneal_prior(machine: HelmholtzMachine, num_temperatures: int) -> None:
    r"""Makes a Boltzmann machine draw independent samples, without its device or its chains.

    Other priors draw their samples by themselves.
    """
    if isinstance(machine.prior, BoltzmannPrior):
        machine.prior.sampler = AnnealedSampler(num_temperatures)
