r"""What a machine of mixed columns has to beat: independent columns, and full Gaussians."""

from __future__ import annotations

__all__ = ["RIVALS", "fill_errors", "rival_log_prob", "rival_scores"]

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

from qahm_torch.data import Diabetes, MixedTable
from qahm_torch.evaluation import ConditionalGaussian

RIVALS = ("independent columns", "Gaussian", "Gaussian of logarithms")


def rival_scores(arm: str, missing: float) -> dict[str, Any]:
    r"""Returns what a rival gives: test likelihood, and errors of what it fills in."""
    data = Diabetes(missing, with_logs=arm == "Gaussian of logarithms")
    data.setup()
    # Classes are filled in as numbers, by which a Gaussian regresses them on all others; their
    # codes add up to a constant, hence the ridge.
    fitted = torch.cat([data.train, data.val])
    if arm == "independent columns":
        means = fitted.nanmean(0).double()
        filled = torch.where(data.test.isnan(), means, data.test.double())
    else:
        filled = ConditionalGaussian(fitted, ridge=1e-3).impute(data.test)
    return {
        "test": float(rival_log_prob(data, arm).mean()),
        **fill_errors(data, data.decode(filled)),
    }


def rival_log_prob(data: MixedTable, arm: str) -> Tensor:
    r"""Returns a rival's log-likelihood of the known entries of each test row, of shape (R,)."""
    total = data.log_jacobian(data.test)
    fitted, numbers = torch.cat([data.train, data.val]), []
    for k, column in enumerate(data.columns):
        own, known = data.split(fitted)[k], data.split(data.test)[k]
        if column.is_real:
            numbers.append((own, known))
        else:
            total = total + _frequency(own, known)
    rows, tests = (torch.cat(parts, -1).double() for parts in zip(*numbers, strict=True))
    if arm == "independent columns":
        mean = rows.nanmean(0)
        law = Normal(mean, (rows - mean).square().nanmean(0).sqrt(), validate_args=False)
        terms: Tensor = law.log_prob(tests).nan_to_num(nan=0.0)
        return total + terms.sum(-1)
    return total + ConditionalGaussian(rows).log_prob(tests)


def _frequency(own: Tensor, known: Tensor) -> Tensor:
    r"""Returns the log of how frequent the classes of some units are among those of others."""
    up = (own[~own[:, 0].isnan()] > 0).double().mean(0)
    # A single spin has two classes; among the units of one-hot codes one is up.
    frequency = torch.where(known > 0, up, 1 - up if known.shape[-1] == 1 else 1.0)
    logs: Tensor = frequency.log().masked_fill(known.isnan(), 0.0)
    return logs.sum(-1)


def fill_errors(data: MixedTable, values: Tensor) -> dict[str, Any]:
    r"""Returns errors of test entries that were missing and filled in, nothing if none was."""
    complete = Diabetes()
    truth, missing = complete.original.test, data.original.test.isnan()
    if not missing.any():
        return {}
    is_real = torch.tensor([column.is_real for column in data.columns])
    scale = torch.cat([complete.original.train, complete.original.val]).std(0)
    gap = ((values - truth) / scale)[missing & is_real]
    right = (values == truth)[missing & ~is_real]
    return {"error": float(gap.square().mean().sqrt()), "accuracy": float(right.double().mean())}
