r"""What training minimizes."""

from qahm_torch.objectives.losses import (
    ReweightedLoss as ReweightedLoss,
)
from qahm_torch.objectives.losses import (
    reweighted_wake_loss as reweighted_wake_loss,
)
from qahm_torch.objectives.losses import (
    sleep_loss as sleep_loss,
)
from qahm_torch.objectives.losses import (
    wake_loss as wake_loss,
)
