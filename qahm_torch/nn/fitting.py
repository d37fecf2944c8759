r"""Part of the state of one module as the start of another."""

from __future__ import annotations

__all__ = ["Fitting", "load_fitting"]

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from qahm_torch.nn.prior import Prior
from qahm_torch.nn.told import told_by


class Fitting(NamedTuple):
    r"""What a module has taken of the state of another one, by the names of its tensors."""

    taken: list[str]
    left: dict[str, str]  # why a tensor of the module has stayed as it was

    def __str__(self) -> str:
        r"""Returns a line for each tensor, and one for all of a part that fare the same."""
        fates = dict.fromkeys(self.taken, "") | self.left
        lines = []
        for part, names in _parts_of(fates).items():
            why = fates[names[0]]
            told = f"{part} ({len(names)} tensors)" if len(names) > 1 else part
            lines.append(f"not taken  {told}: {why}" if why else f"taken      {told}")
        return "\n".join(lines)


def load_fitting(module: nn.Module, state: Mapping[str, Any]) -> Fitting:
    r"""Loads those tensors of a state that have the name and the shape of one of a module.

    A prior is taken as a whole or not at all: its log Z is that of all its parameters, and those
    of another graph, strands or gates mean something else. All other tensors stay as they are.

    Arguments:
        module: The module, such as a `HelmholtzMachine`.
        state: The state of another one, as `state_dict` gives it.

    Returns:
        What has been taken, and what has not.

    Raises:
        ValueError: If nothing fits; the module is then as it was.

    Example:
        >>> small, large = nn.Linear(2, 3), nn.Linear(4, 3)
        >>> print(load_fitting(large, small.state_dict()))
        taken      bias
        not taken  weight: of shape (3, 4), and there (3, 2)
    """
    own = module.state_dict()
    misfits = {name: _misfit(name, value, state) for name, value in own.items()}
    left = {name: why for name, why in misfits.items() if why}
    for prefix in _prior_prefixes(module):
        _leave_whole(prefix, own, state, left)
    taken = {name: state[name] for name in own if name not in left}
    if not any(isinstance(value, Tensor) for value in taken.values()):
        told = "; ".join(f"{name}: {why}" for name, why in list(left.items())[:3])
        raise ValueError(f"no tensor has the name and the shape of one in the state ({told})")
    module.load_state_dict(taken, strict=False)
    return Fitting(list(taken), left)


def _misfit(name: str, value: Any, state: Mapping[str, Any]) -> str:
    r"""Returns why an entry of a state cannot take the place of a value; nothing if it can."""
    if name not in state:
        return "not there"
    other = state[name]
    if name.endswith("_extra_state"):
        return "" if _same(told_by(value), told_by(other)) else "not the same there"
    if isinstance(value, Tensor) and isinstance(other, Tensor):
        here, there = tuple(value.shape), tuple(other.shape)
        return "" if here == there else f"of shape {here}, and there {there}"
    return "" if _same(value, other) else "not the same there"


def _leave_whole(
    prefix: str, own: Mapping[str, Any], state: Mapping[str, Any], left: dict[str, str]
) -> None:
    r"""Leaves all of a prior of which something does not fit, or which has more over there."""
    inside = [name for name in own if name.startswith(prefix)]
    more = [name for name in state if name.startswith(prefix) and name not in own]
    reasons = [f"{name} is {left[name]}" for name in inside if name in left]
    reasons += [f"{name} is there, too" for name in more]
    for name in inside if reasons else ():
        left.setdefault(name, f"the prior is another one, {reasons[0]}")


def _parts_of(fates: Mapping[str, str]) -> dict[str, list[str]]:
    r"""Returns the largest parts all of whose tensors have one fate, with the tensors' names."""
    shared: dict[str, set[str]] = {}
    for name, fate in fates.items():
        for part in _prefixes_of(name):
            shared.setdefault(part, set()).add(fate)
    parts: dict[str, list[str]] = {}
    for name in fates:
        largest = next(part for part in _prefixes_of(name) if len(shared[part]) == 1)
        parts.setdefault(largest, []).append(name)
    return {names[0] if len(names) == 1 else part: names for part, names in parts.items()}


def _prefixes_of(name: str) -> list[str]:
    r"""Returns the names of the parts that a tensor is in, outermost first, and its own."""
    words = name.split(".")
    return [".".join(words[: k + 1]) for k in range(len(words))]


def _prior_prefixes(module: nn.Module) -> Iterator[str]:
    for name, part in module.named_modules():
        if isinstance(part, Prior):
            yield f"{name}." if name else ""


def _same(value: Any, other: Any) -> bool:
    r"""Returns whether two plain values, with tensors in them, are equal."""
    if isinstance(value, Tensor) or isinstance(other, Tensor):
        both = isinstance(value, Tensor) and isinstance(other, Tensor)
        return both and torch.equal(value.cpu(), other.cpu())
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(_same(value[k], other[k]) for k in value)
    if isinstance(value, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(value) == len(other) and all(map(_same, value, other))
    return bool(value == other)
