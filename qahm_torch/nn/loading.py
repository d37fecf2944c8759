r"""Loading of a state that does not fit, without a trace."""

from __future__ import annotations

__all__ = ["AtomicLoading"]

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class AtomicLoading(nn.Module):
    r"""A module that loads a state dict as a whole, or not at all.

    Torch copies tensor after tensor and then raises for those that did not fit. Here the module is
    as it was before when `load_state_dict` raises, with its buffers and all other attributes. It
    goes before other bases.

    Example:
        >>> class Two(AtomicLoading):
        ...     def __init__(self, width):
        ...         super().__init__()
        ...         self.first, self.second = nn.Linear(1, 1), nn.Linear(1, width)
        >>> two, before = Two(1), Two(1).state_dict()
        >>> _ = two.load_state_dict(before)
        >>> two.load_state_dict(Two(2).state_dict())  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        RuntimeError: Error(s) in loading state_dict for Two
        >>> torch.equal(two.first.weight, before["first.weight"])
        True
    """

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        before = [_Snapshot(module) for module in self.modules()]
        try:
            return super().load_state_dict(state_dict, strict, assign)
        except BaseException:
            for snapshot in before:
                snapshot.restore()
            raise


class _Snapshot:
    r"""What a module holds at one time, apart from the modules inside it."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        # Of dictionaries, such as those of parameters and buffers, the entries too.
        self.fields = {k: dict(v) if type(v) is dict else v for k, v in vars(module).items()}
        tensors = [*module._parameters.values(), *module._buffers.values()]
        self.tensors = [(t, t.detach().clone()) for t in tensors if t is not None]

    @torch.no_grad()
    def restore(self) -> None:
        for added in vars(self.module).keys() - self.fields.keys():
            del vars(self.module)[added]
        for name, field in self.fields.items():
            own = vars(self.module).get(name)
            if type(field) is dict and type(own) is dict:
                own.clear()
                own.update(field)
            else:
                vars(self.module)[name] = field
        for tensor, value in self.tensors:
            tensor.copy_(value)
