r"""Lightning modules, callbacks and runs; the only room that imports Lightning, with `data`.

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
    ChainDiagnostics as ChainDiagnostics,
    CheckpointOnException as CheckpointOnException,
    LogPartitionMonitor as LogPartitionMonitor,
    TemperatureMonitor as TemperatureMonitor,
)
from qahm_torch.training.checkpoints import (
    find_checkpoint as find_checkpoint,
    read_checkpoint as read_checkpoint,
)
from qahm_torch.training.device_callbacks import (
    ChainBreakMonitor as ChainBreakMonitor,
    DeviceTemperatureMonitor as DeviceTemperatureMonitor,
    QPUBudget as QPUBudget,
)
from qahm_torch.training.machine_module import MachineModule as MachineModule
from qahm_torch.training.maximum_likelihood import MaximumLikelihood as MaximumLikelihood
from qahm_torch.training.pictures import SampleGrid as SampleGrid
from qahm_torch.training.prior_module import PriorModule as PriorModule, freeze as freeze
from qahm_torch.training.run import (
    Run as Run,
    RunConfig as RunConfig,
    load_run as load_run,
    load_weights as load_weights,
)
