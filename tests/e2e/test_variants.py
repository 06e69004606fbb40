"""The stack in its other shapes: without GitHub credentials, with numbered databases and users, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.stack import LOCAL, Options
from tests.e2e.conftest import Developer, developer, processes, wait

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Developer]:
    """The developer of a stack where only webhooks say where a branch is and nobody shares an account."""
    options = Options(name="e2e-plain", github=False, redis="database", accounts="own")
    yield from developer(options, tmp_path)


def test_without_github_the_last_webhook_counts(plain: Developer) -> None:
    """A push builds, a deletion removes, and database and user are the environment's own."""
    commit = plain.commit()
    plain.push("qa/plain")
    url = wait(lambda: _url(plain), "there is a listener")
    wait(lambda: plain.answer(url).get("commit") == commit, "the application answers")
    said = plain.answer(url)

    assert said["redis_database"] in range(1, 16)
    assert said["database_user"] == "qa-plain"
    assert {"MySQL user qa-plain", "secret qa-env/environment/qa-plain/mysql"} <= plain.left()
    assert plain.stack.github is not None
    assert plain.stack.github.posted == []

    plain.delete("qa/plain")
    plain.gone()


def test_killed_stack_leaves_no_process_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    """After SIGKILL everything it started ends; the next start removes its files."""
    first = _run("killed", tmp_path)
    assert processes(LOCAL / "killed")

    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    wait(
        lambda: not processes(LOCAL / "killed"),
        "its processes have ended",
        lambda: processes(LOCAL / "killed"),
    )

    second = _run("killed", tmp_path)
    second.send_signal(signal.SIGTERM)

    assert second.wait(30) == 0
    assert sorted(path.name for path in (LOCAL / "killed").iterdir()) == ["logs"]
    assert processes(LOCAL / "killed") == []


def _run(name: str, directory: Path) -> subprocess.Popen[bytes]:
    """`make run`, up."""
    file = LOCAL / name / "stack.json"
    stale = file.read_text("utf-8") if file.exists() else ""
    with (directory / "output").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.run", "--name", name], cwd=ROOT, stdout=output, stderr=output
        )
    wait(
        lambda: file.exists() and file.read_text("utf-8") != stale,
        "the stack is up",
        lambda: (directory / "output").read_text(),
    )
    return process


def _url(dev: Developer) -> str:
    ports = [thing.rsplit(" ", 1)[-1] for thing in dev.left() if thing.startswith("listener on port")]
    return f"http://{dev.stack.info['load_balancers'][0]['host']}:{ports[0]}/" if ports else ""
