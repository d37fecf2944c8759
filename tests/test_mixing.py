import math
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from small_runs import digits, metrics_of, quiet_trainer, small_machine

from qahm_torch import CouplingGraph, ExactSampler, GibbsSampler, QuantumPriorLayer, Swept
from qahm_torch.data import BarsAndStripes
from qahm_torch.ising import all_states
from qahm_torch.training import MachineModule, MaximumLikelihood, MixingControl, load_weights


def two_wells(scale):
    graph = CouplingGraph(4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    layer = QuantumPriorLayer(graph, sampler=GibbsSampler(1), num_samples=50)
    with torch.no_grad():
        layer.J.fill_(-scale)  # of all spins up and all down
    return MaximumLikelihood(layer)


def fit(module, folder, control, **settings):
    trainer = quiet_trainer(
        folder, limit_val_batches=0, callbacks=[control], **{"max_epochs": 3, **settings}
    )
    trainer.fit(module, BarsAndStripes(side=2, batch_size=60))
    return trainer


def test_chains_that_do_not_mix_get_more_sweeps(tmp_path):
    torch.manual_seed(0)
    module = two_wells(1.2)
    trainer = fit(module, tmp_path, MixingControl(target=2.0, max_sweeps=6))
    _, sweeps = metrics_of(trainer)["prior/num_sweeps"]
    assert sweeps[0] == 4 and sweeps[-1] == 6  # in steps of at most four times, to the largest
    assert module.prior.sampler.num_sweeps == 6


def test_chains_that_mix_keep_their_sweeps(tmp_path):
    torch.manual_seed(0)
    module = two_wells(0.1)
    fit(module, tmp_path, MixingControl(target=4.0))
    assert module.prior.sampler.num_sweeps == 1


def test_the_number_of_sweeps_follows_the_time():
    control = MixingControl(target=4.0, max_sweeps=100)
    assert control.changed(10, time=8.0, least=5) == 20
    assert control.changed(10, time=1e9, least=5) == 40
    assert control.changed(10, time=float("nan"), least=5) == 40
    assert control.changed(80, time=8.0, least=5) == 100
    assert control.changed(10, time=2.0, least=5) == 10
    assert control.changed(20, time=0.9, least=5) == 10
    assert control.changed(6, time=0.9, least=5) == 5
    assert control.changed(200, time=8.0, least=5) == 200  # the user's own, beyond the largest


class Likelihood(pl.Callback):
    def __init__(self):
        self.values = []

    def on_train_epoch_end(self, trainer, pl_module):
        layer, rows = pl_module.prior, trainer.datamodule.train
        with torch.no_grad():
            log_z = torch.logsumexp(-layer.free_energy(all_states(4).to(layer.h)), 0)
            self.values.append(float(-layer.free_energy(rows).mean() - log_z))


def learned(folder, *controls):
    """Returns the exact likelihood of bars and stripes after each 20 updates."""
    torch.manual_seed(0)
    layer = QuantumPriorLayer(
        CouplingGraph.bipartite(4, 4), hidden=range(4, 8), sampler=GibbsSampler(1), num_samples=50
    )
    module = MaximumLikelihood(layer, optimizer=partial(torch.optim.SGD, lr=0.2))
    likelihood = Likelihood()
    trainer = quiet_trainer(
        folder, max_epochs=16, limit_val_batches=0, callbacks=[likelihood, *controls]
    )
    trainer.fit(module, BarsAndStripes(side=2, batch_size=60, num_repeats=200))
    return likelihood.values


def test_a_training_that_diverges_with_one_sweep_does_not_with_as_many_as_are_needed(tmp_path):
    best_possible = -math.log(6)
    fixed = learned(tmp_path / "fixed")
    controlled = learned(tmp_path / "controlled", MixingControl(max_sweeps=500, num_draws=16))
    assert min(fixed[8:]) < max(fixed[:8]) - 0.5  # up at first, and down later
    assert min(controlled[8:]) > best_possible - 0.4


def test_a_run_that_is_resumed_has_its_sweeps(tmp_path):
    torch.manual_seed(0)
    trainer = fit(two_wells(1.2), tmp_path, MixingControl(target=2.0, max_sweeps=6))
    path = tmp_path / "run.ckpt"
    trainer.save_checkpoint(path)
    module = two_wells(1.2)
    control = MixingControl(2.0, 6, every_n_epochs=10)  # which does not measure again
    other = quiet_trainer(tmp_path / "b", max_epochs=4, limit_val_batches=0, callbacks=[control])
    other.fit(module, BarsAndStripes(side=2, batch_size=60), ckpt_path=path)
    assert module.prior.sampler.num_sweeps == 6


def test_a_prior_that_comes_with_chains_has_its_sweeps_from_the_first_update(tmp_path):
    torch.manual_seed(0)
    unmeasured = MixingControl(every_n_epochs=10)
    fit(two_wells(1.2), tmp_path, unmeasured).save_checkpoint(tmp_path / "run.ckpt")
    module = two_wells(0.0)
    load_weights(module, tmp_path / "run.ckpt")
    assert module.prior.sampler.num_sweeps == 1
    first = FirstSweeps()
    trainer = quiet_trainer(
        tmp_path / "tuned",
        max_epochs=1,
        limit_val_batches=0,
        callbacks=[MixingControl(target=2.0, max_sweeps=6, every_n_epochs=10), first],
    )
    trainer.fit(module, BarsAndStripes(side=2, batch_size=60))
    assert first.sweeps == 6  # 1, 4, 6
    _, logged = metrics_of(trainer)["prior/num_sweeps"]
    assert logged[-1] == 6


class FirstSweeps(pl.Callback):
    """Keeps the number of sweeps that the first update is made with."""

    sweeps = None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.sweeps is None:
            self.sweeps = pl_module.prior.sampler.num_sweeps


def test_sweeps_of_an_inner_sampler_are_found(tmp_path):
    torch.manual_seed(0)
    module = two_wells(1.2)
    module.prior.sampler = Swept(GibbsSampler(1), 1)
    fit(module, tmp_path, MixingControl(target=1e-3), max_epochs=1)
    assert module.prior.sampler.num_sweeps == 4


def test_a_sampler_without_sweeps_is_left_alone(tmp_path):
    machine = small_machine()
    machine.prior.sampler = ExactSampler()
    trainer = quiet_trainer(
        tmp_path, max_epochs=1, limit_val_batches=0, callbacks=[MixingControl()]
    )
    trainer.fit(MachineModule(machine), digits())
    assert "prior/num_sweeps" not in metrics_of(trainer)


def test_what_does_not_fit_is_refused():
    for settings, match in (
        ({"target": 0.0}, "target is 0.0, but"),
        ({"max_sweeps": 0}, "max_sweeps is 0, but"),
        ({"num_draws": 2}, "num_draws is 2, but"),
    ):
        with pytest.raises(ValueError, match=match):
            MixingControl(**settings)
