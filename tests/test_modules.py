import copy
import math
import pickle
import shutil
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from small_runs import (
    Counting,
    Weighted,
    digits,
    metrics_of,
    quiet_trainer,
    same_weights,
    small_machine,
    weights_of,
)
from test_machine import Independent
from torch._dynamo.exc import TorchDynamoException

from qahm_torch import (
    CouplingGraph,
    ExactSampler,
    GibbsSampler,
    HelmholtzMachine,
    Objective,
    QuantumPriorLayer,
    ReweightedWakeSleep,
    Stages,
    WakeSleep,
)
from qahm_torch.data import BarsAndStripes
from qahm_torch.ising import all_states
from qahm_torch.training import MachineModule, MaximumLikelihood, freeze

OBJECTIVES = {"wake-sleep": WakeSleep, "reweighted": ReweightedWakeSleep}


def adam(lr):
    return lambda groups: torch.optim.Adam(groups, lr=lr)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_training_raises_the_likelihood_and_lowers_the_logged_loss(kind, tmp_path):
    objective = OBJECTIVES[kind](hide_classes=0.5)
    module = MachineModule(small_machine(), objective, optimizer=adam(0.02))
    trainer = quiet_trainer(tmp_path, max_epochs=8)
    trainer.fit(module, digits())
    assert trainer.global_step == 8 * 4
    metrics = metrics_of(trainer)
    steps, losses = metrics["train/loss"]
    assert steps == list(range(32))
    assert sum(losses[-4:]) / 4 < losses[0] - 10
    _, likelihoods = metrics["val/log_likelihood"]
    assert len(likelihoods) == 8 and likelihoods[-1] > likelihoods[0] + 10


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_logged_loss_is_the_weighted_sum_of_its_parts(kind, tmp_path):
    weights = {"wake_phi": 0.5} if kind == "reweighted" else {}
    module = MachineModule(small_machine(), OBJECTIVES[kind](sleep_phi=2.0, **weights))
    trainer = quiet_trainer(tmp_path, max_steps=2, limit_val_batches=0)
    trainer.fit(module, digits())
    metrics = {name: torch.tensor(values) for name, (_, values) in metrics_of(trainer).items()}
    total = metrics["train/wake_theta"] + 2 * metrics["train/sleep_phi"]
    if kind == "reweighted":
        total = total + 0.5 * metrics["train/wake_phi"]
    torch.testing.assert_close(metrics["train/loss"], total)


@pytest.mark.slow
@pytest.mark.parametrize("kind", OBJECTIVES)
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_losses_train_as_others_do(kind, tmp_path):
    # The random numbers are the same, so that only rounding tells the two apart.
    def trained(compile_losses):
        torch.manual_seed(0)
        machine = small_machine(GibbsSampler(2))
        objective = OBJECTIVES[kind](hide_classes=0.5)
        module = MachineModule(machine, objective, compile_losses=compile_losses)
        quiet_trainer(tmp_path, max_steps=4, limit_val_batches=0).fit(module, digits())
        return weights_of(module)

    plain, compiled = trained(False), trained(True)
    assert all(torch.allclose(plain[name], compiled[name], atol=1e-5) for name in plain)


def test_each_stage_is_compiled_once_and_a_copy_begins_anew(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda call, **settings: compiled.append(call) or call)
    objective = Stages([WakeSleep(), ReweightedWakeSleep()], [1])
    module = MachineModule(small_machine(), objective, compile_losses=True)
    trainer = quiet_trainer(tmp_path, max_epochs=3, limit_val_batches=0)
    trainer.fit(module, digits())
    assert [call.__self__ for call in compiled] == objective.objectives
    for number, twin in enumerate((pickle.loads(pickle.dumps(module)), copy.deepcopy(module))):
        twin.training_step(torch.zeros(3, 74), 0).backward()
        assert len(compiled) == 3 + number


def test_what_cannot_be_compiled_is_told(monkeypatch):
    def refuse(function, **settings):
        def compiled(*arguments):
            raise TorchDynamoException("no compiler\nand more of it")

        return compiled

    monkeypatch.setattr(torch, "compile", refuse)
    module = MachineModule(small_machine(), compile_losses=True)
    with pytest.raises(
        ValueError, match=r"WakeSleep cannot be compiled here \(no compiler\); set"
    ):
        module.training_step(torch.zeros(3, 74), 0)


