r"""What training minimizes: objectives, one a file, and the losses that they are made of."""

from qahm_torch.objectives.bound import BoundTerms as BoundTerms, RelaxedELBO as RelaxedELBO
from qahm_torch.objectives.disarm import DisARM as DisARM
from qahm_torch.objectives.discrepancy import (
    GaussianKernel as GaussianKernel,
    kl_divergence as kl_divergence,
    maximum_mean_discrepancy as maximum_mean_discrepancy,
)
from qahm_torch.objectives.objective import Objective as Objective
from qahm_torch.objectives.reweighted import (
    ReweightedLoss as ReweightedLoss,
    ReweightedWakeSleep as ReweightedWakeSleep,
    reweighted_wake_loss as reweighted_wake_loss,
)
from qahm_torch.objectives.smoothed import SmoothedELBO as SmoothedELBO
from qahm_torch.objectives.stages import Stages as Stages
from qahm_torch.objectives.vimco import VIMCO as VIMCO
from qahm_torch.objectives.wake_sleep import (
    WakeSleep as WakeSleep,
    sleep_loss as sleep_loss,
    wake_loss as wake_loss,
)
