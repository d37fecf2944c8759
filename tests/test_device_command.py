r"""`qahm device`, and what the other commands do with a model that was trained on one."""

import json

import pytest
import yaml
from small_runs import CONFIGS, BilledDevice, fit, qahm, write_config

from qahm_torch.training import find_checkpoint, load_run, read_checkpoint

ANNEALER = CONFIGS / "digits_annealer.yaml"
DEVICE = "small_runs.BilledDevice"
SMALL = "{topology: zephyr, shape: 2}"
PNG = b"\x89PNG"


def asked(*arguments):
    r"""Runs `qahm device` on a small chip and returns its exit status; it submits nothing."""
    before = BilledDevice.total
    status = qahm("device", "--device", DEVICE, "--init_args", SMALL, *arguments)
    assert BilledDevice.total == before
    return status


def report_of(capsys, *arguments):
    assert asked("--json", *arguments) == 0
    return json.loads(capsys.readouterr().out)


def annealer_config():
    r"""Returns the shipped configuration on a device that counts, and two epochs of it."""
    config = yaml.safe_load(ANNEALER.read_text())
    prior = config["model"]["init_args"]["machine"]["init_args"]["prior"]["init_args"]
    prior["num_samples"] = 64
    annealer = prior["sampler"]["init_args"]["sampler"]["init_args"]
    annealer["device"]["class_path"] = DEVICE
    annealer["tracking"] = {"misfit_tolerance": 99.0}
    for callback in config["trainer"]["callbacks"][:3]:
        callback["init_args"] = {"every_n_steps": 1}
    config["name"] = "digits"  # the folder that `fit` of the tests looks into
    config["data"]["init_args"].update(num_val=50, num_test=1347)
    config["trainer"].update(
        max_epochs=2, log_every_n_steps=1, enable_progress_bar=False, enable_model_summary=False
    )
    return config


# What a chip is and what fits on it


def test_a_chip_is_described_and_models_are_placed(capsys):
    report = report_of(capsys, "--num_spins", "[4, 12]", "--num_updates", "50")
    chip, (small, large) = report["chip"], report["plans"]
    assert (chip["topology"], chip["shape"], chip["num_qubits"]) == ("zephyr", [2, 4], 160)
    assert chip["num_couplers"] > 1000 and chip["h_range"] == [-4.0, 4.0]
    assert small["fits"] and small["longest_strand"] == 1 == small["mean_strand"]
    assert large["fits"] and large["longest_strand"] > 1 and large["num_qubits"] > 12
    assert large["num_edges"] == 66 and large["num_updates"] == 50
    assert large["qpu_seconds"] == pytest.approx(50 * large["qpu_seconds_per_update"])
    assert 0 < small["qpu_seconds"] < large["qpu_seconds"]


def test_cost_is_by_samples_and_copies(capsys):
    def seconds(*arguments):
        (plan,) = report_of(capsys, "--num_spins", "[4]", *arguments)["plans"]
        return plan["qpu_seconds_per_update"]

    assert seconds("--num_samples", "2000") > seconds("--num_samples", "100")
    assert seconds("--num_samples", "2000", "--copies", "4") < seconds("--num_samples", "2000")


def test_what_does_not_fit_is_told_with_what_does(capsys):
    assert asked("--num_spins", "[8, 100]") == 0
    chip, fits, too_large = capsys.readouterr().out.splitlines()
    assert chip.startswith("simulated_zephyr_2_4: zephyr [2, 4], 160 working qubits")
    assert fits.startswith("  8 spins, 28 couplings: ") and fits.endswith(" min for 1000 updates")
    assert "ms of QPU time for 1000 samples" in fits
    assert too_large.startswith("  100 spins, 4950 couplings: does not fit. ")
    assert "the largest complete graph has" in too_large
    (plan,) = report_of(capsys, "--num_spins", "[100]")["plans"]
    assert not plan["fits"] and "100 spins" in plan["reason"] and "qpu_seconds" not in plan


def test_a_configuration_says_what_its_run_will_cost(tmp_path, capsys):
    path, before = write_config(tmp_path, annealer_config()), BilledDevice.total
    assert qahm("device", "--config", path, "--json", "--num_updates", "200") == 0
    report = json.loads(capsys.readouterr().out)
    (plan,) = report["plans"]
    assert report["chip"]["num_qubits"] == 566
    # All qubits of the strands are spins of the model.
    assert plan["num_spins"] == plan["num_qubits"] > 16 and plan["longest_strand"] == 1
    assert plan["num_samples"] == 64 and plan["num_updates"] == 200
    assert BilledDevice.total == before


