r"""`qahm generate`: dreams of a trained model as a picture or as a table, and as a tensor."""

from __future__ import annotations

__all__ = ["parser", "run"]

from pathlib import Path
from typing import TYPE_CHECKING

from qahm_torch.cli.arguments import Parser, load_model, parser_of
from qahm_torch.cli.outputs import PICTURES, check_writable

if TYPE_CHECKING:
    from qahm_torch.cli.dreams import Dreams
    from qahm_torch.data import TensorDataModule


def parser() -> Parser:
    r"""Returns the parser of the command."""
    parser = parser_of("generate", "Draws dreams of a trained model.")
    parser.add_count("num", 100, 1, "The number of dreams.")
    parser.add_argument(
        "--class",
        type=str | None,
        default=None,
        help="The class of all dreams, where the machine has class units: from 0, or by its name "
        "in a table.",
    )
    parser.add_count("num_temperatures", 500, 2, "Temperatures of annealing the prior.")
    parser.add_output(
        "output",
        "The picture, .png, .pdf or .svg, RUN/dreams.png by default; of a table the rows, .csv, "
        "RUN/dreams.csv by default.",
        suffix=(*PICTURES, ".csv"),
    )
    parser.add_output(
        "tensor",
        "Where to save the visible states too, of shape (num, num_visible), by torch.save.",
    )
    return parser


def run(arguments: list[str]) -> None:
    r"""Draws dreams and writes them."""
    settings = parser().parse_args(arguments)
    trained = load_model(settings)

    import torch

    from qahm_torch.cli.dreams import draw
    from qahm_torch.cli.file_rows import class_named
    from qahm_torch.evaluation import atomic_write

    output = _checked_output(trained.data, settings.output, trained.folder)
    name = settings["class"]
    label = None if name is None else class_named(trained.data, name)
    dreams = draw(trained, settings.num, settings.num_temperatures, label)
    _write(output, trained.data, dreams)
    print(output)
    if settings.tensor is not None:
        with atomic_write(settings.tensor) as temporary:
            torch.save(dreams.visible, temporary)
        print(settings.tensor)


def _checked_output(data: TensorDataModule, output: str | None, folder: Path) -> Path:
    r"""Returns where dreams of such data are written, and that can be done."""
    from qahm_torch.data import MixedTable

    if isinstance(data, MixedTable):
        path = Path(output or folder / "dreams.csv")
        check_writable(path, name="the output of a table", suffix=".csv")
        return path
    path = Path(output or folder / "dreams.png")
    check_writable(path, suffix=PICTURES)
    return path


def _write(output: Path, data: TensorDataModule, dreams: Dreams) -> None:
    r"""Writes dreams as what their data are, rows of a table or pictures."""
    from qahm_torch.data import MixedTable, cells_of
    from qahm_torch.evaluation import image_grid, save_figure, write_csv
    from qahm_torch.training.sample_grid import as_pictures

    if isinstance(data, MixedTable):
        table = cells_of(data, dreams.visible)
        write_csv(output, [[*table], *zip(*table.values(), strict=True)])
    else:
        save_figure(image_grid(as_pictures(dreams.pixels, data)), output)
