r"""Executes notebooks from top to bottom, each in a fresh kernel and in an empty working folder.

    python notebooks/execute.py [--inplace] PATH...

The first cell that fails ends it, by name and with its traceback. With `--inplace` the outputs are
written into the notebooks, and a notebook that fails is left as it was. Paths in environment
variables, such as QAHM_DATA, must be absolute, since the working folder is another one.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError
from nbformat import NotebookNode

from qahm_torch.evaluation import atomic_write

SECONDS_PER_CELL = 3600


def main(arguments: Sequence[str] | None = None) -> None:
    r"""Executes the notebooks that the command line names."""
    parser = argparse.ArgumentParser(description="Executes notebooks from top to bottom.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--inplace", action="store_true", help="write the outputs back")
    options = parser.parse_args(arguments)
    for path in options.paths:
        notebook = nbformat.read(path, as_version=4)
        execute(notebook, str(path))
        if options.inplace:
            with atomic_write(path) as temporary:
                nbformat.write(notebook, temporary)
        print(f"{path}: {len(notebook.cells)} cells")


def execute(notebook: NotebookNode, name: str) -> None:
    r"""Executes a notebook, whose outputs are replaced; exits at the first cell that fails."""
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=SECONDS_PER_CELL,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        with client.setup_kernel():
            for index, cell in enumerate(notebook.cells):
                try:
                    client.execute_cell(cell, index)
                except (CellControlSignal, DeadKernelError) as error:
                    raise SystemExit(f"{name}: cell {index} failed\n{error}") from None


if __name__ == "__main__":
    main()
