r"""Levels and classes as units: noise, draws and codes."""

import pytest
import torch
from hypothesis import given, strategies as st
from strategies import SEEDS, SHAPES, SOME

from qahm_torch.data import dequantize, draw_spins, grid_rows, one_hot_spins


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_one_hot_spins():
    spins = one_hot_spins(torch.tensor([[2], [0]]), 3)
    assert spins.tolist() == [[[-1, -1, 1]], [[1, -1, -1]]]
    assert spins.dtype == torch.get_default_dtype()


@pytest.mark.parametrize("label", [-1, 3])
def test_one_hot_spins_refuses_labels_out_of_range(label):
    with pytest.raises(ValueError, match=rf"labels hold {label}, but the classes are 0 to 2"):
        one_hot_spins(torch.tensor([0, label]), 3)


@pytest.mark.parametrize(
    ("num_levels", "dtype"),
    [(2, torch.float32), (17, torch.float32), (256, torch.float32), (256, torch.float64)],
)
def test_dequantize_stays_in_the_bin(num_levels, dtype):
    levels = torch.arange(num_levels, dtype=dtype).repeat(2_000_000 // num_levels)
    values = 2 * levels / (num_levels - 1) - 1
    noisy = dequantize(values, len(values), num_levels, generator())
    assert torch.equal(((noisy + 1) * num_levels / 2).floor(), levels)
    assert noisy.min() >= -1
    assert noisy.max() < 1


def test_dequantize_is_uniform_within_the_bin():
    noisy = dequantize(torch.full((200_000,), -0.5), 200_000, 5, generator())
    place = (noisy + 1) * 5 / 2 - 1
    counts = torch.histc(place, 10, 0, 1)
    chi_square = ((counts - 20_000) ** 2 / 20_000).sum()
    # the 0.999 quantile with 9 degrees of freedom
    assert chi_square < 27.9


def test_dequantize_leaves_classes_and_input_alone():
    values = torch.tensor([[-1.0, 1.0, 0.25, -1.0]])
    before = values.clone()
    noisy = dequantize(values, 2, 2, generator())
    assert torch.equal(noisy[:, 2:], values[:, 2:])
    assert (noisy[:, :2] != values[:, :2]).all()
    assert torch.equal(values, before)


def test_noise_comes_from_the_generator():
    values = torch.zeros(3, 4)
    for function in (lambda g: dequantize(values, 4, 3, g), lambda g: draw_spins(values, 4, g)):
        assert torch.equal(function(generator(1)), function(generator(1)))
        assert not torch.equal(function(generator(1)), function(generator(2)))
        torch.manual_seed(1)
        assert torch.equal(function(None), function(generator(1)))


def test_draw_spins_has_the_expectation():
    expected = torch.tensor([-1.0, -0.4, 0.0, 0.9, 1.0, 0.3])
    spins = draw_spins(expected.expand(40_000, -1), 5, generator())
    assert set(spins[:, :5].unique().tolist()) == {-1.0, 1.0}
    error = ((1 - expected**2) / 40_000).sqrt()
    assert ((spins.mean(0) - expected).abs() <= 5 * error + 1e-5).all()
    assert torch.equal(spins[:, 5], expected[5].expand(40_000))


@SOME
@given(SHAPES, st.integers(0, 5), st.integers(0, 3), st.integers(2, 1000), SEEDS, st.booleans())
def test_any_noise_stays_in_its_bin(shape, num_features, num_classes, num_levels, seed, double):
    levels = torch.randint(num_levels, (*shape, num_features), generator=generator(seed))
    grid = 2 * levels.to(torch.float64 if double else torch.float32) / (num_levels - 1) - 1
    values = torch.cat([grid, torch.ones(*shape, num_classes, dtype=grid.dtype)], -1)
    noisy = dequantize(values, num_features, num_levels, generator(seed))
    assert noisy.shape == values.shape and noisy.dtype == values.dtype
    features = noisy[..., :num_features].double()
    assert torch.equal(((features + 1) * num_levels / 2).floor().long(), levels)
    assert torch.equal(noisy[..., num_features:], values[..., num_features:])


@SOME
@given(SHAPES, st.integers(1, 12), SEEDS)
def test_labels_are_read_back(shape, num_classes, seed):
    labels = torch.randint(num_classes, shape, generator=generator(seed))
    spins = one_hot_spins(labels, num_classes)
    assert spins.shape == (*shape, num_classes)
    assert torch.equal(spins.argmax(-1), labels)
    assert (spins.abs() == 1).all() and (spins.sum(-1) == 2 - num_classes).all()


@SOME
@given(st.integers(1, 9), st.integers(1, 5), st.integers(2, 256), st.integers(0, 4), SEEDS)
def test_levels_and_labels_are_read_back(num_rows, num_features, num_levels, num_classes, seed):
    source = generator(seed)
    levels = torch.randint(num_levels, (num_rows, num_features), generator=source)
    labels = torch.randint(max(1, num_classes), (num_rows,), generator=source)
    rows = grid_rows(levels, num_levels, labels, num_classes)
    assert rows.shape == (num_rows, num_features + num_classes)
    assert rows.min() >= -1 and rows.max() <= 1
    found = (rows[:, :num_features] + 1) * (num_levels - 1) / 2
    assert torch.equal(found.round().long(), levels)
    assert num_classes == 0 or torch.equal(rows[:, num_features:].argmax(1), labels)


@SOME
@given(SHAPES, st.integers(1, 6), SEEDS)
def test_spins_are_drawn_as_they_are(shape, num_features, seed):
    expected = torch.rand(*shape, num_features, generator=generator(seed)) * 2 - 1
    spins = draw_spins(expected, num_features, generator(seed))
    assert (spins.abs() == 1).all()
    assert torch.equal(draw_spins(spins, num_features), spins)


@pytest.mark.parametrize("function", [lambda v: dequantize(v, 4, 2), lambda v: draw_spins(v, 4)])
def test_more_features_than_units_are_refused(function):
    with pytest.raises(ValueError, match="num_features is 4, but .* from 0 to 3"):
        function(torch.zeros(2, 3))


def test_one_level_is_refused():
    with pytest.raises(ValueError, match="num_levels is 1, but .* at least 2"):
        dequantize(torch.zeros(2), 2, 1)
