r"""A state dict is loaded as a whole, or not at all."""

import pytest
import torch
from torch import nn

from qahm_torch.nn.loading import AtomicLoading


class Layers(nn.Module):
    r"""Two layers, a statistic, and a note that loading makes."""

    def __init__(self, width):
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = nn.Linear(2, width)
        self.register_buffer("statistic", torch.rand(2))
        self.note = "as made"

    def get_extra_state(self):
        return "loaded"

    def set_extra_state(self, state):
        self.note = state
        self.other = state


class Atomic(AtomicLoading, Layers):
    pass


def values(module):
    return {
        name: tensor.clone()
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]
    }


def same(before, after):
    return before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize("assign", [False, True])
def test_what_does_not_fit_leaves_no_trace(assign):
    def refused(kind):
        module = kind(3)
        before, parameters = values(module), list(module.parameters())
        with pytest.raises(RuntimeError, match="size mismatch for second"):
            module.load_state_dict(Layers(4).state_dict(), assign=assign)
        kept = all(a is b for a, b in zip(parameters, module.parameters(), strict=True))
        return same(before, values(module)) and kept and vars(module).get("other") is None

    assert refused(Atomic)
    assert not refused(Layers)  # as torch does it


def test_missing_keys_are_refused_without_a_trace():
    module, state = Atomic(3), Layers(3).state_dict()
    del state["second.bias"]
    before = values(module)
    with pytest.raises(RuntimeError, match="Missing key"):
        module.load_state_dict(state)
    assert same(before, values(module)) and module.note == "as made"
    assert module.load_state_dict(state, strict=False).missing_keys == ["second.bias"]
    assert torch.equal(module.second.weight, state["second.weight"]) and module.note == "loaded"


def test_what_fits_is_loaded():
    module, other = Atomic(3), Layers(3)
    module.load_state_dict(other.state_dict())
    assert same(values(module), values(other)) and module.note == "loaded"


def test_an_interruption_leaves_no_trace():
    class Interrupted(Atomic):
        def set_extra_state(self, state):
            raise KeyboardInterrupt

    module = Interrupted(3)
    before = values(module)
    with pytest.raises(KeyboardInterrupt):
        module.load_state_dict(Layers(3).state_dict())
    assert same(before, values(module))
