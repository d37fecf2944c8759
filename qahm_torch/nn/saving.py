r"""Machines as files of their own, which say how to build them."""

from __future__ import annotations

__all__ = ["FORMAT", "MACHINE_KEY", "Portable"]

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from qahm_torch.ising import Chains
from qahm_torch.nn.atomic import atomic_write
from qahm_torch.nn.construction import built, construction, kind_of
from qahm_torch.nn.first_look import FirstLook
from qahm_torch.nn.loading import AtomicLoading
from qahm_torch.nn.newest import newest_checkpoint
from qahm_torch.nn.packing import check_bits, packed, unpacked
from qahm_torch.pretrained import names, path_of
from qahm_torch.trust import local_path, read_weights

MACHINE_KEY = "qahm_machine"
FORMAT = 1

Machine = TypeVar("Machine", bound="Portable")


class Portable(FirstLook, AtomicLoading):
    r"""A machine that is saved with what it is built of, and loaded in one line.

    A file holds the classes and arguments of the machine, its state dict, and the chains of its
    prior. Nothing in it is run: it is read with `weights_only`, and only modules of this package
    and of `torch.nn` are built. Samplers with settings are kept; those that stand for a device
    are not, and the prior takes its default one.
    """

    def save(self, path: str | Path, bits: int = 32) -> None:
        r"""Writes the machine to a file, which is either complete or absent.

        Before it takes the place of an older one, the machine is built from it and compared.

        Arguments:
            path: The file, such as "machine.pt".
            bits: The bits of a weight of the networks: 32 for all that there are, 16 for half
                precision, 8 for whole numbers with a scale for each row. Biases and the prior are
                never rounded, so that log Z stays right.

        Raises:
            ValueError: If the number of bits is another one, or a part of the machine is of a
                class that cannot be built from a file.

        Example:
            >>> import tempfile
            >>> from qahm_torch import BeliefNetwork, HelmholtzMachine, QuantumPriorLayer
            >>> networks = BeliefNetwork([6, 3]), BeliefNetwork([3, 6])
            >>> machine = HelmholtzMachine(*networks, QuantumPriorLayer(3))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     machine.save(f"{folder}/machine.pt")
            ...     again = HelmholtzMachine.load(f"{folder}/machine.pt")
            >>> torch.equal(again.prior.J, machine.prior.J)
            True
        """
        check_bits(bits)
        content = {
            MACHINE_KEY: {"format": FORMAT, "construction": construction(self)},
            "state_dict": packed(_on_cpu(self.state_dict()), bits, kept=("prior.",)),
            "dtype": str(_dtype_of(self)).removeprefix("torch."),
            "chains": _chains_of(self),
        }
        with atomic_write(path) as temporary:
            torch.save(content, temporary)
            _compare(_machine_of(_read(temporary), temporary), self)

    @classmethod
    def load(cls: type[Machine], source: str | Path) -> Machine:
        r"""Returns a trained machine, on the CPU and in evaluation mode.

        Arguments:
            source: A file that `save` wrote; a checkpoint, or a run folder, of which the last
                checkpoint of the highest version that has ended counts; or the name of a machine
                that comes with the package (see `qahm_torch.pretrained.names`).

        Raises:
            FileNotFoundError: If it is none of them.
            ValueError: If the file is not whole, does not say how the machine is built, or names a
                class that is not of this package.
            TypeError: If the machine is of another class than this one.

        Example:
            >>> from qahm_torch import HelmholtzMachine
            >>> HelmholtzMachine.load("mnist16").generate(2).shape
            torch.Size([2, 266])
        """
        file = _find(source)
        with _told_of(file):
            machine = _machine_of(_read(file), file)
        if not isinstance(machine, cls):
            raise TypeError(f"{file} holds a {type(machine).__name__}, but not a {cls.__name__}")
        return machine


