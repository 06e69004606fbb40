"""What a module imports, read with `ast`: nothing is executed.

`tests/test_layers.py` checks the direction of imports with it, `scripts/build.py` finds what a function
needs.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One imported module, absolute. `typing` imports are for the type checker and never happen; `late` ones
    stand in a function, so they happen when it is called."""

    module: str
    line: int
    typing: bool = False
    late: bool = False


def read(path: Path, source: Path) -> list[Import]:
    """Every import of a file below `source`, also those within functions.

    `from a import b` counts as `a.b` where that is a module of ours, as `a` otherwise.
    """
    package = ".".join(path.relative_to(source).with_suffix("").parts[:-1])
    tree = ast.parse(path.read_text("utf-8"), str(path))
    return list(_imports(tree, source, package))


def closure(module: str, source: Path) -> tuple[set[Path], set[str]]:
    """The files of ours that importing this module needs, and the top-level packages from elsewhere."""
    files: set[Path] = set()
    foreign: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        found = file_of(name, source)
        if found is None:
            foreign |= _foreign(name, source)
        elif found not in files:
            files.add(found)
            todo += (one.module for one in read(found, source) if not one.typing)
            todo += (parent for parent in parents(name) if file_of(parent, source))
    return files, foreign - sys.stdlib_module_names


def texts(files: Iterable[Path]) -> set[str]:
    """Every text that stands in these files by itself: a superset of the names that they look up."""
    trees = (ast.parse(file.read_text("utf-8"), str(file)) for file in files)
    constants = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {node.value for node in constants if isinstance(node.value, str)}


def file_of(module: str, source: Path) -> Path | None:
    """The file of a module of ours, None for any other."""
    base = source.joinpath(*module.split("."))
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


def _foreign(module: str, source: Path) -> set[str]:
    """The top-level package of a module from elsewhere; our packages need no `__init__.py`."""
    top = module.partition(".")[0]
    if not (source / top).is_dir():
        return {top}
    if not source.joinpath(*module.split(".")).is_dir():
        raise ModuleNotFoundError(f"{module} is imported, but there is no such module", name=module)
    return set()


def parents(module: str) -> Iterator[str]:
    """`a.b.c` → `a`, `a.b`."""
    parts = module.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts)))


def _imports(node: ast.AST, source: Path, package: str, **when: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import() | ast.ImportFrom():
                for module in sorted(_modules(child, source, package)):
                    yield Import(module, child.lineno, **when)
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), body=body, orelse=orelse):
                yield from _imports(ast.Module(body, []), source, package, **{**when, "typing": True})
                yield from _imports(ast.Module(orelse, []), source, package, **when)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _imports(child, source, package, **{**when, "late": True})
            case _:
                yield from _imports(child, source, package, **when)


def _modules(node: ast.Import | ast.ImportFrom, source: Path, package: str) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    base = node.module or ""
    if node.level:
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*above, *filter(None, [base])])
    names = {f"{base}.{alias.name}" for alias in node.names}
    modules = {name for name in names if file_of(name, source)}
    return modules if modules == names else {base, *modules}
