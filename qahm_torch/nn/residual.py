r"""Residual convolutions from images to features, and from spins to images."""

from __future__ import annotations

__all__ = ["ResidualDecoder", "ResidualEncoder"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qahm_torch.nn.units import check_positive

# Rows at a time where nothing has a gradient: their maps fit into the cache, and the many rows
# of an importance-sampled likelihood do not fill the memory.
_ROWS_PER_PIECE = 500


class ResidualEncoder(nn.Module):
    r"""Features of an image by residual convolutions, such as the trunk of a `GroupedRecognition`.

    .. math::
        x \mapsto x + W_2 * r(W_1 * r(x)), \qquad r = \operatorname{relu} \circ \operatorname{norm}

    is a block, with batch normalization before each convolution of 3 x 3 pixels. Each stage begins
    with a convolution of stride 2, which halves the image, odd sizes rounded up, and goes on with
    its blocks. A linear map of the last stage, normalized and rectified, gives the features.

    Arguments:
        num_rows: The number of rows of the image.
        num_columns: The number of its columns.
        num_features: The number of features.
        channels: The number of channels of each stage.
        num_blocks: The number of blocks of each stage; with 0 the convolutions are plain.

    Raises:
        ValueError: If there is no stage, or a number is not a positive integer; when called, if
            the rows are not images of this size.

    References:
        | Identity mappings in deep residual networks (He et al., 2016)
        | https://arxiv.org/abs/1603.05027

    Example:
        >>> from qahm_torch import GroupedRecognition
        >>> trunk = ResidualEncoder(8, 8, 50, channels=[4, 8])
        >>> recognition = GroupedRecognition(64, 12, trunk=trunk, num_features=50)
        >>> recognition(torch.ones(5, 64))[0].shape
        torch.Size([5, 12])
    """

    def __init__(
        self,
        num_rows: int,
        num_columns: int,
        num_features: int,
        *,
        channels: Sequence[int] = (16, 32),
        num_blocks: int = 1,
    ):
        super().__init__()
        sizes = _sizes(num_rows, num_columns, channels, num_blocks)
        self.num_rows, self.num_columns = sizes[0]
        self.num_features = check_positive("num_features", num_features)
        self.channels = tuple(channels)
        self.num_blocks = num_blocks
        self.shape = sizes[0]
        stages: list[nn.Module] = [nn.Unflatten(1, (1, *self.shape))]
        before = 1
        for k, width in enumerate(channels):
            stages += [_rectified(before)] if k else []  # the image itself is as it is
            stages += [_convolution(before, width, stride=2)]
            stages += [_Block(width) for _ in range(num_blocks)]
            before = width
        last = nn.Linear(before * sizes[-1][0] * sizes[-1][1], num_features, bias=False)
        features = nn.Sequential(nn.Flatten(), last, nn.BatchNorm1d(num_features), nn.ReLU())
        self.net = nn.Sequential(*stages, _rectified(before), features)
        # The channels of a pixel next to each other: a third faster on a processor.
        self.to(memory_format=torch.channels_last)

    def forward(self, rows: Tensor) -> Tensor:
        r"""Returns the features (B, num_features) of images (B, num_rows * num_columns)."""
        if rows.ndim != 2 or rows.shape[1] != self.shape[0] * self.shape[1]:
            raise ValueError(
                f"rows have shape {tuple(rows.shape)}, but images of {self.shape[0]} x "
                f"{self.shape[1]} pixels, row by row, have (B, {self.shape[0] * self.shape[1]})"
            )
        return _in_pieces(self.net, rows)

    def extra_repr(self) -> str:
        return f"shape={self.shape}, channels={self.channels}, num_blocks={self.num_blocks}"


class ResidualDecoder(nn.Module):
    r"""Activations of pixels by residual convolutions, such as a layer of a `BeliefNetwork`.

    It goes the way of `ResidualEncoder` back: a linear map of the inputs gives the first and
    smallest stage, and each stage ends with a convolution whose channels, four for each of the
    next stage, are the 2 x 2 pixels into which a pixel divides (a sub-pixel convolution), less a
    row or a column where the next size is odd.

    Arguments:
        num_inputs: The number of inputs, such as the spins of the first hidden layer.
        num_rows: The number of rows of the image.
        num_columns: The number of its columns.
        channels: The number of channels of each stage, the smallest image first.
        num_blocks: The number of blocks of each stage.
        num_parameters: The number of parameters of each pixel. All pixels' first ones come first,
            then all second ones, which is the order of `NormalUnits` and their like.

    Raises:
        ValueError: If there is no stage, or a number is not a positive integer; when called, if
            the rows are not of `num_inputs` inputs.

    References:
        | Identity mappings in deep residual networks (He et al., 2016)
        | https://arxiv.org/abs/1603.05027
        | Real-time single image and video super-resolution using an efficient sub-pixel
          convolutional neural network (Shi et al., 2016)
        | https://arxiv.org/abs/1609.05158

    Example:
        >>> from qahm_torch import BeliefNetwork
        >>> generator = BeliefNetwork([12, 64], layers=[ResidualDecoder(12, 8, 8)])
        >>> generator.mean(torch.ones(5, 12)).shape
        torch.Size([5, 64])
    """

    def __init__(
        self,
        num_inputs: int,
        num_rows: int,
        num_columns: int,
        *,
        channels: Sequence[int] = (32, 16),
        num_blocks: int = 1,
        num_parameters: int = 1,
    ):
        super().__init__()
        self.num_inputs = check_positive("num_inputs", num_inputs)
        self.num_parameters = check_positive("num_parameters", num_parameters)
        sizes = _sizes(num_rows, num_columns, channels, num_blocks)[::-1]
        self.num_rows, self.num_columns = sizes[-1]
        self.channels = tuple(channels)
        self.num_blocks = num_blocks
        first = (channels[0], *sizes[0])
        stages: list[nn.Module] = [
            nn.Linear(num_inputs, first[0] * first[1] * first[2]),
            nn.Unflatten(1, first),
        ]
        after = (*channels[1:], num_parameters)
        for width, following, size in zip(channels, after, sizes[1:], strict=True):
            stages += [_Block(width) for _ in range(num_blocks)]
            stages += [_rectified(width), _Doubling(width, following, size)]
        self.net = nn.Sequential(*stages, nn.Flatten())
        self.to(memory_format=torch.channels_last)  # as in `ResidualEncoder`

    def forward(self, rows: Tensor) -> Tensor:
        r"""Returns activations (B, num_parameters * num_rows * num_columns) of rows of inputs."""
        if rows.ndim != 2 or rows.shape[1] != self.num_inputs:
            raise ValueError(
                f"rows have shape {tuple(rows.shape)}, but those of {self.num_inputs} inputs have "
                f"(B, {self.num_inputs})"
            )
        return _in_pieces(self.net, rows)

    def extra_repr(self) -> str:
        shape = self.num_rows, self.num_columns
        return f"shape={shape}, channels={self.channels}, num_blocks={self.num_blocks}"


class _Block(nn.Module):
    r"""Maps (B, C, R, S) with what two convolutions add to them."""

    def __init__(self, width: int):
        super().__init__()
        self.added = nn.Sequential(
            _rectified(width),
            _convolution(width, width),
            _rectified(width),
            _convolution(width, width),
        )

    def forward(self, maps: Tensor) -> Tensor:
        added: Tensor = self.added(maps)
        return maps + added


class _Doubling(nn.Module):
    r"""Maps of twice as many rows and columns, cut to a size."""

    def __init__(self, width: int, following: int, size: tuple[int, int]):
        super().__init__()
        self.size = size
        self.parts = nn.Conv2d(width, 4 * following, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        larger = nn.functional.pixel_shuffle(self.parts(maps), 2)
        return larger[..., : self.size[0], : self.size[1]]


def _rectified(width: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(width), nn.ReLU())


def _convolution(before: int, width: int, stride: int = 1) -> nn.Conv2d:
    # A bias has no use before a normalization.
    return nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)


def _sizes(
    num_rows: int, num_columns: int, channels: Sequence[int], num_blocks: int
) -> list[tuple[int, int]]:
    r"""Returns the sizes of an image that each stage halves; raises ValueError where it cannot."""
    size = check_positive("num_rows", num_rows), check_positive("num_columns", num_columns)
    if not channels:
        raise ValueError("channels are [], but at least one stage is needed")
    if num_blocks < 0:
        raise ValueError(f"num_blocks is {num_blocks}, but a number of blocks is not negative")
    sizes = [size]
    for width in channels:
        check_positive("channels", width)
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


def _in_pieces(net: nn.Module, rows: Tensor) -> Tensor:
    r"""Returns what a network makes of rows, by pieces where it treats each row by itself."""
    if net.training or torch.is_grad_enabled() or len(rows) <= _ROWS_PER_PIECE:
        whole: Tensor = net(rows)
        return whole
    return torch.cat([net(piece) for piece in rows.split(_ROWS_PER_PIECE)])
