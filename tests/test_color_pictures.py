r"""Pictures in color: from a folder of images, through training, to what is drawn."""

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from PIL import Image
from small_runs import fit, qahm, quiet_trainer, small_config

import qahm_torch as qt
from qahm_torch.data import ImageFolder, TensorData
from qahm_torch.evaluation import generated_and_nearest, image_grid, save_figure
from qahm_torch.training import MachineModule, SampleGrid, load_run

BLUE, ORANGE = (20, 60, 230), (250, 165, 0)
# Of an image of 4 x 4 pixels in a figure: its side, from it to the next one, what is around all.
SIDE, STEP, MARGIN = 96, 120, 16


def levels(path):
    r"""The levels of a picture, (rows, columns, 3) in 0, ..., 255."""
    pixels = np.round(imread(path) * 255).astype(int)
    assert (pixels[..., 3] == 255).all()
    return pixels[..., :3]


def save_images(folder, color, number, jitter=3):
    folder.mkdir(parents=True)
    for k in range(number):
        red, green, blue = color
        shade = (red, green + jitter * (k % 6), blue)
        Image.new("RGB", (7, 5), shade).save(folder / f"{k:02}.png")


def test_red_green_and_blue_are_where_they_belong(tmp_path):
    image = Image.new("RGB", (2, 2))
    corners = [(255, 0, 0), (0, 200, 0), (0, 0, 255), (10, 20, 30)]
    for k, color in enumerate(corners):
        image.putpixel((k % 2, k // 2), color)
    image.save(tmp_path / "a.png")
    data = ImageFolder(tmp_path, size=(2, 2), color=True)
    data.setup()
    assert data.image_shape == (2, 2, 3)
    save_figure(image_grid(data.train.view(-1, *data.image_shape)), tmp_path / "grid.png")
    pixels = levels(tmp_path / "grid.png")
    assert pixels.shape == (2 * MARGIN + SIDE, 2 * MARGIN + SIDE, 3)
    image = pixels[MARGIN:-MARGIN, MARGIN:-MARGIN]
    quarters = [image[:48, :48], image[:48, 48:], image[48:, :48], image[48:, 48:]]
    assert [np.unique(q.reshape(-1, 3), axis=0).tolist() for q in quarters] == [
        [list(color)] for color in corners
    ]
    # around it, white
    assert (pixels.sum((0, 1)) - image.sum((0, 1)) == 255 * (128**2 - SIDE**2)).all()


def test_gaps_in_color_are_white_and_both_panels_in_color(tmp_path):
    red = torch.tensor([1.0, -1, -1]).expand(3, 4, 4, 3)
    figure = generated_and_nearest(red, red.roll(1, -1), columns=2)
    above, below = (axes.images[0].get_array() for axes in figure.axes)
    for shown, color in ((above, [255, 0, 0]), (below, [0, 255, 0])):
        colors, counts = np.unique(shown.reshape(-1, 3), axis=0, return_counts=True)
        found = dict(zip(map(tuple, colors.tolist()), counts.tolist(), strict=True))
        assert found == {tuple(color): 3 * 16, (255, 255, 255): 81 - 3 * 16}


@pytest.mark.parametrize("ending", ["pdf", "svg"])
def test_papers_take_colors_too(ending, tmp_path):
    save_figure(image_grid(torch.rand(4, 4, 4, 3) * 2 - 1), tmp_path / f"a.{ending}")
    assert (tmp_path / f"a.{ending}").stat().st_size > 1000


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(4, 3, 8, 8), r"in color: put colors last by images.movedim\(1, -1\)"),
        (torch.zeros(4, 8, 8, 4), r"\(4, 8, 8, 4\), but images have \(n, rows, cols\), or \(n, r"),
        (torch.full((1, 4, 4, 3), 255.0), r"from 255 to 255, but they lie in \[-1, 1\]"),
        (torch.full((1, 4, 4, 3), torch.nan), "images has values from nan"),
    ],
)
def test_what_is_no_image_in_color_is_refused(images, message):
    with pytest.raises(ValueError, match=message):
        image_grid(images)


def test_values_that_units_have_beyond_the_ends_are_drawn_as_the_ends(tmp_path):
    # A normal unit knows no ends.
    units = qt.NormalUnits(48)
    networks = qt.BeliefNetwork([48, 2]), qt.BeliefNetwork([2, 48], output=units)
    with torch.no_grad():
        for parameter in networks[1].parameters():
            parameter.fill_(0.0)
        (biases,) = (p for p in networks[1].parameters() if p.shape[-1:] == (96,))
        biases[:48] = torch.tensor([1.7, -1.7, -1.7]).repeat(16)
    machine = qt.HelmholtzMachine(*networks, qt.QuantumPriorLayer(2, num_samples=8))
    data = TensorData(torch.zeros(8, 4, 4, 3))
    module = MachineModule(machine, optimizer=lambda p: torch.optim.SGD(p, lr=1e-9))
    trainer = quiet_trainer(tmp_path, limit_val_batches=0, callbacks=[SampleGrid(num_images=6)])
    trainer.fit(module, data)
    (picture,) = tmp_path.rglob("*.png")
    pixels = levels(picture)
    assert pixels.shape == (2 * MARGIN + STEP + SIDE, 2 * MARGIN + 2 * STEP + SIDE, 3)
    assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [[255, 0, 0], [255, 255, 255]]


