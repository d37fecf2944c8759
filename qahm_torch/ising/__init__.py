r"""The physics: graphs, the model value, its samples, exact enumeration, log Z and temperature."""

from qahm_torch.ising.enumeration import (
    all_states as all_states,
    exact_log_partition as exact_log_partition,
    exact_log_probs as exact_log_probs,
    exact_moments as exact_moments,
)
from qahm_torch.ising.graph import CouplingGraph as CouplingGraph
from qahm_torch.ising.log_partition import log_partition as log_partition
from qahm_torch.ising.merging import merge_tied as merge_tied
from qahm_torch.ising.model import (
    Ising as Ising,
    Moments as Moments,
    moments as moments,
)
from qahm_torch.ising.moment_agreement import (
    Agreement as Agreement,
    agreement as agreement,
    mixed_samples as mixed_samples,
)
from qahm_torch.ising.samples import (
    Chains as Chains,
    SampleInfo as SampleInfo,
    Samples as Samples,
)
from qahm_torch.ising.temperature import (
    Beta as Beta,
    estimate_beta as estimate_beta,
    estimate_beta_two_scales as estimate_beta_two_scales,
    thermal_misfit as thermal_misfit,
)
