r"""Training through a device: what is watched, what it costs, and what a checkpoint keeps."""

import warnings
from pathlib import Path

import pytest
import torch
from small_runs import (
    BilledDevice,
    digits,
    metrics_of,
    quiet_trainer,
    same_weights,
    small_machine,
    weights_of,
)

from qahm_torch import (
    AnnealerSampler,
    CouplingGraph,
    EmbeddedPrior,
    Fallback,
    GibbsSampler,
    HelmholtzMachine,
    PlacementSettings,
    ProgramSettings,
    QuantumPriorLayer,
    TrackingSettings,
)
from qahm_torch.data import BarsAndStripes
from qahm_torch.training import (
    ChainBreakMonitor,
    ChainDiagnostics,
    DeviceTemperatureMonitor,
    LogPartitionMonitor,
    MachineModule,
    MaximumLikelihood,
    QPUBudget,
    TemperatureMonitor,
    load_weights,
    read_checkpoint,
)

NUM_STEPS = 4  # of an epoch of `digits`


def device(**settings):
    return BilledDevice("zephyr", 2, **{"beta": 2.0, "seed": 0, **settings})


def module_on(sampler, overlap=False, widths=(74, 12, 6)):
    torch.manual_seed(0)
    return MachineModule(small_machine(sampler, num_samples=100, widths=widths), overlap=overlap)


def embedded_on(sampler):
    torch.manual_seed(0)
    machine = small_machine(widths=(74, 12, 6))
    prior = EmbeddedPrior.on_device(6, sampler, num_samples=100)
    return MachineModule(HelmholtzMachine(machine.recognition, machine.generator, prior))


def fit(module, folder, *callbacks, **settings):
    settings = {"limit_val_batches": 0, "callbacks": list(callbacks), **settings}
    ckpt_path = settings.pop("ckpt_path", None)
    trainer = quiet_trainer(folder, **settings)
    trainer.fit(module, digits(), ckpt_path=ckpt_path, weights_only=ckpt_path is not None)
    return trainer


# What is logged


def test_values_are_logged_once_per_step(tmp_path):
    sampler = AnnealerSampler(device())
    callbacks = [DeviceTemperatureMonitor(1), ChainBreakMonitor(1), QPUBudget(100.0, 1)]
    logged = metrics_of(fit(module_on(sampler), tmp_path, *callbacks))
    before, after = list(range(NUM_STEPS)), list(range(1, NUM_STEPS + 1))
    steps = {name: values[0] for name, values in logged.items() if name.startswith("device/")}
    assert steps == {
        "device/beta": before,
        "device/beta_stderr": before,
        "device/beta_measured": before,
        "device/beta_measured_stderr": before,
        "device/thermal_misfit": before,
        "device/chain_break_fraction": before,
        "device/chain_strength": before,
        "device/clipped": before,
        "device/scale": before,
        "device/qpu_seconds": after,
        "device/qpu_seconds_left": after,
    }
    assert logged["device/beta"][1][-1] == pytest.approx(2.0, rel=0.3)
    spent, left = (logged[f"device/{x}"][1] for x in ("qpu_seconds", "qpu_seconds_left"))
    assert spent == sorted(spent) and spent[-1] == pytest.approx(sampler.account.spent)
    assert all(s + x == pytest.approx(100.0) for s, x in zip(spent, left, strict=True))


def test_values_are_logged_at_every_so_many_steps(tmp_path):
    callbacks = [DeviceTemperatureMonitor(2), ChainBreakMonitor(3), QPUBudget(every_n_steps=4)]
    logged = metrics_of(fit(module_on(AnnealerSampler(device())), tmp_path, *callbacks))
    assert logged["device/beta"][0] == [0, 2]
    assert logged["device/scale"][0] == [0, 3]
    assert logged["device/qpu_seconds"][0] == [4]
    assert "device/qpu_seconds_left" not in logged  # there is no budget


def test_watching_changes_nothing(tmp_path):
    def weights(*callbacks):
        module = module_on(AnnealerSampler(device()))
        fit(module, tmp_path, *callbacks)
        return weights_of(module)

    watched = weights(DeviceTemperatureMonitor(1), ChainBreakMonitor(1), QPUBudget(100.0, 1))
    assert same_weights(weights(), watched)


