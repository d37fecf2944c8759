r"""Pictures and histograms on the boards of loggers, read back or caught on their way."""

import io
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from matplotlib.image import imread
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.logger import Logger
from small_runs import (
    CONFIGS,
    digits,
    fit,
    qahm,
    quiet_trainer,
    same_weights,
    small_config,
    small_machine,
    weights_of,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from qahm_torch import HelmholtzMachine, QuantumPriorLayer
from qahm_torch.data import BarsAndStripes
from qahm_torch.evaluation import image_grid, save_figure
from qahm_torch.training import (
    HyperParameters,
    MachineModule,
    MaximumLikelihood,
    PriorHistograms,
    SampleGrid,
)
from qahm_torch.training.boards import show_histograms

NUM_SPINS = 6


def read(folder):
    r"""Returns all that TensorBoard finds in a folder."""
    board = EventAccumulator(str(folder), size_guidance={"images": 0, "histograms": 0})
    board.Reload()
    return board


def trained(folder, logger, *callbacks, data=None, module=None, **settings):
    r"""Returns the module of two epochs of four steps, each with a validation, and its trainer."""
    torch.manual_seed(3)
    module = module or MachineModule(small_machine())
    settings = {"max_epochs": 2, "callbacks": list(callbacks), "logger": logger, **settings}
    trainer = quiet_trainer(folder, **settings)
    trainer.fit(module, data or digits())
    return module, trainer


def all_callbacks():
    return SampleGrid(num_images=9, num_reconstructed=5), PriorHistograms(), HyperParameters()


def test_tensorboard_has_pictures_and_histograms(tmp_path):
    logger = TensorBoardLogger(tmp_path, "run")
    module, trainer = trained(tmp_path, logger, *all_callbacks())
    board = read(trainer.log_dir)
    assert set(board.Tags()["images"]) == {"dreams", "reconstructed"}
    assert set(board.Tags()["histograms"]) == {"prior/h", "prior/J"}
    for name, folder in (("dreams", "pictures"), ("reconstructed", "pictures/reconstructed")):
        files = sorted(Path(trainer.log_dir, folder).glob("*.png"))
        shown = board.Images(name)
        assert [image.step for image in shown] == [4, 8] and len(files) == 2
        for image, file in zip(shown, files):
            pixels = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
            saved = np.round(imread(file) * 255)[..., :3]
            assert pixels.shape == (image.height, image.width, 3) == saved.shape
            assert (pixels == saved).all()
    num_couplings = NUM_SPINS * (NUM_SPINS - 1) // 2
    for name in ("h", "J"):
        values = getattr(module.prior, name).detach()
        shown = board.Histograms(f"prior/{name}")
        assert [(histogram.step, histogram.histogram_value.num) for histogram in shown] == [
            (step, {"h": NUM_SPINS, "J": num_couplings}[name]) for step in (4, 8)
        ]
        last = shown[-1].histogram_value
        assert (last.min, last.max) == (float(values.min()), float(values.max()))
        assert sum(last.bucket) == last.num and shown[0].histogram_value.max != last.max


def test_boards_leave_the_training_as_it_is(tmp_path):
    plain, _ = trained(tmp_path / "plain", CSVLogger(tmp_path / "plain"))
    logger = TensorBoardLogger(tmp_path, "run")
    watched, _ = trained(tmp_path / "watched", logger, *all_callbacks())
    assert same_weights(weights_of(plain), weights_of(watched))
    assert torch.equal(plain.prior.chains.spins, watched.prior.chains.spins)


def test_a_transverse_field_has_its_histogram(tmp_path):
    field = torch.tensor([0.5, 0.25, 0.5, 1.0])
    module = MaximumLikelihood(QuantumPriorLayer(4, gamma=field, num_samples=50))
    logger = TensorBoardLogger(tmp_path, "run")
    data = BarsAndStripes(side=2, batch_size=60)
    _, trainer = trained(
        tmp_path, logger, PriorHistograms(every_n_epochs=2), SampleGrid(), data=data, module=module
    )
    (shown,) = read(trainer.log_dir).Histograms("prior/gamma")
    assert (shown.histogram_value.num, shown.histogram_value.max) == (4, 1)
    # A prior alone has neither hidden layers nor dreams of its own.
    assert read(trainer.log_dir).Tags()["images"] == []


def test_what_has_diverged_is_left_out_of_histograms(tmp_path):
    trainer = quiet_trainer(tmp_path, logger=TensorBoardLogger(tmp_path, "run"))
    nan, inf = torch.nan, torch.inf
    values = {"some": [1.0, nan, 2.0, -inf], "none": [nan, nan], "empty": []}
    show_histograms(trainer, {name: torch.tensor(value) for name, value in values.items()})
    trainer.logger.save()
    board = read(trainer.log_dir)
    assert board.Tags()["histograms"] == ["some"]
    (shown,) = board.Histograms("some")
    assert (shown.histogram_value.num, shown.histogram_value.sum) == (2, 3)


def patched_wandb(monkeypatch):
    r"""Puts what `WandbLogger` takes of its package in the place of that."""
    wandb = types.ModuleType("wandb")
    wandb.Image = lambda pixels, **settings: ("image", pixels)
    wandb.Histogram = lambda sequence: ("histogram", sequence)
    monkeypatch.setitem(sys.modules, "wandb", wandb)


class WandbRun:
    r"""What Lightning's logger asks of a run."""

    def __init__(self):
        self.logged, self.config = [], self
        self.settings = {}

    def log(self, data, step=None, commit=None):
        self.logged.append(data)

    def update(self, params, allow_val_change=False):
        self.settings.update(params)


class OfflineWandb(WandbLogger):
    r"""Lightning's logger, with a run that only remembers."""

    def __init__(self):
        Logger.__init__(self)
        self.run, self._prefix, self._wandb_init, self._experiment = WandbRun(), "", {}, None
        self._save_dir, self._project, self._id = None, "digits", "0"

    @property
    def experiment(self):
        return self.run


def test_wandb_has_pictures_histograms_and_settings(tmp_path, monkeypatch):
    patched_wandb(monkeypatch)
    logger = OfflineWandb()
    module, trainer = trained(tmp_path, [CSVLogger(tmp_path, "run"), logger], *all_callbacks())
    shown = {}
    for data in logger.run.logged:
        for name in data.keys() & {"dreams", "reconstructed", "prior/h", "prior/J"}:
            shown.setdefault(name, []).append((data["trainer/global_step"], data[name]))
    assert shown.keys() == {"dreams", "reconstructed", "prior/h", "prior/J"}
    assert all([step for step, _ in values] == [4, 8] for values in shown.values())
    (_, [(kind, pixels)]) = shown["dreams"][-1]
    (file,) = Path(trainer.log_dir, "pictures").glob("*-step=8.png")
    assert kind == "image" and pixels.dtype == np.uint8
    assert (pixels == np.round(imread(file) * 255)[..., :3]).all()
    _, (kind, couplings) = shown["prior/J"][-1]
    assert kind == "histogram"
    assert (couplings == module.prior.J.detach().double().numpy()).all()
    assert logger.run.settings["recognition.widths"] == "74-12-6"


class MlflowClient:
    r"""What is asked of MLflow's client, by its signatures."""

    def __init__(self):
        self.images, self.params = [], {}

    def log_image(
        self,
        run_id,
        image,
        artifact_file=None,
        key=None,
        step=None,
        timestamp=None,
        synchronous=None,
    ):
        self.images.append((run_id, key, step, image.shape, image.dtype))


class RemoteMlflow(MLFlowLogger):
    r"""Lightning's logger to a server elsewhere, with a client that only remembers."""

    def __init__(self):
        Logger.__init__(self)
        self.client, self._tracking_uri, self._run_id = MlflowClient(), "https://localhost", "7"
        self._experiment_id, self._checkpoint_callback = "digits", None

    @property
    def experiment(self):
        return self.client

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params):
        self.client.params.update(params)

    def finalize(self, status="success"):
        pass


