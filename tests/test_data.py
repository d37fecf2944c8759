r"""Data sets: rows, splits, noise, arguments, and what a trainer sees of them."""

import inspect
import re
import subprocess
import sys

import jsonargparse
import pytest
import pytorch_lightning as pl
import torch

from qahm_torch.data import (
    MNIST16,
    MNIST28,
    BarsAndStripes,
    OptDigits,
    Splits,
    TensorDataModule,
    one_hot_spins,
)

# Lightning on a newer torch than it was written for
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")

MODULES = [OptDigits, MNIST16, MNIST28, BarsAndStripes]


def batches(loader):
    return torch.cat(list(loader))


def ready(module):
    module.setup()
    return module


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


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
        ({"image_shape": (1, 1, 3)}, r"is \(1, 1, 3\), but the 4 features are not 3 values"),
        ({"image_shape": (1, 1, 4)}, r"is \(1, 1, 4\), but it is .* or \(rows, columns, 3\)"),
        ({"image_shape": (4,)}, r"image_shape is \(4,\), but it is \(rows, columns\)"),
    ],
)
def test_a_table_of_bad_settings_is_refused(changed, message):
    class Changed(Weather):
        def __init__(self):
            TensorDataModule.__init__(self, **{"num_features": 4, "batch_size": 8, **changed})

    with pytest.raises(ValueError, match=message):
        Changed()


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
        (
            lambda: MNIST28(binarize="always"),
            "binarize is 'always', but it is 'static', 'dynamic' or 'larochelle'",
        ),
        (lambda: BarsAndStripes(side=0), "side is 0, but .* from 1 to 16"),
        (lambda: BarsAndStripes(side=17), "side is 17, but .* from 1 to 16"),
        (lambda: BarsAndStripes(num_repeats=0), "num_repeats is 0, but .* at least 1"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


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


def test_broken_lightning_is_told_in_one_line():
    script = "import sys\nsys.modules['pytorch_lightning'] = None\nimport qahm_torch.data"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    last = answer.stderr.splitlines()[-1]
    assert last.startswith("ImportError: pytorch-lightning") and "pip install" in last


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
def test_trainer_without_validation():
    data = OptDigits(num_val=0, batch_size=1000)
    model = Recorder(data.num_visible)
    trainer().fit(model, datamodule=data)
    assert len(model.seen["train"]) == 4
    assert model.seen["val"] == []


def test_overfitting_sees_the_same_batch_in_every_epoch():
    data = OptDigits(batch_size=10, dequantize=False)
    model = Recorder(data.num_visible)
    trainer(overfit_batches=1).fit(model, datamodule=data)
    first, second = model.seen["train"]
    assert torch.equal(first, second)
