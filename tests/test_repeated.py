r"""Optimizers that ask for the loss of an update several times, such as LBFGS."""

from functools import partial

import pytest
import torch
from models import random_ising
from small_runs import digits, quiet_trainer, small_machine
from torch.utils.data import DataLoader

from qahm_torch import CouplingGraph, ExactSampler, QuantumPriorLayer, Sampler, Samples
from qahm_torch.ising import all_states, exact_log_partition, exact_log_probs, exact_moments
from qahm_torch.training import MachineModule, MaximumLikelihood
from qahm_torch.training.repeated import FirstAsked, reweighted

SPINS = torch.tensor([[1.0, 1, -1, 1], [-1, 1, 1, -1], [1, -1, -1, -1]])
LBFGS = partial(torch.optim.LBFGS, lr=0.5, max_iter=6, line_search_fn="strong_wolfe")


class Enumerating(Sampler):
    takes_gamma = True
    num_asked = 0

    def _sample(self, ising, num_samples, **settings):
        self.num_asked += 1
        return Samples(all_states(4, ising.h.dtype), weights=exact_log_probs(ising).exp())


def trained(tmp_path, module, num_updates):
    data = torch.cat([SPINS, all_states(4, torch.float32)])
    trainer = quiet_trainer(tmp_path, max_epochs=num_updates, limit_val_batches=0)
    loader = DataLoader(data, batch_size=len(data))
    trainer.fit(module, loader, loader)
    model = module.layer.ising().detach()
    mean, correlation = exact_moments(model)
    i, j = model.graph.edges.T
    errors = data.mean(0) - mean, (data[:, i] * data[:, j]).mean(0) - correlation
    return max(float(error.abs().max()) for error in errors)


def test_weights_are_those_of_the_other_model():
    first, other = (random_ising(CouplingGraph.complete(4), seed=seed) for seed in (0, 1))
    states, law = all_states(4), exact_log_probs(first).exp()
    found = reweighted(FirstAsked(first, Samples(states, weights=law)), other)
    torch.testing.assert_close(found.samples.weights, exact_log_probs(other).exp())
    expected = exact_log_partition(other) - exact_log_partition(first)
    torch.testing.assert_close(found.log_ratio, expected)
    # Without weights of their own, all samples count as one.
    drawn = Samples(states.repeat_interleave(torch.arange(1, 17), 0))
    even = Samples(states, weights=torch.arange(1.0, 17).double())
    by_copies, by_weights = (reweighted(FirstAsked(first, s), other) for s in (drawn, even))
    torch.testing.assert_close(by_copies.log_ratio, by_weights.log_ratio)


def test_a_few_updates_match_the_moments_by_one_call_each(tmp_path):
    torch.manual_seed(0)
    layer = QuantumPriorLayer(4, sampler=Enumerating())
    error = trained(tmp_path, MaximumLikelihood(layer, optimizer=LBFGS), 3)
    assert error < 1e-3
    assert layer.sampler.num_asked == 3


def test_samples_without_weights_of_the_present_model_would_not(tmp_path, monkeypatch):
    def unweighted(first, ising):
        return found(first, first.ising)

    found = reweighted
    monkeypatch.setattr("qahm_torch.training.maximum_likelihood.reweighted", unweighted)
    torch.manual_seed(0)
    layer = QuantumPriorLayer(4, sampler=Enumerating())
    assert trained(tmp_path, MaximumLikelihood(layer, optimizer=LBFGS), 3) > 1e-2


@pytest.mark.parametrize(
    ("settings", "gamma", "why"),
    [({"negative": "data"}, 0.0, "from the data each time"), ({}, 0.5, "no other weights")],
)
def test_where_samples_have_no_other_weights_it_is_refused(settings, gamma, why, tmp_path):
    layer = QuantumPriorLayer(4, gamma=gamma, sampler=ExactSampler(), num_samples=20)
    module = MaximumLikelihood(layer, optimizer=LBFGS, **settings)
    with pytest.raises(RuntimeError, match=f"asks for the loss of an update again.*{why}"):
        trained(tmp_path, module, 1)


@pytest.mark.parametrize("max_iter", [1, 3])
def test_a_machine_is_asked_once(max_iter, tmp_path):
    machine = small_machine()
    for part in (machine.recognition, machine.generator):
        part.requires_grad_(False)  # LBFGS takes one group of parameters
    optimizer = partial(torch.optim.LBFGS, max_iter=max_iter)
    module = MachineModule(machine, optimizer=optimizer)
    trainer = quiet_trainer(tmp_path, max_steps=1, limit_val_batches=0)
    if max_iter == 1:
        trainer.fit(module, digits())
        assert trainer.global_step == 1
    else:
        with pytest.raises(RuntimeError, match="drawn anew each time: use one that asks once"):
            trainer.fit(module, digits())
