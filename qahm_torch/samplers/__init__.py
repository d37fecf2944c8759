r"""Samplers of Ising models, and estimates of their log-partition function."""

from qahm_torch.samplers.annealing import AnnealedSampler as AnnealedSampler
from qahm_torch.samplers.checked import Checked as Checked
from qahm_torch.samplers.darting import Darting as Darting
from qahm_torch.samplers.dimod import DimodSampler as DimodSampler
from qahm_torch.samplers.exact import ExactSampler as ExactSampler
from qahm_torch.samplers.fallback import Fallback as Fallback, FallbackWarning as FallbackWarning
from qahm_torch.samplers.field_integral import (
    FieldIntegral as FieldIntegral,
    field_integral as field_integral,
)
from qahm_torch.samplers.gibbs import GibbsSampler as GibbsSampler
from qahm_torch.samplers.log_z import (
    LogZ as LogZ,
    annealed_log_z as annealed_log_z,
    estimate_log_z as estimate_log_z,
    exact_log_z as exact_log_z,
)
from qahm_torch.samplers.path_integral import (
    PathIntegralSampler as PathIntegralSampler,
    WorldLines as WorldLines,
)
from qahm_torch.samplers.sampler import (
    DeferredSampler as DeferredSampler,
    Sampler as Sampler,
    Submission as Submission,
)
from qahm_torch.samplers.swept import Swept as Swept
from qahm_torch.samplers.tempering import TemperingSampler as TemperingSampler
from qahm_torch.samplers.wrapper import Wrapper as Wrapper, within as within
