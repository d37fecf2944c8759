r"""Which values each kind of unit takes, and what is said of others."""

import copy
import pickle
import re

import pytest
import torch
from small_runs import digits, quiet_trainer, small_machine
from torch.utils.data import DataLoader, Dataset

from qahm_torch import (
    Autoregressive,
    BeliefNetwork,
    CausalLinear,
    Concatenated,
    ContinuousSpins,
    DiscretizedLogistic,
    GibbsSampler,
    HelmholtzMachine,
    LogisticUnits,
    MixedUnits,
    NormalUnits,
    OneHot,
    OrdinalUnits,
    PoissonUnits,
    QuantumPriorLayer,
    Spins,
)
from qahm_torch.data import Splits, TensorDataModule
from qahm_torch.nn.support import check_values
from qahm_torch.training import MachineModule, MaximumLikelihood
from qahm_torch.training.data_check import check_data

NAN, INF = float("nan"), float("inf")
KINDS = {
    "spins": (Spins(3), [1.0, -1.0, 1.0], [NAN, INF, 0.0, 0.5, 2.0]),
    "relaxed": (Spins(3, temperature=0.5), [1.0, -1.0, 1.0], [NAN, 0.0]),
    "one of many": (OneHot(3), [-1.0, 1.0, -1.0], [NAN, 0.0, 1.0, 2.0]),
    "continuous": (ContinuousSpins(3), [-1.0, 0.3, 1.0], [NAN, INF, 1.1, 255.0]),
    "levels": (DiscretizedLogistic(3, 256), [-1.0, -1 + 2 / 255, 1.0], [NAN, -1 + 1 / 255, 3.0]),
    "ordinal": (OrdinalUnits(3, 3), [-1.0, 0.0, 1.0], [NAN, 0.5, 2.0]),
    "normal": (NormalUnits(3), [-100.0, 0.0, 3.0], [NAN, INF, -INF]),
    "logistic": (LogisticUnits(3), [-100.0, 0.0, 3.0], [NAN, INF]),
    "counts": (PoissonUnits(3), [0.0, 1.0, 1000.0], [NAN, INF, -1.0, 0.5]),
    "in a row": (Autoregressive(Spins(3), CausalLinear(3)), [1.0, -1.0, 1.0], [NAN, 0.0]),
    "side by side": (Concatenated([ContinuousSpins(1), Spins(2)]), [0.3, 1.0, 1.0], [NAN, 5.0]),
    "table": (MixedUnits([NormalUnits(1), Spins(1), Spins(1)]), [NAN, NAN, 1.0], [INF]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_units_say_which_values_they_take(kind):
    units, good, bad = KINDS[kind]
    rows = torch.tensor([good] * 4)
    for like in (units, copy.deepcopy(units), pickle.loads(pickle.dumps(units))):
        check_values("the data", rows, like.supports)
    for value in bad:
        wrong = rows.clone()
        wrong[2, 0] = value
        told = rf"the data has \d values? of 12 .* such as .*{value:g}.* in row 2, column 0: "
        if value in (1.0, 2.0) or kind == "one of many":
            told = "the data has .* in row 2, column"
        with pytest.raises(ValueError, match=told):
            check_values("the data", wrong, units.supports)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "one of many"])
def test_what_units_draw_they_take(kind):
    units = KINDS[kind][0]
    draws = units(torch.randn(200, units.num_parameters)).sample()
    check_values("draws", draws, units.supports)


def test_each_kind_is_named_by_its_columns():
    units = Concatenated([ContinuousSpins(2), Spins(1), OneHot(3)])
    row = [0.5, 0.5, 1.0, -1.0, 1.0, -1.0]
    for column, told in (
        (1, "columns 0 to 1 take numbers from -1 to +1"),
        (2, "column 2 take -1 and +1"),
        (4, "columns 3 to 5 take +1 at one class and -1 at the others"),
    ):
        rows = torch.tensor([row] * 2)
        rows[1, column] = 7
        with pytest.raises(ValueError, match=re.escape(told)):
            check_values("the data", rows, units.supports)


@pytest.mark.parametrize(
    ("units", "rows", "advice"),
    [
        (Spins(2), [[0.0, 1.0], [1.0, 1.0]], "look like bits, of which 2 * x - 1 makes spins"),
        (OneHot(2), [[0.0, 1.0], [1.0, 0.0]], "look like bits, of which 2 * x - 1 makes spins"),
        (ContinuousSpins(2), [[0.0, 128.0], [255.0, 3.0]], "of which 2 * x / 255 - 1 makes"),
        (DiscretizedLogistic(2, 256), [[0.0, 128.0], [255.0, 3.0]], "2 * x / 255 - 1 makes"),
    ],
)
def test_an_error_says_what_would_be_right(units, rows, advice):
    with pytest.raises(ValueError, match=re.escape(advice)):
        check_values("the data", torch.tensor(rows), units.supports)


def test_what_does_not_count_may_be_anything():
    rows = torch.tensor([[1.0, NAN]])
    check_values("the data", rows, Spins(2).supports, torch.tensor([True, False]))
    with pytest.raises(ValueError, match="1 value of 2"):
        check_values("the data", rows, Spins(2).supports, torch.tensor([False, True]))


# Machines


def machine_of_spins():
    networks = BeliefNetwork([4, 3]), BeliefNetwork([3, 4])
    return HelmholtzMachine(*networks, QuantumPriorLayer(3, sampler=GibbsSampler(1)))


