r"""Lightning modules, callbacks and runs; the only room that imports Lightning, with `data`."""

import qahm_torch.data  # noqa: F401  # says in one line what a broken Lightning needs
from qahm_torch.training.allocator import keep_memory as keep_memory
from qahm_torch.training.atomic_checkpoints import AtomicCheckpoints as AtomicCheckpoints
from qahm_torch.training.averaging import AveragedWeights as AveragedWeights
from qahm_torch.training.callbacks import (
    ChainDiagnostics as ChainDiagnostics,
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
from qahm_torch.training.hyper_parameters import (
    HyperParameters as HyperParameters,
    hyper_parameters as hyper_parameters,
)
from qahm_torch.training.machine_module import MachineModule as MachineModule
from qahm_torch.training.maximum_likelihood import MaximumLikelihood as MaximumLikelihood
from qahm_torch.training.mixing import MixingControl as MixingControl
from qahm_torch.training.prior_histograms import PriorHistograms as PriorHistograms
from qahm_torch.training.prior_module import PriorModule as PriorModule, freeze as freeze
from qahm_torch.training.run_progress import RunProgress as RunProgress
from qahm_torch.training.runs import (
    Run as Run,
    RunConfig as RunConfig,
    load_fitting_weights as load_fitting_weights,
    load_run as load_run,
    load_weights as load_weights,
)
from qahm_torch.training.sample_grid import SampleGrid as SampleGrid
from qahm_torch.training.schedules import Scheduled as Scheduled
from qahm_torch.training.status import RunStatus as RunStatus
from qahm_torch.training.stopping import (
    CheckpointAtEnd as CheckpointAtEnd,
    CheckpointOnException as CheckpointOnException,
)
