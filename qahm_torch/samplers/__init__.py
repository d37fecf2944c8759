r"""Samplers of Ising models, and estimates of their log-partition function."""

from qahm_torch.samplers.annealing import AnnealedSampler
from qahm_torch.samplers.base import Sampler, Samples, Submission
from qahm_torch.samplers.dimod import DimodSampler
from qahm_torch.samplers.exact import ExactSampler
from qahm_torch.samplers.gibbs import GibbsSampler
from qahm_torch.samplers.log_z import LogZ, annealed_log_z, estimate_log_z, exact_log_z

__all__ = [
    "AnnealedSampler",
    "DimodSampler",
    "ExactSampler",
    "GibbsSampler",
    "LogZ",
    "Sampler",
    "Samples",
    "Submission",
    "annealed_log_z",
    "estimate_log_z",
    "exact_log_z",
]
