r"""What training minimizes."""

from qahm_torch.objectives.losses import (
    ReweightedLoss as ReweightedLoss,
    reweighted_wake_loss as reweighted_wake_loss,
    sleep_loss as sleep_loss,
    wake_loss as wake_loss,
)