def _find(source: str | Path) -> Path:
    path = local_path(source)
    if path.is_file():
        return path
    if path.is_dir():
        return newest_checkpoint(path)
    if str(source) in names():
        return path_of(str(source))
    raise FileNotFoundError(
        f"source is {source}, but it takes a file, a run folder, or one of {', '.join(names())}"
    )


@contextmanager
def _told_of(file: Path) -> Iterator[None]:
    r"""Turns whatever the content of a file brings about into a ValueError that names it."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if isinstance(error, ValueError) and str(file) in str(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{file} does not hold a machine that can be built; it may be damaged, or of another "
            f"version ({type(error).__name__}: {reason})"
        ) from error


def _read(file: Path) -> dict[str, Any]:
    content = read_weights(file, "machine")
    told = content.get(MACHINE_KEY) if isinstance(content, dict) else None
    if not isinstance(told, Mapping):
        raise ValueError(
            f"{file} does not say how its machine is built, as what `save` and `qahm fit` write "
            "does; `qahm export` makes a file of an older run"
        )
    if told.get("format") != FORMAT:
        raise ValueError(
            f"{file} is of format {told.get('format')}, but this version reads format {FORMAT}"
        )
    return dict(content)


def _machine_of(content: dict[str, Any], file: Path) -> Any:
    r"""Returns the machine of a file or of a checkpoint, whose module has it as a part."""
    # What modules start with is random, and not for the user to notice.
    with torch.random.fork_rng(devices=[]):
        machine = built(content[MACHINE_KEY]["construction"])
    if not isinstance(machine, Portable):
        raise ValueError(f"{file} holds a {type(machine).__name__}, but no machine")
    dtype = getattr(torch, content.get("dtype", "float32"))
    state = {
        name.removeprefix("machine."): value
        for name, value in content["state_dict"].items()
        if "dtype" in content or name.startswith("machine.")
    }
    machine.to(dtype)
    try:
        machine.load_state_dict(unpacked(state, dtype))
    except (RuntimeError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise ValueError(f"{file} is of another machine: {' '.join(lines[:4])}") from error
    _give_chains(machine, content)
    return machine.eval()


def _chains_of(machine: Portable) -> torch.Tensor | None:
    r"""Returns the spins of the prior's chains, (S, N), a byte each; None if it has none."""
    chains = getattr(machine.prior, "chains", None)
    if chains is None or chains.spins.ndim != 2:
        return None
    spins: torch.Tensor = chains.spins.detach().to("cpu", torch.int8)
    return spins


def _give_chains(machine: Any, content: dict[str, Any]) -> None:
    if not hasattr(machine.prior, "chains"):
        return
    spins, of_processes = content.get("chains"), content.get("prior_chains")
    if spins is not None:
        machine.prior.chains = Chains(spins.to(machine.prior.h.dtype))
    elif of_processes and of_processes[0] is not None:
        machine.prior.chains = Chains.from_state_dict(of_processes[0])


def _compare(loaded: Any, machine: Portable) -> None:
    r"""Raises ValueError if a machine is not built as another one is."""
    pairs = zip(_parts(loaded), _parts(machine), strict=False)
    for (name, kind, told), (_, expected, saved) in pairs:
        if kind is not expected or told != saved:
            raise ValueError(
                f"{name or 'the machine'} would be {kind.__name__}({told}) when built again, "
                f"but is {expected.__name__}({saved}): it has changed since it was built"
            )


def _parts(machine: nn.Module) -> list[tuple[str, type, str]]:
    # A sampler may be another one, and is told of by the prior that has it.
    return [
        (name, kind_of(part), "" if hasattr(part, "sampler") else part.extra_repr())
        for name, part in machine.named_modules()
    ]


def _on_cpu(state: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.detach().cpu() if isinstance(value, torch.Tensor) else value
        for name, value in state.items()
    }


def _dtype_of(machine: Portable) -> torch.dtype:
    kinds = {p.dtype for p in machine.parameters()}
    if len(kinds) != 1:
        raise ValueError(
            f"the parameters are of {', '.join(sorted(map(str, kinds)))}, but a file has one dtype"
        )
    return kinds.pop()
