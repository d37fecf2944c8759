r"""The loader: orders, state, and Lightning's way of saving and loading it."""

import copy
import pickle
from itertools import chain, islice, repeat

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import assume, given, strategies as st
from strategies import SEEDS, SOME

from qahm_torch.data import TensorLoader

# Lightning on a newer torch than it was written for
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")

ROWS = torch.arange(10)


def make(rows=ROWS, batch_size=3, **kwargs):
    return TensorLoader(rows, batch_size, **{"shuffle": True, **kwargs})


def epochs(loader, num_epochs):
    return [[batch.tolist() for batch in loader] for _ in range(num_epochs)]


def flat(lists):
    return list(chain.from_iterable(lists))


def test_every_epoch_visits_every_row_once_in_an_order_of_its_own():
    first, second = (torch.tensor(flat(epoch)) for epoch in epochs(make(), 2))
    assert torch.equal(first.sort().values, ROWS)
    assert torch.equal(second.sort().values, ROWS)
    assert not torch.equal(first, second)
    assert not torch.equal(first, ROWS)


def test_order_is_a_function_of_seed_and_epoch():
    torch.manual_seed(1)
    reference = epochs(make(), 3)
    torch.manual_seed(2)
    assert epochs(make(), 3) == reference
    assert epochs(make(seed=1), 1) != reference[:1]


def test_next_seed_does_not_begin_with_the_second_epoch():
    assert epochs(make(seed=1), 1)[0] != epochs(make(seed=0), 2)[1]


def test_rows_stay_in_order_without_shuffle():
    expected = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert epochs(make(shuffle=False), 2) == [expected, expected]


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "sizes"),
    [(3, False, [3, 3, 3, 1]), (3, True, [3, 3, 3]), (5, True, [5, 5]), (99, False, [10])],
)
def test_length_is_the_number_of_batches(batch_size, drop_last, sizes):
    loader = make(batch_size=batch_size, drop_last=drop_last)
    assert [len(batch) for batch in loader] == sizes
    assert len(loader) == len(sizes)


def test_state_counts_the_batch_in_hand():
    loader = make()
    places = []
    for _ in range(2):
        for _ in loader:
            state = loader.state_dict()
            places.append((state["epoch"], state["batch"]))
    assert places == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (1, 2), (1, 3), (1, 4)]


@pytest.mark.parametrize("num_seen", range(9))
def test_state_resumes_in_mid_epoch_and_goes_on_to_the_next(num_seen):
    loader = make()
    reference = flat(epochs(make(), 4))
    seen = []
    while len(seen) < num_seen:
        for batch in loader:
            seen.append(batch.tolist())
            if len(seen) == num_seen:
                break
    resumed = make()
    resumed.load_state_dict(loader.state_dict())
    rest = flat(epochs(resumed, 4))
    assert seen == reference[:num_seen]
    assert rest[: 16 - num_seen] == reference[num_seen:]


def test_state_loads_with_weights_only(tmp_path):
    loader = make()
    next(iter(loader))
    torch.save(loader.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = make()
    resumed.load_state_dict(state)
    assert len(list(resumed)) == 3


def test_an_abandoned_pass_is_followed_by_the_next_epoch():
    reference = epochs(make(), 2)
    loader = make()
    next(iter(loader))
    assert epochs(loader, 1) == reference[1:]


def test_an_abandoned_pass_that_was_resumed_is_followed_by_the_next_epoch():
    loader, resumed = make(), make()
    next(iter(loader))
    resumed.load_state_dict(loader.state_dict())
    next(iter(resumed))
    assert epochs(resumed, 1) == epochs(make(), 2)[1:]


def test_iter_alone_moves_nothing():
    loader = make()
    iter(loader)
    assert loader.state_dict() == make().state_dict()
    assert epochs(loader, 1) == epochs(make(), 1)


def test_nested_passes_do_not_disturb_each_other():
    loader = make(shuffle=False)
    assert sum(1 for _ in loader for _ in loader) == 16


@pytest.mark.parametrize(("told", "expected"), [(0, (0, 1)), (1, (1, 0)), (7, (1, 0))])
def test_trainer_tells_whether_the_epoch_of_a_state_is_over(told, expected):
    loader = make()
    loader.batch_sampler.sampler.set_epoch(0)
    next(iter(loader))
    resumed = make()
    resumed.load_state_dict(loader.state_dict())
    resumed.batch_sampler.sampler.set_epoch(told)
    epoch, first = expected
    assert epochs(resumed, 1) == [epochs(make(), 2)[epoch][first:]]


def test_trainer_tells_a_new_loader_where_to_begin():
    loader = make()
    loader.batch_sampler.sampler.set_epoch(2)
    assert epochs(loader, 1) == epochs(make(), 3)[2:]


def test_ranks_share_the_rows():
    loaders = [make(batch_size=5, rank=rank, num_ranks=3) for rank in range(3)]
    shares = [flat(epochs(loader, 1)[0]) for loader in loaders]
    assert [len(share) for share in shares] == [3, 3, 3]
    assert len(set(flat(shares))) == 9


SIZES = st.integers(1, 40)


@SOME
@given(SIZES, SIZES, st.booleans(), SEEDS)
def test_every_row_once_in_any_epoch(num_rows, batch_size, shuffle, seed):
    loader = make(torch.arange(num_rows), batch_size, shuffle=shuffle, seed=seed)
    for batches in epochs(loader, 2):
        assert sorted(flat(batches)) == list(range(num_rows))
        assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(loader) - 1)


