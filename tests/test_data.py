r"""The data modules: values, splits, noise, MNIST's files and what is said when they are amiss."""

import gzip
import hashlib
import inspect
import io
import os
import re
import subprocess
import sys
import urllib.error
from pathlib import Path

import jsonargparse
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import SEEDS, SHAPES, SOME

from qahm_torch.data import (
    MNIST16,
    MNIST28,
    BarsAndStripes,
    OptDigits,
    Splits,
    TensorDataModule,
    dequantize,
    draw_spins,
    grid_rows,
    one_hot_spins,
)

# Lightning on a newer torch than it was written for
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")

NUM_TRAIN, NUM_TEST = 40, 12
MODULES = [OptDigits, MNIST16, MNIST28, BarsAndStripes]


def batches(loader):
    return torch.cat(list(loader))


def ready(module):
    module.setup()
    return module


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- the pure functions


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


# ---------------------------------------------------------------- digits of scikit-learn


def test_optdigits_describes_itself():
    data = OptDigits()
    assert (data.image_shape, data.num_pixels, data.num_classes) == ((8, 8), 64, 10)
    assert (data.num_visible, data.num_levels) == (74, 17)
    assert (OptDigits(classes=False).num_classes, OptDigits(classes=False).num_visible) == (0, 64)
    with pytest.raises(AttributeError):
        data.num_visible = 3


def test_optdigits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    digits = load_digits()
    data = ready(OptDigits())
    rows = torch.cat([data.train, data.val, data.test])
    levels = (rows[:, :64] + 1) * 8
    assert torch.equal(levels, levels.round())
    labels = rows[:, 64:].argmax(1)
    assert torch.equal(rows[:, 64:].sum(1), torch.full((1797,), -8.0))
    found = {
        (tuple(row), label) for row, label in zip(levels.tolist(), labels.tolist(), strict=False)
    }
    assert found == {
        (tuple(row), int(y)) for row, y in zip(digits.data, digits.target, strict=False)
    }


def test_optdigits_split_has_sizes_and_is_disjoint():
    # no two of the images are equal, so rows tell images apart
    data = ready(OptDigits(num_val=100, num_test=300, classes=False))
    parts = [{tuple(row) for row in part.tolist()} for part in (data.train, data.val, data.test)]
    assert [len(part) for part in parts] == [1397, 100, 300]
    assert len(set.union(*parts)) == 1797


def test_optdigits_split_is_a_function_of_the_seed():
    data = ready(OptDigits(seed=3))
    torch.manual_seed(1)
    assert torch.equal(ready(OptDigits(seed=3)).train, data.train)
    assert not torch.equal(ready(OptDigits(seed=4)).train, data.train)
    assert torch.equal(ready(OptDigits(seed=3, num_val=0)).test, data.test)


def test_setup_loads_once():
    data = ready(OptDigits())
    train = data.train
    data.setup("test")
    assert data.train is train


def test_parts_need_setup():
    with pytest.raises(RuntimeError, match=r"OptDigits has no data yet: call setup\(\)"):
        _ = OptDigits().train


def test_training_noise_is_new_in_each_epoch():
    data = ready(OptDigits(batch_size=2000))
    loader = data.train_dataloader()
    assert len(loader) == 1
    first, second = (batches(loader) for _ in range(2))
    sums = [batch[batch[:, 0].argsort()] for batch in (first, second)]
    assert not torch.equal(*sums)
    for batch in (first, second):
        levels = ((batch[:, :64] + 1) * 17 / 2).floor()
        grid = torch.cat([levels / 8 - 1, batch[:, 64:]], 1)
        assert sorted(grid.tolist()) == sorted(data.train.tolist())


def test_training_noise_follows_the_global_generator():
    data = ready(OptDigits())
    torch.manual_seed(0)
    first = batches(data.train_dataloader())
    torch.manual_seed(0)
    assert torch.equal(batches(data.train_dataloader()), first)
    torch.manual_seed(1)
    assert not torch.equal(batches(data.train_dataloader()), first)


@pytest.mark.parametrize("part", ["val", "test"])
def test_evaluation_noise_is_the_same_in_every_pass(part):
    data = ready(OptDigits())
    loader = getattr(data, f"{part}_dataloader")()
    state = torch.get_rng_state()
    first, second = batches(loader), batches(loader)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, second)
    other = getattr(ready(OptDigits(batch_size=7)), f"{part}_dataloader")()
    assert torch.equal(batches(other), first)
    values = getattr(data, part)
    assert torch.equal(((first[:, :64] + 1) * 17 / 2).floor(), (values[:, :64] + 1) * 8)
    assert torch.equal(first[:, 64:], values[:, 64:])
    assert not torch.equal(first, values)


