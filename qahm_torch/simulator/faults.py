r"""What a device does to a problem and to its answer, beside sampling."""

from __future__ import annotations

__all__ = ["instance_offset", "lasting_errors", "noisy", "quantized", "read_out"]

import numpy as np
from numpy.typing import NDArray

NUM_WAVES = 4


def quantized(
    values: NDArray[np.float64], span: tuple[float, float], bits: int | None
) -> NDArray[np.float64]:
    r"""Returns the nearest of the :math:`2^{bits} + 1` equidistant values over `span`."""
    if bits is None:
        return values
    step = (span[1] - span[0]) / (1 << bits)
    return step * np.round(values / step)


def lasting_errors(
    names: NDArray[np.int64], wanted: NDArray[np.int64], scale: float, seed: int
) -> NDArray[np.float64]:
    r"""Returns the errors that parts of a chip have for good.

    Arguments:
        names: The numbers of all parts.
        wanted: The numbers of the parts in use, all of which are in `names`.
        scale: The standard deviation over parts.
        seed: Draws the errors.
    """
    if scale == 0:
        return np.zeros(len(wanted))
    errors = scale * np.random.default_rng(seed).standard_normal(len(names))
    order = np.argsort(names)
    return errors[np.searchsorted(names[order], wanted)]


def noisy(
    values: NDArray[np.float64], scale: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    r"""Returns the values with Gaussian noise of standard deviation `scale`."""
    return values + scale * rng.standard_normal(len(values))


def read_out(spins: NDArray[np.int8], error: float, rng: np.random.Generator) -> NDArray[np.int8]:
    r"""Returns the spins, of which each is read wrong with probability `error`."""
    if error == 0:
        return spins
    return np.where(rng.random(spins.shape, dtype=np.float32) < error, -spins, spins)


def instance_offset(J: NDArray[np.float64], h: NDArray[np.float64], chip_seed: int) -> float:
    r"""Returns how the problem itself moves log beta: a smooth function with variance near 1.

    It is a sum of waves in the logarithm of the energy scale
    :math:`\epsilon = \sqrt{\sum J^2 + \sum h^2} / \sqrt{N}`, drawn once for a chip. So it varies
    slowly as a model is trained, and is the same for the same problem.
    """
    scale = np.sqrt((np.square(J).sum() + np.square(h).sum()) / max(1, len(h)))
    rng = np.random.default_rng(chip_seed)
    frequencies = rng.uniform(0.5, 4.0, NUM_WAVES)
    phases = rng.uniform(0, 2 * np.pi, NUM_WAVES)
    waves = np.sin(frequencies * np.log(max(scale, 1e-3)) + phases)
    return float(waves.sum() * np.sqrt(2 / NUM_WAVES))
