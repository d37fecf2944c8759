r"""The first data that a machine is given, which are looked at once."""

from __future__ import annotations

__all__ = ["FirstLook"]

import torch
from torch import Tensor, nn

from qahm_torch.nn.support import check_values
from qahm_torch.nn.units import Units


class FirstLook(nn.Module):
    r"""A module that checks the first data that it is given, and trusts all others.

    A look costs a synchronization of a GPU, and is thus not for each call. In training by the
    modules of `qahm_torch.training` each data set is looked at as a whole.
    """

    _has_looked = False

    def look_once(self, visible: Tensor, units: Units, counts: Tensor | None = None) -> None:
        r"""Raises ValueError if the first data are not what the units take.

        Arguments:
            visible: Visible states of shape (*, num_units).
            units: The visible units.
            counts: Which of them count, broadcastable to the states; None for all.
        """
        if self._has_looked or torch.compiler.is_compiling():
            return
        if visible.shape[-1] == units.num_units:
            check_values("visible", visible, units.supports, counts)
        self._has_looked = True
