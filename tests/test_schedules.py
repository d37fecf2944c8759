import pytest
import pytorch_lightning as pl
import torch
from small_runs import digits, quiet_trainer

from qahm_torch import (
    BeliefNetwork,
    Concatenated,
    ContinuousSpins,
    GroupedRecognition,
    HelmholtzMachine,
    OneHot,
    QuantumPriorLayer,
    RelaxedELBO,
)
from qahm_torch.training import MachineModule, Scheduled


class Watcher(pl.Callback):
    def __init__(self):
        self.weights, self.temperatures = [], []

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        self.weights.append(pl_module.objective.kl_weight)
        units = pl_module.machine.recognition.units
        self.temperatures.append([law.temperature for law in units])


def module_of():
    torch.manual_seed(0)
    visible = digits().num_visible
    output = Concatenated([ContinuousSpins(64), OneHot(10)])
    machine = HelmholtzMachine(
        GroupedRecognition(visible, 4, num_groups=2, num_hidden=8, temperature=1.0),
        BeliefNetwork([4, visible], output=output),
        QuantumPriorLayer(4, num_samples=16),
    )
    return MachineModule(machine, RelaxedELBO())


def test_settings_change_in_the_course_of_a_training(tmp_path):
    watcher = Watcher()
    callbacks = [
        Scheduled("objective.kl_weight", 0.2, 1.0, until=0.5),
        Scheduled("machine.recognition.units.*.temperature", 1.0, 0.1, 0.5, 0.5),
        watcher,
    ]
    trainer = quiet_trainer(tmp_path, max_epochs=2, limit_val_batches=0, callbacks=callbacks)
    trainer.fit(module_of(), digits())
    assert watcher.weights == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1])
    assert watcher.temperatures == [[1.0, 1.0]] * 4 + [[0.1, 0.1]] * 4


@pytest.mark.parametrize("name", ["objective.no_such", "no.such", "machine.prior.*.gain"])
def test_a_setting_that_is_not_there_is_named(name, tmp_path):
    trainer = quiet_trainer(tmp_path, max_epochs=1, callbacks=[Scheduled(name, 0.0, 1.0)])
    with pytest.raises(ValueError, match=f"{name.replace('*', '.')} is not a number"):
        trainer.fit(module_of(), digits())


def test_shares_are_of_the_training():
    with pytest.raises(ValueError, match="begin is 0.5 and until 0.1, but they are shares"):
        Scheduled("objective.kl_weight", 0.0, 1.0, begin=0.5, until=0.1)
    jump = Scheduled("objective.kl_weight", 0.0, 1.0, begin=0.4, until=0.4)
    assert [jump.value_at(share) for share in (0.0, 0.39, 0.4, 1.0)] == [0, 0, 1, 1]