def test_another_sampler_has_nothing_of_the_kind(tmp_path):
    callbacks = [DeviceTemperatureMonitor(1), ChainBreakMonitor(1), QPUBudget(1.0)]
    with pytest.warns(UserWarning, match="QPUBudget has nothing to do"):
        logged = metrics_of(fit(module_on(GibbsSampler(2)), tmp_path, *callbacks))
    assert not [name for name in logged if name.startswith("device/")]


@pytest.mark.parametrize(("strength", "warned"), [(0.3, True), (6.0, False)])
def test_many_broken_chains_are_told_once(strength, warned, tmp_path):
    sampler = AnnealerSampler(
        device(),
        beta=2.0,
        programming=ProgramSettings(chain_strength=strength),
        tracking=TrackingSettings(misfit_tolerance=99.0),
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(module_on(sampler), tmp_path, ChainBreakMonitor(10))
    messages = [str(w.message) for w in caught]
    told = [message for message in messages if "of the strands of qubits are broken" in message]
    assert len(told) == warned


def test_chains_that_the_prior_learns_are_the_ones_that_count(tmp_path):
    module = embedded_on(AnnealerSampler(device(), beta=2.0))
    with torch.no_grad():
        module.prior.J[module.prior.inside_strands] = 0.0
    with pytest.warns(UserWarning, match="of the strands of qubits are broken"):
        logged = metrics_of(fit(module, tmp_path, ChainBreakMonitor(1)))
    assert logged["device/chain_break_fraction"][1][0] > 0.2


# The budget


def test_budget_is_positive():
    with pytest.raises(ValueError, match="budget is 0, but seconds of QPU time are positive"):
        QPUBudget(0)


@pytest.mark.parametrize("overlap", [False, True])
def test_the_run_stops_before_the_budget_is_exceeded(overlap, tmp_path):
    chip = device()
    module = module_on(AnnealerSampler(chip, beta=2.0), overlap)
    cost = module.prior.sampler.estimate_time(module.prior.graph, 100)
    trainer = fit(module, tmp_path, QPUBudget(3.5 * cost), max_epochs=3)
    assert trainer.global_step == (2 if overlap else 3)
    assert chip.calls == 3 and module.prior.sampler.account.spent <= 3.5 * cost
    twin = module_on(AnnealerSampler(device(), beta=2.0), overlap)
    assert fit(twin, tmp_path, QPUBudget(100 * cost)).global_step == NUM_STEPS


def test_the_samplers_own_budget_stops_the_run_too(tmp_path):
    sampler = AnnealerSampler(device(), beta=2.0)
    cost = sampler.estimate_time(CouplingGraph.complete(6), 100)
    sampler.account.budget = 2.5 * cost
    assert fit(module_on(sampler), tmp_path, QPUBudget()).global_step == 2


def test_a_stopped_run_goes_on_with_a_larger_budget_and_the_same_account(tmp_path):
    def run(budget, **settings):
        chip = device()
        module = module_on(AnnealerSampler(chip, tracking=TrackingSettings(drift=0.0)))
        trainer = fit(module, tmp_path, QPUBudget(budget, 1), max_epochs=2, **settings)
        return chip, module, trainer

    _, reference, _ = run(100.0)
    spent = reference.prior.sampler.account.spent
    _, stopped, trainer = run(0.6 * spent)
    assert 0 < trainer.global_step < 2 * NUM_STEPS
    checkpoint = Path(trainer.log_dir) / "checkpoints" / "out_of_budget.ckpt"
    assert read_checkpoint(checkpoint)["global_step"] == trainer.global_step
    chip, resumed, again = run(100.0, ckpt_path=checkpoint)
    assert again.global_step == 2 * NUM_STEPS
    assert chip.calls == 2 * NUM_STEPS - trainer.global_step  # no calibration
    assert same_weights(weights_of(resumed), weights_of(reference))
    assert resumed.prior.sampler.account.spent == pytest.approx(spent)
    assert metrics_of(again)["device/qpu_seconds"][1][0] > stopped.prior.sampler.account.spent


def test_with_a_fallback_the_run_goes_on_beyond_the_budget(tmp_path):
    chip = device()
    annealer = AnnealerSampler(chip, beta=2.0)
    sampler = Fallback(annealer, GibbsSampler(2))
    cost = annealer.estimate_time(CouplingGraph.complete(6), 100)
    with pytest.warns(UserWarning, match="GibbsSampler stands in"):
        trainer = fit(module_on(sampler), tmp_path, QPUBudget(2.5 * cost))
    assert trainer.global_step == NUM_STEPS and chip.calls == 2


# When the device is called


@pytest.mark.parametrize("overlap", [False, True])
def test_the_device_is_called_once_per_step(overlap, tmp_path):
    chip = device()
    module = module_on(AnnealerSampler(chip, beta=2.0), overlap)
    trainer = fit(module, tmp_path, max_epochs=2)
    assert chip.calls == trainer.global_step == 2 * NUM_STEPS


def test_overlap_trains_on_samples_one_update_old(tmp_path):
    losses = {}
    for overlap in (False, True):
        module = MaximumLikelihood(
            QuantumPriorLayer(4, sampler=AnnealerSampler(device(), beta=2.0), num_samples=1000),
            optimizer=lambda p: torch.optim.Adam(p, 0.05),
        )
        module.overlap = overlap
        trainer = quiet_trainer(tmp_path, max_epochs=10)
        trainer.fit(module, BarsAndStripes(side=2, batch_size=60, num_repeats=20))
        losses[overlap] = metrics_of(trainer)["val/log_likelihood"][1]
    first, last = losses[False][0], losses[False][-1]
    assert last > first + 0.3
    assert losses[True][-1] == pytest.approx(last, abs=0.1)


def test_validation_and_watching_never_call_the_device(tmp_path):
    chip = device()
    callbacks = [LogPartitionMonitor(1), TemperatureMonitor(1), ChainDiagnostics(8)]
    module = module_on(AnnealerSampler(chip, beta=2.0))
    trainer = quiet_trainer(tmp_path, callbacks=callbacks, num_sanity_val_steps=2)
    trainer.fit(module, digits())
    trainer.validate(module, digits(), verbose=False)
    trainer.test(module, digits(), verbose=False)
    assert chip.calls == NUM_STEPS


# What a checkpoint keeps


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    module = module_on(AnnealerSampler(device()))
    trainer = fit(module, folder)
    trainer.save_checkpoint(folder / "last.ckpt")
    return module, folder / "last.ckpt"


def test_a_checkpoint_holds_what_was_learned_of_the_device(trained):
    module, path = trained
    state = torch.load(path, weights_only=True)["prior_sampler"]
    sampler = AnnealerSampler(device())
    sampler.load_state_dict(state)
    graph, known = module.prior.graph, module.prior.sampler
    assert sampler.site(graph).placement == known.site(graph).placement
    assert sampler.site(graph).tracker.beta == known.site(graph).tracker.beta
    assert sampler.account.spent == known.account.spent > 0


def test_a_resumed_run_keeps_placement_temperature_and_account(trained, tmp_path):
    module, path = trained
    chip = device()
    # Another seed would place the model elsewhere.
    resumed = module_on(AnnealerSampler(chip, placement=PlacementSettings(seed=1)))
    before = module.prior.sampler.account.spent
    fit(resumed, tmp_path, max_epochs=2, ckpt_path=path)
    assert chip.calls == NUM_STEPS
    graph, sampler = module.prior.graph, resumed.prior.sampler
    placement = module.prior.sampler.site(graph).placement
    assert sampler.site(graph).placement == placement
    assert sampler.account.spent > before
    assert module.prior.sampler.device.calls > NUM_STEPS  # the twin: calibration is more calls


def test_finetuning_takes_over_the_temperature_but_not_the_account(trained, tmp_path):
    module, path = trained
    chip = device()
    tuned = module_on(AnnealerSampler(chip))
    load_weights(tuned, path)
    sampler, graph = tuned.prior.sampler, module.prior.graph
    assert sampler.account.spent == 0 and sampler.account.num_problems == 0
    assert sampler.site(graph).tracker.beta == module.prior.sampler.site(graph).tracker.beta
    fit(tuned, tmp_path)
    assert chip.calls == NUM_STEPS == sampler.account.num_problems
