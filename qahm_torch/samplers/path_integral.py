r"""Thermal states in a transverse field by path-integral Monte Carlo."""

from __future__ import annotations

__all__ = ["PathIntegralSampler", "WorldLines"]

from dataclasses import dataclass

import torch
from torch import Tensor

from qahm_torch.ising import Chains, Ising, SampleInfo, Samples
from qahm_torch.kernels import worldlines
from qahm_torch.kernels.backends import NUMBA_BACKENDS, check_backend, compiled_form
from qahm_torch.samplers.sampler import Sampler


@dataclass(frozen=True)
class WorldLines(Chains):
    r"""World lines of spins in imaginary time.

    Arguments:
        spins: The spins at time 0, of shape (S, N).
        lines: The spins at time 0 and the times of the kinks in increasing order, filled up by 1,
            of shape (S, N, 1 + K).
    """

    lines: Tensor

    @property
    def num_kinks(self) -> Tensor:
        r"""The numbers of kinks, (S, N), in the dtype of the lines."""
        return (self.lines[..., 1:] < 1).to(self.lines).sum(-1)

    def at(self, times: Tensor) -> Tensor:
        r"""Returns the spins at times of each chain, between 0 and 1: (S, T) -> (S, T, N)."""
        passed = self.lines[:, None, :, 1:] <= times.to(self.lines)[..., None, None]
        # Each kink that has passed has flipped the spin.
        return self.lines[:, None, :, 0] * (1 - 2 * (passed.sum(-1) % 2))


class PathIntegralSampler(Sampler):
    r"""Measures the spins of thermal states in a transverse field.

    Samples :math:`\langle s | e^{-H} | s \rangle / Z` of any number of spins as the spins at time
    0 of the path integral

    .. math::
        \langle s | e^{-H} | s \rangle =
            \int d(\text{kinks}) \prod_i \Gamma_i^{\#\text{kinks of } i}
            \exp\Big(-\int_0^1 E(s(\tau)) \, d\tau\Big), \qquad s(0) = s(1) = s,

    whose world lines s are redrawn in turn, each cut into segments at its kinks and at random.
    Imaginary time is continuous: there are no slices, and no error but that of a finite number of
    sweeps. The time of a sweep grows with the number of kinks, :math:`\sum_i \Gamma_i \langle X_i
    \rangle`. Without a transverse field, this is the heat bath of `GibbsSampler`, which is faster.

    Without `state`, chains start from uniform random spins without kinks, and the samples are
    biased towards those by too few sweeps. With `state`, they run on (persistent chains): the
    answer holds them as `WorldLines`, and spins of another sampler are lines without kinks. A
    clamped spin is held at time 0, where it is measured, and free at other times, so that the free
    spins follow the law given that the clamped ones have been measured. Under "num_kinks", the
    `info` of the answer has the mean number of kinks of a world line, an unbiased estimate of
    :math:`\sum_i \Gamma_i \langle X_i \rangle / N` where the chains have converged and nothing is
    clamped.

    Arguments:
        num_sweeps: The number of sweeps per call, each of which redraws every world line.
        backend: "numba" for a compiled kernel on the CPU, "torch" for one that is slower and runs
            on any device, or "auto" for the former wherever it works.

    Raises:
        ValueError: If `num_sweeps` is not positive or there is no such backend; in `sample` if
            the transverse field is not finite, or the backend is "numba" and the model not on the
            CPU.
        RuntimeError: In `sample` if the backend is "numba" and numba does not work.

    References:
        | Application of a continuous time cluster algorithm to the two-dimensional random quantum
          Ising ferromagnet (Rieger & Kawashima, 1999)
        | https://arxiv.org/abs/cond-mat/9802104

    Example:
        >>> from qahm_torch import CouplingGraph
        >>> ising = Ising(CouplingGraph.complete(3), torch.zeros(3), torch.ones(3), gamma=0.5)
        >>> PathIntegralSampler(num_sweeps=10).sample(ising, 5).spins.shape
        torch.Size([5, 3])
    """

    takes_gamma = True
    keeps_chains = True

    def __init__(self, num_sweeps: int = 20, backend: str = "auto"):
        if num_sweeps < 1:
            raise ValueError(f"num_sweeps is {num_sweeps}, but at least 1 sweep is needed")
        check_backend(backend, NUMBA_BACKENDS)
        self.num_sweeps = num_sweeps
        self.backend = backend

    def _sample(
        self,
        ising: Ising,
        num_samples: int,
        *,
        clamp: Tensor | None,
        state: Chains | None,
        generator: torch.Generator | None,
    ) -> Samples:
        _check_gamma(ising)
        kernel = compiled_form("compiled_worldlines", ising.h.device, self.backend)
        fields = worldlines.arrange_fields(ising)
        lines = _start(fields, num_samples, state, generator)
        if clamp is None:
            clamp = lines.new_zeros(ising.num_spins)
        clamp = clamp.to(lines).expand(num_samples, -1)
        lines[..., 0] = torch.where(clamp == 0, lines[..., 0], clamp)
        lines = (kernel or worldlines).run_lines(lines, fields, clamp, self.num_sweeps, generator)
        info: SampleInfo = {
            "backend": "torch" if kernel is None else "numba",
            "num_sweeps": self.num_sweeps,
            "num_kinks": float((lines[..., 1:] < 1).sum() / clamp.numel()),
        }
        spins = lines[..., 0]
        return Samples(spins.to(ising.h.dtype), state=WorldLines(spins, lines), info=info)

    def _resumes(self, chains: Chains) -> bool:
        return isinstance(chains, WorldLines)


def _check_gamma(ising: Ising) -> None:
    if ising.gamma is not None and not bool(ising.gamma.isfinite().all()):
        index = int((~ising.gamma.isfinite()).nonzero()[0])
        raise ValueError(
            f"gamma[{index}] is {float(ising.gamma[index])}, but a finite field is needed"
        )


def _start(
    fields: worldlines.Fields,
    num_chains: int,
    state: Chains | None,
    generator: torch.Generator | None,
) -> Tensor:
    r"""Returns world lines of shape (S, N, 1 + K), which the caller owns."""
    size = (num_chains, len(fields.h))
    if state is None:
        device = fields.h.device
        bits = torch.randint(2, (*size, 1), device=device, generator=generator)
        return bits.float() * 2 - 1
    # Spins of another sampler are lines without kinks.
    lines = state.lines if isinstance(state, WorldLines) else state.spins.unsqueeze(-1)
    lines = lines.to(fields.h, copy=True)
    # The field may have been turned off since; without it no kink could come, but some stay.
    lines[:, fields.gamma == 0, 1:] = 1
    return lines
