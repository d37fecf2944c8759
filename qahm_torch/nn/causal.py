r"""Pixels that see those before them, by convolutions."""

from __future__ import annotations

__all__ = ["CausalConvolutions", "JointContext"]

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from qahm_torch.nn.units import check_positive

# Without gradients, so many images at once: their channels fit into the cache of a core, which is
# faster where the memory of a call is not kept for the next (see `training.keep_memory`).
IMAGES_PER_CHUNK = 16


class JointContext(nn.Module, ABC):
    r"""What units before say, joined with the activations from the network in front.

    The part that depends on values alone is apart, since many activations may share it: those of
    all hidden states that are proposed for one datum.
    """

    num_maps: int = 0
    r"""How many more numbers of each unit the network in front gives, for the context alone."""

    @abstractmethod
    def features(self, values: Tensor) -> Tensor:
        r"""Returns what values (B, num_units) say: a tensor of B rows of any shape."""

    @abstractmethod
    def forward(self, activations: Tensor, features: Tensor) -> Tensor:
        r"""Returns the activations (K, B, num_parameters) of the units, given features of B rows.

        Those of a unit may depend on any activation, and on the values before the unit.

        Arguments:
            activations: Of shape (K, B, num_parameters + num_maps * num_units).
            features: What the values of B rows say.
        """

    def stepwise(self, activations: Tensor) -> Callable[[int, Tensor], Tensor]:
        r"""Returns what gives the activations of one unit after the other, for drawing them.

        Called with the number i of a unit and values (B, num_units), of which those before it
        count, it returns the unit's activations, (B, num_parameters / num_units). It is called for
        one unit after the other, from the first on, and what it has seen does not change.

        Arguments:
            activations: Activations of shape (B, num_parameters + num_maps * num_units).
        """

        def of(unit: int, values: Tensor) -> Tensor:
            joined: Tensor = self(activations.unsqueeze(0), self.features(values))
            return joined[0, :, unit :: values.shape[-1]]

        return of