def test_without_dequantization_batches_are_grid_values():
    data = ready(OptDigits(dequantize=False))
    assert torch.equal(batches(data.val_dataloader()), data.val)
    assert sorted(batches(data.train_dataloader()).tolist()) == sorted(data.train.tolist())


def test_empty_parts_have_no_loader():
    data = ready(OptDigits(num_val=0, num_test=0))
    assert data.val_dataloader() == []
    assert data.test_dataloader() == []
    assert len(data.train) == 1797


# ---------------------------------------------------------------- bars and stripes


@pytest.mark.parametrize(("side", "num_patterns"), [(1, 2), (2, 6), (3, 14), (4, 30)])
def test_bars_and_stripes_are_all_there(side, num_patterns):
    data = ready(BarsAndStripes(side=side))
    rows = data.train.tolist()
    assert len({tuple(row) for row in rows}) == len(rows) == num_patterns
    assert set(data.train.unique().tolist()) == {-1.0, 1.0}
    images = data.train.view(-1, side, side)
    is_stripes = (images == images[:, :, :1]).flatten(1).all(1)
    is_bars = (images == images[:, :1, :]).flatten(1).all(1)
    assert (is_stripes | is_bars).all()
    assert torch.equal(data.val, data.train)
    assert torch.equal(data.test, data.train)
    assert (data.num_visible, data.num_classes, data.num_levels) == (side**2, 0, 2)


def test_bars_and_stripes_repeat_in_training_only():
    data = ready(BarsAndStripes(side=3, num_repeats=5, batch_size=8))
    assert sorted(batches(data.train_dataloader()).tolist()) == sorted(5 * data.train.tolist())
    assert torch.equal(batches(data.val_dataloader()), data.val)


# ---------------------------------------------------------------- a table, defined here


class Weather(TensorDataModule):
    r"""A table: two measured columns, a count on a grid of 5, a spin, and 3 classes."""

    def __init__(self, batch_size: int = 8, seed: int = 0):
        super().__init__(4, num_classes=3, batch_size=batch_size, seed=seed)

    def load_splits(self):
        source = generator(5)
        measured = 10 * torch.randn(50, 2, generator=source)
        count = torch.randint(5, (50, 1), generator=source) / 2 - 1
        spin = 2.0 * torch.randint(2, (50, 1), generator=source) - 1
        classes = one_hot_spins(torch.randint(3, (50,), generator=source), 3)
        rows = torch.cat([measured, count, spin, classes], 1)
        return Splits(rows[:30], rows[30:40], rows[40:])

    def transform(self, rows, generator=None):
        noise = 0.1 * torch.randn(len(rows), 2, generator=generator)
        return torch.cat([rows[:, :2] + noise, rows[:, 2:]], 1)


def test_a_table_is_no_picture():
    data = Weather()
    assert (data.num_features, data.num_classes, data.num_visible) == (4, 3, 7)
    assert (data.image_shape, data.num_levels, data.num_pixels) == (None, None, 0)


def test_a_table_has_noise_of_its_own():
    data = ready(Weather())
    first, second = (batches(data.train_dataloader()) for _ in range(2))
    for batch in (first, second):
        assert sorted(batch[:, 2:].tolist()) == sorted(data.train[:, 2:].tolist())
    assert not torch.equal(first, second)
    for part in ("val", "test"):
        loader, rows = getattr(data, f"{part}_dataloader")(), getattr(data, part)
        seen = batches(loader)
        assert torch.equal(seen, batches(loader))
        assert torch.equal(seen[:, 2:], rows[:, 2:])
        assert 0 < (seen - rows)[:, :2].abs().max() < 1


def test_rows_are_as_they_are_where_nothing_transforms_them():
    class Plain(Weather):
        transform = TensorDataModule.transform

    data = ready(Plain())
    assert sorted(batches(data.train_dataloader()).tolist()) == sorted(data.train.tolist())
    assert torch.equal(batches(data.test_dataloader()), data.test)


