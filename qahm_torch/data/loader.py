r"""The loader: batches sliced from one tensor, in an order that a checkpoint can take up again."""

from __future__ import annotations

__all__ = ["TensorLoader", "check_count"]

import math
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor


class TensorLoader:
    r"""A stateful data loader that slices one tensor held in memory.

    Every pass is one epoch, and the order of its rows is a function of the seed and the epoch
    alone. The first pass is epoch 0 and each further pass the next epoch, whether or not the one
    before was finished. The state is the epoch and the number of batches handed out, the one now
    in the consumer's hands included; the first pass after `load_state_dict` goes on from there.

    Lightning saves and loads the state within its fit loop, but not always: the state of a
    checkpoint written between two epochs may be left out, and that of an epoch cut short by
    `limit_train_batches` does not tell that the epoch is over. So Lightning also tells the loader
    the number of each epoch that begins, through `batch_sampler`.

    The transform is no part of the state. One that draws from torch's global generator repeats its
    draws only where whoever resumes restores that generator too.

    Arguments:
        values: The rows of shape (R, *), on any device; a batch is a copy of some of them.
        batch_size: The number of rows of a batch; the last batch may have fewer.
        shuffle: Whether each epoch visits the rows in an order of its own.
        seed: The seed of these orders.
        transform: What is applied to each batch before it is yielded.
        drop_last: Whether to leave out a last batch that has fewer rows.
        rank: Which of the processes this is, where several share the rows.
        num_ranks: The number of processes; each visits as many rows as the others, no row twice.

    Raises:
        TypeError: If `values` is no tensor.
        ValueError: If a number is not whole or too small, or if there is no batch to yield.

    Example:
        >>> loader = TensorLoader(torch.arange(5), batch_size=2, shuffle=False)
        >>> batches = iter(loader)
        >>> next(batches)
        tensor([0, 1])
        >>> other = TensorLoader(torch.arange(5), batch_size=2, shuffle=False)
        >>> other.load_state_dict(loader.state_dict())
        >>> list(other)
        [tensor([2, 3]), tensor([4])]
    """

    def __init__(
        self,
        values: Tensor,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        transform: Callable[[Tensor], Tensor] | None = None,
        drop_last: bool = False,
        rank: int = 0,
        num_ranks: int = 1,
    ):
        if not isinstance(values, Tensor):
            raise TypeError(f"values is a {type(values).__name__}, but a tensor is needed")
        check_count("batch_size", batch_size, 1)
        check_count("seed", seed, 0)
        check_count("num_ranks", num_ranks, 1)
        check_count("rank", rank, 0, num_ranks - 1)
        self.values = values
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.transform = transform
        self.drop_last = drop_last
        self.rank = rank
        self.num_ranks = num_ranks
        self.num_rows = (len(values) if values.ndim else 0) // num_ranks
        self._epoch = 0
        self._batch = 0
        self._heard: int | None = None
        self._resumed = False
        if len(self) == 0:
            raise ValueError(
                f"values has shape {tuple(values.shape)}, which gives {self.num_rows} rows to "
                f"each of {num_ranks} processes, but at least {batch_size if drop_last else 1} "
                "are needed for a batch"
            )

    def __len__(self) -> int:
        if self.drop_last:
            return self.num_rows // self.batch_size
        return math.ceil(self.num_rows / self.batch_size)

    # A generator on purpose: Lightning calls iter() once only to see whether it can, so nothing
    # may move before the first batch is asked for.
    def __iter__(self) -> Iterator[Tensor]:
        first = self._begin_epoch()
        order = self._order(self._epoch)
        for index in range(first, len(self)):
            rows = order[index * self.batch_size : (index + 1) * self.batch_size]
            batch = self.values[rows]
            if self.transform is not None:
                batch = self.transform(batch)
            # before the yield, as a checkpoint may be written while the consumer has the batch
            self._batch = index + 1
            yield batch

    @property
    def batch_sampler(self) -> SimpleNamespace:
        r"""Where Lightning looks for the batch size and for `sampler.set_epoch`."""
        sampler = SimpleNamespace(set_epoch=self._hear_epoch)
        return SimpleNamespace(batch_size=self.batch_size, sampler=sampler)

    def state_dict(self) -> dict[str, Any]:
        r"""Returns the epoch, the number of its batches handed out, and what they depend on."""
        place = {"epoch": self._epoch, "batch": self._batch, "trainer_epoch": self._heard}
        return {**place, **self._settings()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        r"""Makes the next pass go on from where the state was taken.

        Raises:
            ValueError: If the state is that of another number of rows, batch size or seed.
        """
        for name, value in self._settings().items():
            if state_dict.get(name) != value:
                raise ValueError(
                    f"the state was saved with {name}={state_dict.get(name)}, but this loader has "
                    f"{name}={value}: resume with the same data settings, or start a new run "
                    "from the weights alone"
                )
        check_count("batch", state_dict["batch"], 0, len(self))
        self._epoch, self._batch = state_dict["epoch"], state_dict["batch"]
        self._heard = state_dict["trainer_epoch"]
        self._resumed = True

    def _settings(self) -> dict[str, int]:
        return {"num_rows": self.num_rows, "batch_size": self.batch_size, "seed": self.seed}

    # The trainer's number counts for a loader that has no count of its own. Later it only tells
    # whether the epoch of a loaded state is over: after a checkpoint at the end of an epoch of a
    # run with max_steps, Lightning's own count is ahead by one.
    def _hear_epoch(self, epoch: int) -> None:
        if self._batch == 0 and not self._resumed:
            self._epoch = epoch
        elif epoch != self._heard:
            self._resumed = False
        self._heard = epoch

    def _begin_epoch(self) -> int:
        if self._batch >= len(self) or (self._batch > 0 and not self._resumed):
            self._epoch, self._batch = self._epoch + 1, 0
        self._resumed = False
        return self._batch

    def _order(self, epoch: int) -> Tensor:
        num_values = len(self.values)
        if self.shuffle:
            order = torch.randperm(num_values, generator=_generator(self.seed, epoch))
        else:
            order = torch.arange(num_values)
        shard = order[self.rank :: self.num_ranks]
        return shard[: self.num_rows].to(self.values.device)


def check_count(name: str, value: Any, least: int, most: int | None = None) -> None:
    r"""Raises a ValueError unless the value is a whole number from `least` to `most`."""
    # True is an int, too
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if is_whole and value >= least and (most is None or value <= most):
        return
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
    raise ValueError(f"{name} is {value!r}, but a whole number {bounds} is needed")


# Hashed rather than added, or seed 1 would begin with the second epoch of seed 0.
def _generator(seed: int, epoch: int) -> torch.Generator:
    (hashed,) = np.random.SeedSequence((seed, epoch)).generate_state(1)
    return torch.Generator().manual_seed(int(hashed))
