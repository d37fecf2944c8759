r"""The arguments of classes by their source text, for which nothing is imported."""

from __future__ import annotations

__all__ = ["arguments_of"]

import ast
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple


class _Found(NamedTuple):
    r"""A class, and the module whose names it knows."""

    module: str
    node: ast.ClassDef


def arguments_of(path: str) -> list[str]:
    r"""Returns the names of the arguments of a class; none where its text is not found.

    Where a class hands what it does not name itself on to its bases, theirs are among them.

    Arguments:
        path: The path of the class, such as "qahm_torch.GibbsSampler".

    Example:
        >>> arguments_of("qahm_torch.GibbsSampler")[0], arguments_of("no.such.Class")
        ('num_sweeps', [])
    """
    found = _class(path, ())
    return [] if found is None else list(dict.fromkeys(_arguments(found)))


def _arguments(found: _Found) -> Iterator[str]:
    methods = {node.name: node for node in found.node.body if isinstance(node, ast.FunctionDef)}
    if "__init__" not in methods:
        # The fields of a dataclass are after those of its bases.
        yield from _arguments_of_bases(found)
        yield from _fields(found.node)
        return
    arguments = methods["__init__"].args
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
        if argument.arg != "self":
            yield argument.arg
    if arguments.kwarg is not None:
        yield from _arguments_of_bases(found)


def _arguments_of_bases(found: _Found) -> Iterator[str]:
    for base in found.node.bases:
        inner = _class(f"{found.module}.{ast.unparse(base)}", ())
        if inner is not None:
            yield from _arguments(inner)


def _fields(node: ast.ClassDef) -> Iterator[str]:
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                yield field.target.id


def _class(path: str, seen: tuple[str, ...]) -> _Found | None:
    r"""Returns the class of a path, through the modules that hand it on."""
    module, _, name = path.rpartition(".")
    tree = _tree(module, name.partition(".")[0]) if module and path not in seen else None
    if tree is None:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _Found(module, node)
    for source in _sources(tree, module, name):
        found = _class(f"{source}", (*seen, path))
        if found is not None:
            return found
    return None


def _sources(tree: ast.Module, module: str, name: str) -> Iterator[str]:
    r"""Yields the paths from which a module may have a name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            source = _absolute(module, node)
            for alias in node.names:
                if alias.name == "*" or (alias.asname or alias.name) == name:
                    yield f"{source}.{name if alias.name == '*' else alias.name}"
        elif isinstance(node, ast.Import):
            first, _, rest = name.partition(".")
            for alias in node.names:
                if rest and (alias.asname or alias.name) == first:
                    yield f"{alias.name}.{rest}"


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    file = _file(module)
    inside = node.level - 1 if file is not None and file.name == "__init__.py" else node.level
    parts = module.split(".")
    return ".".join([*parts[: len(parts) - inside], *filter(None, [node.module])])


def _tree(module: str, name: str) -> ast.Module | None:
    r"""Returns what a module says, if it may say something of a name."""
    text = _text(module)
    # Most modules are not about it, and to parse them all would take too long.
    return _parsed(text) if name in text or "import *" in text else None


@cache
def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


@cache
def _text(module: str) -> str:
    file = _file(module)
    try:
        return "" if file is None else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _file(module: str) -> Path | None:
    r"""Returns the file of a module, which is found without running the packages around it."""
    first, *rest = module.split(".")
    spec = importlib.util.find_spec(first)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    if not rest:
        return Path(spec.origin)
    place = folder.joinpath(*rest)
    found = (place / "__init__.py", place.with_suffix(".py"))
    return next((file for file in found if file.is_file()), None)
