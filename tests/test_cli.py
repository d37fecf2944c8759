import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import yaml
from small_runs import CONFIGS, fit, qahm, same_weights, small_config, weights_of, write_config

import qahm_torch
from qahm_torch.cli.fit import QahmCLI
from qahm_torch.data import OptDigits
from qahm_torch.training import MachineModule, find_checkpoint, load_run, read_checkpoint

PNG = b"\x89PNG"


def test_fit_leaves_a_whole_run_folder(fitted):
    assert fitted.parts[-3:] == ("runs", "digits", "version_0")
    names = {p.name for p in fitted.iterdir()}
    assert {"config.yaml", "metrics.csv", "hparams.yaml", "checkpoints", "pictures"} <= names
    assert [p for p in fitted.glob("events.out.tfevents.*") if p.stat().st_size > 0]
    assert (fitted / "checkpoints" / "last.ckpt").is_file()
    assert len(list((fitted / "pictures").glob("*.png"))) == 2
    header = (fitted / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/loss", "val/log_likelihood", "val/accuracy", "prior/log_z"} <= set(header)
    assert "widths" in (fitted / "config.yaml").read_text()
    assert list(fitted.parent.parent.iterdir()) == [fitted.parent]


def test_generate_draws_dreams(fitted, tmp_path, capsys):
    out, tensor = tmp_path / "dreams.png", tmp_path / "dreams.pt"
    arguments = [
        "--num",
        "7",
        "--num_temperatures",
        "20",
        "--output",
        str(out),
        "--tensor",
        str(tensor),
    ]
    assert qahm("generate", str(fitted), *arguments) == 0
    assert capsys.readouterr().out.split() == [str(out), str(tensor)]
    assert out.read_bytes().startswith(PNG)
    dreams = torch.load(tensor, weights_only=True)
    assert dreams.shape == (7, 74) and dreams.abs().max() <= 1
    assert (dreams[:, 64:].sum(-1) == -8).all()  # one class each
    qahm("generate", str(fitted), *arguments)
    assert torch.equal(torch.load(tensor, weights_only=True), dreams)
    qahm("generate", str(fitted), *arguments, "--seed", "1")
    assert not torch.equal(torch.load(tensor, weights_only=True), dreams)


def test_generate_draws_dreams_of_a_class(fitted, tmp_path, capsys):
    tensor = tmp_path / "dreams.pt"
    where = ["--output", str(tmp_path / "dreams.png"), "--tensor", str(tensor)]
    few = ["--num", "6", "--num_temperatures", "20", *where]
    for label in (0, 7):
        assert qahm("generate", str(fitted), "--class", str(label), *few) == 0
        dreams = torch.load(tensor, weights_only=True)
        assert dreams[:, 64:].argmax(-1).tolist() == [label] * 6
    assert qahm("generate", str(fitted), "--class", "10", *few) == 2
    assert "--class is 10, but the classes are 0 to 9" in capsys.readouterr().err


def test_evaluate_reports_numbers_as_json(fitted, tmp_path, capsys):
    out = tmp_path / "report.json"
    sizes = "--num_particles 5 --num_temperatures 20 --num_chains 32 --num_generated 20"
    arguments = [*sizes.split(), "--num_test", "50", "--output", str(out)]
    assert qahm("evaluate", str(fitted), *arguments) == 0
    report = json.loads(out.read_text())
    printed, told = capsys.readouterr()
    assert told.splitlines()[0] == f"taken: {find_checkpoint(fitted)}"
    assert json.loads(printed) == report
    assert report["version"] == qahm_torch.__version__
    assert report["checkpoint"] == str(find_checkpoint(fitted))
    assert report["num_test"] == 50
    assert report["data"] == {
        **{"class": "OptDigits", "num_train": 400, "num_val": 50, "num_test": 1347},
    }
    training = report["training"]
    assert training["updates"] == read_checkpoint(find_checkpoint(fitted))["global_step"] == 8
    assert [v["updates"] for v in training["validation"]] == [4, 8]
    assert 0 < training["validation"][0]["seconds"] < training["validation"][1]["seconds"]
    assert all(v["nats"] < 0 for v in training["validation"])
    nats, bits = report["likelihood"]["nats"], report["likelihood"]["bits_per_pixel"]
    assert nats["lower"] <= nats["value"] and nats["num_particles"] == 5
    assert bits["lower"] <= bits["value"] <= bits["upper"]
    assert bits["lower"] < bits["upper"]
    log_z = report["prior"]["log_z"]
    assert log_z["lower"] <= log_z["value"] <= log_z["upper"]
    assert set(report["reconstruction_mse"]) == {"hidden_layer_1", "hidden_layer_2"}
    for errors in report["reconstruction_mse"].values():
        assert 0 < errors["mean_of_16_draws"] < errors["one_draw"] < 4
    accuracies = report["classification_accuracy"]
    assert set(accuracies) == {"importance_weighted", "read_out"}
    assert all(0 <= accuracy <= 1 for accuracy in accuracies.values())
    distances = report["nearest_training_distance"]
    assert set(distances) == {"generated_means", "generated_samples", "test"}
    assert all(distance > 0 for distance in distances.values())


QUICK = "--num_particles 3 --num_temperatures 5 --num_chains 4 --num_generated 4 --num_test 250"


def test_evaluate_shows_how_far_it_is_on_a_terminal_only(fitted, tmp_path, capsys, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    arguments = ["evaluate", str(fitted), *QUICK.split(), "--output", str(tmp_path / "a.json")]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Terminal())
        assert qahm(*arguments) == 0
        watched = sys.stderr.getvalue()
    report = json.loads(capsys.readouterr().out)  # and nothing else
    assert qahm(*arguments) == 0
    printed, told = capsys.readouterr()
    assert "\r" not in told and len(told.splitlines()) == 2
    seconds = {"seconds": report["seconds"]}
    assert json.loads(printed) | seconds == report  # whether or not somebody watches
    frames = [frame.strip() for frame in re.split(r"[\r\n]+", watched) if " of 7)" in frame]
    numbers = [int(re.search(r"\((\d) of 7\)", frame)[1]) for frame in frames]
    assert numbers == sorted(numbers) and set(numbers) == set(range(1, 8))
    assert frames[0] == "log Z (1 of 7)"


def test_report_draws_three_figures(fitted, tmp_path, capsys):
    arguments = ["--num", "10", "--num_temperatures", "20", "--output", str(tmp_path / "figures")]
    assert qahm("report", str(fitted), *arguments) == 0
    names = ["generated.png", "reconstructed.png", "learning_curves.png"]
    paths = [tmp_path / "figures" / name for name in names]
    assert capsys.readouterr().out.split() == [str(path) for path in paths]
    assert all(path.read_bytes().startswith(PNG) for path in paths)


@pytest.mark.parametrize("command", ["test", "validate"])
def test_what_measures_a_model_leaves_nothing_behind(fitted, command, tmp_path, capsys):
    path = Path(write_config(tmp_path, small_config()))
    before = path.read_text()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        checkpoint = str(find_checkpoint(fitted))
        assert qahm(command, "--config", str(path), "--ckpt_path", checkpoint) == 0
    assert "log_likelihood" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [path] and path.read_text() == before


def test_without_a_command_the_usage_is_told(capsys):
    assert qahm() == 2
    assert qahm("--help") == 0
    assert capsys.readouterr().out.count("usage: qahm COMMAND") == 2
    assert qahm("--version") == 0
    assert capsys.readouterr().out.strip() == qahm_torch.__version__


def test_unknown_command_is_named(capsys):
    assert qahm("train") == 2
    captured = capsys.readouterr()
    assert "no command 'train'; there are fit, validate, test" in captured.out + captured.err


@pytest.mark.parametrize("command", ["generate", "evaluate", "report"])
def test_missing_run_is_told_in_one_line(command, tmp_path, capsys):
    missing = str(tmp_path / "runs" / "none")
    assert qahm(command, missing) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"qahm: error: {missing} does not exist")


