r"""Models of two questions that are asked in either order."""

from __future__ import annotations

__all__ = ["order_models", "qubit_cells"]

import torch
from torch import Tensor

from qahm_torch.cognition.cell_model import CellModel


def qubit_cells(angle: Tensor, state: Tensor) -> Tensor:
    r"""Returns the probabilities of two questions that are two bases of one qubit.

    The qubit is in any state, pure or mixed, and after an answer in that of the answer. With unit
    vectors a, b of the bases and r of the state, at most of unit length, and answers of +-1,

    .. math::
        p(A_i B_j) = \frac{1 + i \, a \cdot r}{2} \, \frac{1 + i j \, a \cdot b}{2}, \qquad
        p(B_j A_i) = \frac{1 + j \, b \cdot r}{2} \, \frac{1 + i j \, a \cdot b}{2}.

    What of r is out of the plane of a and b has no effect. So the second answer repeats the first
    one with the same probability, whichever it is: the law is narrower than the QQ equality.

    Arguments:
        angle: The angle between the bases on the Bloch sphere, of shape (*).
        state: The vector :math:`r / \sqrt{1 - r^2}` in the plane of the bases, of shape (*, 2).

    Returns:
        The probabilities, of shape (*, 2, 4): A first and B first by the answers to A and B.

    References:
        | Testing quantum-like models of judgment for question order effect (Boyer-Kassem et al.,
          2016)
        | https://arxiv.org/abs/1501.04901
    """
    x, y = (state / (1 + state.square().sum(-1, keepdim=True)).sqrt()).unbind(-1)
    overlap, b = angle.cos(), x * angle.cos() + y * angle.sin()
    answers = angle.new_tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    first = (1 + answers.mT * torch.stack([x, b], -1).unsqueeze(-1)) / 2
    return first * (1 + answers.prod(-1) * overlap[..., None, None]) / 2


def order_models() -> dict[str, CellModel]:
    r"""Returns the models of two questions by name, whose cells are of shape (*, 2, 4).

    - `order-free`: the same law in both orders, of 3 parameters.
    - `qubit`: that of `qubit_cells`, of 3.
    - `QQ equality`: both answers are alike with the same probability in both orders, and the rest
      is free, of 5. Quantum models of question order obey it; classical ones can, too.
    - `saturated`: any, of 6.

    References:
        | Context effects produced by question orders reveal quantum nature of human judgments
          (Wang et al., 2014)
        | https://doi.org/10.1073/pnas.1407756111
        | Classic-probability accounts of mirrored (quantum-like) order effects in human judgments
          (Kellen et al., 2018)
        | https://osf.io/n9q2m
    """
    models = (
        CellModel("order-free", 3, lambda x: torch.stack(2 * [_softmax(x)], -2)),
        CellModel("qubit", 3, lambda x: qubit_cells(x[..., 0], x[..., 1:])),
        CellModel("QQ equality", 5, _qq_equality),
        CellModel("saturated", 6, lambda x: _softmax(x.unflatten(-1, (2, 3)))),
    )
    return {model.name: model for model in models}


def _softmax(x: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(x[..., :1]), x], -1).softmax(-1)


def _qq_equality(x: Tensor) -> Tensor:
    alike, yes = x[..., :1].sigmoid(), x[..., 1:].unflatten(-1, (2, 2)).sigmoid()
    both, either = alike * yes[..., 0], (1 - alike) * yes[..., 1]
    return torch.stack([both, either, 1 - alike - either, alike - both], -1)
