r"""All images of bars or stripes, the classic small data set of spins."""

from __future__ import annotations

__all__ = ["BarsAndStripes"]

import torch

from qahm_torch.data.loader import check_count
from qahm_torch.data.tensor_module import Splits, TensorDataModule


class BarsAndStripes(TensorDataModule):
    r"""All images of equal rows or equal columns, as spins: :math:`2^{n+1} - 2` for side n.

    Training, validation and test rows are the same: all patterns, each once.

    Arguments:
        side: The number of rows and columns, from 1 to 16.
        batch_size: The number of patterns of a batch.
        num_repeats: How often a training epoch visits each pattern.
        seed: The seed of the order of the training patterns.

    Raises:
        ValueError: If a number is not whole or out of range.

    References:
        | Information theory, inference, and learning algorithms (MacKay, 2003)
        | https://www.inference.org.uk/mackay/itila/

    Example:
        >>> data = BarsAndStripes(side=3)
        >>> data.setup()
        >>> data.train.shape
        torch.Size([14, 9])
    """

    def __init__(
        self, side: int = 4, batch_size: int = 100, num_repeats: int = 100, seed: int = 0
    ):
        check_count("side", side, 1, 16)
        super().__init__(
            side**2,
            batch_size=batch_size,
            seed=seed,
            num_levels=2,
            image_shape=(side, side),
            num_repeats=num_repeats,
        )
        self.side = side

    def load_splits(self) -> Splits:
        lines = torch.cartesian_prod(*torch.tensor([-1.0, 1.0]).expand(self.side, -1))
        lines = lines.view(-1, self.side)
        stripes = lines.unsqueeze(2).expand(-1, -1, self.side)
        # the first and the last, all -1 and all +1, are stripes already
        bars = lines[1:-1].unsqueeze(1).expand(-1, self.side, -1)
        patterns = torch.cat([stripes, bars]).flatten(1)
        return Splits(patterns, patterns, patterns)