@SOME
@given(SIZES, SIZES, st.integers(1, 5), st.booleans(), SEEDS)
def test_any_ranks_share_the_rows(num_rows, batch_size, num_ranks, drop_last, seed):
    assume(num_rows // num_ranks >= (batch_size if drop_last else 1))
    shares = []
    for rank in range(num_ranks):
        settings = {"rank": rank, "num_ranks": num_ranks, "drop_last": drop_last, "seed": seed}
        loader = make(torch.arange(num_rows), batch_size, **settings)
        shares.append([flat(batches) for batches in epochs(loader, 2)])
    for epoch in zip(*shares, strict=True):
        assert len({len(share) for share in epoch}) == 1
        seen = flat(epoch)
        assert len(seen) == len(set(seen))
        assert drop_last or len(seen) == num_rows // num_ranks * num_ranks


@SOME
@given(SIZES, SIZES, st.integers(0, 60), st.booleans(), SEEDS)
def test_to_resume_is_to_run_on(num_rows, batch_size, num_seen, shuffle, seed):
    def fresh():
        return make(torch.arange(num_rows), batch_size, shuffle=shuffle, seed=seed)

    def run(loader, num_batches):
        endless = chain.from_iterable(repeat(loader))
        return [batch.tolist() for batch in islice(endless, num_batches)]

    loader, resumed = fresh(), fresh()
    seen = run(loader, num_seen)
    resumed.load_state_dict(loader.state_dict())
    assert seen + run(resumed, 10) == run(fresh(), num_seen + 10)


def test_batch_is_a_copy():
    rows = torch.zeros(4, 2)
    next(iter(TensorLoader(rows, 4, shuffle=False))).add_(1)
    assert rows.sum() == 0


def test_transform_is_applied_to_each_batch():
    loader = make(shuffle=False, transform=lambda batch: batch + torch.rand(len(batch)))
    torch.manual_seed(0)
    first, second = torch.cat(list(loader)), torch.cat(list(loader))
    torch.manual_seed(0)
    again = torch.cat(list(loader))
    assert torch.equal(first.floor().long(), ROWS)
    assert not torch.equal(first, second)
    assert torch.equal(first, again)


def test_copies_go_on_from_the_same_place():
    loader = make()
    next(iter(loader))
    state = loader.state_dict()
    assert copy.deepcopy(loader).state_dict() == state
    assert pickle.loads(pickle.dumps(loader)).state_dict() == state


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0, but .* at least 1"),
        ({"batch_size": 2.5}, "batch_size is 2.5, but"),
        ({"batch_size": True}, "batch_size is True, but"),
        ({"seed": -1}, "seed is -1, but .* at least 0"),
        ({"rank": 2, "num_ranks": 2}, "rank is 2, but .* from 0 to 1"),
        ({"rows": torch.zeros(0, 3)}, r"values has shape \(0, 3\), .* 0 rows .* at least 1 "),
        ({"rows": torch.tensor(1.0)}, r"values has shape \(\), .* 0 rows"),
        ({"batch_size": 11, "drop_last": True}, "10 rows to each of 1 .* but at least 11 "),
        ({"num_ranks": 11}, "0 rows to each of 11 processes, but at least 1 "),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make(**kwargs)


def test_values_must_be_a_tensor():
    with pytest.raises(TypeError, match="values is a list, but a tensor"):
        TensorLoader([1, 2], 1, shuffle=False)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"batch_size": 4}, "batch_size=3, but this loader has batch_size=4"),
        ({"rows": torch.arange(11)}, "num_rows=10, but this loader has num_rows=11"),
        ({"seed": 5}, "seed=0, but this loader has seed=5"),
    ],
)
def test_state_of_another_loader_is_refused(other, message):
    with pytest.raises(ValueError, match=message):
        make(**other).load_state_dict(make().state_dict())


