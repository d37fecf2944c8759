r"""Files: atomic writing and JSON."""

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from qahm_torch.evaluation import atomic_write, write_json


class Bracket(NamedTuple):
    lower: float
    upper: torch.Tensor


def test_the_file_appears_only_once_complete(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("half way")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic_write(path):
        pass
    assert path.read_text() == "old"


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain.txt").write_text("")
    with atomic_write(tmp_path / "atomic.txt") as temporary:
        temporary.write_text("")
    modes = [(tmp_path / name).stat().st_mode for name in ("plain.txt", "atomic.txt")]
    assert modes[0] == modes[1]


def test_two_writers_do_not_share_a_temporary_path(tmp_path):
    with atomic_write(tmp_path / "a") as first, atomic_write(tmp_path / "a") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (torch.tensor([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (torch.tensor(0.5, dtype=torch.bfloat16, requires_grad=True), 0.5),
        (torch.tensor(True), True),
        (np.float32(0.25), 0.25),
        (np.int64(7), 7),
        (np.arange(3), [0, 1, 2]),
        (np.array("word"), "word"),
        ((1, [2, (3,)]), [1, [2, [3]]]),
        (Bracket(-1.5, torch.tensor(2.0)), {"lower": -1.5, "upper": 2.0}),
        ({"a": {"b": None, "é": "ü"}}, {"a": {"b": None, "é": "ü"}}),
        (Path("runs") / "best.ckpt", "runs/best.ckpt"),
        (False, False),
        (10**30, 10**30),
    ],
)
def test_values_survive(tmp_path, value, expected):
    write_json(tmp_path / "a.json", {"value": value})
    read = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["value"]
    assert read == expected
    assert type(read) is type(expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_becomes_null(tmp_path, bad):
    data = [bad, np.float64(bad), torch.tensor([1.0, bad]), {"a": bad}]
    write_json(tmp_path / "a.json", data)
    assert json.loads((tmp_path / "a.json").read_text()) == [None, None, [1.0, None], {"a": None}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": object()}, "data holds <object .* of <class 'object'>, but JSON"),
        ([{1, 2}], "data holds {1, 2} of <class 'set'>, but JSON"),
        (torch.tensor([1j]), "of <class 'complex'>, but JSON"),
        ({1: "a"}, "a key is 1, but keys of a JSON object are strings: write '1'"),
    ],
)
def test_what_json_cannot_hold_is_refused_and_nothing_written(tmp_path, data, message):
    with pytest.raises(TypeError, match=message):
        write_json(tmp_path / "a.json", data)
    assert os.listdir(tmp_path) == []


def test_the_file_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "a.json", [1])
    assert (tmp_path / "a.json").read_text() == "[\n  1\n]\n"
