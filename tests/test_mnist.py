r"""MNIST: values, spins, noise, and what is said when its files are amiss."""

import gzip
import hashlib
import io
import os
import sys
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch

from qahm_torch.data import MNIST8, MNIST16, MNIST28, OptDigits

NUM_TRAIN, NUM_TEST = 40, 12


def batches(loader):
    return torch.cat(list(loader))


def ready(module):
    module.setup()
    return module


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


def cropped(image):
    r"""The mean over the windows from floor(2.5 i) to ceil(2.5 (i + 1)) of the inner 20 x 20."""
    inner = image[4:24, 4:24]
    edges = [(5 * i // 2, -(-5 * (i + 1) // 2)) for i in range(8)]
    means = [[inner[a:b, c:d].mean(dtype=np.float64) for c, d in edges] for a, b in edges]
    return torch.tensor(means).flatten() * 16 / 255


def test_mnist8_describes_itself():
    data, other = MNIST8(), OptDigits()
    for name in ("image_shape", "num_pixels", "num_classes", "num_visible", "num_levels"):
        assert getattr(data, name) == getattr(other, name)


def test_mnist8_crops_pools_rounds_and_codes(root, digits):
    data = ready(MNIST8(root, num_val=7))
    images, labels = digits["train"]
    rows = torch.cat([data.train, data.val])
    levels = (rows[:, :64] + 1) * 8
    expected = torch.stack([cropped(image) for image in images])
    assert (levels - expected).abs().max() <= 0.5 + 1e-3
    assert (levels - levels.round()).abs().max() < 1e-3
    assert rows[:, 64:].argmax(1).tolist() == labels.tolist()
    assert (len(data.train), len(data.val)) == (NUM_TRAIN - 7, 7)
    assert torch.equal(ready(MNIST8(root, num_val=7, num_train=5)).train, data.train[:5])


def test_mnist8_turns_images_by_angles_of_the_data(root):
    plain, turned, other = (
        ready(MNIST8(root, num_val=7, max_degrees=degrees, seed=seed))
        for degrees, seed in ((0.0, 0), (180.0, 0), (180.0, 1))
    )
    for part in ("train", "val", "test"):
        rows = getattr(turned, part)
        assert torch.equal(rows, getattr(other, part))
        assert not torch.equal(rows, getattr(plain, part))
        assert torch.equal(rows[:, 64:], getattr(plain, part)[:, 64:])
        levels = (rows[:, :64] + 1) * 8
        assert (levels - levels.round()).abs().max() < 1e-3 and levels.max() <= 16


def test_mnist8_dequantizes(root):
    data = ready(MNIST8(root, num_val=5))
    noisy = batches(data.val_dataloader())
    levels = (data.val[:, :64] + 1) * 8
    assert torch.equal(((noisy[:, :64] + 1) * 17 / 2).floor(), levels.round())
    plain = ready(MNIST8(root, num_val=5, dequantize=False))
    assert torch.equal(batches(plain.val_dataloader()), plain.val)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"max_degrees": 181.0}, "max_degrees is 181.0"),
        ({"max_degrees": -1.0}, "max_degrees is -1.0"),
        ({"num_train": 0}, "num_train is 0"),
        ({"num_val": -1}, "num_val is -1"),
    ],
)
def test_mnist8_tells_impossible_settings(settings, told):
    with pytest.raises(ValueError, match=told):
        MNIST8(**settings)


def test_mnist8_tells_too_few_images(root):
    with pytest.raises(ValueError, match="num_train is 41, but a whole number from 1 to 33"):
        ready(MNIST8(root, num_val=7, num_train=41))


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


@pytest.mark.parametrize("kind", [MNIST8, MNIST16, MNIST28])
def test_few_images_have_a_class(root, kind):
    data = ready(kind(root, num_val=7, classes=True, num_labels=3, label_repeats=2))
    unknown = data.train[:, -10:].isnan()
    assert unknown.all(-1).sum() == unknown.any(-1).sum() == NUM_TRAIN - 7 - 3
    assert not data.val.isnan().any() and not data.test.isnan().any()
    seen = batches(data.train_dataloader())
    assert (~seen.isnan().any(-1)).sum() == 6


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


def test_validation_cannot_take_the_whole_training_set(root):
    with pytest.raises(ValueError, match="num_val is 40, but .* from 0 to 39"):
        MNIST16(root, num_val=40).setup()


# ---------------------------------------------------------------- files amiss


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
