r"""Draws the rooms of the package by floors, from what its files import.

    python docs/draw_floors.py           prints the rooms
    python docs/draw_floors.py annealer  prints the files of a room
    python docs/draw_floors.py --write   renews the drawing in docs/architecture.md

A room imports only from lower floors; a drawing in which one does not is refused.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "qahm_torch"
DOCUMENT = Path(__file__).with_name("architecture.md")
MARKS = ("<!-- floors -->\n", "<!-- /floors -->\n")
# From the ground up; beside each other are rooms that know nothing of each other.
FLOORS = (
    ("ising", "cognition", "pretrained", "trust"),
    ("kernels", "device", "nn"),
    ("data", "samplers", "simulator"),
    ("priors", "objectives", "evaluation", "testing"),
    ("annealer",),
    ("training",),
    ("systems",),
    ("cli",),
)
Edges = dict[str, set[str]]


def main() -> None:
    r"""Prints the drawing, or writes it."""
    parser = argparse.ArgumentParser(description="Draws the rooms of the package by floors.")
    parser.add_argument("room", nargs="?", help="draws the files of this room")
    parser.add_argument("--write", action="store_true", help=f"renews {DOCUMENT.name}")
    options = parser.parse_args()
    if options.write:
        DOCUMENT.write_text(with_drawing(DOCUMENT.read_text(), drawing()))
    else:
        print(drawing_of(options.room) if options.room else drawing(), end="")


def with_drawing(document: str, drawn: str) -> str:
    r"""Returns the document with another drawing between its marks."""
    before, _, rest = document.partition(MARKS[0])
    _, mark, after = rest.partition(MARKS[1])
    if not mark:
        raise ValueError(f"{DOCUMENT.name} has no marks {MARKS[0]!r} and {MARKS[1]!r}")
    return f"{before}{MARKS[0]}```\n{drawn}```\n{MARKS[1]}{after}"


def drawing() -> str:
    r"""Returns the rooms by floors, and what each imports.

    Raises:
        ValueError: If an import does not lead to a lower floor.
    """
    edges, lines = room_imports(), room_lines()
    refused = [*strangers(lines), *arrows_back_up(edges)]
    if refused:
        raise ValueError("; ".join(refused))
    total = sum(lines.values())
    return "".join([*_floors(lines, total), "\n", *_arrows(edges)])


def drawing_of(room: str) -> str:
    r"""Returns the files of a room by floors, each as low as its imports let it be."""
    edges = file_imports(room)
    heights = floors_of(edges)
    rows = [
        f"{height}  {', '.join(sorted(file for file in edges if heights[file] == height))}\n"
        for height in range(max(heights.values()), 0, -1)
    ]
    return "".join(rows)


def strangers(rooms: Iterable[str]) -> list[str]:
    r"""Returns what is to be said of rooms that have no floor, and of floors without a room."""
    known = {room for floor in FLOORS for room in floor}
    return [f"{room} has no floor" for room in sorted(set(rooms) - known)] + [
        f"{room} is no room" for room in sorted(known - set(rooms))
    ]


def arrows_back_up(edges: Mapping[str, set[str]]) -> list[str]:
    r"""Returns what is to be said of imports that do not lead to a lower floor."""
    height = {room: k for k, floor in enumerate(FLOORS) for room in floor}
    return [
        f"{room} imports {other}, which is not on a lower floor"
        for room in sorted(edges)
        for other in sorted(edges[room])
        if height.get(other, len(FLOORS)) >= height.get(room, -1)
    ]


def room_imports() -> Edges:
    r"""Returns the rooms that each room imports from, itself left out."""
    edges: Edges = {}
    for file in files():
        room = room_of(file)
        others = {name.split(".")[1] for name in imported_modules(file) if "." in name}
        edges.setdefault(room, set()).update(others - {room})
    return edges


def room_lines() -> dict[str, int]:
    r"""Returns the number of lines of each room."""
    lines: dict[str, int] = {}
    for file in files():
        lines[room_of(file)] = lines.get(room_of(file), 0) + len(file.read_text().splitlines())
    return lines


def file_imports(room: str) -> Edges:
    r"""Returns the files of the same room that each file imports, the face left out."""
    inside = {file.stem: file for file in sorted((PACKAGE / room).glob("[!_]*.py"))}
    if not inside:
        raise ValueError(f"room is {room}, but the rooms are {', '.join(sorted(room_lines()))}")
    return {stem: _inside(room, file) & set(inside) for stem, file in inside.items()}


def floors_of(edges: Mapping[str, set[str]]) -> dict[str, int]:
    r"""Returns the floor of each, which is one above the highest that it imports.

    Raises:
        ValueError: If imports go round in a circle.
    """
    try:
        order = list(TopologicalSorter(edges).static_order())
    except CycleError as error:
        raise ValueError(f"a circle of imports: {' -> '.join(error.args[1])}") from None
    heights: dict[str, int] = {}
    for name in order:
        heights[name] = 1 + max((heights[other] for other in edges.get(name, ())), default=0)
    return heights


def files() -> list[Path]:
    r"""Returns the files of all rooms."""
    return [file for file in sorted(PACKAGE.rglob("*.py")) if file != PACKAGE / "__init__.py"]


def room_of(file: Path) -> str:
    r"""Returns the room of a file: its folder, or itself where it lies in none."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(file: Path) -> Iterator[str]:
    r"""Yields the modules of the package that a file imports, wherever in it, by whole names."""
    parts = ("qahm_torch", *file.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = parts[: len(parts) - node.level] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            # A name of a package may be a module of it.
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if is_module(name))


def is_module(name: str) -> bool:
    r"""Whether a whole name is that of a room or file of the package."""
    path = PACKAGE.parent.joinpath(*name.split("."))
    return name.startswith("qahm_torch") and (
        path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
    )


def _inside(room: str, file: Path) -> set[str]:
    names = (name.split(".") for name in imported_modules(file))
    return {name[2] for name in names if name[1:2] == [room] and len(name) > 2} - {file.stem}


def _floors(lines: Mapping[str, int], total: int) -> Iterator[str]:
    for height in range(len(FLOORS), 0, -1):
        rooms = sorted(FLOORS[height - 1], key=lambda room: -lines[room])
        drawn = "   ".join(f"{room} {round(lines[room], -2)}" for room in rooms)
        yield f"{height}  {drawn}\n"
    biggest = max(lines, key=lambda room: lines[room])
    share = round(100 * lines[biggest] / total)
    yield f"\n{len(lines)} rooms of {round(total, -3)} lines; {biggest} is {share} %\n"


def _arrows(edges: Mapping[str, set[str]]) -> Iterator[str]:
    for floor in reversed(FLOORS):
        for room in sorted(floor):
            yield f"{room:<10} imports {', '.join(sorted(edges[room])) or 'nothing of ours'}\n"


if __name__ == "__main__":
    main()
