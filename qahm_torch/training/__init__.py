r"""Lightning modules, callbacks and runs."""

import qahm_torch.data  # noqa: F401  # says in one line what a broken Lightning needs
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
