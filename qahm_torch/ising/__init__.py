r"""The physics: graphs, the model value, its samples, exact enumeration, log Z and temperature."""

from qahm_torch.ising.enumeration import (
    all_states as all_states,
)
from qahm_torch.ising.enumeration import (
    exact_log_partition as exact_log_partition,
)
from qahm_torch.ising.enumeration import (
    exact_log_probs as exact_log_probs,
)
from qahm_torch.ising.enumeration import (
    exact_moments as exact_moments,
)
from qahm_torch.ising.graph import CouplingGraph as CouplingGraph
from qahm_torch.ising.log_partition import log_partition as log_partition
from qahm_torch.ising.merging import merge_tied as merge_tied
from qahm_torch.ising.model import (
    Ising as Ising,
)
from qahm_torch.ising.model import (
    Moments as Moments,
)
from qahm_torch.ising.model import (
    moments as moments,
)
from qahm_torch.ising.samples import (
    Chains as Chains,
)
from qahm_torch.ising.samples import (
    SampleInfo as SampleInfo,
)
from qahm_torch.ising.samples import (
    Samples as Samples,
)
from qahm_torch.ising.temperature import (
    Beta as Beta,
)
from qahm_torch.ising.temperature import (
    estimate_beta as estimate_beta,
)
from qahm_torch.ising.temperature import (
    estimate_beta_two_scales as estimate_beta_two_scales,
)
from qahm_torch.ising.temperature import (
    thermal_misfit as thermal_misfit,
)
