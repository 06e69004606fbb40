"""Fixtures that several suites share, and a search of all output for secrets.

Each worker of a parallel run has servers of its own.
"""

from __future__ import annotations

import functools
import gc
import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local.servers import MariaDB, Redis
from tests import canaries


class Listener(logging.Handler):
    """Searches what no report shows: what a test takes from `capsys` or from a program that it runs, and all
    that goes along with a log.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kinds: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.hear(f"{self.format(record)}{vars(record)}")

    def hear(self, text: str) -> None:
        self.kinds.update(canaries.found_in(text))

    def heard(self) -> set[str]:
        """The kinds of secrets since the last time."""
        kinds, self.kinds = self.kinds, set()
        return kinds


LISTENER = Listener()
PATCHES = pytest.MonkeyPatch()


def overheard(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`readouterr` of capsys and its like; what it hands out never reaches a report."""

    @functools.wraps(read)
    def read_aloud(fixture: Any) -> Any:
        captured = read(fixture)
        LISTENER.hear(f"{captured.out!s}\n{captured.err!s}")  # text, or bytes as Python writes them
        return captured

    return read_aloud


def overheard_program(communicate: Callable[..., Any]) -> Callable[..., Any]:
    """`communicate` of a process, which is what all ways to take its output come down to."""

    @functools.wraps(communicate)
    def communicate_aloud(*given: Any, **more: Any) -> Any:
        captured = communicate(*given, **more)
        LISTENER.hear("\n".join(str(said) for said in captured))
        return captured

    return communicate_aloud


def pytest_configure() -> None:
    logging.getLogger().addHandler(LISTENER)
    PATCHES.setattr(pytest.CaptureFixture, "readouterr", overheard(pytest.CaptureFixture.readouterr))
    PATCHES.setattr(subprocess.Popen, "communicate", overheard_program(subprocess.Popen.communicate))
    logging.getLogger("qa_env").setLevel(logging.INFO)  # as in the functions, whoever configures it first
    os.environ["POWERTOOLS_METRICS_NAMESPACE"] = "qa-env"  # as in template.yaml


def pytest_collection_finish() -> None:
    """Modules and the models of AWS stay: looking through them again and again takes time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_unconfigure() -> None:
    logging.getLogger().removeHandler(LISTENER)
    PATCHES.undo()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """A test that shows a secret fails, whatever else it did; the report says which kind, and not the secret.

    Searched are output, log and failure text of this phase: each is searched once.
    """
    report: pytest.TestReport = yield
    sections = [text for title, text in report.sections if title.endswith(f" {report.when}")]
    shown = canaries.found_in("\n".join([report.longreprtext, *sections]))
    kinds = sorted(LISTENER.heard().union(shown))
    if kinds:
        report.longrepr = (
            f"{item.nodeid} ({report.when}) shows a secret: {', '.join(kinds)}\n\n"
            f"{canaries.masked(report.longreprtext)}"
        )
        report.outcome = "failed"
    if kinds or canaries.found_in("\n".join(text for _, text in report.sections)):
        report.sections = [(title, canaries.masked(text)) for title, text in report.sections]
    return report


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A real MariaDB server."""
    directory = tmp_path_factory.mktemp("mariadb")
    server = MariaDB(directory)
    server.password = canaries.MYSQL_PASSWORD
    with server:
        yield server
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A real Redis server."""
    directory = tmp_path_factory.mktemp("redis")
    server = Redis(directory)
    server.password = canaries.REDIS_PASSWORD
    with server:
        yield server
    shutil.rmtree(directory)
