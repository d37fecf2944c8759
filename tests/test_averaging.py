import pytest
import pytorch_lightning as pl
import torch
from small_runs import digits, quiet_trainer, same_weights, small_machine, weights_of

from qahm_torch import exact_log_partition
from qahm_torch.training import AveragedWeights, MachineModule, read_checkpoint


def trained(folder, decay):
    torch.manual_seed(0)
    module = MachineModule(small_machine())
    callback = AveragedWeights(decay)
    trainer = quiet_trainer(folder, max_epochs=3, limit_val_batches=0, callbacks=[callback])
    trainer.fit(module, digits())
    return module, trainer


def test_log_z_is_that_of_the_averaged_weights(tmp_path):
    module, _ = trained(tmp_path, 0.9)
    exact = exact_log_partition(module.prior.ising().detach())
    torch.testing.assert_close(module.prior.log_z, exact, atol=1e-5, rtol=0)


def test_so_is_that_of_a_checkpoint(tmp_path):
    torch.manual_seed(0)
    module = MachineModule(small_machine())

    class Saving(AveragedWeights):
        def on_train_epoch_end(self, trainer, pl_module):
            super().on_train_epoch_end(trainer, pl_module)
            trainer.save_checkpoint(tmp_path / "mid.ckpt")

    callback = Saving(0.9)
    quiet_trainer(tmp_path / "run", max_epochs=3, limit_val_batches=0, callbacks=[callback]).fit(
        module, digits()
    )
    other = MachineModule(small_machine())
    state = read_checkpoint(tmp_path / "mid.ckpt")
    other.load_state_dict(state["state_dict"])
    exact = exact_log_partition(other.prior.ising().detach())
    torch.testing.assert_close(other.prior.log_z, exact, atol=1e-5, rtol=0)
    assert not same_weights(state["state_dict"], state["current_model_state"])


def test_without_a_past_they_are_the_weights_as_they_are(tmp_path):
    module, _ = trained(tmp_path / "a", 0.0)
    torch.manual_seed(0)
    plain = MachineModule(small_machine())
    quiet_trainer(tmp_path / "b", max_epochs=3, limit_val_batches=0).fit(plain, digits())
    mine, others = weights_of(module), weights_of(plain)
    names = [name for name in mine if not name.endswith("log_z")]
    assert same_weights({n: mine[n] for n in names}, {n: others[n] for n in names})


def test_the_factor_is_below_one():
    with pytest.raises(ValueError, match=r"decay is 1\.0, but a factor from 0 to below 1"):
        AveragedWeights(1.0)


def test_after_a_validation_log_z_is_that_of_the_weights_in_training(tmp_path):
    class Watch(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            prior = pl_module.prior
            exact = exact_log_partition(prior.ising().detach())
            torch.testing.assert_close(prior.log_z, exact, atol=1e-5, rtol=0)

    torch.manual_seed(0)
    module = MachineModule(small_machine())
    callbacks = [AveragedWeights(0.9), Watch()]
    quiet_trainer(tmp_path, max_epochs=3, callbacks=callbacks).fit(module, digits())