def test_corrupt_checkpoint_is_told_in_one_line(fitted, tmp_path, capsys, monkeypatch):
    path = tmp_path / "cut.ckpt"
    path.write_bytes(find_checkpoint(fitted).read_bytes()[:5000])
    assert qahm("generate", str(path)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"qahm: error: {path} cannot be read as a checkpoint")
    monkeypatch.setenv("QAHM_TRACEBACK", "1")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        qahm("generate", str(path))


@pytest.mark.parametrize(
    ("place", "key"),
    [
        (("trainer",), "max_epoch"),
        (("model", "init_args"), "prior_rl"),
        (("model", "init_args", "objective", "init_args"), "num_particle"),
        (("model", "init_args", "machine", "init_args"), "generatr"),
        (("data", "init_args"), "batchsize"),
    ],
)
def test_unknown_key_of_a_config_is_named(place, key, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = small_config()
    node = config
    for name in place:
        node = node[name]
    node[key] = 3
    assert qahm("fit", "--config", write_config(tmp_path, config)) == 2
    told = capsys.readouterr().err
    assert told.startswith("qahm: error: ")
    assert key in told
    assert "init_args" not in told  # the rest of the configuration is not repeated
    assert not (tmp_path / "runs").exists()


def test_error_of_a_setting_is_told_in_its_own_words(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = small_config()
    config["model"]["init_args"]["objective"]["init_args"]["hide_classes"] = 1.5
    assert qahm("fit", "--config", write_config(tmp_path, config)) == 2
    assert "hide_classes is 1.5, but a probability is 0 to 1" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configs_parse(path, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "system" in yaml.safe_load(path.read_text()):
        with pytest.raises(SystemExit) as caught:
            qahm("reproduce", "--config", str(path), "--print_config")
        assert caught.value.code == 0
        assert f"name: {path.stem}" in capsys.readouterr().out
        return
    # A chip, and what is added to a belief net, are parts that others take up.
    wholes = {
        "chip_": "mnist16_annealer.yaml",
        "belief_net_": "belief_net.yaml",
        "mnist28_causal_": "mnist28_causal.yaml",
        "mnist28_bits_": "mnist28_bits.yaml",
    }
    found = [whole for prefix, whole in wholes.items() if path.name.startswith(prefix)]
    whole = CONFIGS / found[0] if found else path
    with pytest.raises(SystemExit) as caught:
        qahm("fit", "--config", str(whole), "--config", str(path), "--print_config")
    assert caught.value.code == 0
    assert "class_path" in capsys.readouterr().out


def test_the_number_of_threads_is_a_setting(tmp_path, capsys, monkeypatch):
    config = small_config()
    config["trainer"]["max_epochs"] = 1
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        fit(tmp_path, {**config, "num_threads": None})
        assert torch.get_num_threads() == 2
        fit(tmp_path, {**config, "num_threads": 1})
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    monkeypatch.chdir(tmp_path)
    path = write_config(tmp_path, config)
    assert qahm("fit", "--config", path, "--num_threads", "0") == 2
    assert "num_threads is 0, but at least 1 is needed" in capsys.readouterr().err


def test_parts_of_a_belief_net_combine(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = ("belief_net", "belief_net_3", "belief_net_boltzmann", "belief_net_wake_sleep")
    with pytest.raises(SystemExit):
        qahm("fit", *(word for part in parts for word in ("--config", part)), "--print_config")
    model = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]
    machine = model["machine"]["init_args"]
    widths = [machine[name]["init_args"]["widths"] for name in ("recognition", "generator")]
    assert widths == [[784, 200, 200, 200], [200, 200, 200, 784]]
    assert machine["prior"]["init_args"]["graph_or_n"] == 200
    assert machine["prior"]["init_args"]["num_samples"] == 100
    assert model["prior_lr"] == 3e-4 and model["optimizer"]["init_args"]["lr"] == 2e-3
    assert model["objective"]["class_path"].endswith("WakeSleep")
    assert "num_particles" not in model["objective"]["init_args"]


def test_finetuning_starts_from_the_weights_of_a_run(fitted, tmp_path):
    config = small_config(num_samples=20)
    prior = config["model"]["init_args"]["machine"]["init_args"]["prior"]["init_args"]
    prior["sampler"] = {"class_path": "qahm_torch.ExactSampler"}
    config["model"]["init_args"]["optimizer"]["init_args"]["lr"] = 0.0
    config["model"]["init_args"].pop("lr_scheduler")
    config["trainer"]["max_epochs"] = 1
    tuned = load_run(fit(tmp_path, config, "--finetune", str(fitted)))
    assert same_weights(weights_of(tuned.module), weights_of(load_run(fitted).module))
    assert tuned.module.prior.num_samples == 20
    assert repr(tuned.module.prior.sampler) == "ExactSampler()"


def test_a_finetuned_run_goes_on_without_the_run_it_started_from(fitted, tmp_path, monkeypatch):
    source = shutil.copytree(fitted, tmp_path / "source")
    config = small_config()
    config["trainer"]["max_epochs"] = 1
    run = fit(tmp_path, config, "--finetune", str(source))
    shutil.rmtree(source)
    monkeypatch.chdir(tmp_path)
    lines = ["--config", str(run / "config.yaml"), "--trainer.max_epochs", "2"]
    assert qahm("fit", *lines, "--ckpt_path", str(find_checkpoint(run))) == 0
    assert read_checkpoint(find_checkpoint(run))["epoch"] == 1


def test_finetuning_takes_what_fits_where_that_is_wanted(fitted, tmp_path, capsys):
    config = small_config(widths=(74, 12, 8))
    config["model"]["init_args"]["optimizer"]["init_args"]["lr"] = 0.0
    config["model"]["init_args"].pop("lr_scheduler")
    config["trainer"]["max_epochs"] = 1
    path = write_config(tmp_path, config)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert qahm("fit", "--config", path, "--finetune", str(fitted)) == 1
    assert "is of another model" in capsys.readouterr().err
    tuned = load_run(
        fit(tmp_path, config, "--finetune", str(fitted), "--finetune_partial", "true")
    )
    told = capsys.readouterr().out
    before, after = weights_of(load_run(fitted).module), weights_of(tuned.module)
    same = {n for n, x in before.items() if x.shape == after[n].shape and torch.equal(x, after[n])}
    assert same == {
        "machine.recognition.layers.0.weight",
        "machine.recognition.layers.0.bias",
        "machine.generator.layers.0.bias",
        "machine.generator.layers.1.weight",
        "machine.generator.layers.1.bias",
    }
    for name in before.keys() - same:
        assert f"not taken  {name}" in told or f"not taken  {name.rpartition('.')[0]} (" in told
    for part in ("recognition.layers.0", "generator.layers.1"):
        assert f"taken      machine.{part} (2 tensors)" in told
    assert "taken      machine.generator.layers.0.bias" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "finetune_partial is true, but --finetune names no checkpoint or run"),
        (["--finetune", "runs/none"], "runs/none does not exist"),
    ],
)
def test_taking_what_fits_of_nothing_is_told(arguments, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_config(tmp_path, small_config())
    assert qahm("fit", "--config", path, "--finetune_partial", "true", *arguments) == 1
    assert f"qahm: error: {told}" in capsys.readouterr().err


def test_few_labels_are_reached_from_yaml(tmp_path):
    config = small_config()
    config["data"]["init_args"].update(num_labels=50, label_repeats=3)
    config["trainer"]["max_epochs"] = 1
    folder = fit(tmp_path, config)
    run = load_run(folder)
    run.data.setup()
    assert run.data.train.isnan().any(-1).sum() == 350
    assert all(p.isfinite().all() for p in weights_of(run.module).values())
    figures = ["--num", "5", "--num_temperatures", "10", "--output", str(tmp_path / "figures")]
    assert qahm("report", str(folder), *figures) == 0


def test_a_configuration_steps_the_schedule_per_update(tmp_path):
    config = small_config()
    config["model"]["init_args"]["lr_scheduler_interval"] = "step"
    config["trainer"]["max_epochs"] = 2
    path = find_checkpoint(fit(tmp_path, config))
    checkpoint = torch.load(path, weights_only=False)
    assert checkpoint["lr_schedulers"][0]["last_epoch"] == checkpoint["global_step"] > 2


def test_finetuning_leaves_frozen_parts(fitted, tmp_path):
    arguments = ["--finetune", str(fitted), "--freeze", "[machine.recognition,machine.prior]"]
    config = small_config()
    config["trainer"]["max_epochs"] = 1
    tuned = load_run(fit(tmp_path, config, *arguments))
    before, after = weights_of(load_run(fitted).module), weights_of(tuned.module)
    frozen = ("machine.recognition", "machine.prior")
    for name, value in before.items():
        assert torch.equal(value, after[name]) == name.startswith(frozen), name


def test_finetuning_from_nowhere_is_told_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_config(tmp_path, small_config())
    assert qahm("fit", "--config", path, "--finetune", "runs/none") == 1
    assert "qahm: error: runs/none does not exist" in capsys.readouterr().err


def test_freezing_what_is_not_there_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_config(tmp_path, small_config())
    assert qahm("fit", "--config", path, "--freeze", "[machine.encoder]") == 1
    assert "no parameter begins with 'machine.encoder'" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_validate_and_test_take_the_configuration_of_the_run(
    fitted, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    path = write_config(tmp_path, small_config())
    checkpoint = str(find_checkpoint(fitted))
    for command, key in (("validate", "val/log_likelihood"), ("test", "test/log_likelihood")):
        arguments = [
            "--config",
            path,
            "--ckpt_path",
            checkpoint,
            "--trainer.limit_test_batches",
            "1",
        ]
        assert qahm(command, *arguments) == 0
        assert key in capsys.readouterr().out


def test_help_loads_neither_torch_nor_lightning():
    code = (
        "import sys, qahm_torch.cli as cli; status = cli.main(['--help']); "
        "print(sorted({'torch', 'pytorch_lightning', 'numpy'} & set(sys.modules)), status)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert "usage: qahm COMMAND" in answer.stdout
    assert answer.stdout.splitlines()[-1] == "[] 0"


def test_module_and_script_are_one_command():
    answer = subprocess.run(
        [sys.executable, "-m", "qahm_torch.cli", "--version"], capture_output=True, text=True
    )
    assert (answer.returncode, answer.stdout.strip()) == (0, qahm_torch.__version__)
    script = Path(sys.executable).with_name("qahm")
    if script.exists():
        assert subprocess.run([script, "dance"], capture_output=True).returncode == 2


# Lightning on a newer jsonargparse than it was written for
@pytest.mark.filterwarnings("ignore")
def test_the_parts_of_a_configuration_are_built_without_a_command():
    cli = QahmCLI(
        pl.LightningModule,
        pl.LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        save_config_callback=None,
        args=["--config", str(CONFIGS / "digits.yaml")],
        run=False,
    )
    assert isinstance(cli.model, MachineModule) and isinstance(cli.datamodule, OptDigits)
