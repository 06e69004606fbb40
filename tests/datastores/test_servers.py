"""The private servers that these suites and the local stack run on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from local import process
from local.servers import MariaDB, Redis, ServerError

STARTER = """
import pathlib, sys, time
from local.servers import MariaDB, Redis
directory = pathlib.Path(sys.argv[1])
servers = [MariaDB(directory / "m").start(), Redis(directory / "r").start()]
print(*(server._process.pid for server in servers), flush=True)
time.sleep(60)
"""


def test_data_outlives_a_restart(tmp_path: Path) -> None:
    """With another password and another port, and no file that holds either."""
    with MariaDB(tmp_path / "m") as server, server.connect() as connection:
        connection.cursor().execute("CREATE DATABASE kept")
    with MariaDB(tmp_path / "m") as again, again.connect() as connection:
        cursor = connection.cursor()
        assert cursor.execute("SHOW DATABASES LIKE 'kept'") == 1
        assert again.password != server.password
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["data", "mariadb.log", "tmp"]


def test_a_killed_parent_leaves_nothing_running(tmp_path: Path) -> None:
    """Even `kill -9` ends both servers."""
    parent = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert [pid for pid in pids if process.start_time(pid)] == pids
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while any(process.start_time(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)

    assert [pid for pid in pids if process.start_time(pid)] == []


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setattr("local.servers.shutil.which", lambda name, path: None)

    with pytest.raises(ServerError, match="apt-get install mariadb-server"):
        MariaDB(tmp_path / "m").start()
    with pytest.raises(ServerError, match="apt-get install redis-server"):
        Redis(tmp_path / "r").start()


def test_a_start_that_fails_shows_the_log(tmp_path: Path) -> None:
    """The last lines say why."""
    with pytest.raises(ServerError, match="no-such-option"):
        Redis(tmp_path, options=["--no-such-option", "1"]).start()
