r"""A sampler, a prior, an objective and data of one file each, outside the package.

Two configurations name them by class path. Nothing in the package knows of them.
"""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from small_runs import fit, qahm, same_weights, weights_of
from test_resume import same

from qahm_torch.evaluation import read_metrics
from qahm_torch.testing import check_sampler
from qahm_torch.training import load_run, read_checkpoint

FOLDER = Path(__file__).parent / "extension"
CONFIGS = ("toy_sampler", "toy_prior")
PNG = b"\x89PNG"
NUM_STEPS = 24  # three epochs of eight batches
MIDDLE = "step=10.ckpt"  # in the second of them

pytestmark = pytest.mark.filterwarnings("ignore:The dirpath has changed")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    # Sums in another number of threads have other roundings.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", autouse=True)
def _path():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield


@pytest.fixture(scope="module", params=CONFIGS)
def config(request):
    return request.param, yaml.safe_load((FOLDER / f"{request.param}.yaml").read_text())


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    name, content = config
    return fit(tmp_path_factory.mktemp(name), content)


def test_the_package_does_not_know_of_them():
    package = Path(sys.modules["qahm_torch"].__file__).parent
    text = "".join(path.read_text() for path in package.rglob("*.py"))
    names = [path.stem for path in FOLDER.glob("toy_*.py")]
    assert len(names) == 4 and not any(name in text for name in names)


def test_the_sampler_keeps_what_samplers_promise():
    from toy_sampler import Metropolis

    check_sampler(Metropolis(num_sweeps=30))


def test_a_configuration_trains(run):
    metrics = read_metrics(run / "metrics.csv")
    steps, losses = metrics["train/loss"]
    assert steps == list(range(NUM_STEPS))
    assert sum(losses[-8:]) < sum(losses[:8])
    bound, dreams = (torch.tensor(metrics[f"train/{name}"][1]) for name in ("bound", "dreams"))
    torch.testing.assert_close(torch.tensor(losses), dreams - bound)
    assert len(metrics["val/log_likelihood"][1]) == 3
    assert len(list((run / "pictures").glob("*.png"))) == 3


def test_what_belongs_to_boltzmann_machines_is_logged_for_them_only(config, run):
    metrics = read_metrics(run / "metrics.csv")
    known = {"prior/log_z", "prior/beta", "prior/r_hat"}
    assert known & metrics.keys() == (known if config[0] == "toy_sampler" else set())


def test_a_run_is_resumed_bit_for_bit(config, run, tmp_path):
    own = tmp_path / "runs" / "toy" / run.name
    shutil.copytree(run, own)
    middle = own / "checkpoints" / MIDDLE
    assert read_checkpoint(middle)["global_step"] == 10
    again = fit(tmp_path, config[1], "--ckpt_path", str(middle))
    assert again == own
    ends = [read_checkpoint(path / "checkpoints" / "last.ckpt") for path in (run, again)]
    for part in ("state_dict", "prior_chains", "optimizer_states", "rng_states"):
        assert same(ends[0][part], ends[1][part]), part
    # The twin: without the random numbers it ends elsewhere.
    torch.save({**read_checkpoint(middle), "rng_states": None}, tmp_path / "twin.ckpt")
    twin = fit(tmp_path, config[1], "--ckpt_path", str(tmp_path / "twin.ckpt"))
    end = read_checkpoint(twin / "checkpoints" / "last.ckpt")
    assert not same(ends[0]["state_dict"], end["state_dict"])


def test_chains_of_its_own_are_kept_in_checkpoints(run, config):
    (chains,) = read_checkpoint(run / "checkpoints" / "last.ckpt")["prior_chains"]
    if config[0] == "toy_prior":
        assert chains is None
    else:
        assert chains["kind"] == "CountedChains" and chains["moves"].min() > 0


def test_a_run_is_loaded_and_fine_tuned(config, run, tmp_path):
    loaded = load_run(run)
    content = json.loads(json.dumps(config[1]))
    content["model"]["init_args"]["optimizer"] = {
        "class_path": "torch.optim.SGD",
        "init_args": {"lr": 0.0},
    }
    tuned = load_run(fit(tmp_path, content, "--finetune", str(run)))
    assert same_weights(weights_of(loaded.module), weights_of(tuned.module))


def test_a_run_is_evaluated(config, run, tmp_path):
    sizes = "--num_particles 5 --num_temperatures 20 --num_chains 32 --num_generated 20"
    out = tmp_path / "report.json"
    assert qahm("evaluate", str(run), *sizes.split(), "--output", str(out)) == 0
    report = json.loads(out.read_text())
    nats = report["likelihood"]["nats"]
    assert nats["lower"] <= nats["value"] < 0 and nats["num_particles"] == 5
    prior = report["prior"]
    if config[0] == "toy_prior":
        assert prior == {
            "class": "Bernoulli",
            "num_visible": 4,
            "is_boltzmann_machine": False,
            "log_z": None,
        }
        assert nats["lower"] == nats["value"]
    else:
        assert prior["class"] == "QuantumPriorLayer" and prior["is_boltzmann_machine"]
        assert prior["log_z"]["lower"] <= prior["log_z"]["value"] <= prior["log_z"]["upper"]
    assert set(report["reconstruction_mse"]) == {"hidden_layer_1", "hidden_layer_2"}
    assert "classification_accuracy" not in report


def test_a_run_is_drawn(run, tmp_path):
    arguments = ["--num", "10", "--num_temperatures", "20", "--output", str(tmp_path)]
    assert qahm("report", str(run), *arguments) == 0
    for name in ("generated.png", "reconstructed.png", "learning_curves.png"):
        assert (tmp_path / name).read_bytes().startswith(PNG)


def test_a_run_dreams(run, tmp_path):
    out, tensor = tmp_path / "dreams.png", tmp_path / "dreams.pt"
    arguments = ["--num", "9", "--num_temperatures", "20", "--output", str(out)]
    assert qahm("generate", str(run), *arguments, "--tensor", str(tensor)) == 0
    dreams = torch.load(tensor, weights_only=True)
    assert dreams.shape == (9, 7) and dreams.abs().eq(1).all()
    assert out.read_bytes().startswith(PNG)
