"""What of an artefact its function can never import, and its removal.

Packages import late, by name and from compiled code, so what a run happened to import decides nothing. A
module stays if a module that stays imports it anywhere, also within a function, or if its name stands as a
text in one (`pydantic`'s table of late imports, `boto3`'s lazy calls) or in a compiled library
(`cryptography` is Rust, which imports Python). What computes a name from parts could escape this:
`tests/test_pruning.py` knows each place in the packages that does, and why it may. `UNUSED` is left out all
the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from scripts import imports
from scripts.imports import file_of

UNUSED = (  # what packages import only when somebody calls what nothing of ours calls
    "aws_lambda_powertools.event_handler",  # routing, and Swagger's pages
    "aws_lambda_powertools.utilities.parser.envelopes",
    "boto3.ec2",
    "boto3.s3",
    "pydantic.v1",
    *("redis.commands.bf", "redis.commands.json", "redis.commands.search"),  # modules of servers
    *("redis.commands.timeseries", "redis.commands.vectorset"),  # the same
)
DOTTED = re.compile(r"\.?[^\W\d]\w*(\.[^\W\d]\w*)*")


def prune(root: Path, module: str) -> None:
    """Remove every module below `root` that importing this one can never need.

    Of a package of which no module stays, nothing stays: its data is for them.
    """
    kept = needed(module, root)
    packages = {path.parent for path in root.rglob("*.py")} - {root}
    alive = {path.parent for path in kept}

    def stays(path: Path) -> bool:
        if path.suffix == ".py":
            return path in kept
        home = next((parent for parent in path.parents if parent in packages), None)
        return home is None or home in alive

    for path in list(root.rglob("*")):
        if path.is_file() and not stays(path):
            path.unlink()
    for directory in sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True):
        if not any(directory.iterdir()):
            directory.rmdir()


def needed(module: str, root: Path) -> set[Path]:
    """The modules below `root` that importing this one can need, at whatever time."""
    found: set[Path] = set()
    todo = [module, *_named_by_libraries(root)]
    while todo:
        name = todo.pop()
        path = None if f"{name}.".startswith(tuple(f"{one}." for one in UNUSED)) else file_of(name, root)
        if path and path not in found:
            found.add(path)
            todo += imports.parents(name)
            todo += (one.module for one in imports.read(path, root) if not one.typing)
            todo += _named_by_texts(path, root)
    return found


def _named_by_texts(path: Path, root: Path) -> Iterator[str]:
    """Dotted texts that begin with a module's name; what follows is something in it.

    Who imports by computed names (`import_module(f".{name}")`) has its siblings' names without a dot.
    """
    package = ".".join(path.parent.relative_to(root).parts)
    texts = imports.texts([path])
    if "import_module(" in path.read_text("utf-8"):
        texts |= {f".{text}" for text in texts if text.isidentifier()}
    for text in texts:
        if "." in text and DOTTED.fullmatch(text):
            name = f"{package}{text}" if text.startswith(".") else text
            yield from (one for one in (*imports.parents(name), name) if "." in one)


def _named_by_libraries(root: Path) -> list[str]:
    """Their texts follow each other without an end, so each module is looked for in them."""
    libraries = [path.read_bytes() for path in root.rglob("*.so")]
    return [name for name in _modules(root) if any(name.encode() in library for library in libraries)]


def _modules(root: Path) -> Iterable[str]:
    for path in root.rglob("*.py"):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        if "." in name:
            yield name
