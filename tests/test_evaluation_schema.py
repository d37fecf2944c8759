r"""Reports of `qahm evaluate` are what docs/evaluation.schema.json says that they are."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from small_runs import CONFIGS, fit, qahm

from qahm_torch.cli.measuring import SCHEMA_VERSION
from qahm_torch.ising import all_states
from qahm_torch.training import find_checkpoint, load_run

SCHEMA = json.loads((Path(__file__).parents[1] / "docs/evaluation.schema.json").read_text())
FEW = "--num_particles 5 --num_temperatures 20 --num_chains 32 --num_generated 20 --num_test 20"


def report_of(run, folder, capsys):
    r"""Returns the report as it is printed, and nothing but it."""
    capsys.readouterr()
    assert qahm("evaluate", str(run), *FEW.split(), "--output", str(folder / "a.json")) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    config = yaml.safe_load((CONFIGS / "bars_and_stripes.yaml").read_text())
    config["data"]["init_args"].update(num_repeats=2)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    config["trainer"].update(max_epochs=1, log_every_n_steps=1, **quiet)
    return fit(tmp_path_factory.mktemp("bars"), config)


def test_a_report_of_a_machine_is_as_the_schema_says(fitted, tmp_path, capsys):
    report = report_of(fitted, tmp_path, capsys)
    jsonschema.validate(report, SCHEMA)
    assert report["schema_version"] == SCHEMA_VERSION
    assert set(report) == set(SCHEMA["properties"])
    assert report["likelihood"]["nats_of_original_values"] is None
    assert report == json.loads((tmp_path / "a.json").read_text())


def test_a_report_of_a_prior_alone_is_exact(bars, tmp_path, capsys):
    report = report_of(bars, tmp_path, capsys)
    jsonschema.validate(report, SCHEMA)
    assert report["bound"] is None and report["reconstruction_mse"] is None
    run = load_run(find_checkpoint(bars))
    run.data.setup()
    free = -run.module.layer.free_energy(all_states(16).to(run.module.layer.h)).double().detach()
    data = -run.module.layer.free_energy(run.data.test[:20]).double().detach()
    exact = float((data - free.logsumexp(0)).mean())
    nats = report["likelihood"]["nats"]
    assert nats["value"] == pytest.approx(exact, abs=1e-4)
    assert nats["lower"] <= nats["value"] <= nats["upper"]


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report.pop("schema_version"),
        lambda report: report.update(schema_version=0),
        lambda report: report.update(more=1),
        lambda report: report["likelihood"]["nats"].pop("stderr"),
        lambda report: report["likelihood"]["bits_per_pixel"].update(value="1.5"),
        lambda report: report["prior"].update(num_visible=0),
    ],
)
def test_what_is_no_report_is_refused(change, fitted, tmp_path, capsys):
    report = copy.deepcopy(report_of(fitted, tmp_path, capsys))
    change(report)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(report, SCHEMA)


def test_each_field_of_the_schema_is_described():
    def fields(schema):
        for name, inner in schema.get("properties", {}).items():
            yield name, inner
            yield from fields(inner)

    assert all(inner.get("description") for _, inner in fields(SCHEMA))


def test_the_fewest_bits_are_of_the_most_nats(fitted, tmp_path, capsys):
    bits = report_of(fitted, tmp_path, capsys)["likelihood"]["bits_per_pixel"]
    assert bits["lower"] < bits["upper"] and bits["lower"] <= bits["value"] <= bits["upper"]