class Nameless(Objective):
    def __call__(self, machine, batch, negative, *, generator=None):
        return {"elbo": batch.sum(), "kl": batch.sum()}


def test_an_objective_names_its_loss():
    module = MachineModule(small_machine(), Nameless())
    told = "the losses of Nameless are named elbo, kl, but one is to be named loss"
    with pytest.raises(ValueError, match=told):
        module.training_step(torch.zeros(3, 74), 0)


def test_stages_follow_the_epochs_of_the_training(tmp_path):
    objective = Stages([WakeSleep(), ReweightedWakeSleep()], [2])
    trainer = quiet_trainer(tmp_path, max_epochs=3, limit_val_batches=0)
    trainer.fit(MachineModule(small_machine(), objective), digits())
    metrics = metrics_of(trainer)
    assert metrics["train/sleep_phi"][0] == list(range(12))
    assert metrics["train/wake_phi"][0] == [8, 9, 10, 11]  # of four updates an epoch


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_sampler_is_called_once_per_update_and_never_in_validation(kind, tmp_path):
    sampler = Counting(GibbsSampler(1))
    module = MachineModule(small_machine(sampler), OBJECTIVES[kind]())
    trainer = quiet_trainer(tmp_path, max_epochs=2, num_sanity_val_steps=1)
    trainer.fit(module, digits())
    assert sampler.calls == trainer.global_step == 8
    trainer.validate(module, digits(), verbose=False)
    trainer.test(module, digits(num_val=400, num_test=50), verbose=False)
    assert sampler.calls == 8


def test_validation_leaves_the_training_as_it_is(tmp_path):
    ends = []
    for every in (1, 3):
        torch.manual_seed(2)
        module = MachineModule(small_machine())
        trainer = quiet_trainer(tmp_path / str(every), max_epochs=3, check_val_every_n_epoch=every)
        trainer.fit(module, digits())
        assert len(metrics_of(trainer)["val/log_likelihood"][1]) == 3 // every
        ends.append(weights_of(module))
    assert same_weights(*ends)


def test_weighted_negative_samples_train(tmp_path):
    module = MachineModule(small_machine(Weighted()), optimizer=adam(0.02))
    trainer = quiet_trainer(tmp_path, max_epochs=6, limit_val_batches=0)
    trainer.fit(module, digits())
    _, losses = metrics_of(trainer)["train/loss"]
    assert sum(losses[-4:]) / 4 < losses[0] - 10


def test_log_z_is_exact_after_validation(tmp_path):
    module = MachineModule(small_machine(), optimizer=adam(0.05))
    trainer = quiet_trainer(tmp_path)
    trainer.fit(module, digits())
    stored = float(module.prior.log_z)
    exact = torch.logsumexp(-module.prior.energy(all_states(6)).detach(), 0)
    assert stored == pytest.approx(float(exact), abs=1e-4)
    assert metrics_of(trainer)["prior/log_z"][1] == pytest.approx([stored])