def test_mlflow_has_pictures_and_settings_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logger = RemoteMlflow()
    trained(tmp_path, logger, *all_callbacks())
    images = logger.client.images
    assert [(run, key, step) for run, key, step, _, _ in images] == [
        ("7", key, step) for step in (4, 8) for key in ("dreams", "reconstructed")
    ]
    assert {(shape[2], dtype) for *_, shape, dtype in images} == {(3, np.dtype("uint8"))}
    assert logger.client.params["prior.num_couplings"] == 15
    assert not list(tmp_path.rglob("*.png"))


class OwnLogger(Logger):
    r"""A logger of somebody's own, which takes curves and settings only."""

    name, version = "own", 0

    def __init__(self):
        super().__init__()
        self.metrics, self.params = {}, {}

    @property
    def experiment(self):
        return object()

    def log_metrics(self, metrics, step=None):
        self.metrics.update(metrics)

    def log_hyperparams(self, params, *args, **kwargs):
        self.params.update(params)


def test_another_logger_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logger = OwnLogger()
    trained(tmp_path, logger, *all_callbacks())
    assert logger.params["optimizer"] == "Adam"
    assert all(isinstance(value, float | int) for value in logger.metrics.values())


def test_the_upper_row_is_the_data_and_the_lower_what_is_made_of_it(tmp_path):
    class Half(HelmholtzMachine):
        def reconstruct(self, visible, *args, **kwargs):
            return visible / 2

    parts = small_machine()
    machine = Half(parts.recognition, parts.generator, parts.prior)
    data = digits(dequantize=False)
    _, trainer = trained(
        tmp_path,
        CSVLogger(tmp_path, "run"),
        SampleGrid(num_images=1, every_n_epochs=2, num_reconstructed=3),
        data=data,
        module=MachineModule(machine, optimizer=lambda p: torch.optim.SGD(p, lr=0.0)),
    )
    (file,) = Path(trainer.log_dir, "pictures", "reconstructed").iterdir()
    assert file.name == "epoch=001-step=8.png"
    images = data.val[:3, :64].view(-1, 8, 8)
    both = image_grid(torch.cat([images, images / 2]), row_labels=["data", "reconstructed"])
    save_figure(both, tmp_path / "expected.png")
    assert file.read_bytes() == (tmp_path / "expected.png").read_bytes()


