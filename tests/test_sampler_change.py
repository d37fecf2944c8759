r"""A run goes on with another sampler than the one that its checkpoint was written with."""

import pytest
import pytorch_lightning as pl
import torch
from small_runs import BilledDevice, fit, qahm, quiet_trainer, small_config, write_config

from qahm_torch import (
    AnnealedSampler,
    AnnealerSampler,
    ExactSampler,
    Fallback,
    GibbsSampler,
    PathIntegralSampler,
    QuantumPriorLayer,
    TemperingSampler,
)
from qahm_torch.data import BarsAndStripes
from qahm_torch.training import (
    MaximumLikelihood,
    find_checkpoint,
    load_run,
    load_weights,
    read_checkpoint,
)


def annealer():
    return AnnealerSampler(BilledDevice("zephyr", 1, beta=2.0, seed=0), beta=2.0)


CLASSICAL = {
    "Gibbs": lambda: GibbsSampler(1),
    "tempering": lambda: TemperingSampler(1),
    "path integral": lambda: PathIntegralSampler(1),
    "exact": ExactSampler,
    "annealed": lambda: AnnealedSampler(5),
    "annealer": annealer,
    "fallback": lambda: Fallback(annealer(), GibbsSampler(1)),
}
QUANTUM = {"path integral": CLASSICAL["path integral"], "exact": ExactSampler}
PAIRS = [
    *[(0.0, old, new) for old in CLASSICAL for new in CLASSICAL],
    *[(0.7, old, new) for old in QUANTUM for new in QUANTUM],
]
CHAINS = ("Gibbs", "tempering", "path integral")  # those with chains of their own


class Starts(pl.Callback):
    r"""Keeps where the chains of each negative phase started."""

    def __init__(self):
        self.starts = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.starts.append(pl_module.negative.info["start"])


def module_with(kind, gamma):
    torch.manual_seed(0)
    layer = QuantumPriorLayer(4, gamma=gamma, sampler=CLASSICAL[kind](), num_samples=16)
    return MaximumLikelihood(layer)


def trained(module, folder, max_steps, ckpt_path=None):
    starts = Starts()
    settings = {"max_epochs": -1, "limit_val_batches": 0, "logger": False, "callbacks": [starts]}
    trainer = quiet_trainer(folder, max_steps=max_steps, **settings)
    data = BarsAndStripes(side=2, batch_size=6, num_repeats=10)
    trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=ckpt_path is not None)
    return trainer, starts.starts


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder, paths = tmp_path_factory.mktemp("old"), {}
    for gamma, old in {(gamma, old) for gamma, old, _ in PAIRS}:
        paths[gamma, old] = folder / f"{old} {gamma}.ckpt"
        trainer, starts = trained(module_with(old, gamma), folder, max_steps=2)
        trainer.save_checkpoint(paths[gamma, old])
        assert starts[0] == "fresh"
    return paths


def expected_start(old, new):
    if old not in CHAINS or new not in CHAINS:
        return "fresh"
    return "resumed" if old == new else "spins"


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize(("gamma", "old", "new"), PAIRS)
def test_a_run_is_resumed_with_another_sampler(gamma, old, new, checkpoints, tmp_path):
    path = checkpoints[gamma, old]
    assert read_checkpoint(path)["global_step"] == 2
    trainer, starts = trained(module_with(new, gamma), tmp_path, 4, ckpt_path=path)
    assert trainer.global_step == 4 and len(starts) == 2
    if {old, new}.isdisjoint({"annealer", "fallback"}):
        assert starts[0] == expected_start(old, new)


@pytest.mark.parametrize(("gamma", "old", "new"), PAIRS)
def test_weights_go_into_a_model_with_another_sampler(gamma, old, new, checkpoints):
    module = module_with(new, gamma)
    load_weights(module, checkpoints[gamma, old])
    samples = module.prior.draw()
    assert samples.spins.shape == (16, 4) and samples.spins.abs().eq(1).all()


@pytest.mark.slow
def test_the_command_line_takes_another_sampler(fitted, tmp_path):
    def config(class_path, max_epochs):
        config = small_config()
        prior = config["model"]["init_args"]["machine"]["init_args"]["prior"]["init_args"]
        prior["sampler"] = {"class_path": class_path, "init_args": {"num_sweeps": 1}}
        config["trainer"]["max_epochs"] = max_epochs
        return config

    def kind(run):
        chains = read_checkpoint(find_checkpoint(run))["prior_chains"]
        return type(load_run(run).module.prior.sampler).__name__, chains[0]["kind"]

    steps = [
        ("qahm_torch.TemperingSampler", "--finetune", 1),
        ("qahm_torch.PathIntegralSampler", "--ckpt_path", 2),
        ("qahm_torch.GibbsSampler", "--ckpt_path", 3),
        ("qahm_torch.PathIntegralSampler", "--finetune", 1),
        ("qahm_torch.TemperingSampler", "--ckpt_path", 2),
    ]
    kinds, run = [kind(fitted)], fitted
    for number, (class_path, option, max_epochs) in enumerate(steps):
        folder = tmp_path / str(number)
        folder.mkdir()
        told = (config(class_path, max_epochs), option, str(find_checkpoint(run)))
        if option == "--finetune":
            run = fit(folder, *told)
        else:  # goes on in its own folder, wherever the command is given
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                assert qahm("fit", "--config", write_config(folder, told[0]), *told[1:]) == 0
            names = {file.name for file in (run / "checkpoints").glob("last*")}
            assert names == {"last.ckpt"} and not (folder / "runs").exists()
        kinds.append(kind(run))
    assert kinds == [
        ("GibbsSampler", "Chains"),
        ("TemperingSampler", "Ladders"),
        ("PathIntegralSampler", "WorldLines"),
        ("GibbsSampler", "Chains"),
        ("PathIntegralSampler", "WorldLines"),
        ("TemperingSampler", "Ladders"),
    ]