@pytest.fixture(scope="module")
def color_run(tmp_path_factory):
    r"""A run of a small machine on a folder of blue and of orange images."""
    folder = tmp_path_factory.mktemp("colors")
    save_images(folder / "images" / "blue", BLUE, 60)
    save_images(folder / "images" / "orange", ORANGE, 60)
    config = small_config(widths=(50, 6, 4))
    model = config["model"]["init_args"]
    parts = model["machine"]["init_args"]["generator"]["init_args"]["output"]["init_args"]["parts"]
    for part, num_units in zip(parts, (48, 2), strict=True):
        part["init_args"]["num_units"] = num_units
    model["optimizer"]["init_args"]["lr"] = 0.03
    settings = {"path": str(folder / "images"), "size": [4, 4], "color": True}
    settings.update(batch_size=20, num_test=12)
    config["data"] = {"class_path": "qahm_torch.data.ImageFolder", "init_args": settings}
    config["trainer"].update(max_epochs=20, limit_val_batches=0)
    callbacks = [c for c in config["trainer"]["callbacks"] if "Monitor" not in c["class_path"]]
    callbacks[0]["init_args"] = {"num_images": 12, "every_n_epochs": 20}
    config["trainer"]["callbacks"] = callbacks
    return fit(folder, config)


def kinds(pixels, left, top, columns, rows=1):
    r"""Which color each image of a grid has on average, "blue", "orange" or neither."""
    found = []
    for place in range(rows * columns):
        y, x = top + place // columns * STEP, left + place % columns * STEP
        mean = pixels[y : y + SIDE, x : x + SIDE].mean((0, 1))
        near = {
            name: np.abs(mean - color).max() < 60
            for name, color in {"blue": BLUE, "orange": ORANGE}.items()
        }
        found.append(next((name for name, is_near in near.items() if is_near), str(mean)))
    return found


@pytest.mark.slow
def test_dreams_of_a_class_have_its_color(color_run, tmp_path, capsys):
    out = tmp_path / "dreams.png"
    few = ["--num", "6", "--num_temperatures", "20", "--output", str(out)]
    for label, name in enumerate(["blue", "orange"]):
        assert qahm("generate", str(color_run), "--class", str(label), *few) == 0
        pixels = levels(out)
        # whole rows: two of three
        assert pixels.shape == (2 * MARGIN + STEP + SIDE, 2 * MARGIN + 2 * STEP + SIDE, 3)
        assert kinds(pixels, MARGIN, MARGIN, columns=3, rows=2) == 6 * [name]
    (picture,) = (color_run / "pictures").iterdir()
    dreamed = kinds(levels(picture), MARGIN, MARGIN, columns=4, rows=3)
    assert set(dreamed) == {"blue", "orange"}


@pytest.mark.slow
def test_a_report_is_in_color(color_run, tmp_path, capsys):
    few = ["--num", "8", "--num_temperatures", "20", "--output", str(tmp_path)]
    assert qahm("report", str(color_run), *few) == 0
    pixels = levels(tmp_path / "generated.png")
    # Generated images begin below a title, and their nearest stand further down in the same order.
    generated = kinds(pixels, MARGIN, 52, columns=4, rows=2)
    nearest = kinds(pixels, MARGIN, 52 + STEP + SIDE + 52, columns=4)
    assert set(generated) <= {"blue", "orange"} and generated[:4] == nearest
    # Five rows of ten: the test data, and twice two that come back.
    pixels = levels(tmp_path / "reconstructed.png")
    assert pixels.shape[0] == 2 * MARGIN + 4 * STEP + SIDE
    left = pixels.shape[1] - MARGIN - 9 * STEP - SIDE
    rows = [kinds(pixels, left, MARGIN + k * STEP, columns=10) for k in range(5)]
    data, places = load_run(color_run).data, [round(k * 11 / 9) for k in range(10)]
    data.setup()
    assert rows[0] == [["blue", "orange"][k] for k in data.test[places, 48:].argmax(-1)]
    assert set(rows[0]) == {"blue", "orange"} and rows[1:] == 4 * rows[:1]
    # To their left there are words in gray.
    words = pixels[:, : left - 1]
    assert (words == words[..., :1]).all() and (words < 100).any(1).any(1).sum() > 5 * 10


@pytest.mark.slow
def test_pixels_in_color_are_hidden_as_wholes_and_filled_in(color_run, tmp_path, capsys):
    out = tmp_path / "filled.npz"
    few = ["--num_particles", "10", "--output", str(out)]
    for options, number in ((["--fraction", "0.25"], 4), (["--block", "[2,3]"], 6)):
        assert qahm("complete", str(color_run), *options, *few) == 0
        with np.load(out) as arrays:
            true, hidden, completed = (arrays[name] for name in ("true", "hidden", "completed"))
        pixels = hidden[:, :48].reshape(12, 16, 3)
        assert (pixels.any(-1) == pixels.all(-1)).all()
        assert (pixels.all(-1).sum(-1) == number).all() and hidden[:, 48:].all()
        assert np.abs(completed - true)[:, :48].max() < 0.5
        picture = levels(out.with_suffix(".png"))
        left = picture.shape[1] - MARGIN - 9 * STEP - SIDE
        shown = [kinds(picture, left, MARGIN + k * STEP, columns=10) for k in range(4)]
        assert shown[0] == shown[2] == shown[3]  # of true data, of means and of draws
        assert set(shown[0]) == {"blue", "orange"}
        # What is not seen is gray.
        row = picture[MARGIN + STEP : MARGIN + STEP + SIDE, left:-MARGIN].reshape(-1, 3)
        num_gray = ((row == 127) | (row == 128)).all(-1).sum()
        assert num_gray == 10 * number * (SIDE // 4) ** 2
