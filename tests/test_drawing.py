r"""Rows of what a machine has left of its data: which data, and what is written beside them."""

from pathlib import Path

import pytest
import torch
from small_runs import digits, small_machine

import qahm_torch as qt
from qahm_torch.cli.arguments import Trained
from qahm_torch.cli.drawing import drawn
from qahm_torch.data import TensorData

NONE = Path("there is no run")


def rows_of(machine, data):
    r"""Returns what is written beside the rows of reconstructions, and the mosaic."""
    figures = drawn(Trained(machine, data, NONE, NONE), 4, 5)
    assert figures.keys() == {"generated", "reconstructed"}
    (axes,) = figures["reconstructed"].axes
    return [text.get_text() for text in axes.texts], axes.images[0].get_array()


def test_each_row_says_what_it_is():
    labels, mosaic = rows_of(small_machine(), digits())
    assert labels == [
        "test data",
        "layer 1, one draw",
        "layer 1, mean of 16 draws",
        "layer 2, one draw",
        "layer 2, mean of 16 draws",
    ]
    data = digits()
    data.setup()
    # an image of 8 pixels and a gap of one
    shown = torch.tensor(mosaic).unfold(0, 8, 9).unfold(1, 8, 9)
    assert shown.shape == (5, 10, 8, 8)
    # from all over the 1347 rows
    rows = data.test[[round(k * 1346 / 9) for k in range(10)], :64]
    torch.testing.assert_close(shown[0], rows.view(10, 8, 8))
    one, mean = shown[1] - shown[0], shown[2] - shown[0]
    assert mean.square().mean() < one.square().mean()


@pytest.mark.parametrize(
    ("parts", "label", "number"),
    [({"num_val": 3}, "validation data", 3), ({}, "training data", 10)],
)
def test_without_data_for_the_test_there_are_others(parts, label, number):
    data = TensorData(torch.rand(30, 8, 8) * 2 - 1, **parts)
    labels, mosaic = rows_of(small_machine(classes=False), data)
    assert labels[0] == label and len(labels) == 5
    assert mosaic.shape == (5 * 8 + 4, number * 8 + number - 1)
    rows = {"validation data": data.val, "training data": data.train}[label]
    torch.testing.assert_close(torch.tensor(mosaic)[:8, :8], rows[0].view(8, 8))


def test_units_that_are_drawn_one_after_the_other_have_means_of_draws():
    pixels = qt.Autoregressive(qt.Spins(12), qt.CausalLinear(12))
    machine = qt.HelmholtzMachine(
        qt.BeliefNetwork([12, 2]),
        qt.BeliefNetwork([2, 12], output=pixels),
        qt.QuantumPriorLayer(2, num_samples=8),
    )
    labels, mosaic = rows_of(machine, TensorData(torch.rand(9, 2, 2, 3) < 0.5, num_test=5))
    assert labels == ["test data", "layer 1, one draw", "layer 1, mean of 16 draws"]
    assert mosaic.shape == (3 * 2 + 2, 5 * 2 + 4, 3)
