"""Imports point one way, and each library has its place.

Read with `ast`, so an import inside a function counts as well (though not as part of a circle).
`test_a_violation_is_found` shows that each rule can fail.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from scripts import imports
from scripts.imports import Import

SOURCE = Path(__file__).parents[1] / "src"

# Who alone may import a library. The longest name counts: botocore.exceptions has a row of its own.
LIBRARIES = {
    "aws_lambda_powertools": ("handlers",),
    "boto3": ("qa_env.runtime", "qa_env.cli.installation"),
    "botocore": ("qa_env.runtime", "qa_env.receiver", "qa_env.cli.installation"),
    "botocore.exceptions": (
        *("qa_env.receiver", "qa_env.aws", "qa_env.store", "qa_env.cli", "qa_env.doctor"),
    ),
    "cryptography": ("qa_env.github_api", "qa_env.page.identity"),
    "pydantic": ("qa_env.blueprint",),
    "pymysql": ("qa_env.datastores",),
    "redis": ("qa_env.datastores",),
    "yaml": ("qa_env.blueprint",),
}
# Who alone may import one of our modules.
MODULES = {
    "handlers": (),
    "qa_env.app": ("handlers",),
    "qa_env.runtime": ("handlers", "qa_env.app"),
    "qa_env.receiver": ("handlers", "qa_env.doctor"),
    "qa_env.controller": ("handlers", "qa_env.app"),
    "qa_env.resources": ("qa_env.app",),
    "qa_env.reports": ("qa_env.app",),
    "qa_env.datastores": ("handlers", "qa_env.datastores"),
    "qa_env.page": ("handlers", "qa_env.page", "qa_env.cli"),
    "qa_env.cli": ("qa_env.cli",),
    "qa_env.doctor": ("qa_env.cli", "qa_env.doctor"),
}
# What alone some may import of ours: they are the bottom, or they must not be able to do more.
ONLY = {
    "qa_env.errors": (),
    "qa_env.model": ("qa_env.errors",),
    "qa_env.naming": ("qa_env.errors", "qa_env.model"),
    "qa_env.datastores": ("qa_env.errors", "qa_env.naming", "qa_env.model", "qa_env.datastores"),
}
# Resources and reports meet through `Environment.output`; state and decisions are the controller's.
NEVER = {
    "qa_env.resources": ("qa_env.store", "qa_env.claims", "qa_env.watch"),
    "qa_env.reports": ("qa_env.store", "qa_env.claims", "qa_env.watch"),
}
ENVIRONMENT = re.compile(r"\bos\.(environb?|getenvb?|putenv)\b|from os import .*\b(environ|getenv)")
READS_ENVIRONMENT = (
    *("qa_env.app", "qa_env.runtime", "qa_env.receiver", "qa_env.trace", "qa_env.cli.installation"),
    "qa_env.cli.main",
)


def violations(source: Path) -> list[str]:
    """Every broken rule below `source`, as `file:line: sentence`."""
    found: list[str] = []
    graph: dict[str, set[str]] = {}
    for path in sorted(source.rglob("*.py")):
        name = ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
        graph[name] = set()
        for one in imports.read(path, source):
            found += (f"{name}:{one.line}: {text}" for text in _broken(name, one, source))
            if not (one.typing or one.late) and imports.file_of(one.module, source):
                graph[name].add(one.module)
        if not _within(name, READS_ENVIRONMENT) and ENVIRONMENT.search(path.read_text("utf-8")):
            found.append(
                f"{name}: reads the process environment, which is the business of runtime, app and receiver"
            )
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append(f"imports in a circle: {' → '.join(error.args[1])}")
    return found


def _broken(name: str, one: Import, source: Path) -> Iterator[str]:
    top = one.module.partition(".")[0]
    if (source / top).is_dir():
        yield from _broken_within(name, one.module)
    elif top not in sys.stdlib_module_names and not one.typing:
        library = max((lib for lib in LIBRARIES if _within(one.module, (lib,))), key=len, default=None)
        if library is None:
            yield f"imports {one.module}, which is not among the run-time dependencies"
        elif not _within(name, LIBRARIES[library]):
            yield f"imports {one.module}, which is for {', '.join(LIBRARIES[library])}"


def _broken_within(name: str, module: str) -> Iterator[str]:
    for guarded, importers in MODULES.items():
        if _within(module, (guarded,)) and name != guarded and not _within(name, importers):
            yield f"imports {module}, which is for {', '.join(importers) or 'nobody'}"
    for layer, allowed in ONLY.items():
        if _within(name, (layer,)) and "." in module and not _within(module, allowed):
            yield f"imports {module}, but may know only {', '.join(allowed) or 'nothing of ours'}"
    for layer, forbidden in NEVER.items():
        if _within(name, (layer,)) and _within(module, forbidden):
            yield f"imports {module}: resources and reports know neither state nor decisions"


def _within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def test_imports_point_one_way() -> None:
    assert violations(SOURCE) == []


def test_there_is_something_to_check() -> None:
    assert {path.stem for path in (SOURCE / "qa_env").glob("*.py")} >= {"app", "controller", "model", "store"}


def test_the_receiver_imports_little() -> None:
    """No YAML, pydantic or boto3, nothing that makes a resource: it is public and should start fast."""
    files, libraries = imports.closure("handlers.webhook", SOURCE)
    assert libraries == {"aws_lambda_powertools", "botocore"}
    modules = {path.stem for path in files if path.parent.name == "qa_env"} - {"__init__"}
    assert modules == {"calls", "errors", "github", "model", "naming", "receiver", "redaction", "trace"}


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("qa_env/store.py", "import boto3", "imports boto3"),
        ("qa_env/store.py", "def f():\n    import boto3", "imports boto3"),
        ("qa_env/claims.py", "from botocore.exceptions import ClientError", "imports botocore.exceptions"),
        ("qa_env/claims.py", "import pymysql.cursors", "imports pymysql"),
        ("qa_env/store.py", "import requests", "not among the run-time dependencies"),
        ("qa_env/controller.py", "from aws_lambda_powertools import Logger", "which is for handlers"),
        ("qa_env/controller.py", "from handlers import webhook", "which is for nobody"),
        ("qa_env/controller.py", "from qa_env import app", "imports qa_env.app"),
        ("qa_env/claims.py", "from .controller import Controller", "imports qa_env.controller"),
        ("qa_env/resources/listener.py", "from qa_env.resources.service import Service", "qa_env.resources"),
        ("qa_env/watch.py", "from qa_env.cli.output import Output", "imports qa_env.cli"),
        ("qa_env/resources/listener.py", "from qa_env.store import Store", "neither state nor decisions"),
        ("qa_env/reports/slack.py", "from qa_env import claims", "neither state nor decisions"),
        ("qa_env/model.py", "from qa_env.naming import slug", "may know only qa_env.errors"),
        ("qa_env/datastores/mysql.py", "from qa_env import aws", "may know only"),
        ("qa_env/controller.py", "import os\nTABLE = os.environ['TABLE']", "reads the process environment"),
        ("qa_env/controller.py", "from os import environ", "reads the process environment"),
        ("qa_env/store.py", "from qa_env import claims", "in a circle"),
    ],
)
def test_a_violation_is_found(tmp_path: Path, file: str, line: str, said: str) -> None:
    modules = ["app", "aws", "claims", "controller", "model", "naming", "store", "resources/service"]
    for name in (*(f"qa_env/{module}.py" for module in modules), "handlers/webhook.py", file):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("from qa_env import store\n" if name == "qa_env/claims.py" else "", "utf-8")
    assert violations(tmp_path) == []
    with (tmp_path / file).open("a", encoding="utf-8") as opened:
        opened.write(line + "\n")
    assert any(said in one for one in violations(tmp_path))


def test_an_import_for_the_type_checker_is_free(tmp_path: Path) -> None:
    path = tmp_path / "qa_env" / "store.py"
    path.parent.mkdir()
    path.write_text("if TYPE_CHECKING:\n    from mypy_boto3_sqs import SQSClient\n", "utf-8")
    assert violations(tmp_path) == []
