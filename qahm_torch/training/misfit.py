r"""Why weights do not fit a model, in a sentence."""

from __future__ import annotations

__all__ = ["is_misfit", "misfit"]

import re

_NAME = re.compile(r'"(.+?)"')
_START = "Error(s) in loading state_dict"
_LIST = re.compile(r"(Missing|Unexpected) key\(s\) in state_dict: (.*)")
_SIZE = re.compile(
    r"size mismatch for (\S+): .* shape torch.Size\((.*?)\) .* is torch.Size\((.*?)\)"
)


def is_misfit(error: BaseException) -> bool:
    r"""Returns whether torch has found that weights are of another model."""
    return str(error).startswith(_START)


def misfit(error: BaseException) -> str:
    r"""Returns what does not fit, with an example of each kind, rather than all names there are.

    Arguments:
        error: What `load_state_dict` has raised.

    Example:
        >>> import torch
        >>> try:
        ...     torch.nn.Linear(2, 3).load_state_dict(torch.nn.Linear(4, 3).state_dict())
        ... except RuntimeError as error:
        ...     misfit(error)
        'its weight is of shape [3, 4], not [3, 2]'
    """
    if not is_misfit(error):
        return " ".join(str(error).split())
    said = []
    for line in map(str.strip, str(error).splitlines()):
        keys, size = _LIST.match(line), _SIZE.match(line)
        if keys is not None:
            verb = "lacks" if keys[1] == "Missing" else "has"
            said.append(f"it {verb} {_some(_NAME.findall(keys[2]))}")
        elif size is not None:
            said.append(f"its {size[1]} is of shape {size[2]}, not {size[3]}")
    rest = f", and {len(said) - 3} more" if len(said) > 3 else ""
    return ", ".join(said[:3]) + rest if said else " ".join(str(error).split())


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