@pytest.mark.parametrize("call", ["log_prob", "log_weights"])
def test_a_machine_looks_at_the_first_data(call):
    bits = torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    machine = machine_of_spins()
    with pytest.raises(ValueError, match="visible has 2 values of .* look like bits"):
        getattr(machine, call)(bits, 1)
    value = getattr(machine, call)(2 * bits - 1, 1)
    assert value.isfinite().all()
    # Later ones are not looked at, which would take time in each call.
    assert getattr(machine, call)(bits, 1).shape == value.shape


# Training


class Rows(TensorDataModule):
    def __init__(self, train, val, test, binarize=False):
        super().__init__(train.shape[1], batch_size=5)
        self.parts, self.binarize = Splits(train, val, test), binarize

    def load_splits(self):
        return self.parts

    def transform(self, rows, generator=None):
        if not self.binarize:
            return rows
        return 2.0 * torch.bernoulli((rows + 1) / 2, generator=generator) - 1


def spoiled(value, row=3, column=2):
    rows = torch.ones(12, 4)
    rows[row, column] = value
    return rows


GOOD = torch.ones(12, 4)


@pytest.mark.parametrize("value", [NAN, 0.0, 0.5, 255.0])
@pytest.mark.parametrize(
    "module", [lambda: MachineModule(machine_of_spins()), lambda: MaximumLikelihood(layer())]
)
def test_training_is_refused_on_data_that_do_not_fit(module, value, tmp_path):
    parts = {
        "the training data": Rows(spoiled(value), GOOD, GOOD),
        "the validation data": Rows(GOOD, spoiled(value), GOOD),
    }
    for told, data in parts.items():
        trainer = quiet_trainer(tmp_path)
        told = rf"{told} of Rows has 1 value of 48 .* such as {value:g} in row 3, column 2"
        with pytest.raises(ValueError, match=told):
            trainer.fit(module(), data)
        assert trainer.global_step == 0
    with pytest.raises(ValueError, match="the test data of Rows has 1 value"):
        quiet_trainer(tmp_path).test(module(), Rows(GOOD, GOOD, spoiled(value)), verbose=False)


def layer():
    return QuantumPriorLayer(4, sampler=GibbsSampler(1), num_samples=8)


def test_what_counts_is_what_becomes_of_rows(tmp_path):
    trainer = quiet_trainer(tmp_path)
    trainer.fit(MachineModule(machine_of_spins()), Rows(0.2 * GOOD, 0.2 * GOOD, GOOD, True))
    assert trainer.global_step == 3


@pytest.mark.filterwarnings("ignore:The .* does not have many workers")
def test_a_tensor_in_a_loader_is_looked_at(tmp_path):
    loader = DataLoader(spoiled(0.0), batch_size=5)
    trainer = quiet_trainer(tmp_path)
    with pytest.raises(ValueError, match="the training data has 1 value of 48"):
        trainer.fit(MachineModule(machine_of_spins()), loader, DataLoader(GOOD))


class Lines(Dataset):
    r"""Rows that are known by batches only, spoiled from some epoch on."""

    def __init__(self, spoiled_from):
        self.num_read, self.spoiled_from = 0, spoiled_from

    def __len__(self):
        return 12

    def __getitem__(self, index):
        self.num_read += 1
        epoch = (self.num_read - 1) // len(self)
        rows = spoiled(0.5) if epoch >= self.spoiled_from else GOOD
        return rows[index]


@pytest.mark.filterwarnings("ignore:The .* does not have many workers")
@pytest.mark.parametrize(
    "module", [lambda: MachineModule(machine_of_spins()), lambda: MaximumLikelihood(layer())]
)
def test_batches_of_other_data_sets_are_looked_at_in_the_first_epoch(module, tmp_path):
    wrong, right = (DataLoader(Lines(epoch), batch_size=6) for epoch in (0, 99))
    told = "a batch of {} has 1 value of 24 that its units do not take, such as 0.5 in row 3"
    trainer = quiet_trainer(tmp_path)
    with pytest.raises(ValueError, match=told.format("the training data")):
        trainer.fit(module(), wrong, right)
    assert trainer.global_step == 0
    with pytest.raises(ValueError, match=told.format("the validation data")):
        quiet_trainer(tmp_path).fit(module(), right, wrong)
    with pytest.raises(ValueError, match=told.format("the test data")):
        quiet_trainer(tmp_path).test(module(), wrong, verbose=False)


@pytest.mark.filterwarnings("ignore:The .* does not have many workers")
def test_batches_are_looked_at_once_by_each_run(tmp_path):
    module, right = MachineModule(machine_of_spins()), DataLoader(GOOD, batch_size=6)
    trainer = quiet_trainer(tmp_path, max_epochs=3)
    trainer.fit(module, DataLoader(Lines(1), batch_size=6), right)
    assert trainer.global_step == 6
    with pytest.raises(ValueError, match="a batch of the training data has 1 value"):
        quiet_trainer(tmp_path).fit(module, DataLoader(Lines(0), batch_size=6), right)


def test_a_look_leaves_the_random_numbers_as_they_were():
    module, data = MachineModule(small_machine()), digits(dequantize=True)
    data.setup()
    before = torch.get_rng_state()
    check_data(data, module.visible_units, ("train", "val", "test"))
    assert torch.equal(torch.get_rng_state(), before)
