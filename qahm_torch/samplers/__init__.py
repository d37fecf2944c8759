r"""Samplers of Ising models, and estimates of their log-partition function."""

from typing import TYPE_CHECKING, Any

from qahm_torch.samplers.annealer import (
    AnnealerError,
    AnnealerSampler,
    AnnealerWarning,
    AnnealSettings,
    ReplaySampler,
    RetryPolicy,
)
from qahm_torch.samplers.annealing import AnnealedSampler
from qahm_torch.samplers.base import Sampler, Samples, Submission
from qahm_torch.samplers.dimod import DimodSampler
from qahm_torch.samplers.exact import ExactSampler
from qahm_torch.samplers.gibbs import GibbsSampler
from qahm_torch.samplers.log_z import LogZ, annealed_log_z, estimate_log_z, exact_log_z
from qahm_torch.samplers.path_integral import PathIntegralSampler
from qahm_torch.samplers.tempering import TemperingSampler

if TYPE_CHECKING:
    from qahm_torch.samplers.simulated import SimulatedAnnealer

__all__ = [
    "AnnealSettings",
    "AnnealedSampler",
    "AnnealerError",
    "AnnealerSampler",
    "AnnealerWarning",
    "DimodSampler",
    "ExactSampler",
    "GibbsSampler",
    "LogZ",
    "PathIntegralSampler",
    "ReplaySampler",
    "RetryPolicy",
    "Sampler",
    "Samples",
    "SimulatedAnnealer",
    "Submission",
    "TemperingSampler",
    "annealed_log_z",
    "estimate_log_z",
    "exact_log_z",
]


def __getattr__(name: str) -> Any:
    # It is a dimod sampler, and what has no use for dimod need not load it.
    if name == "SimulatedAnnealer":
        from qahm_torch.samplers.simulated import SimulatedAnnealer

        return SimulatedAnnealer
    raise AttributeError(f"module 'qahm_torch.samplers' has no attribute {name!r}")
