r"""The configurations that come with the package, by their names."""

from __future__ import annotations

__all__ = ["find_config", "with_paths"]

from collections.abc import Iterator, Sequence
from pathlib import Path

OPTIONS = ("--config", "-c")


def find_config(name: str) -> Path:
    r"""Returns the path of a configuration.

    Arguments:
        name: The path of a file, or the name of a configuration of the package, such as "digits".
            A file of that name comes first.

    Raises:
        FileNotFoundError: If it is neither.

    Example:
        >>> find_config("digits").name
        'digits.yaml'
    """
    path, folder = Path(name), _folder()
    shipped = folder / f"{name.removesuffix('.yaml')}.yaml"
    if path.is_file():
        return path
    if path.name == name and shipped.is_file():
        return shipped
    names = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
    raise FileNotFoundError(f"config is {name}, but it takes a file, or one of {names}")


def with_paths(arguments: Sequence[str]) -> list[str]:
    r"""Returns a command line in which each configuration is named by its path.

    Example:
        >>> [argument.split("/")[-1] for argument in with_paths(["fit", "--config", "digits"])]
        ['fit', '--config', 'digits.yaml']
    """
    return list(_with_paths(arguments))


def _with_paths(arguments: Sequence[str]) -> Iterator[str]:
    before = ""
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if before in OPTIONS:
            yield str(find_config(argument))
        elif option in OPTIONS and equals:
            yield f"{option}={find_config(value)}"
        else:
            yield argument
        before = argument


def _folder() -> Path:
    # In a wheel they are in the package; in the source tree, beside it.
    package = Path(__file__).parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"