def test_state_beyond_the_end_is_refused():
    with pytest.raises(ValueError, match="batch is 5, but .* from 0 to 4"):
        make().load_state_dict({**make().state_dict(), "batch": 5})


class Recorder(pl.LightningModule):
    r"""Keeps the batches that it is trained on."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(1, 1)
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch.squeeze(-1).tolist())
        return self.linear(batch).square().mean()

    def validation_step(self, batch, batch_idx):
        return self.linear(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class SaveAt(pl.Callback):
    r"""Saves a checkpoint at a hook, once the model has seen a number of batches."""

    def __init__(self, hook, num_seen, path):
        self.num_seen, self.path = num_seen, path
        setattr(self, hook, self.save)

    def save(self, trainer, module, *args):
        if len(module.seen) == self.num_seen:
            trainer.save_checkpoint(self.path)


def fit(trainer_kwargs, callbacks=(), ckpt_path=None):
    torch.manual_seed(0)
    module, rows = Recorder(), torch.arange(10.0).unsqueeze(-1)
    trainer = pl.Trainer(
        **{"max_epochs": 3, **trainer_kwargs},
        callbacks=list(callbacks),
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
    )
    train, val = make(rows), make(rows, shuffle=False)
    trainer.fit(module, train, val, ckpt_path=ckpt_path)
    return module


LIMITED = {"limit_train_batches": 3}
BY_STEPS = {"max_epochs": -1, "max_steps": 11}


@pytest.mark.parametrize(
    ("hook", "num_seen", "trainer_kwargs"),
    [
        pytest.param("on_train_batch_end", 2, {}, id="in the first epoch"),
        pytest.param("on_train_batch_end", 6, {}, id="in a later epoch"),
        pytest.param("on_train_batch_end", 8, {}, id="last batch"),
        pytest.param("on_validation_end", 4, {}, id="after validation"),
        pytest.param("on_validation_end", 6, {"val_check_interval": 2}, id="between validations"),
        pytest.param("on_train_epoch_end", 8, {}, id="end of epoch"),
        pytest.param("on_train_batch_end", 4, LIMITED, id="limited"),
        pytest.param("on_train_batch_end", 6, LIMITED, id="limited, last batch"),
        pytest.param("on_train_epoch_end", 6, LIMITED, id="limited, end of epoch"),
        pytest.param("on_train_batch_end", 6, BY_STEPS, id="by steps"),
        pytest.param("on_train_epoch_end", 8, BY_STEPS, id="by steps, end of epoch"),
        pytest.param("on_train_epoch_end", 6, LIMITED | BY_STEPS, id="limited, by steps, end"),
    ],
)
def test_lightning_resumes_bit_for_bit(hook, num_seen, trainer_kwargs, tmp_path):
    path = tmp_path / "saved.ckpt"
    reference = fit(trainer_kwargs, [SaveAt(hook, num_seen, path)])
    resumed = fit(trainer_kwargs, ckpt_path=path)
    assert resumed.seen == reference.seen[num_seen:]
    assert len(resumed.seen) > 0
    assert torch.equal(resumed.linear.weight, reference.linear.weight)


def test_lightning_resumes_a_resumed_run(tmp_path):
    first, second = tmp_path / "first.ckpt", tmp_path / "second.ckpt"
    reference = fit(BY_STEPS, [SaveAt("on_train_epoch_end", 4, first)])
    fit(BY_STEPS, [SaveAt("on_train_batch_end", 2, second)], ckpt_path=first)
    assert fit(BY_STEPS, ckpt_path=second).seen == reference.seen[6:]


def test_lightning_epochs_are_those_of_a_plain_loop():
    reference = epochs(make(torch.arange(10.0)), 3)
    assert fit({}).seen == flat(reference)
