r"""Random numbers and powers of the heat bath, written once for numbers and for vectors of them.

`xoshiro`, `uniform_of` and `power_of_fraction` are made of operators that both have: `vectors`
calls them on its vectors, which write out instructions. numba compiles them for single numbers,
whence `next_words`, `uniform`, `exp` and `spin_in_field` for kernels.

(Kernels in the cache are not compiled anew when this file changes, but when their own file does.)
"""

from __future__ import annotations

__all__ = [
    "exp",
    "next_words",
    "power_of_fraction",
    "spin_in_field",
    "uniform",
    "uniform_of",
    "xoshiro",
]

from collections.abc import Callable
from typing import Any

import numpy as np

from qahm_torch.kernels.compiler import inlined

_ONE, _UNIT = np.float32(1), np.float32(2.0**-23)
_LOG2_E, _LARGEST = np.float32(1.4426950408889634), np.float32(80)


def xoshiro(word: Callable[[Any], Any]) -> Callable[..., Any]:
    r"""Returns a step of xoshiro128+: from four words to random bits and the next four words.

    Arguments:
        word: Returns the lowest 32 bits of an integer.

    References:
        | Scrambled linear pseudorandom number generators (Blackman & Vigna, 2018)
        | https://arxiv.org/abs/1805.01407
    """

    def step(x0: Any, x1: Any, x2: Any, x3: Any) -> Any:
        bits, shifted = word(x0 + x3), word(x1 << 9)
        x2, x3 = x2 ^ x0, x3 ^ x1
        x1, x0 = x1 ^ x2, x0 ^ x3
        return bits, x0, x1, x2 ^ shifted, word(x3 << 11) | (x3 >> 21)

    return step


def uniform_of(number: Callable[[Any], Any]) -> Callable[[Any], Any]:
    r"""Returns a function from random bits to a uniform number between 0 and 1.

    Arguments:
        number: Returns an integer below 2**23 in single precision.
    """

    # With 23 bits the numbers are exact, so that none of them is 0 or 1.
    def uniform(bits: Any) -> Any:
        return number(bits >> 9) * _UNIT + _UNIT / 2

    return uniform


def power_of_fraction(r: Any) -> Any:
    r"""Returns :math:`2^r` to 1e-5 of itself, for r from -1/2 to 1/2."""
    power = r * np.float32(1.3333558146428443e-3) + np.float32(9.618129107628477e-3)
    power = power * r + np.float32(5.550410866482158e-2)
    power = power * r + np.float32(2.402265069591007e-1)
    power = power * r + np.float32(6.931471805599453e-1)
    return power * r + _ONE


_power_of_fraction = inlined(power_of_fraction)
next_words = inlined(xoshiro(np.uint32))


@inlined
def _number(integer: np.uint32) -> np.float32:
    return np.float32(np.int32(integer))  # vectors of signed integers are faster to convert


uniform: Callable[[np.uint32], np.float32] = inlined(uniform_of(_number))


@inlined
def exp(x: np.float32) -> np.float32:
    r"""Returns exp x to 1e-5 of itself, which unlike that of libraries is done lane by lane."""
    x = min(max(x, -_LARGEST), _LARGEST) * _LOG2_E
    n = np.floor(x + np.float32(0.5))
    whole = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    power: np.float32 = _power_of_fraction(x - n)
    return power * whole


@inlined
def spin_in_field(field: np.float32, random: np.float32) -> np.float32:
    r"""Returns the spin +-1 that a uniform number gives in the field :math:`2 \beta f`."""
    return _ONE if random * (_ONE + exp(field)) < _ONE else -_ONE
