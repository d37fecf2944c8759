r"""Tensors of one's own, and batches as other people's loaders give them."""

import re

import numpy as np
import pytest
import torch
from small_runs import quiet_trainer, small_machine
from torch.utils.data import DataLoader, TensorDataset

import qahm_torch as qt
from qahm_torch.data import TensorData
from qahm_torch.training import MachineModule, MaximumLikelihood

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no")

BYTES = torch.arange(10 * 64).remainder(256).to(torch.uint8).view(10, 1, 8, 8)
ROWS = BYTES.flatten(1) / 127.5 - 1
LABELS = torch.arange(10)
CODES = 2 * torch.eye(10) - 1


def spin_machine(num_visible=4, output=None):
    prior = qt.QuantumPriorLayer(2, sampler=qt.GibbsSampler(1), num_samples=8)
    networks = (
        qt.BeliefNetwork([num_visible, 2]),
        qt.BeliefNetwork([2, num_visible], output=output),
    )
    return qt.HelmholtzMachine(*networks, prior)


def trained(module, data, folder):
    trainer = quiet_trainer(folder)
    trainer.fit(module, data)
    return trainer.global_step


@pytest.mark.parametrize(
    "values",
    [BYTES, BYTES[:, 0], BYTES.flatten(1), BYTES.numpy(), ROWS, ROWS.double().numpy()],
    ids=["images", "without channel", "rows", "array", "floats", "doubles"],
)
def test_the_same_rows_whatever_they_come_in(values):
    for data in (
        TensorData(values, LABELS),
        TensorData(values, LABELS.numpy()),
        TensorData(TensorDataset(torch.as_tensor(values), LABELS)),
    ):
        data.setup()
        order = data.train[:, 64:].argmax(-1)
        torch.testing.assert_close(data.train[:, :64], ROWS[order])
        assert torch.equal(data.train[:, 64:], CODES[order])
        assert data.train.dtype == torch.float32


COLORS = torch.arange(5 * 2 * 4 * 3).remainder(251).to(torch.uint8).view(5, 2, 4, 3)


@pytest.mark.parametrize(
    "values",
    [COLORS, COLORS.numpy(), COLORS.movedim(-1, 1), COLORS.movedim(-1, 1).contiguous().numpy()],
    ids=["last", "array, last", "first", "array, first"],
)
def test_colors_of_a_pixel_are_side_by_side_wherever_they_come(values, tmp_path):
    data = TensorData(values)
    data.setup()
    assert data.image_shape == (2, 4, 3) and data.num_pixels == data.num_features == 24
    expected = COLORS.flatten(1) / 127.5 - 1
    torch.testing.assert_close(data.train.unique(dim=0), expected.unique(dim=0))
    # As a loader of somebody else's gives them, the same.
    module = Seeing(spin_machine(24, qt.ContinuousSpins(24)))
    loader = DataLoader(TensorDataset(torch.as_tensor(values)), batch_size=5)
    assert trained(module, loader, tmp_path) == 1
    torch.testing.assert_close(module.seen, expected)


def test_a_one_in_second_place_is_the_channel():
    assert TensorData(torch.zeros(5, 1, 4, 3)).image_shape == (4, 3)


def test_levels_bits_and_shapes_are_found():
    data = TensorData(BYTES)
    assert (data.num_levels, data.image_shape, data.num_classes) == (256, (8, 8), 0)
    bits = BYTES.flatten(1) > 9
    for values, told in ((bits, None), (bits.byte(), 2), (bits.long(), 2)):
        data = TensorData(values, num_levels=told)
        data.setup()
        assert data.num_levels == 2 and data.image_shape is None
        assert set(data.train.unique().tolist()) == {-1.0, 1.0}
    data = TensorData(torch.tensor([[0, 1, 2], [2, 1, 0]]), num_levels=3)
    data.setup()
    assert data.train.unique().tolist() == [-1, 0, 1]


class Seeing(MachineModule):
    r"""Keeps what it makes of batches."""

    def states_of(self, batch):
        self.seen = super().states_of(batch)
        return self.seen


DARK = torch.cat([(BYTES[:5] > 9).byte(), BYTES[5:]])


def test_dark_bytes_mean_the_same_in_a_batch_and_in_a_data_set(tmp_path):
    whole = TensorData(DARK)
    whole.setup()
    assert whole.num_levels == 256
    module = Seeing(small_machine(classes=False))
    seen = []
    loader = DataLoader(TensorDataset(DARK), batch_size=5)
    for batch in loader:
        seen.append(module.states_of(batch))
        assert seen[-1].min() == -1
    # The rows of the data set are shuffled.
    torch.testing.assert_close(*(rows.unique(dim=0) for rows in (torch.cat(seen), whole.train)))
    assert trained(module, loader, tmp_path) == 2


def test_a_data_set_of_nothing_but_dark_bytes_is_asked_about(tmp_path):
    bits = (BYTES > 9).byte()
    told = "values are bytes of which none is above 1: for bits make them booleans"
    with pytest.raises(TypeError, match=told):
        TensorData(bits)
    module = MachineModule(small_machine(classes=False))
    with pytest.raises(TypeError, match=told):
        trained(module, DataLoader(TensorDataset(bits), batch_size=5), tmp_path)
    with pytest.raises(TypeError, match="values have dtype torch.int64, whose range is not known"):
        module.states_of(bits.long())


