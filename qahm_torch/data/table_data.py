r"""A table of one's own, from a file."""

from __future__ import annotations

__all__ = ["TableData"]

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from qahm_torch.data.mixed_table import Kind, MixedTable
from qahm_torch.data.parts import count_of
from qahm_torch.data.table_file import Cell, infer_column, plain, read_table
from qahm_torch.nn import MixedUnits


class TableData(MixedTable):
    r"""The table of a CSV, npz or parquet file, in which cells may be empty.

    A column of two values is binary; one of texts, or of at most 10 different whole numbers from 0
    on, categorical; other numbers, larger counts among them, are continuous. What this gets wrong,
    `kinds` sets right by name. Categories are numbered in their order. All units of an empty cell
    are NaN, which `MixedUnits` leaves out and `Flagged` recognition is told of. `categories` has
    the values of discrete columns, and `header` the names of the columns in the file's order.

    Arguments:
        path: The file, which ends in .csv, .npz or .parquet; a CSV begins with a line of names.
        class_column: The column whose values are classes, which comes last; None for none.
        kinds: The kinds of columns for which the rule is not right, by name (see `Column`).
        leave_out: The names of columns that are not used.
        batch_size: The number of rows of a batch.
        num_val: The number of rows for validation, or their share below 1, such as 0.1.
        num_test: That for the test; the remaining rows are for training.
        seed: The seed of the split and of the order of the training rows.
        split: The column that says of each row whether it is for train, val or test; None for
            parts by the seed.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the file is parquet and there is no pandas.
        ValueError: If a name is of no column, or a column does not vary or fit its kind, or the
            split names another part; its name and a row are told.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "people.csv"
        ...     _ = path.write_text("group,height,smokes\nA,1.62,no\nB,1.8,yes\nA,1.75,\nA,,no\n")
        ...     data = TableData(path, class_column="group")
        >>> [(column.name, column.kind) for column in data.columns]
        [('height', 'continuous'), ('smokes', 'binary'), ('group', 'categorical')]
        >>> data.units.num_units, data.num_classes
        (4, 2)
    """

    def __init__(
        self,
        path: str | Path,
        class_column: str | None = None,
        kinds: Mapping[str, Kind] | None = None,
        leave_out: Sequence[str] = (),
        batch_size: int = 100,
        num_val: float = 0,
        num_test: float = 0,
        seed: int = 0,
        split: str | None = None,
    ):
        table = read_table(path)
        said: dict[str, Kind] = dict(kinds or {})
        classes = [] if class_column is None else [class_column]
        splitting = [] if split is None else [split]
        for name in (*classes, *said, *leave_out, *splitting):
            if name not in table:
                raise ValueError(f"{name!r} is no column of {Path(path).name}: it has {[*table]}")
        for name in classes:
            said[name] = "categorical"
        apart = (*classes, *leave_out, *splitting)
        names = [name for name in table if name not in apart] + classes
        found = [infer_column(name, table[name], said.get(name)) for name in names]
        self.categories = {column.name: values for column, values in found if values}
        self.header = tuple(name for name in table if name in names)
        cells = [self._codes(name, table[name]) for name in names]
        rows = [list(row) for row in zip(*cells, strict=True)]
        super().__init__(
            rows,
            [column for column, _ in found],
            batch_size,
            count_of("num_val", num_val, len(rows)),
            count_of("num_test", num_test, len(rows)),
            seed,
            None if split is None else table[split],
        )
        self.num_classes = self.columns[-1].num_units if classes else 0
        self.num_features -= self.num_classes

    @property
    def units(self) -> MixedUnits:
        r"""New units that fit the columns."""
        columns = [column.units() for column in self.columns]
        return MixedUnits(columns, has_classes=self.num_classes > 0)

    @property
    def class_names(self) -> list[str]:
        r"""The values of the column of classes, in the order of their units."""
        if not self.num_classes:
            return []
        return [str(plain(value)) for value in self.categories[self.columns[-1].name]]

    def _codes(self, name: str, cells: Sequence[Cell]) -> list[float]:
        numbers = {value: float(k) for k, value in enumerate(self.categories.get(name, []))}
        return [_number(numbers.get(cell, cell)) for cell in cells]


def _number(cell: Cell) -> float:
    # Texts have a category each: those of other columns are refused before.
    assert not isinstance(cell, str)
    return math.nan if cell is None else cell
