r"""Any dimod sampler as a sampler of Boltzmann machines."""

from __future__ import annotations

__all__ = ["DimodSampler"]

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from qahm_torch.ising import Chains, Ising, SampleInfo, Samples
from qahm_torch.samplers.sampler import DeferredSampler, Submission

if TYPE_CHECKING:
    import dimod
    import numpy
    from dimod.core.sampler import Sampler as OceanSampler


class DimodSampler(DeferredSampler):
    r"""Samples with a `dimod.Sampler` that draws at inverse temperature beta.

    The sampler is given the model of :math:`h / \beta` and :math:`J / \beta`, so that what it
    draws follows `ising`. Columns of its answer are put in order by name, and rows are repeated by
    their `num_occurrences`. The call does not block where the dimod sampler's does not: `submit`
    returns while a device works.

    Where the sampler takes `num_reads`, it is set to the number of samples; where it takes a
    `seed` that is not given here, a new one is drawn for each call. There are no chains. Clamped
    spins are fixed in the model, by one call per distinct row of `clamp`.

    Arguments:
        sampler: The dimod sampler. Whether it draws at a known temperature is for the caller to
            know: most are optimizers by default.
        beta: The inverse temperature at which it draws.
        kwargs: Further arguments of its `sample`.

    Raises:
        ValueError: If `beta` is not positive or a keyword is not one of the sampler's; in `sample`
            if the answer does not have the model's variables, or no rows.

    Example:
        >>> from dwave.samplers import SimulatedAnnealingSampler
        >>> sampler = DimodSampler(
        ...     SimulatedAnnealingSampler(),
        ...     beta_range=[1.0, 1.0],
        ...     num_sweeps=50,
        ...     proposal_acceptance_criteria="Gibbs",
        ...     randomize_order=True,
        ... )
        >>> from qahm_torch import CouplingGraph
        >>> ising = Ising(CouplingGraph.complete(3), torch.zeros(3), torch.ones(3))
        >>> sampler.sample(ising, 5).spins.shape
        torch.Size([5, 3])
    """

    def __init__(self, sampler: OceanSampler, beta: float = 1.0, **kwargs: Any):
        if not beta > 0:
            raise ValueError(f"beta is {beta}, but an inverse temperature is positive")
        _check_keywords(sampler, kwargs)
        self.sampler = sampler
        self.beta = beta
        self.kwargs = kwargs

    def _submit(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None,
        state: Chains | None,
        generator: torch.Generator | None,
    ) -> Submission:
        if clamp is None or clamp.ndim == 1:
            rows = ising.h.new_zeros(1, ising.num_spins) if clamp is None else clamp[None]
            counts, member = [num_samples], None
        else:
            rows, member, count = clamp.unique(dim=0, return_inverse=True, return_counts=True)
            counts = count.tolist()
        bqm = ising.scaled(1 / self.beta).to_bqm()
        jobs = [
            (self._start(bqm, ising, row, count, generator), row)
            for row, count in zip(rows, counts, strict=True)
        ]
        return Submission(lambda: self._collect(ising, jobs, counts, member))

    def _start(
        self,
        bqm: dimod.BinaryQuadraticModel,
        ising: Ising,
        row: Tensor,
        count: int,
        generator: torch.Generator | None,
    ) -> dimod.SampleSet | None:
        held = row.nonzero().squeeze(-1).tolist()
        if len(held) == ising.num_spins:
            return None
        if held:
            bqm = bqm.copy()
            bqm.fix_variables([(ising.graph.labels[i], int(row[i])) for i in held])
        settings = dict(self.kwargs)
        parameters = self.sampler.parameters
        if "num_reads" in parameters:
            settings.setdefault("num_reads", count)
        if "seed" in parameters and settings.get("seed") is None:
            settings["seed"] = int(torch.randint(2**31 - 1, (), generator=generator))
        answer: dimod.SampleSet = self.sampler.sample(bqm, **settings)
        return answer

    def _collect(
        self,
        ising: Ising,
        jobs: list[tuple[dimod.SampleSet | None, Tensor]],
        counts: list[int],
        member: Tensor | None,
    ) -> Samples:
        blocks = [
            _spins(answer, ising, row, count)
            for (answer, row), count in zip(jobs, counts, strict=True)
        ]
        info: SampleInfo = {"backend": type(self.sampler).__name__, "beta": self.beta}
        answer = jobs[0][0]
        if answer is not None:
            info["answer"] = dict(answer.info)
        spins = torch.cat(blocks).to(ising.h)
        if member is not None:
            spins = _in_row_order(blocks, counts, member).to(ising.h)
        return Samples(spins, info=info)


def _check_keywords(sampler: OceanSampler, kwargs: dict[str, Any]) -> None:
    # Some samplers do not list all their keywords in `parameters`, so the signature counts too.
    known = {*sampler.parameters, *inspect.signature(sampler.sample).parameters}
    for name in kwargs:
        if name not in known or name in ("bqm", "self", "kwargs"):
            raise ValueError(
                f"{type(sampler).__name__} has no parameter {name!r}; it has "
                f"{', '.join(sorted(known - {'bqm', 'self', 'kwargs'}))}"
            )


def _spins(answer: dimod.SampleSet | None, ising: Ising, row: Tensor, count: int) -> Tensor:
    r"""Returns the rows of an answer as spins of shape (S, N), in the model's spin order."""
    spins = row.to("cpu", torch.int8).repeat(count, 1)
    if answer is None:
        return spins
    free = (row == 0).nonzero().squeeze(-1).tolist()
    columns = _columns(answer, [ising.graph.labels[i] for i in free])
    record = answer.record
    table = torch.from_numpy(record.sample[:, columns].astype("int8"))
    table = table.repeat_interleave(torch.from_numpy(record.num_occurrences.astype("int64")), 0)
    if len(table) == 0:
        raise ValueError("the sampler answered with no rows")
    if answer.vartype.name == "BINARY":
        table = table * 2 - 1
    spins = row.to("cpu", torch.int8).repeat(len(table), 1)
    spins[:, free] = table
    return spins


def _columns(answer: dimod.SampleSet, labels: list[Any]) -> numpy.ndarray:
    import numpy as np

    if set(answer.variables) != set(labels):
        strange = set(labels).symmetric_difference(answer.variables)
        raise ValueError(
            f"the sampler answered with other variables than the model's {len(labels)}; "
            f"{sorted(map(str, strange))[:3]} are in one and not in the other"
        )
    return np.array([answer.variables.index(label) for label in labels])


def _in_row_order(blocks: list[Tensor], counts: list[int], member: Tensor) -> Tensor:
    for block, count in zip(blocks, counts, strict=True):
        if len(block) != count:
            raise ValueError(
                f"the sampler answered with {len(block)} rows where {count} were asked for, "
                "so that clamped rows cannot be told apart"
            )
    order = member.cpu().argsort(stable=True)
    spins = torch.empty_like(torch.cat(blocks))
    spins[order] = torch.cat(blocks)
    return spins