def test_the_split_is_by_the_seed():
    splits = []
    for seed in (0, 0, 1):
        data = TensorData(BYTES, num_val=2, num_test=3, seed=seed)
        data.setup()
        assert [len(part) for part in (data.train, data.val, data.test)] == [5, 2, 3]
        together = torch.cat([data.train, data.val, data.test])
        assert torch.equal(together.unique(dim=0), ROWS.unique(dim=0))
        splits.append(together)
    assert torch.equal(splits[0], splits[1]) and not torch.equal(splits[0], splits[2])


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ([[1, 2]], TypeError, "values is a list, but a tensor"),
        ([np.array(["a"])], TypeError, "values is an array of <U1, but"),
        ([torch.ones(5)], ValueError, "values has shape (5,), but rows have (R, N)"),
        ([torch.ones(5, 4, 2, 2)], ValueError, "images of 4 channels"),
        ([torch.ones(5, 3, 2, 3)], ValueError, "not known whether colors come first or last"),
        ([torch.ones(5, 1, 3, 2, 2)], ValueError, "and color images (R, 3, rows, columns) or"),
        ([LABELS.view(5, 2)], TypeError, "dtype torch.int64, whose range is not known"),
        ([ROWS, LABELS.float()], TypeError, "labels have dtype torch.float32, but"),
        ([ROWS, LABELS[:5]], ValueError, "labels have shape (5,), but one for each row has (10,)"),
        ([ROWS, LABELS, 9], ValueError, "labels hold 9, but the classes are 0 to 8"),
        ([ROWS, None, 9], ValueError, "num_classes is 9, but there are no labels"),
        ([ROWS, None, None, 2], TypeError, "num_levels is 2, but values have dtype"),
        ([BYTES, None, None, 2], ValueError, "the largest level is 255"),
        ([TensorDataset(ROWS, LABELS), LABELS], ValueError, "labels besides"),
    ],
)
def test_what_is_unclear_is_refused(arguments, error, told):
    with pytest.raises(error, match=re.escape(told)):
        TensorData(*arguments)


def test_two_lines_train_a_machine(tmp_path):
    data = TensorData(BYTES, LABELS, num_val=2, batch_size=4)
    assert trained(MachineModule(small_machine()), data, tmp_path) == 2


@pytest.mark.parametrize(
    "parts",
    [
        [BYTES, LABELS],
        [BYTES[:, 0], LABELS],
        [ROWS, LABELS],
        [ROWS.double(), LABELS.int()],
        [torch.cat([ROWS, CODES], -1)],
        [torch.cat([ROWS, CODES], -1), LABELS],
    ],
)
def test_a_plain_loader_gives_the_same_batch(parts, tmp_path):
    module = Seeing(small_machine())
    loader = DataLoader(TensorDataset(*parts), batch_size=10)
    assert trained(module, loader, tmp_path) == 1
    torch.testing.assert_close(module.seen, torch.cat([ROWS, CODES], -1))


def test_labels_are_left_out_where_there_are_no_class_units(tmp_path):
    module = Seeing(small_machine(classes=False))
    trained(module, DataLoader(TensorDataset(BYTES, LABELS), batch_size=10), tmp_path)
    torch.testing.assert_close(module.seen, ROWS)


@pytest.mark.parametrize("make", [torch.Tensor.bool, torch.Tensor.byte, torch.Tensor.long])
def test_bits_are_spins(make, tmp_path):
    bits = make(torch.eye(4))
    module = Seeing(spin_machine())
    trained(module, DataLoader(TensorDataset(bits), batch_size=4), tmp_path)
    assert torch.equal(module.seen, 2 * torch.eye(4) - 1)
    layer = qt.QuantumPriorLayer(4, sampler=qt.GibbsSampler(1), num_samples=8)
    loader = DataLoader(TensorDataset(bits, LABELS[:4]), batch_size=4)
    assert trained(MaximumLikelihood(layer), loader, tmp_path) == 1


def test_bytes_are_counts_where_units_count(tmp_path):
    module = Seeing(spin_machine(output=qt.PoissonUnits(4)))
    counts = torch.tensor([[0, 1, 2, 9]], dtype=torch.uint8)
    trained(module, DataLoader(TensorDataset(counts)), tmp_path)
    assert module.seen.tolist() == [[0, 1, 2, 9]]


@pytest.mark.parametrize(
    ("module", "parts", "error", "told"),
    [
        (
            lambda: MachineModule(small_machine()),
            [BYTES],
            ValueError,
            "the batch has shape (10, 1, 8, 8), 64 values a row, but the machine has 74 visible "
            "units, of which the last 10 are class units",
        ),
        (
            lambda: MachineModule(spin_machine()),
            [ROWS],
            ValueError,
            "64 values a row, but the machine has 4 visible units",
        ),
        (
            lambda: MachineModule(spin_machine(64)),
            [BYTES],
            TypeError,
            "dtype torch.uint8 and values up to 255, of which it is not known what they mean for "
            "units that take -1 and +1",
        ),
        (lambda: MachineModule(small_machine()), [BYTES, ROWS], ValueError, "the labels have"),
        (lambda: MachineModule(small_machine()), [BYTES, LABELS, LABELS], TypeError, "a pair"),
        (lambda: MachineModule(spin_machine()), [torch.eye(4)], ValueError, "look like bits"),
    ],
)
def test_batches_that_mean_nothing_are_refused(module, parts, error, told, tmp_path):
    loader = DataLoader(TensorDataset(*parts), batch_size=5)
    with pytest.raises(error, match=re.escape(told)):
        trained(module(), loader, tmp_path)


def test_a_tensor_of_another_width_is_told(tmp_path):
    with pytest.raises(
        ValueError, match=r"shape \(5, 64\), 64 values a row, but the machine has 74"
    ):
        trained(MachineModule(small_machine()), DataLoader(ROWS, batch_size=5), tmp_path)


def test_batches_of_data_sets_of_ones_own_are_refused_too(tmp_path):
    loader = DataLoader([{"x": row} for row in ROWS], batch_size=5)
    with pytest.raises(TypeError, match="the batch is dict"):
        trained(MachineModule(small_machine()), loader, tmp_path)
