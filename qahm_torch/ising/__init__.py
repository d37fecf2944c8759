r"""The physics: graphs, the model value, exact enumeration, log Z and temperature."""

from qahm_torch.ising.exact import (
    all_states,
    exact_log_partition,
    exact_log_probs,
    exact_moments,
)
from qahm_torch.ising.graph import CouplingGraph
from qahm_torch.ising.log_partition import log_partition
from qahm_torch.ising.merging import merge_tied
from qahm_torch.ising.model import Ising, Moments, moments
from qahm_torch.ising.temperature import (
    Beta,
    estimate_beta,
    estimate_beta_two_scales,
    thermal_misfit,
)

__all__ = [
    "Beta",
    "CouplingGraph",
    "Ising",
    "Moments",
    "all_states",
    "estimate_beta",
    "estimate_beta_two_scales",
    "exact_log_partition",
    "exact_log_probs",
    "exact_moments",
    "log_partition",
    "merge_tied",
    "moments",
    "thermal_misfit",
]
