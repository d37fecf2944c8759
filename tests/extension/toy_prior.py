r"""A prior from outside the package that is no Boltzmann machine: independent spins."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qahm_torch import Prior, Samples


class Bernoulli(Prior):
    r"""Independent spins, each up with a probability of its own.

    Arguments:
        num_spins: The number of spins.
        num_samples: The number of dreams per update.
    """

    def __init__(self, num_spins: int, num_samples: int = 32):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_spins))
        self.num_samples = num_samples

    @property
    def num_visible(self) -> int:
        return len(self.logits)

    def log_prob(self, spins: Tensor, negative: Tensor | Samples | None = None) -> Tensor:
        return nn.functional.logsigmoid(self.logits * spins).sum(-1)

    def draw(self) -> Samples:
        return Samples(self.sample(self.num_samples))

    def sample(self, num_samples: int, *, generator: torch.Generator | None = None) -> Tensor:
        up = torch.sigmoid(self.logits.detach()).expand(num_samples, -1)
        return 2 * torch.bernoulli(up, generator=generator) - 1

    def to_visible(self, spins: Tensor) -> Tensor:
        return spins
