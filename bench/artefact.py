"""What is deployed: size and number of files per function, against the packages that it needs, alone.

    make bench        (PYTHONPATH=src:. python -m bench.artefact [--json])

The bound is what `pip install --no-compile` makes of the function's pins: nothing removed, no byte code,
none of our modules, compressed the same way. “Unused” are packages of which no path of the function imports
anything; the function's modules, also those imported late, and all its clients are made to find out.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import built, report
from bench.built import Workshop
from bench.cold import ENVIRONMENT
from bench.report import Goal, Result
from scripts import build, imports

REACH = 1.1
COLUMNS = (
    *("function", "zip KB", "packages' KB", "ratio", "files", "packages' files", "file ratio"),
    *("modules", "of them imported", "unused packages"),
)


def measure() -> Result:
    """One row per function; functions that need the same packages share their bound."""
    with built.workshop() as shop:
        bounds: dict[tuple[str, ...], tuple[float, int]] = {}
        rows = [_row(shop, name, bounds) for name in build.FUNCTIONS]
    largest = max(rows, key=lambda row: float(row["ratio"]))
    most = max(rows, key=lambda row: float(row["file ratio"]))
    unused = sum(len(str(row["unused packages"]).split()) for row in rows)
    goals = [
        Goal(f"zip, {largest['function']}", largest["zip KB"], largest["packages' KB"], "KB", REACH),
        Goal(f"files, {most['function']}", most["files"], most["packages' files"], "files", REACH),
        Goal("packages that no path imports", unused, 0, "packages", 1),
    ]
    return Result("Artefacts", COLUMNS, rows, goals, shop.notes)


def _row(shop: Workshop, name: str, bounds: dict[tuple[str, ...], tuple[float, int]]) -> report.Row:
    artefact = shop.artefact(name)
    files, packages = imports.closure(f"handlers.{name.lower()}", build.SOURCE)
    pins = tuple(build.requirements(packages))
    if pins not in bounds:
        alone = shop.directory / f"packages-{len(bounds)}"
        build.install(list(pins), alone, shop.runtime)
        bounds[pins] = _size(alone)
    (size, count), (bound, bound_count) = _size(artefact), bounds[pins]
    arguments = [str(artefact), *sorted(set(_foreign(files, packages)))]
    with built.started(shop.interpreter, artefact, "contents", arguments, ENVIRONMENT) as running:
        found = running.first
    ratios = (size, bound, size / bound, count, bound_count, count / bound_count)
    contents = (found["modules"], found["imported"], " ".join(found["unused"]))
    return dict(zip(COLUMNS, (name, *ratios, *contents), strict=True))


def _foreign(files: set[Path], packages: set[str]) -> Iterator[str]:
    """What these files import of these packages, at whatever time; some are no modules but what is in one."""
    for file in files:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            match node:
                case ast.Import():
                    found = [alias.name for alias in node.names]
                case ast.ImportFrom():
                    found = [f"{node.module}.{alias.name}" for alias in node.names]
                case _:
                    continue
            yield from (name for name in found if name.partition(".")[0] in packages)


def _size(directory: Path) -> tuple[float, int]:
    """KB as a zip file, and files."""
    archive = build.zipped(directory, directory.with_name(f"{directory.name}.zip"))
    return archive.stat().st_size / 1000, sum(path.is_file() for path in directory.rglob("*"))


if __name__ == "__main__":
    sys.exit(report.main(measure))