def test_a_trainer_takes_a_table():
    data = Weather()
    model = Recorder(data.num_visible)
    trainer().fit(model, datamodule=data)
    assert [len(batch) for batch in model.seen["train"]] == [8, 8, 8, 6] * 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.zeros(4, 6), r"train has shape \(4, 6\), but rows of 7 units"),
        (torch.zeros(4), r"train has shape \(4,\), but rows of 7 units"),
        (torch.zeros(4, 7).long(), "train has dtype torch.int64, but a floating dtype"),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows, message, monkeypatch):
    monkeypatch.setattr(Weather, "load_splits", lambda self: Splits(rows, rows, rows))
    with pytest.raises(ValueError, match=message):
        Weather().setup()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_features": 0}, "num_features is 0, but"),
        ({"num_classes": -1}, "num_classes is -1, but"),
        ({"num_levels": 1}, "num_levels is 1, but .* at least 2"),
        ({"image_shape": (3, 3)}, r"image_shape is \(3, 3\), but the 4 features are not 9"),
    ],
)
def test_a_table_of_bad_settings_is_refused(changed, message):
    class Changed(Weather):
        def __init__(self):
            TensorDataModule.__init__(self, **{"num_features": 4, "batch_size": 8, **changed})

    with pytest.raises(ValueError, match=message):
        Changed()


# ---------------------------------------------------------------- MNIST from files of the test's


