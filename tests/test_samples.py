import io
from dataclasses import dataclass

import pytest
import torch
from models import random_ising

from qahm_torch import Chains, CouplingGraph, PathIntegralSampler, TemperingSampler

ISING = random_ising(CouplingGraph.complete(4))


@dataclass(frozen=True)
class Momenta(Chains):
    momentum: torch.Tensor


STATES = {
    "spins": lambda: Chains(torch.ones(6, 4)),
    "ladders": lambda: TemperingSampler(1).sample(ISING, 6).state,
    "lines": lambda: PathIntegralSampler(1).sample(ISING, 6).state,
    "a subclass": lambda: Momenta(torch.ones(6, 4), torch.arange(6.0)),
}


@pytest.mark.parametrize("name", STATES)
def test_chains_are_stored_in_plain_containers(name):
    chains = STATES[name]()
    buffer = io.BytesIO()
    torch.save(chains.state_dict(), buffer)
    buffer.seek(0)
    stored = Chains.from_state_dict(torch.load(buffer, weights_only=True))
    assert type(stored) is type(chains)
    ours, theirs = ({**x.state_dict(), "kind": 0} for x in (stored, chains))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("name", STATES)
def test_rows_are_whole_chains(name):
    chains = STATES[name]()
    rows = torch.tensor([3, 0, 3, 5, 1, 2, 4, 4])
    taken = chains.rows(rows)
    assert len(taken) == 8 and type(taken) is type(chains)
    assert torch.equal(taken.spins, chains.spins[rows])
    for values in ("rungs", "lines", "momentum"):
        if hasattr(chains, values):
            assert torch.equal(getattr(taken, values), getattr(chains, values)[rows])
    assert taken.to("meta").spins.device.type == "meta"


def test_chains_of_an_unknown_kind_are_taken_by_their_spins():
    chains = Chains.from_state_dict({"kind": "Elsewhere", "spins": torch.ones(2, 3), "angle": 1})
    assert type(chains) is Chains and chains.spins.shape == (2, 3)
