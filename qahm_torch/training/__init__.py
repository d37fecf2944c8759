r"""Lightning modules, data modules, callbacks and runs; the only room that imports Lightning.

A broken or missing Lightning, torchvision or torchmetrics is told in one line, with what to
install.
"""

try:
    import pytorch_lightning as _  # noqa: F401
except (ImportError, RuntimeError) as error:
    reason = str(error).splitlines()[0]
    raise ImportError(
        f"pytorch-lightning cannot be imported ({reason}); install torch, torchvision and "
        "pytorch-lightning from the same source: pip install --force-reinstall torch torchvision "
        "pytorch-lightning"
    ) from error

from qahm_torch.training.callbacks import (
    ChainDiagnostics,
    CheckpointOnException,
    LogPartitionMonitor,
    SampleGrid,
    TemperatureMonitor,
)
from qahm_torch.training.device_callbacks import (
    ChainBreakMonitor,
    DeviceTemperatureMonitor,
    QPUBudget,
)
from qahm_torch.training.maximum_likelihood import MaximumLikelihood
from qahm_torch.training.prior_module import PriorModule, freeze
from qahm_torch.training.run import (
    Run,
    RunConfig,
    find_checkpoint,
    load_run,
    load_weights,
    read_checkpoint,
)
from qahm_torch.training.wake_sleep import WakeSleep

__all__ = [
    "ChainBreakMonitor",
    "ChainDiagnostics",
    "CheckpointOnException",
    "DeviceTemperatureMonitor",
    "LogPartitionMonitor",
    "MaximumLikelihood",
    "PriorModule",
    "QPUBudget",
    "Run",
    "RunConfig",
    "SampleGrid",
    "TemperatureMonitor",
    "WakeSleep",
    "find_checkpoint",
    "freeze",
    "load_run",
    "load_weights",
    "read_checkpoint",
]