def test_the_shipped_configuration_can_be_asked(capsys):
    assert qahm("device", "--config", str(ANNEALER)) == 0
    told = capsys.readouterr().out
    assert "ms of QPU time for 256 samples" in told
    assert "min for 720 updates" in told  # 60 epochs of 1197 images by 100


@pytest.mark.parametrize(
    ("ends", "updates"),
    [
        ({"max_steps": 77, "max_epochs": None}, 77),
        ({"max_steps": 77}, 8),  # 2 epochs of 400 images by 100
        ({"max_steps": 5}, 5),
        ({"max_epochs": None}, 4000),  # Lightning's 1000 epochs
    ],
)
def test_updates_are_those_of_the_configuration(ends, updates, tmp_path, capsys):
    config = annealer_config()
    config["trainer"].update(ends)
    assert qahm("device", "--config", write_config(tmp_path, config)) == 0
    assert f"min for {updates} updates" in capsys.readouterr().out


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "qahm_torch.Nothing"), "that is no class"),
        (("--device", "qahm_torch.GibbsSampler"), "GibbsSampler"),
        (("--init_args", "{shapes: 3}"), "shapes"),
        (("--init_args", "{token: abc}"), "token"),
        (("--config", str(CONFIGS / "digits.yaml")), "no prior with a qahm_torch.AnnealerSampler"),
    ],
)
def test_what_cannot_be_is_told_in_one_message(arguments, message, capsys):
    assert qahm("device", *arguments) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("qahm: error: ") and message in captured.err
    assert "Traceback" not in captured.err and not captured.out


def test_without_credentials_it_is_told_how_to_get_some(tmp_path, monkeypatch, capsys):
    for name in ("DWAVE_API_TOKEN", "DWAVE_PROFILE", "DWAVE_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert qahm("device", "--device", "qpu", "--timeout", "5") == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("qahm: error: ") and "dwave config create" in captured.err
    assert not captured.out


# The other commands on a model that a device has trained


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("annealer"), annealer_config())


def test_the_configuration_trains_on_the_device(trained):
    state = read_checkpoint(find_checkpoint(trained))["prior_sampler"]
    assert state["account"]["measured"] > 0 and len(state["sites"]) == 1
    header = (trained / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"device/beta", "device/chain_break_fraction", "device/qpu_seconds_left"} <= set(header)


def test_a_trained_machine_is_evaluated_without_the_device(trained, tmp_path):
    sizes = "--num_particles 5 --num_chains 32 --num_generated 20 --num_test 50"
    used("evaluate", trained, tmp_path / "report.json", *sizes.split())
    assert json.loads((tmp_path / "report.json").read_text())["prior"]["log_z"]["value"] > 0


def test_a_trained_machine_dreams_without_the_device(trained, tmp_path):
    used("generate", trained, tmp_path / "dreams.png", "--num", "7")
    assert (tmp_path / "dreams.png").read_bytes().startswith(PNG)


def test_a_trained_machine_is_drawn_without_the_device(trained, tmp_path):
    used("report", trained, tmp_path / "figures", "--num", "10")
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"generated.png", "reconstructed.png", "learning_curves.png"}


def used(command, run, output, *arguments):
    r"""Runs a command, which may not submit anything."""
    before, common = BilledDevice.total, ["--num_temperatures", "20", "--output", str(output)]
    assert qahm(command, str(run), *common, *arguments) == 0
    assert BilledDevice.total == before


def test_evaluation_keeps_the_temperature_and_not_the_account(trained):
    sampler = load_run(trained).module.prior.sampler.sampler  # behind the one that stands in
    assert sampler.account.spent == 0 and sampler.account.budget == 600.0
    (learned,) = read_checkpoint(find_checkpoint(trained))["prior_sampler"]["sites"]
    (known,) = sampler.state_dict()["sites"]
    assert known["tracker"] == learned["tracker"] and known["placement"] == learned["placement"]


def test_finetuning_starts_with_the_temperature_and_an_account_of_its_own(trained, tmp_path):
    config = annealer_config()
    config["trainer"]["max_epochs"] = 1
    before = BilledDevice.total
    tuned = fit(tmp_path, config, "--finetune", str(trained))
    state = read_checkpoint(find_checkpoint(tuned))["prior_sampler"]
    whole = read_checkpoint(find_checkpoint(trained))["prior_sampler"]
    steps = read_checkpoint(find_checkpoint(tuned))["global_step"]
    assert BilledDevice.total - before == steps  # no calibration
    assert 0 < state["account"]["num_problems"] <= steps
    assert whole["account"]["num_problems"] > state["account"]["num_problems"]
