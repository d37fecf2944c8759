r"""Priors whose parameters are not plain ones: sharded, or computed from others."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.utils import parametrize

from qahm_torch import CouplingGraph, EmbeddedPrior, QuantumPriorLayer, Sampler, Samples
from qahm_torch.ising import Ising, all_states, exact_log_partition, exact_log_probs

SPINS = torch.tensor([[1.0, 1, -1, 1], [-1, 1, 1, -1], [1, -1, -1, -1]])


class Enumerating(Sampler):
    def _sample(self, ising, num_samples, **settings):
        states = all_states(ising.num_spins, ising.h.dtype)
        return Samples(states, weights=exact_log_probs(ising).exp())


@pytest.fixture
def mesh(tmp_path):
    dist.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_gloo_available(), reason="needs the gloo backend")
def test_a_sharded_layer_learns_and_samples(mesh):
    torch.manual_seed(0)
    layer = QuantumPriorLayer(4, sampler=Enumerating())
    h, J = (p.detach().clone().requires_grad_() for p in (layer.h, layer.J))
    fully_shard(layer, mesh=mesh)
    (-layer(SPINS).mean()).backward()
    model = Ising(layer.graph, h, J)
    (model.energy(SPINS).mean() + exact_log_partition(model)).backward()
    torch.testing.assert_close(layer.h.grad.full_tensor(), h.grad)
    torch.testing.assert_close(layer.J.grad.full_tensor(), J.grad)
    # Outside the forward pass, where parameters are in parts:
    assert layer.sample(3).shape == layer.draw().spins.shape == (16, 4)  # all states
    exact = exact_log_partition(model)
    torch.testing.assert_close(torch.tensor(layer.estimate_log_z().value), exact.detach())
    torch.testing.assert_close(layer.log_prob(SPINS), -model.energy(SPINS) - exact)


def test_parametrized_couplings_of_qubits_learn():
    class Halved(nn.Module):
        def forward(self, x):
            return x / 2

    torch.manual_seed(0)
    strands = [(0, 4), (1, 5), (2, 6)]
    prior = EmbeddedPrior(CouplingGraph.bipartite(4, 4), strands, sampler=Enumerating())
    prior.double()
    parametrize.register_parametrization(prior, "J", Halved())
    spins = SPINS[:, :3].double()
    prior(spins).mean().backward()
    original = prior.parametrizations.J.original
    J = original.detach().clone().requires_grad_()
    model = Ising(prior.graph, prior.h.detach(), J / 2)
    value = -model.energy(prior.from_visible(spins)).mean() - exact_log_partition(model)
    (expected,) = torch.autograd.grad(value, J)
    torch.testing.assert_close(original.grad, expected)
    assert prior.sample(1).shape == (64, 6)
