import warnings
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from small_runs import (
    Hot,
    digits,
    metrics_of,
    quiet_trainer,
    same_weights,
    small_machine,
    weights_of,
)

from qahm_torch import CouplingGraph, ExactSampler, GibbsSampler, QuantumPriorLayer
from qahm_torch.data import BarsAndStripes
from qahm_torch.training import (
    ChainDiagnostics,
    CheckpointOnException,
    LogPartitionMonitor,
    MachineModule,
    MaximumLikelihood,
    SampleGrid,
    TemperatureMonitor,
    load_weights,
    read_checkpoint,
)


def trained(folder, *callbacks):
    r"""Returns the module and the trainer of two epochs of four steps."""
    torch.manual_seed(3)
    module = MachineModule(small_machine())
    trainer = quiet_trainer(folder, max_epochs=2, limit_val_batches=0, callbacks=list(callbacks))
    trainer.fit(module, digits())
    return module, trainer


CALLBACKS = {
    "SampleGrid": (lambda: SampleGrid(num_images=9), set()),
    "ChainDiagnostics": (
        lambda: ChainDiagnostics(num_draws=16),
        {"prior/r_hat", "prior/autocorrelation_time"},
    ),
    "LogPartitionMonitor": (
        lambda: LogPartitionMonitor(every_n_steps=2),
        {"prior/log_z", "prior/log_z_width"},
    ),
    "TemperatureMonitor": (
        lambda: TemperatureMonitor(every_n_steps=4),
        {"prior/beta", "prior/beta_stderr"},
    ),
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_callback_logs_and_leaves_the_training_as_it_is(name, tmp_path):
    make, expected = CALLBACKS[name]
    plain, plain_trainer = trained(tmp_path / "plain")
    module, trainer = trained(tmp_path / "watched", make())
    assert same_weights(weights_of(plain), weights_of(module))
    assert torch.equal(plain.prior.chains.spins, module.prior.chains.spins)
    known, logged = metrics_of(plain_trainer), metrics_of(trainer)
    assert logged.keys() - known.keys() == expected
    # Where log Z is estimated anew, the losses that it is part of are shifted by a constant.
    shifted = {"train/loss", "train/wake_theta"} if "prior/log_z" in expected else set()
    assert all(logged[key] == known[key] for key in known.keys() - shifted)


def test_another_seed_gives_other_weights(tmp_path):
    # The twin of the test above, which would pass if weights were never trained or seeded.
    module, _ = trained(tmp_path / "a", SampleGrid(num_images=4))
    torch.manual_seed(4)
    other = MachineModule(small_machine())
    quiet_trainer(tmp_path / "b", max_epochs=2, limit_val_batches=0).fit(other, digits())
    assert not same_weights(weights_of(module), weights_of(other))


def test_sample_grid_draws_into_the_run_folder(tmp_path):
    _, trainer = trained(tmp_path, SampleGrid(num_images=9, every_n_epochs=2))
    (picture,) = (Path(trainer.log_dir) / "pictures").iterdir()
    assert picture.name == "epoch=001-step=8.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_log_partition_monitor_keeps_log_z_at_its_exact_value(tmp_path):
    module, trainer = trained(tmp_path, LogPartitionMonitor(every_n_steps=4))
    steps, values = metrics_of(trainer)["prior/log_z"]
    assert steps == [4, 8]
    assert float(module.prior.log_z) == pytest.approx(values[-1])
    assert values[-1] == pytest.approx(module.prior.estimate_log_z().value, abs=1e-5)


def coupled(sampler):
    r"""Returns a module with couplings strong enough to tell temperatures apart."""
    layer = QuantumPriorLayer(4, sampler=sampler, num_samples=4000)
    with torch.no_grad():
        layer.J.normal_(0, 0.5)
    return MaximumLikelihood(layer)


def fit_with(module, folder, *callbacks):
    trainer = quiet_trainer(folder, max_steps=2, limit_val_batches=0, callbacks=list(callbacks))
    trainer.fit(module, BarsAndStripes(side=2, batch_size=60))
    return metrics_of(trainer)


def test_temperature_monitor_warns_of_a_wrong_temperature(tmp_path):
    with pytest.warns(UserWarning, match=r"negative phase is at inverse temperature (1\.9|2\.)"):
        logged = fit_with(coupled(Hot()), tmp_path, TemperatureMonitor(every_n_steps=1))
    assert all(1.5 < beta < 2.5 for beta in logged["prior/beta"][1])


def test_temperature_monitor_does_not_warn_of_the_right_one(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logged = fit_with(coupled(ExactSampler()), tmp_path, TemperatureMonitor(every_n_steps=1))
    assert not [w for w in caught if "inverse temperature" in str(w.message)]
    betas = zip(logged["prior/beta"][1], logged["prior/beta_stderr"][1], strict=True)
    assert all(abs(beta - 1) < 5 * stderr < 0.5 for beta, stderr in betas)


def test_temperature_monitor_leaves_a_transverse_field_alone(tmp_path):
    layer = QuantumPriorLayer(4, gamma=0.5, num_samples=50)
    logged = fit_with(MaximumLikelihood(layer), tmp_path, TemperatureMonitor(every_n_steps=1))
    assert "train/loss" in logged and "prior/beta" not in logged


def test_chains_that_do_not_mix_have_a_high_r_hat(tmp_path):
    def r_hat(scale):
        layer = QuantumPriorLayer(
            CouplingGraph(4, [(0, 1), (1, 2), (2, 3), (0, 3)]),
            sampler=GibbsSampler(1),
            num_samples=50,
        )
        with torch.no_grad():
            layer.J.fill_(-scale)  # two wells, of all spins up and of all down
            layer.h[0] = scale / 2
        module = MaximumLikelihood(layer, optimizer=lambda p: torch.optim.SGD(p, lr=0.0))
        trainer = quiet_trainer(
            tmp_path / str(scale), limit_val_batches=0, callbacks=[ChainDiagnostics(num_draws=32)]
        )
        trainer.fit(module, BarsAndStripes(side=2, batch_size=60, num_repeats=10))
        return metrics_of(trainer)["prior/r_hat"][1][-1]

    assert r_hat(0.2) < 1.1 < 1.5 < r_hat(2.0)


def test_chain_diagnostics_need_some_draws():
    with pytest.raises(ValueError, match="num_draws is 7, but at least 8"):
        ChainDiagnostics(num_draws=7)


class Failing(MachineModule):
    def training_step(self, batch, batch_idx):
        if batch_idx == 3:
            raise RuntimeError("out of luck")
        return super().training_step(batch, batch_idx)


def test_a_failed_training_leaves_what_it_had_learned(tmp_path):
    module = Failing(small_machine())
    trainer = quiet_trainer(tmp_path, callbacks=[CheckpointOnException()])
    with pytest.raises(RuntimeError, match="out of luck"):
        trainer.fit(module, digits())
    path = Path(trainer.log_dir) / "checkpoints" / "on_exception.ckpt"
    assert read_checkpoint(path)["global_step"] == 3
    other = MachineModule(small_machine())
    load_weights(other, path)
    assert same_weights(weights_of(module), weights_of(other))
    assert torch.equal(module.prior.chains.spins, other.prior.chains.spins)


def test_a_failure_before_training_leaves_no_checkpoint(tmp_path):
    class Early(pl.Callback):
        def on_sanity_check_start(self, trainer, pl_module):
            raise RuntimeError("too early")

    trainer = quiet_trainer(tmp_path, callbacks=[Early(), CheckpointOnException()])
    with pytest.raises(RuntimeError, match="too early"):
        trainer.fit(MachineModule(small_machine()), digits())
    assert not list(tmp_path.rglob("*.ckpt"))
