r"""How a module was built, as plain values, and modules built from such values.

A module tells its construction by a rule that all modules of the package keep, and those of torch:
each argument of its constructor is an attribute of the same name.
"""

from __future__ import annotations

__all__ = ["built", "construction", "kind_of"]

import inspect
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from qahm_torch.ising import CouplingGraph

# Arguments that go by another name once the module is made.
_OTHER_NAMES = {"graph_or_n": "graph"}
# Of the modules of torch: where tensors are made, which is for whoever loads them to say.
_PLACES = ("device", "dtype")
# The rooms with classes that are no modules, and yet parts of them: graphs and samplers.
_ROOMS_OF_PARTS = ("ising", "samplers")
_PLAIN = (type(None), bool, int, float, str)
_INTEGERS = (torch.int8, torch.int16, torch.int32)  # the narrowest first


def construction(value: Any) -> Any:
    r"""Returns what a module is built of: nested class paths and arguments, and no objects.

    A sampler that cannot be told so, such as that of a device, is left out: whoever loads the
    module has a device of their own, or the sampler that the prior takes by default.

    Arguments:
        value: A module of this package or of `torch.nn`, or an argument of one.

    Raises:
        ValueError: If it has a part of another class, or one that does not tell how it was built.

    Example:
        >>> construction(nn.ReLU())
        {'class_path': 'torch.nn.ReLU', 'init_args': {'inplace': False}}
        >>> construction([nn.Tanh(), 3, (2,)])
        [{'class_path': 'torch.nn.Tanh', 'init_args': {}}, 3, (2,)]
    """
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Tensor):
        return _narrowed(value.detach().cpu())
    if isinstance(value, (list, nn.ModuleList)):
        return [construction(item) for item in value]
    if isinstance(value, tuple):
        return tuple(construction(item) for item in value)
    kind = kind_of(value)
    path = _path_of(kind)
    if kind is nn.Sequential:
        return {"class_path": path, "modules": [construction(child) for child in value]}
    return {"class_path": path, "init_args": dict(_arguments(value, kind))}


def built(tree: Any) -> Any:
    r"""Returns what a construction tells of.

    Only classes of this package and of `torch.nn` are called, whoever wrote the construction.

    Arguments:
        tree: The answer of `construction`, which may have been on disk in between.

    Raises:
        ValueError: If it names another class, or arguments that its class does not take.

    Example:
        >>> built({"class_path": "qahm_torch.Spins", "init_args": {"num_units": 3}})
        Spins(num_units=3, num_parameters=3)
        >>> built({"class_path": "os.system", "init_args": {"command": "true"}})
        Traceback (most recent call last):
        ...
        ValueError: the class is os.system, but only modules of qahm_torch and torch.nn are built
    """
    if isinstance(tree, list):
        return [built(item) for item in tree]
    if isinstance(tree, tuple):
        return tuple(built(item) for item in tree)
    if isinstance(tree, Tensor) and tree.dtype in _INTEGERS:
        return tree.long()
    if not isinstance(tree, Mapping):
        return tree
    path = tree.get("class_path")
    kind = _class_of(path)
    try:
        if kind is nn.Sequential:
            return nn.Sequential(*built(tree["modules"]))
        return kind(**{name: built(item) for name, item in tree["init_args"].items()})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not built by what is told of it: {error}") from error


def _narrowed(tensor: Tensor) -> Tensor:
    r"""Returns 64-bit integers in as few bits as they need: edges are most of a small machine."""
    if tensor.dtype != torch.int64 or tensor.numel() == 0:
        return tensor
    fitting = (kind for kind in _INTEGERS if bool((tensor == tensor.to(kind)).all()))
    return tensor.to(next(fitting, torch.int64))


def kind_of(module: Any) -> type:
    r"""Returns the class of a module; of one that only fills an `nn.Sequential`, that one."""
    kind = type(module)
    is_ours = kind.__module__.startswith("qahm_torch.")
    if isinstance(module, nn.Sequential) and not is_ours:
        return nn.Sequential if kind.forward is nn.Sequential.forward else kind
    return kind


def _arguments(value: Any, kind: type) -> Iterator[tuple[str, Any]]:
    is_torchs = kind.__module__.startswith("torch.")
    for name, parameter in list(inspect.signature(kind.__init__).parameters.items())[1:]:  # type: ignore[misc]
        if is_torchs and (name in _PLACES or name.startswith("_")):
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            if kind.__init__ in (object.__init__, nn.Module.__init__):  # type: ignore[misc]
                continue
            raise ValueError(f"{kind.__name__} takes {parameter}, which it does not tell of")
        argument = _argument(value, name, is_torchs)
        try:
            yield name, construction(argument)
        except ValueError:
            if not name.endswith("sampler") or parameter.default is parameter.empty:
                raise


def _argument(value: Any, name: str, is_torchs: bool) -> Any:
    attribute = _OTHER_NAMES.get(name, name)
    if not hasattr(value, attribute):
        raise ValueError(
            f"{type(value).__name__} has no attribute {attribute!r}, so that its argument of that "
            "name is not known: let it keep what it was built with"
        )
    argument = getattr(value, attribute)
    # What torch takes as a flag it keeps as a parameter, or as None.
    return argument is not None if is_torchs and name == "bias" else argument


def _path_of(kind: type) -> str:
    r"""Returns the public path of a class, by which it is found again."""
    top = "torch.nn" if kind.__module__.startswith("torch.") else "qahm_torch"
    path = f"{top}.{kind.__name__}"
    if kind.__module__.split(".")[0] not in ("torch", "qahm_torch") or _found(path) is not kind:
        raise ValueError(
            f"a part is of {kind.__module__}.{kind.__qualname__}, but only modules of qahm_torch "
            "and torch.nn can be built again from a file"
        )
    return path


def _class_of(path: Any) -> Any:
    kind = _found(path) if isinstance(path, str) else None
    if kind is None:
        raise ValueError(
            f"the class is {path}, but only modules of qahm_torch and torch.nn are built"
        )
    return kind


def _found(path: str) -> type | None:
    r"""Returns the class of a path if it is one of those that may be built, else None."""
    match = re.fullmatch(r"(qahm_torch|torch\.nn)\.([A-Za-z]\w*)", path)
    kind = getattr(import_module(match[1]), match[2], None) if match else None
    if not inspect.isclass(kind):
        return None
    is_part = kind.__module__.startswith(tuple(f"qahm_torch.{room}." for room in _ROOMS_OF_PARTS))
    return kind if issubclass(kind, (nn.Module, CouplingGraph)) or is_part else None