def idx(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


@pytest.fixture(scope="module")
def digits():
    r"""Images and labels by part; the first two images are empty and full."""
    rng = np.random.default_rng(0)
    parts = {}
    for part, size in (("train", NUM_TRAIN), ("t10k", NUM_TEST)):
        images = rng.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        images[0], images[1] = 0, 255
        parts[part] = images, rng.integers(0, 10, size, dtype=np.uint8)
    return parts


@pytest.fixture(scope="module")
def idx_files(digits):
    files = {}
    for part, (images, labels) in digits.items():
        files[f"{part}-images-idx3-ubyte"] = idx(images)
        files[f"{part}-labels-idx1-ubyte"] = idx(labels)
    return files


@pytest.fixture
def root(tmp_path, idx_files):
    raw = tmp_path / "root" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in idx_files.items():
        (raw / name).write_bytes(content)
    return str(tmp_path / "root")


@pytest.fixture
def no_network(monkeypatch):
    def fail(*args, **kwargs):
        raise urllib.error.URLError("no route\nto host")

    monkeypatch.setattr("urllib.request.urlopen", fail)


def pooled(image):
    r"""The mean over the windows from floor(1.75 i) to ceil(1.75 (i + 1)), rounded."""
    edges = [(7 * i // 4, -(-7 * (i + 1) // 4)) for i in range(16)]
    means = [[image[a:b, c:d].mean(dtype=np.float64) for c, d in edges] for a, b in edges]
    return torch.tensor(means).round().flatten()


def test_mnist16_describes_itself():
    data = MNIST16()
    assert (data.image_shape, data.num_pixels, data.num_classes) == ((16, 16), 256, 10)
    assert (data.num_visible, data.num_levels) == (266, 256)
    assert MNIST16(classes=False).num_visible == 256


def test_mnist16_pools_rounds_and_codes(root, digits):
    data = ready(MNIST16(root))
    for rows, part in ((data.train, "train"), (data.test, "t10k")):
        images, labels = digits[part]
        levels = (rows[:, :256] + 1) * 255 / 2
        expected = torch.stack([pooled(image) for image in images])
        # a mean of 4 to 9 levels may be halfway between two, and round either way
        assert (levels - expected).abs().max() <= 1 + 1e-3
        assert ((levels - expected).abs() < 1e-3).float().mean() > 0.9
        assert (levels - levels.round()).abs().max() < 1e-3
        assert rows[:, 256:].argmax(1).tolist() == labels.tolist()
    assert (data.train[0, :256] == -1).all()
    assert (data.train[1, :256] == 1).all()


def test_mnist16_validation_is_the_end_of_the_training_set(root):
    whole, split = ready(MNIST16(root)), ready(MNIST16(root, num_val=7))
    assert torch.equal(split.train, whole.train[:-7])
    assert torch.equal(split.val, whole.train[-7:])
    assert torch.equal(split.test, whole.test)
    assert whole.val_dataloader() == []
    assert len(split.val_dataloader()) == 1


def test_mnist16_dequantizes(root):
    data = ready(MNIST16(root, num_val=5))
    noisy = batches(data.val_dataloader())
    levels = (data.val[:, :256] + 1) * 255 / 2
    assert torch.equal(((noisy[:, :256] + 1) * 128).floor(), levels.round())
    plain = ready(MNIST16(root, num_val=5, dequantize=False))
    assert torch.equal(batches(plain.val_dataloader()), plain.val)


def test_mnist28_describes_itself():
    data = MNIST28()
    assert (data.image_shape, data.num_pixels, data.num_classes) == ((28, 28), 784, 0)
    assert (data.num_visible, data.num_levels) == (784, 2)
    assert MNIST28(classes=True).num_visible == 794


def test_mnist28_static_spins_are_the_same_for_every_run(root, digits):
    data = ready(MNIST28(root, num_val=4, seed=0, classes=True))
    torch.manual_seed(1)
    other = ready(MNIST28(root, num_val=9, seed=1, classes=True))
    spins = torch.cat([data.train, data.val])
    assert set(spins.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(torch.cat([other.train, other.val]), spins)
    assert torch.equal(other.test, data.test)
    assert spins[:, 784:].argmax(1).tolist() == digits["train"][1].tolist()
    for rows, part in ((spins, "train"), (data.test, "t10k")):
        expected = torch.from_numpy(digits[part][0]).flatten(1) / 127.5 - 1
        error = (1 - expected**2).sum().sqrt()
        assert torch.equal(rows[:2, :784], expected[:2])
        # weighted by what is expected, so that a sign or a transposition shows
        assert ((rows[:, :784] - expected) * expected).sum().abs() < 5 * error
    loader = data.train_dataloader()
    assert sorted(batches(loader).tolist()) == sorted(batches(loader).tolist())


def test_mnist28_dynamic_spins_are_new_in_each_training_batch(root, digits):
    data = ready(MNIST28(root, binarize="dynamic", num_val=4))
    expected = torch.from_numpy(digits["train"][0]).flatten(1) / 127.5 - 1
    assert torch.allclose(data.train, expected[:-4], atol=1e-6)
    first, second = (batches(data.train_dataloader()) for _ in range(2))
    assert set(first.unique().tolist()) == {-1.0, 1.0}
    assert first.sum() != second.sum()
    error = (1 - data.train**2).sum().sqrt()
    assert (first.sum() - data.train.sum()).abs() < 5 * error


@pytest.mark.parametrize("part", ["val", "test"])
def test_mnist28_evaluates_dynamic_on_the_static_spins(root, part):
    dynamic = ready(MNIST28(root, binarize="dynamic", num_val=4))
    static = ready(MNIST28(root, binarize="static", num_val=4))
    loader = getattr(dynamic, f"{part}_dataloader")()
    assert torch.equal(getattr(dynamic, part), getattr(static, part))
    assert torch.equal(batches(loader), getattr(static, part))
    assert torch.equal(batches(loader), batches(loader))


def test_root_is_named_by_the_environment(root, monkeypatch):
    monkeypatch.setenv("QAHM_DATA", root)
    assert len(ready(MNIST16()).train) == NUM_TRAIN
    monkeypatch.setenv("QAHM_DATA", str(Path(root, "elsewhere")))
    assert len(ready(MNIST16(root)).train) == NUM_TRAIN


def test_root_is_data_in_the_working_folder_by_default(root, monkeypatch):
    monkeypatch.setenv("QAHM_DATA", "")
    monkeypatch.chdir(Path(root).parent)
    Path(root).rename("data")
    assert len(ready(MNIST16()).train) == NUM_TRAIN


# ---------------------------------------------------------------- MNIST's files amiss


@pytest.mark.parametrize("module", [MNIST16, MNIST28])
@pytest.mark.parametrize("step", ["prepare_data", "setup"])
def test_no_network(module, step, tmp_path, no_network):
    folder = tmp_path / "missing"
    with pytest.raises(FileNotFoundError, match="cannot be downloaded") as caught:
        getattr(module(str(folder)), step)()
    message = str(caught.value)
    for part in (str(folder), "QAHM_DATA", "torchvision.datasets.MNIST(root, download=True)"):
        assert part in message
    assert "no route to host" in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_no_download_wanted(tmp_path):
    with pytest.raises(FileNotFoundError, match="MNIST is not in .*QAHM_DATA"):
        MNIST28(str(tmp_path), download=False).setup()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def archives(idx_files, monkeypatch):
    r"""The files as torchvision would download them, with their checksums in its list."""
    from torchvision.datasets import MNIST

    packed = {f"{name}.gz": gzip.compress(content) for name, content in idx_files.items()}
    sums = [(name, hashlib.md5(content).hexdigest()) for name, content in packed.items()]
    monkeypatch.setattr(MNIST, "resources", sums)
    return packed


def test_archives_need_no_network(tmp_path, archives, no_network):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in archives.items():
        (raw / name).write_bytes(content)
    assert len(ready(MNIST16(str(tmp_path))).test) == NUM_TEST
    assert list(tmp_path.iterdir()) == [tmp_path / "MNIST"]


def test_failed_download_leaves_the_folder_as_it_was(tmp_path, archives, no_network):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    name = "train-images-idx3-ubyte.gz"
    (raw / name).write_bytes(archives[name])
    with pytest.raises(FileNotFoundError, match="cannot be downloaded"):
        MNIST16(str(tmp_path)).prepare_data()
    assert [path.name for path in raw.iterdir()] == [name]
    assert list(tmp_path.iterdir()) == [tmp_path / "MNIST"]


def test_download_writes_whole_files(tmp_path, archives, monkeypatch):
    class Response(io.BytesIO):
        def __init__(self, request):
            self.url = request.full_url
            super().__init__(archives[self.url.rsplit("/", 1)[1]])
            self.length = None

    monkeypatch.setattr("urllib.request.urlopen", lambda request, **kwargs: Response(request))
    data = MNIST16(str(tmp_path / "new"))
    data.prepare_data()
    names = {path.name for path in (tmp_path / "new" / "MNIST" / "raw").iterdir()}
    assert names == {name.removesuffix(".gz") for name in archives}
    assert len(ready(data).train) == NUM_TRAIN


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("keep", [0, 3, 11, -1])
def test_truncated_file(root, idx_files, name, keep):
    raw = Path(root, "MNIST", "raw")
    (raw / name).write_bytes(idx_files[name][:keep])
    with pytest.raises(ValueError, match="truncated or corrupt") as caught:
        MNIST16(root).setup()
    assert str(raw) in str(caught.value)
    assert f"{name.split('-')[0]}-*" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-labels-idx1-ubyte", np.zeros(39, np.uint8), "39 labels and images of shape"),
        ("train-images-idx3-ubyte", np.zeros((40, 8, 8), np.uint8), r"shape \(40, 8, 8\)"),
        ("train-labels-idx1-ubyte", np.full(40, 11, np.uint8), "label 11"),
    ],
)
def test_files_that_do_not_fit(root, name, content, message):
    Path(root, "MNIST", "raw", name).write_bytes(idx(content))
    with pytest.raises(ValueError, match=message):
        MNIST28(root, num_val=0).setup()


class Broken:
    r"""An import hook that fails like a torchvision built for another torch."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torchvision":
            raise RuntimeError("operator torchvision::nms\ndoes not exist")


def test_broken_torchvision(root, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(ImportError, match="pip install torchvision.*nms does not exist") as caught:
        MNIST16(root).setup()
    assert "\n" not in str(caught.value)
    assert len(ready(OptDigits()).train) == 1197


def test_missing_torchvision(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(ImportError, match="pip install torchvision"):
        MNIST28(root).setup()


def test_broken_lightning_is_told_in_one_line():
    script = "import sys\nsys.modules['pytorch_lightning'] = None\nimport qahm_torch.data"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    last = answer.stderr.splitlines()[-1]
    assert last.startswith("ImportError: pytorch-lightning") and "pip install" in last


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OptDigits(batch_size=0), "batch_size is 0, but .* at least 1"),
        (lambda: OptDigits(num_val=-1), "num_val is -1, but .* at least 0"),
        (lambda: OptDigits(num_test=2.0), "num_test is 2.0, but"),
        (lambda: OptDigits(num_val=900, num_test=897), r"num_test is 1797, but .* from 0 to 1796"),
        (lambda: OptDigits(seed=-2), "seed is -2, but .* at least 0"),
        (lambda: MNIST16(num_val=-1), "num_val is -1, but"),
        (lambda: MNIST28(num_val=-1), "num_val is -1, but"),
        (lambda: MNIST28(binarize="always"), "binarize is 'always', but .* 'static' or 'dynamic'"),
        (lambda: BarsAndStripes(side=0), "side is 0, but .* from 1 to 16"),
        (lambda: BarsAndStripes(side=17), "side is 17, but .* from 1 to 16"),
        (lambda: BarsAndStripes(num_repeats=0), "num_repeats is 0, but .* at least 1"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_validation_cannot_take_the_whole_training_set(root):
    with pytest.raises(ValueError, match="num_val is 40, but .* from 0 to 39"):
        MNIST16(root, num_val=40).setup()


@pytest.mark.parametrize("module", MODULES)
def test_help_describes_every_argument(module):
    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(module, "data")
    text = " ".join(parser.format_help().split())
    for name in inspect.signature(module).parameters:
        # a flag, its value in capitals or in braces, and a sentence
        assert re.search(rf"--data\.{name} (\S+) [A-Z][a-z`]+ [^-]+\(type: ", text), name


@pytest.mark.parametrize("module", MODULES)
def test_arguments_are_parsed(module):
    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(module, "data")
    config = parser.parse_object({"data": {"batch_size": 5, "seed": 2}}).as_dict()
    data = module(**config["data"])
    assert (data.batch_size, data.seed) == (5, 2)


# ---------------------------------------------------------------- with a trainer


class Recorder(pl.LightningModule):
    r"""Keeps the batches that it is given."""

    def __init__(self, num_visible):
        super().__init__()
        self.linear = torch.nn.Linear(num_visible, 1)
        self.seen = {"train": [], "val": [], "test": []}

    def step(self, part, batch):
        self.seen[part].append(batch)
        return self.linear(batch).square().mean()

    def training_step(self, batch, batch_idx):
        return self.step("train", batch)

    def validation_step(self, batch, batch_idx):
        self.step("val", batch)

    def test_step(self, batch, batch_idx):
        self.step("test", batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def trainer(**kwargs):
    return pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **kwargs,
    )


def test_trainer_runs_all_stages():
    data = OptDigits(batch_size=600)
    model = Recorder(data.num_visible)
    runner = trainer()
    runner.fit(model, datamodule=data)
    runner.test(model, datamodule=data, verbose=False)
    assert [len(batch) for batch in model.seen["train"]] == [600, 597] * 2
    first, second = model.seen["val"]
    assert torch.equal(first, second)
    assert [len(batch) for batch in model.seen["test"]] == [400]


@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
def test_trainer_without_validation(root):
    data = MNIST16(root)
    model = Recorder(data.num_visible)
    trainer().fit(model, datamodule=data)
    assert len(model.seen["train"]) == 2
    assert model.seen["val"] == []


def test_overfitting_sees_the_same_batch_in_every_epoch():
    data = OptDigits(batch_size=10, dequantize=False)
    model = Recorder(data.num_visible)
    trainer(overfit_batches=1).fit(model, datamodule=data)
    first, second = model.seen["train"]
    assert torch.equal(first, second)


# ---------------------------------------------------------------- the real MNIST

REAL = Path(os.environ.get("QAHM_DATA") or "data", "MNIST", "raw", "train-images-idx3-ubyte")
real_mnist = pytest.mark.skipif(
    not (os.environ.get("QAHM_DATA") and REAL.is_file()),
    reason="needs MNIST in the folder that the environment variable QAHM_DATA names",
)
# of the 60000 training images, as widely used to normalize them
MEAN_PIXEL = 0.1307


@real_mnist
def test_real_mnist16():
    data = ready(MNIST16(num_val=10_000, download=False))
    assert [len(part) for part in (data.train, data.val, data.test)] == [50_000, 10_000, 10_000]
    assert data.train[:8, 256:].argmax(1).tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert data.test[:8, 256:].argmax(1).tolist() == [7, 2, 1, 0, 4, 1, 4, 9]
    levels = (data.train[:, :256] + 1) * 255 / 2
    # windows overlap, and those in the middle of the image do not weigh as the others
    assert levels.mean().item() == pytest.approx(255 * MEAN_PIXEL, rel=0.05)
    batch = next(iter(data.train_dataloader()))
    assert batch.shape == (100, 266)
    assert batch.min() >= -1 and batch.max() <= 1


@real_mnist
def test_real_mnist28():
    data = ready(MNIST28(download=False))
    assert [len(part) for part in (data.train, data.val, data.test)] == [50_000, 10_000, 10_000]
    mean = (5 * data.train.mean().item() + data.val.mean().item()) / 6
    # the rounding of the mean pixel, and five standard errors of the draws
    assert mean == pytest.approx(2 * MEAN_PIXEL - 1, abs=1e-4 + 5 * 47_040_000**-0.5 / 2)
    assert next(iter(data.train_dataloader())).shape == (100, 784)