class CausalConvolutions(JointContext):
    r"""Convolutions of the pixels above and to the left, and of the activations around.

    .. math::
        a + g \, W_3 * \operatorname{relu}(t + W_2 * t), \qquad
        t = \operatorname{relu}(W_1 * a / 2 + W_0 * m + M * v + b),

    where M sees the pixels of a datum before the one it is for, row by row, W_1 the activations
    around it, and W_0, W_2 and W_3 are of one pixel. W_3 starts at 0, where the pixels are
    independent. The maps m are more numbers of each pixel from the network in front, and tell the
    context more of the hidden units than one activation can. With `num_blocks`, as many residual
    blocks of masked convolutions follow M and see farther; one adds nothing at first, so that it
    leaves a trained context as it is. What is masked sees values alone, and the particles of a
    datum share its cost.

    Arguments:
        num_rows: The number of rows of the image.
        num_columns: The number of its columns.
        num_channels: The number of channels of t.
        reach: How many rows up, and columns to each side, M sees; W_1 sees 2.
        gain: The factor g. At 0 the pixels are independent: a context that is there from the
            start of a training leaves hidden units unused, so that a schedule lets it in later
            (see `qahm_torch.training.Scheduled`).
        num_blocks: The number of residual blocks.
        num_maps: The number of maps m, of num_rows * num_columns numbers each, which come after
            the activations: a `ResidualDecoder` gives them with `num_parameters` of 1 + num_maps.

    Raises:
        ValueError: If a number is not a positive integer, or that of blocks or maps negative.

    References:
        | Pixel recurrent neural networks (van den Oord et al., 2016)
        | https://arxiv.org/abs/1601.06759
        | PixelVAE: a latent variable model for natural images (Gulrajani et al., 2016)
        | https://arxiv.org/abs/1611.05013

    Example:
        >>> from qahm_torch import Autoregressive, Spins
        >>> pixels = Autoregressive(Spins(12), CausalConvolutions(3, 4))
        >>> pixels(torch.zeros(5, 12)).sample().shape
        torch.Size([5, 12])
    """

    mask: Tensor

    def __init__(
        self,
        num_rows: int,
        num_columns: int,
        num_channels: int = 16,
        reach: int = 3,
        gain: float = 1.0,
        num_blocks: int = 0,
        num_maps: int = 0,
    ):
        super().__init__()
        for name, value in (
            ("num_rows", num_rows),
            ("num_columns", num_columns),
            ("num_channels", num_channels),
            ("reach", reach),
        ):
            check_positive(name, value)
        for name, value in (("num_blocks", num_blocks), ("num_maps", num_maps)):
            if value < 0:
                raise ValueError(f"{name} is {value}, but there are 0 or more")
        self.num_rows, self.num_columns = self.shape = num_rows, num_columns
        self.num_channels = num_channels
        self.reach = reach
        self.num_blocks = num_blocks
        self.num_maps = num_maps
        self.gain = gain
        size = 2 * reach + 1
        self.of_values = nn.Conv2d(1, num_channels, size, padding=reach)
        self.of_activations = nn.Conv2d(1, num_channels, 5, padding=2, bias=False)
        self.of_maps = nn.Conv2d(num_maps, num_channels, 1, bias=False) if num_maps else None
        self.blocks = nn.Sequential(*(_CausalBlock(num_channels) for _ in range(num_blocks)))
        self.between = nn.Conv2d(num_channels, num_channels, 1)
        self.out = nn.Conv2d(num_channels, 1, 1)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)
        # So that the channels of a pixel are next to each other in all that is computed.
        self.to(memory_format=torch.channels_last)
        self.register_buffer("mask", _mask(size, size * size // 2), persistent=False)

    def features(self, values: Tensor) -> Tensor:
        if self.gain == 0:
            return values
        image = values.view(-1, 1, *self.shape)
        of_values = self.of_values
        seen: Tensor = self.blocks(
            conv2d(image, self._masked, of_values.bias, padding=of_values.padding)
        )
        return seen

    def forward(self, activations: Tensor, features: Tensor) -> Tensor:
        # A gain of 0 costs nothing, for the time before the context is let in.
        if self.gain == 0:
            return self._own(activations)
        if torch.is_grad_enabled():
            return self._joined(activations, features)
        columns = [
            torch.cat([self._joined(some, part) for some in rows.split(_share(rows))])
            for rows, part in zip(
                activations.split(IMAGES_PER_CHUNK, 1),
                features.split(IMAGES_PER_CHUNK),
                strict=True,
            )
        ]
        return torch.cat(columns, 1)

    def stepwise(self, activations: Tensor) -> Callable[[int, Tensor], Tensor]:
        if self.gain == 0:
            return lambda unit, values: activations[:, unit : unit + 1]
        blocks = (block for block in self.blocks if isinstance(block, _CausalBlock))
        steps = [block.stepwise(len(activations), *self.shape) for block in blocks]
        around = self._around(activations).flatten(2)
        masked, bias = self._masked, self.of_values.bias
        between, out = self.between.weight.flatten(1), self.out.weight.flatten(1)
        reach = masked.shape[-1] // 2

        def of(unit: int, values: Tensor) -> Tensor:
            row, column = divmod(unit, self.shape[1])
            # The window, and as much of the weights as are within the image.
            up, left = min(row, reach), min(column, reach)
            right = min(self.shape[1] - 1 - column, reach)
            window = values.view(-1, *self.shape)[
                :, row - up : row + 1, column - left : column + right + 1
            ]
            weight = masked[:, 0, reach - up : reach + 1, reach - left : reach + right + 1]
            seen = linear(window.flatten(1), weight.flatten(1), bias)
            for step in steps:
                seen = step(row, column, seen)
            t = (around[..., unit] + seen).relu()
            t = (t + linear(t, between, self.between.bias)).relu()
            added = linear(t, out, self.out.bias)
            return activations[:, unit : unit + 1] + self.gain * added

        return of

    @property
    def _masked(self) -> Tensor:
        return self.of_values.weight * self.mask

    def _around(self, activations: Tensor) -> Tensor:
        r"""Returns what rows of activations say of the pixels around, (B, channels, H, W)."""
        images = activations.reshape(-1, 1 + self.num_maps, *self.shape)
        around: Tensor = self.of_activations(images[:, :1] / 2)
        return around if self.of_maps is None else around.add_(self.of_maps(images[:, 1:]))

    def _own(self, activations: Tensor) -> Tensor:
        r"""Returns activations (*, num_parameters) without the maps."""
        return activations[..., : self.num_rows * self.num_columns]

    def _joined(self, activations: Tensor, features: Tensor) -> Tensor:
        around = self._around(activations).unflatten(0, (-1, len(features)))
        t = (around + features).relu_().flatten(0, 1)
        added: Tensor = self.out(self.between(t).add_(t).relu_())
        own = self._own(activations)
        return own + self.gain * added.reshape(own.shape)

    def extra_repr(self) -> str:
        return f"shape={self.shape}, gain={self.gain}"


class _CausalBlock(nn.Module):
    r"""A residual block that sees 3x3 pixels, up to and with the one it is for.

    .. math::
        t + W_b * \operatorname{relu}(M * \operatorname{relu}(W_a * \operatorname{relu}(t)))
    """

    mask: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        half = max(1, num_channels // 2)
        self.before = nn.Conv2d(num_channels, half, 1)
        self.around = nn.Conv2d(half, half, 3, padding=1)
        self.after = nn.Conv2d(half, num_channels, 1)
        # A block adds nothing at first, so that one more leaves a trained context as it is.
        nn.init.zeros_(self.after.weight)
        assert self.after.bias is not None
        nn.init.zeros_(self.after.bias)
        self.register_buffer("mask", _mask(3, 5), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        inner = self.before(t.relu()).relu()
        # Of the rows one above and one below, which the padding adds, the last one is too many.
        seen = conv2d(inner, self._masked, self.around.bias, padding=1)[:, :, :-1]
        out: Tensor = t + self.after(seen.relu())
        return out

    @property
    def _masked(self) -> Tensor:
        r"""The weights of the row above and of this one; none below counts."""
        return (self.around.weight * self.mask)[:, :, :2]

    def stepwise(
        self, num_images: int, num_rows: int, num_columns: int
    ) -> Callable[[int, int, Tensor], Tensor]:
        r"""Returns what gives the block of one pixel after the other, in reading order.

        Called with the row and the column of a pixel and t there, (B, channels), it returns the
        block there, of the same shape. What the pixels before have said is kept.
        """
        before, after = self.before.weight.flatten(1), self.after.weight.flatten(1)
        # A frame of zeros is around the image.
        weight = self._masked.permute(0, 2, 3, 1).flatten(1)
        kept = before.new_zeros(num_images, num_rows + 1, num_columns + 2, len(before))

        def of(row: int, column: int, t: Tensor) -> Tensor:
            inner = linear(t.relu(), before, self.before.bias).relu()
            kept[:, row + 1, column + 1] = inner
            window = kept[:, row : row + 2, column : column + 3].flatten(1)
            inner = linear(window, weight, self.around.bias).relu()
            return t + linear(inner, after, self.after.bias)

        return of


def _mask(size: int, num_seen: int) -> Tensor:
    r"""Returns a window in which the first so many pixels, in reading order, are 1."""
    return (torch.arange(size * size) < num_seen).view(size, size).float()


def _share(rows: Tensor) -> int:
    r"""Returns how many particles (K, B, *) make a chunk."""
    return max(1, IMAGES_PER_CHUNK // max(1, rows.shape[1]))