@pytest.mark.parametrize(("shape", "number"), [(None, 3), ((8, 8), 0)])
def test_nothing_is_reconstructed_that_is_no_image_or_not_wanted(shape, number, tmp_path):
    data = digits()
    data.image_shape = shape
    grid = SampleGrid(num_images=1, every_n_epochs=2, num_reconstructed=number)
    _, trainer = trained(tmp_path, CSVLogger(tmp_path, "run"), grid, data=data)
    (file,) = Path(trainer.log_dir, "pictures").rglob("*")
    assert file.name == "epoch=001-step=8.png"


def test_a_picture_of_what_has_diverged_does_not_end_a_training(tmp_path):
    module = MachineModule(small_machine())
    nan = torch.nn.utils.parameters_to_vector(module.parameters()) * torch.nan

    class Diverges(SampleGrid):
        def on_train_epoch_end(self, trainer, pl_module):
            torch.nn.utils.vector_to_parameters(nan, pl_module.machine.generator.parameters())
            super().on_train_epoch_end(trainer, pl_module)

    logger = CSVLogger(tmp_path, "run")
    _, trainer = trained(tmp_path, logger, Diverges(), module=module, max_epochs=1)
    assert len(list(Path(trainer.log_dir, "pictures").rglob("*.png"))) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SampleGrid(num_images=0), "num_images is 0, but at least 1 image"),
        (lambda: SampleGrid(every_n_epochs=0), "every_n_epochs is 0, but at least 1"),
        (lambda: SampleGrid(num_reconstructed=-1), "num_reconstructed is -1, but 0 is the least"),
        (lambda: PriorHistograms(every_n_epochs=0), "every_n_epochs is 0, but at least 1"),
    ],
)
def test_settings_that_draw_nothing_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def recipes():
    r"""Returns the YAML of docs/training.md that says what a board shows and where it is."""
    text = (CONFIGS.parent / "docs" / "training.md").read_text()
    section = text.split("## Boards\n")[1].split("\n## ")[0]
    return re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)


@pytest.mark.parametrize("number", range(4))
def test_recipes_are_configurations(number, tmp_path, capsys):
    path = tmp_path / "board.yaml"
    path.write_text(recipes()[number])
    with pytest.raises(SystemExit) as caught:
        qahm("fit", "--config", "digits", "--config", str(path), "--print_config")
    assert caught.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)["trainer"]
    told = yaml.safe_load(path.read_text())["trainer"]
    (kind,) = told
    for part, own in zip(printed[kind], told[kind], strict=True):
        assert part["class_path"] == own["class_path"]
        assert own.get("init_args", {}).items() <= part["init_args"].items()


def test_the_recipe_of_tensorboard_writes_where_it_says(tmp_path):
    config = small_config()
    config["trainer"]["logger"] = yaml.safe_load(recipes()[1])["trainer"]["logger"]
    folder = fit(tmp_path, config)
    assert folder == tmp_path / "runs" / "digits" / "version_0"
    assert {"metrics.csv", "pictures", "checkpoints"} <= {file.name for file in folder.iterdir()}
    board = read(tmp_path / "boards" / "digits" / "version_0")
    assert set(board.Tags()["images"]) == {"dreams", "reconstructed"}
    assert "val/log_likelihood" in board.Tags()["scalars"]
