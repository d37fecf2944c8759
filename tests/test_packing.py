r"""Fewer bits per weight, and how far off they are."""

import pytest
import torch

from qahm_torch.nn.packing import packed, unpacked

STATE = {
    "matrix": torch.randn(7, 5, generator=torch.Generator().manual_seed(0)),
    "kernel": torch.randn(3, 2, 2, 2, generator=torch.Generator().manual_seed(1)),
    "bias": torch.tensor([1 / 3, 1e-9]),
    "prior.J": torch.full((2, 2), 1 / 3),
    "count": torch.tensor([[3]]),
    "note": {"labels": [1, "a"]},
}


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_rounding_is_as_fine_as_the_bits_and_leaves_the_rest(bits):
    again = unpacked(packed(STATE, bits, kept=("prior.",)), torch.float32)
    assert again.keys() == STATE.keys()
    for name in ("matrix", "kernel"):
        rows, exact = again[name].flatten(1), STATE[name].flatten(1)
        step = {8: exact.abs().amax(1, keepdim=True) / 127, 16: exact.abs() / 1024, 32: 0}[bits]
        assert again[name].shape == STATE[name].shape and again[name].dtype == torch.float32
        assert bool(((rows - exact).abs() <= step / 2 + 1e-7 * (bits < 32)).all())
        assert torch.equal(rows, exact) == (bits == 32)
    for name in ("bias", "prior.J", "count"):
        assert torch.equal(again[name], STATE[name])
    assert again["note"] is STATE["note"]


def test_a_row_of_zeros_stays_one():
    state = {"w": torch.zeros(2, 3)}
    assert torch.equal(unpacked(packed(state, 8), torch.float32)["w"], state["w"])


def test_numbers_beyond_half_precision_are_not_rounded():
    state = {"w": torch.tensor([[1e6, 1 / 3]])}
    assert torch.equal(unpacked(packed(state, 16), torch.float32)["w"], state["w"])


def test_other_numbers_of_bits_are_refused():
    with pytest.raises(ValueError, match="bits is 4, but a weight has 8, 16 or 32"):
        packed(STATE, 4)
