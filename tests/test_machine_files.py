r"""Files of machines that are cut, or say something else: an error that names the file."""

import copy
import random

import pytest
import torch

import qahm_torch as qt
from qahm_torch import HelmholtzMachine

STRANGE = [None, True, -1, 0, 7, 1.5, float("nan"), "", "x", "os.system", "torch.nn.Linear"]
STRANGE += [
    "qahm_torch.QuantumPriorLayer",
    "torch.nn.Sequential",
    "qahm_torch.Nonsense",
    "..",
    b"x",
]
STRANGE += [[], [[]], (), {}, {"class_path": "os.system"}, {"class_path": 7}, torch.ones(2)]
STRANGE += [torch.full((3,), float("nan")), torch.zeros(0), 2**70]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    networks = qt.BeliefNetwork([6, 3]), qt.BeliefNetwork([3, 6], output=qt.Spins(6))
    path = tmp_path_factory.mktemp("machine") / "machine.pt"
    HelmholtzMachine(*networks, qt.QuantumPriorLayer(3)).save(path)
    return path


def places(content):
    r"""Yields (container, key) of all there is in nested dictionaries and lists."""
    keys = content if isinstance(content, dict) else range(len(content))
    for key in list(keys):
        yield content, key
        if isinstance(content[key], (dict, list)):
            yield from places(content[key])


def mutated(content, randomness):
    content = copy.deepcopy(content)
    for _ in range(randomness.randint(1, 3)):
        holder, key = randomness.choice(list(places(content)))
        what = randomness.randrange(4)
        if what == 0:
            del holder[key]
        elif what == 1:
            holder[key] = [holder[key]]
        elif what == 2:
            other, at = randomness.choice(list(places(content)))
            holder[key] = copy.deepcopy(other[at])
        else:
            holder[key] = randomness.choice(STRANGE)
        if not content:
            break
    return content


def outcome(file):
    r"""Returns whether a file was loaded; anything but an error of ours comes through."""
    try:
        machine = HelmholtzMachine.load(file)
    except (ValueError, TypeError) as caught:
        error = caught
    else:
        return isinstance(machine, HelmholtzMachine)
    assert str(file) in str(error), repr(error)
    return False


@pytest.mark.parametrize("part", range(8))
def test_whatever_it_says(part, saved, tmp_path):
    content = torch.load(saved, weights_only=True)
    for seed in range(50 * part, 50 * part + 50):
        file = tmp_path / f"{seed}.pt"
        torch.save(mutated(content, random.Random(seed)), file)
        outcome(file)


def test_wherever_it_was_cut(saved, tmp_path):
    data, file = saved.read_bytes(), tmp_path / "cut.pt"
    for size in random.Random(0).sample(range(len(data)), 60):
        file.write_bytes(data[:size])
        assert not outcome(file)


def test_whatever_byte_was_changed(saved, tmp_path):
    data, file, randomness = bytearray(saved.read_bytes()), tmp_path / "byte.pt", random.Random(0)
    for _ in range(100):
        changed = bytearray(data)
        changed[randomness.randrange(len(data))] ^= 1 << randomness.randrange(8)
        file.write_bytes(changed)
        outcome(file)


def test_the_file_itself_is_loaded(saved):
    # The twin of the tests above.
    assert outcome(saved)
