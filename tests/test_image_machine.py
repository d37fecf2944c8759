r"""A folder of one's own images: its machine, its configuration, and its classes by name."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import qahm

import qahm_torch as qt
from qahm_torch.cli.file_rows import class_named, rows_of_file
from qahm_torch.cli.mistakes import UsageError
from qahm_torch.data import ImageFolder
from qahm_torch.evaluation import pictures
from qahm_torch.training import load_run

COLORS = {"a long way to the sea": (20, 40, 220), "oranges": (240, 150, 20)}
SHORT = ["--trainer.max_epochs", "60", "--trainer.enable_progress_bar", "false"]


def write_images(folder, classes, num=50):
    draw = np.random.default_rng(0)
    for name, color in classes.items():
        (folder / name).mkdir(parents=True)
        for k in range(num):
            noise = draw.integers(-15, 16, (5, 4, 3))
            pixels = (np.array(color) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{k}.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    write_images(folder / "mine", COLORS)
    words = ["--data.path", "mine", "--data.size", "[4, 4]", "--data.color", "true"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        more = ["--data.batch_size", "10"]
        assert qahm("fit", "--config", "images", *words, *more, *SHORT) == 0
    return folder / "runs" / "images" / "version_0"


@pytest.fixture(autouse=True)
def _there(run, monkeypatch):
    monkeypatch.chdir(run.parents[2])


def test_a_folder_is_trained_on_by_one_line(run):
    loaded = load_run(run)
    machine = loaded.module.machine
    assert isinstance(machine, qt.ImageMachine)
    assert machine.recognition.widths == (50, 32) and machine.num_classes == 2
    assert (loaded.data.num_val, loaded.data.num_test) == (10, 10)
    assert "units" not in (run / "config.yaml").read_text()


def test_classes_are_the_names_of_the_folders(run, capsys):
    assert qahm("classify", str(run)) == 0
    assert "accuracy 100.0 %" in capsys.readouterr().out
    with open(run / "classes.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["class"] for row in rows} == {row["known_class"] for row in rows} == set(COLORS)


@pytest.mark.parametrize("name", COLORS)
def test_dreams_of_a_class_by_its_name_are_of_its_color(run, tmp_path, name):
    out, few = tmp_path / "dreams.pt", ["--num", "6", "--num_temperatures", "20"]
    words = ["--output", str(tmp_path / "a.png"), "--tensor", str(out)]
    assert qahm("generate", str(run), "--class", name, *few, *words) == 0
    pixels = torch.load(out)[:, :48].unflatten(1, (16, 3)).mean(1)
    distances = torch.cdist(pixels, torch.tensor([*COLORS.values()]) / 127.5 - 1)
    assert distances.argmin(-1).tolist() == 6 * [list(COLORS).index(name)]


def test_captions_are_names_that_fit(run, tmp_path, monkeypatch):
    figures = []
    saved = pictures._draw_panels
    monkeypatch.setattr(
        pictures, "_draw_panels", lambda panels: figures.extend(panels[1:]) or saved(panels)
    )
    few = ["--num", "8", "--num_temperatures", "20", "--output", str(tmp_path)]
    assert qahm("report", str(run), *few) == 0
    (nearest,) = figures
    assert set(nearest.captions) == set(COLORS)
    short = pictures._shortened("a long way to the sea", 96)
    assert short.startswith("a long") and short.endswith("…")
    assert (
        pictures._pixels_wide(short, 6.5)
        <= 96
        < pictures._pixels_wide(short[:-1] + " w", 6.5) + 20
    )
    assert pictures._shortened("7", 96) == "7" and pictures._shortened("W", 1) == "W"


def test_labels_of_a_file_are_names(run, tmp_path):
    data = load_run(run).data
    path, header = tmp_path / "rows.csv", ",".join([*map(str, range(48)), "label"])
    path.write_text("\n".join([header, "0.5," * 48 + "oranges", "0.5," * 48]))
    units = rows_of_file(data, path)[:, 48:]
    assert units[0].tolist() == [-1, 1] and bool(units[1].isnan().all())
    path.write_text("\n".join([header, "0.5," * 48 + "lemons"]))
    with pytest.raises(
        ValueError, match=r"holds 'lemons' in row 1, but classes are a long way to"
    ):
        rows_of_file(data, path)


@pytest.mark.parametrize(("text", "number"), [("oranges", 1), ("0", 0), ("1", 1)])
def test_a_class_is_named_or_numbered(run, text, number):
    assert class_named(load_run(run).data, text) == number


@pytest.mark.parametrize("text", ["lemons", "2", "-1"])
def test_classes_that_are_none_are_refused_with_those_that_are(run, text):
    with pytest.raises(UsageError, match="the classes are a long way to the sea, oranges"):
        class_named(load_run(run).data, text)


def test_units_are_those_of_the_pixels(tmp_path):
    folder = write_images(tmp_path, {"all": (90, 90, 90)}, num=4) / "all"
    bits = ImageFolder(folder, (2, 3), binary=True)
    levels = ImageFolder(folder, (2, 3), color=True, num_val=0.25, num_test=1)
    assert isinstance(bits.units, qt.Spins) and bits.units.num_units == 6
    assert isinstance(levels.units, qt.DiscretizedLogistic) and levels.units.num_units == 18
    assert bits.class_names == [] and (levels.num_val, levels.num_test) == (1, 1)
    for data in (bits, levels):
        data.setup()
        assert (
            data.units(torch.zeros(data.units.num_parameters))
            .log_prob(data.train)
            .isfinite()
            .all()
        )
    with pytest.raises(
        ValueError, match=r"num_val is 0\.5\d*|num_val is 1.5, but it is a whole num"
    ):
        ImageFolder(folder, num_val=1.5)


def test_a_machine_that_has_no_units_says_where_they_are():
    with pytest.raises(
        ValueError, match="units are None, but an ImageMachine takes those of a da"
    ):
        qt.ImageMachine(None, qt.QuantumPriorLayer(4))
    with pytest.raises(ValueError, match="hidden is 0"):
        qt.ImageMachine(qt.Spins(4), qt.QuantumPriorLayer(4), hidden=[0])


def test_a_machine_comes_back(tmp_path):
    machine = qt.ImageMachine(qt.Spins(16), qt.QuantumPriorLayer(4), hidden=[8, 6])
    machine.save(tmp_path / "a.pt")
    again = qt.HelmholtzMachine.load(tmp_path / "a.pt")
    assert isinstance(again, qt.ImageMachine) and again.hidden == (8, 6)
    spins = torch.ones(3, 4)
    own, others = machine.eval().generator.mean(spins), again.eval().generator.mean(spins)
    torch.testing.assert_close(others, own)