def test_classes_are_hidden_from_recognition_only_if_there_are_some():
    machine = small_machine(classes=False)
    assert machine.num_classes == 0
    MachineModule(machine)
    with pytest.raises(ValueError, match=r"hide_classes is 0\.5.*the machine has no class units"):
        MachineModule(machine, WakeSleep(hide_classes=0.5))
    with pytest.raises(ValueError, match="class_weight 100, but the machine has no class units"):
        MachineModule(machine, Stages([WakeSleep(), WakeSleep(class_weight=100)], [1]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_particles": 0}, "num_particles is 0, but at least 1 is needed"),
        ({"wake_phi": -1.0}, r"wake_phi is -1\.0, but a weight is not negative"),
        ({"sleep_phi": float("nan")}, "sleep_phi is nan, but a weight is not negative"),
        ({"class_weight": -2.0}, r"class_weight is -2\.0, but a weight is not negative"),
        ({"hide_classes": 1.5}, r"hide_classes is 1\.5"),
        ({"hide_classes": -0.1}, r"hide_classes is -0\.1"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ReweightedWakeSleep(**settings)


def test_validation_needs_a_particle():
    with pytest.raises(ValueError, match="num_val_particles is 0, but at least 1 particle"):
        MachineModule(small_machine(), num_val_particles=0)


def test_frozen_parts_stay_and_the_others_move(tmp_path):
    module = MachineModule(small_machine(), ReweightedWakeSleep())
    frozen = ["machine.recognition", "machine.prior.J"]
    freeze(module, frozen)
    before = weights_of(module)
    quiet_trainer(tmp_path, limit_val_batches=0).fit(module, digits())
    after = weights_of(module)
    for name, value in before.items():
        assert torch.equal(value, after[name]) == name.startswith(tuple(frozen)), name


def test_freezing_what_is_not_there_names_the_prefix():
    with pytest.raises(
        ValueError, match=r"no parameter begins with 'machine\.encoder'; there are"
    ):
        freeze(MachineModule(small_machine()), ["machine.encoder"])


def test_all_frozen_is_an_error(tmp_path):
    module = MachineModule(small_machine())
    freeze(module, ["machine."])
    with pytest.raises(ValueError, match="all parameters are frozen"):
        quiet_trainer(tmp_path).fit(module, digits())


def test_prior_has_a_learning_rate_of_its_own():
    module = MachineModule(small_machine(), optimizer=adam(0.01), prior_lr=0.5)
    rest, prior = module.configure_optimizers().param_groups
    assert rest["lr"] == 0.01 and prior["lr"] == 0.5
    assert {id(p) for p in prior["params"]} == {id(p) for p in module.prior.parameters()}
    assert len(rest["params"]) + len(prior["params"]) == len(list(module.parameters()))
    freeze(module, ["machine.prior"])
    (only,) = module.configure_optimizers().param_groups
    assert only["lr"] == 0.01


def test_schedule_is_stepped_per_epoch(tmp_path):
    module = MachineModule(
        small_machine(),
        optimizer=adam(0.01),
        prior_lr=0.5,
        lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1),
    )
    trainer = quiet_trainer(tmp_path, max_epochs=2, limit_val_batches=0)
    trainer.fit(module, digits())
    rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
    assert rates == pytest.approx([0.0001, 0.005])


class Rates(pl.Callback):
    r"""Keeps the learning rates of the groups at each update."""

    def __init__(self):
        self.rates = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append([group["lr"] for group in optimizer.param_groups])


def halving(optimizer):
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)


def test_schedule_is_stepped_per_update_where_that_is_asked_for(tmp_path):
    module = MachineModule(
        small_machine(),
        optimizer=adam(0.01),
        prior_lr=0.5,
        lr_scheduler=halving,
        lr_scheduler_interval="step",
    )
    rates = Rates()
    # Of accumulated batches, two are one update.
    trainer = quiet_trainer(
        tmp_path,
        max_epochs=2,
        limit_train_batches=4,
        limit_val_batches=0,
        accumulate_grad_batches=2,
        callbacks=[rates],
    )
    trainer.fit(module, digits())
    halves = [0.5**k for k in range(4)]
    assert rates.rates == [pytest.approx([0.01 * half, 0.5 * half]) for half in halves]


def test_schedule_of_a_prior_alone_is_stepped_per_update_too(tmp_path):
    data = BarsAndStripes(3, batch_size=4)
    layer = QuantumPriorLayer(data.num_visible, num_samples=16)
    module = MaximumLikelihood(
        layer, optimizer=adam(0.01), lr_scheduler=halving, lr_scheduler_interval="step"
    )
    rates = Rates()
    settings = {"max_epochs": 1, "limit_train_batches": 3, "limit_val_batches": 0}
    trainer = quiet_trainer(tmp_path, callbacks=[rates], **settings)
    trainer.fit(module, data)
    assert rates.rates == [pytest.approx([rate]) for rate in (0.01, 0.005, 0.0025)]


def test_another_interval_is_refused():
    with pytest.raises(ValueError, match="lr_scheduler_interval is 'batch', but"):
        MachineModule(small_machine(), lr_scheduler_interval="batch")


def exact_loss(layer, data):
    layer.estimate_log_z()
    return -layer(data).mean().item()


LAYERS = {
    "visible": lambda sampler: QuantumPriorLayer(9, sampler=sampler, num_samples=100),
    "hidden": lambda sampler: QuantumPriorLayer(
        CouplingGraph.bipartite(9, 6), hidden=range(9, 15), sampler=sampler, num_samples=100
    ),
    "connected hidden": lambda sampler: QuantumPriorLayer(
        12, hidden=range(9, 12), sampler=sampler, num_samples=100
    ),
}


@pytest.mark.parametrize("negative", ["sampler", "data"])
@pytest.mark.parametrize("kind", LAYERS)
def test_maximum_likelihood_learns_bars_and_stripes(kind, negative, tmp_path):
    layer = LAYERS[kind](GibbsSampler(2))
    data = BarsAndStripes(side=3, batch_size=70, num_repeats=25)
    data.setup()
    before = exact_loss(layer, data.train)
    module = MaximumLikelihood(layer, negative, optimizer=adam(0.02))
    trainer = quiet_trainer(tmp_path, max_epochs=20, limit_val_batches=0)
    trainer.fit(module, data)
    assert trainer.global_step == 100
    assert exact_loss(layer, data.train) < before - 2


def test_maximum_likelihood_with_weighted_samples(tmp_path):
    layer = QuantumPriorLayer(4, sampler=Weighted())
    data = BarsAndStripes(side=2, batch_size=6, num_repeats=1)
    data.setup()
    module = MaximumLikelihood(layer, optimizer=adam(0.1))
    quiet_trainer(tmp_path, max_epochs=200, limit_val_batches=0).fit(module, data)
    # A maximum of the likelihood has the moments of the data.
    states = all_states(4).float()
    p = torch.softmax(-layer.energy(states).detach(), 0)
    moments = (states.T * p) @ states
    expected = data.train.T @ data.train / len(data.train)
    torch.testing.assert_close(moments, expected, rtol=0, atol=0.01)


def test_maximum_likelihood_validates_without_the_sampler(tmp_path):
    sampler = Counting(ExactSampler())
    layer = QuantumPriorLayer(4, sampler=sampler, num_samples=100)
    module = MaximumLikelihood(layer)
    trainer = quiet_trainer(tmp_path, max_epochs=2)
    data = BarsAndStripes(side=2, batch_size=60, num_repeats=40)
    trainer.fit(module, data)
    assert sampler.calls == trainer.global_step == 8
    logged = metrics_of(trainer)["val/log_likelihood"][1]
    assert logged[-1] == pytest.approx(-exact_loss(layer, data.val), abs=1e-5)


def test_any_prior_is_trained_by_maximum_likelihood(tmp_path):
    prior = Independent(4)
    data = BarsAndStripes(side=2, batch_size=6, num_repeats=1)
    data.setup()
    with torch.no_grad():
        prior.logits.copy_(torch.tensor([2.0, -2.0, 1.0, -1.0]))
    module = MaximumLikelihood(prior, optimizer=adam(0.1))
    trainer = quiet_trainer(tmp_path, max_epochs=200, check_val_every_n_epoch=100)
    trainer.fit(module, data)
    # Bars and stripes have as many spins up as down at each pixel.
    assert prior.logits.detach().abs().max() < 0.05
    logged = metrics_of(trainer)
    assert logged["val/log_likelihood"][1][-1] == pytest.approx(-4 * math.log(2), abs=0.01)
    assert not [name for name in logged if name.startswith("prior/")]


def test_what_needs_a_boltzmann_machine_is_refused_to_other_priors():
    with pytest.raises(ValueError, match="negative is 'data', but Independent is no Boltzmann"):
        MaximumLikelihood(Independent(4), "data")
    plain = small_machine()
    machine = HelmholtzMachine(plain.recognition, plain.generator, Independent(6))
    with pytest.raises(ValueError, match="overlap is true, but Independent is no Boltzmann"):
        MachineModule(machine, overlap=True)


def test_where_the_chains_start_is_checked():
    with pytest.raises(
        ValueError, match="negative is 'model', but there are 'sampler' and 'data'"
    ):
        MaximumLikelihood(QuantumPriorLayer(4), "model")


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_fused_steps_are_clipped_in_bfloat16(tmp_path, algorithm):
    torch.manual_seed(0)
    optimizer = partial(torch.optim.SGD, lr=1.0, fused=True)
    module = MachineModule(small_machine(), optimizer=optimizer)
    before = weights_of(module)
    quiet_trainer(
        tmp_path,
        max_steps=1,
        limit_val_batches=0,
        precision="bf16-mixed",
        gradient_clip_val=1e-3,
        gradient_clip_algorithm=algorithm,
    ).fit(module, digits())
    names = [name for name, _ in module.named_parameters()]
    steps = torch.cat([(weights_of(module)[n] - before[n]).flatten() for n in names])
    size = steps.norm() if algorithm == "norm" else steps.abs().max()
    torch.testing.assert_close(size, torch.tensor(1e-3), rtol=1e-3, atol=0)
