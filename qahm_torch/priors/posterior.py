r"""Generators whose posterior is exactly a conditional Boltzmann machine."""

from __future__ import annotations

__all__ = ["exact_posterior"]

import torch
from torch import nn

from qahm_torch.ising import CouplingGraph, all_states
from qahm_torch.nn import BeliefNetwork, Spins
from qahm_torch.priors.conditional import ConditionalBoltzmann
from qahm_torch.priors.layer import QuantumPriorLayer
from qahm_torch.samplers.annealing import log_2cosh


@torch.no_grad()
def exact_posterior(generator: BeliefNetwork, prior: QuantumPriorLayer) -> ConditionalBoltzmann:
    r"""Returns p(u|v) of a machine whose visible spins have up to two parents each.

    Of one linear layer of spins, :math:`p(v_i | u) = e^{v_i f_i} / 2 \cosh f_i` with
    :math:`f_i = c_i + \sum_j w_{ij} u_j`, so that

    .. math::
        \log p(u|v) = -E(u) + \sum_i v_i f_i(u) - \sum_i \log 2 \cosh f_i(u) + \text{const}(v).

    The second term is linear in u, and the third does not depend on v. Where only two weights of a
    visible spin, of the parents j and k, are not 0, it is a function of two spins,

    .. math::
        \log 2 \cosh f_i = a_i + b_{ij} u_j + b_{ik} u_k + b_{ijk} u_j u_k,

    with the means of the four values, weighted by the signs, as coefficients. The posterior is a
    Boltzmann machine with the fields :math:`h_j - \sum_i (w_{ij} v_i - b_{ij})`, which are linear
    in v, and the couplings :math:`J_{jk} + \sum_i b_{ijk}`, which all data share. Without a pair
    of parents they are those of the prior. With more parents there are interactions of more spins.

    Arguments:
        generator: A network of one linear layer of spins.
        prior: The prior of the hidden spins, with no hidden spins of its own.

    Returns:
        The recognition, whose graph has the edges of the prior and those of pairs of parents.

    Raises:
        ValueError: If the two are not as they have to be, or a visible spin has more parents.

    References:
        | Opportunities and challenges for quantum-assisted machine learning in near-term quantum
          computers (Perdomo-Ortiz et al., 2018)
        | https://arxiv.org/abs/1708.09757

    Example:
        >>> generator = BeliefNetwork([2, 3])
        >>> q = exact_posterior(generator, QuantumPriorLayer(2))
        >>> q.log_prob([torch.ones(1, 3), torch.ones(1, 2)]).shape
        torch.Size([1])
    """
    layer = _linear(generator, prior)
    weight, bias = layer.weight.double(), layer.bias.double()
    single = torch.zeros_like(weight)  # b_ij
    pairs = {tuple(sorted(edge)): J for edge, J in _edges(prior)}
    for i, row in enumerate(weight):
        parents = row.nonzero().flatten().tolist()
        if len(parents) > 2:
            raise ValueError(
                f"visible spin {i} has {len(parents)} parents, but the posterior is a Boltzmann "
                "machine where there are at most 2"
            )
        signs = all_states(len(parents), row.dtype, row.device)
        values = log_2cosh(bias[i] + signs @ row[parents])
        single[i, parents] = (signs * values.unsqueeze(-1)).mean(0)
        if len(parents) == 2:
            j, k = parents
            pairs[j, k] = pairs.get((j, k), 0.0) + float((signs.prod(-1) * values).mean())
    graph = CouplingGraph(prior.graph.num_spins, torch.tensor(list(pairs)).view(-1, 2))
    found = ConditionalBoltzmann(generator.widths[::-1], graph=graph).to(prior.h)
    fields = found.to_fields
    assert isinstance(fields, nn.Linear)
    fields.weight.copy_(-layer.weight.T)
    fields.bias.copy_(prior.h.double() + single.sum(0))
    found.J.copy_(torch.tensor(list(pairs.values()), dtype=torch.float64))
    return found


def _edges(prior: QuantumPriorLayer) -> list[tuple[tuple[int, int], float]]:
    edges = [(i, j) for i, j in prior.graph.edges.tolist()]
    return list(zip(edges, prior.J.double().tolist(), strict=True))


def _linear(generator: BeliefNetwork, prior: QuantumPriorLayer) -> nn.Linear:
    layer = generator.layers[0]
    if len(generator.layers) != 1 or not isinstance(layer, nn.Linear):
        raise ValueError(f"generator is {generator}, but one linear layer is needed")
    if layer.bias is None or not isinstance(generator.output, Spins):
        raise ValueError(f"generator is {generator}, but spins with a bias are needed")
    if len(prior.hidden_units.hidden) or prior.num_visible != generator.widths[0]:
        raise ValueError(
            f"prior is {prior}, but {generator.widths[0]} spins are needed, none of them hidden"
        )
    if prior.gamma is not None:
        raise ValueError("the prior has a transverse field, but a classical one is needed")
    return layer
