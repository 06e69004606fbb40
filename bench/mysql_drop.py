"""What it costs to drop an environment's schema, and how long others' writes stall meanwhile.

    make bench        (PYTHONPATH=src:. python -m bench.mysql_drop [--json])

A schema with 300 tables is dropped through the datastores function as the loop calls it, and an equal one by
a bare DROP DATABASE over a connection that is already there. Meanwhile another client inserts into a schema
of its own, one row per transaction, which is flushed as durably as on a server that people rely on.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pymysql.cursors import Cursor

from bench import report
from bench.invocation import ask
from local.servers import MariaDB

TABLES = 300
ROWS = ", ".join(["(1, 'new', 'seeded')"] * 10)
ROUNDS = 4  # even: both ways are first equally often
SETTLE = 0.3  # seconds of writing before a drop, so that its beginning meets a busy server
PACE = 0.001  # seconds between two writes
OURS, BARE, NOBODY = "qa-env", "bare DROP DATABASE", "nobody drops"
FIRST = "qa_first"  # dropped before any that counts: what making them all has left to do is done then
COLUMNS = ("drop", "ms", "another client's write p50 ms", "p99 ms", "longest ms")
OPTIONS = ("--innodb-buffer-pool-size=256M",)
DURABLE = {"innodb_flush_log_at_trx_commit": 1, "sync_frm": 1}  # MariaDB's defaults


@dataclass(frozen=True)
class Run:
    """One drop: milliseconds that it took, and those of each write that was under way meanwhile."""

    took: float
    writes: list[float]


class Writer:
    """Another client: one insert after another, each of them a transaction of its own."""

    def __init__(self, server: MariaDB) -> None:
        self._connection = server.connect()
        self._writes: list[tuple[float, float]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._connection.close()

    def during(self, began: float, ended: float) -> list[float]:
        """Milliseconds of each write that overlapped these moments."""
        return [(end - start) * 1000 for start, end in self._writes if end > began and start < ended]

    def _write(self) -> None:
        with self._connection.cursor() as cursor:
            while not self._stopped.is_set():
                started = time.perf_counter()
                cursor.execute("INSERT INTO stg.orders (user_id, status) VALUES (1, 'new')")
                self._writes.append((started, time.perf_counter()))
                time.sleep(PACE)


def measure() -> report.Result:
    """Every way in turn, `ROUNDS` times."""
    runs: dict[str, list[Run]] = {}
    with _server() as server, server.connect() as connection, connection.cursor() as cursor:
        ways: dict[str, Callable[[str], object]] = {
            OURS: lambda name: ask(server.secret, store="mysql", action="delete", name=name),
            BARE: lambda name: cursor.execute(f"DROP DATABASE `{name}`"),
            NOBODY: lambda name: time.sleep(1),
        }
        names = {way: [f"qa_{place}_{number}" for number in range(ROUNDS)] for place, way in enumerate(ways)}
        _seed(server, [FIRST, *names[OURS], *names[BARE]])
        ask(server.secret, store="mysql", action="delete", name=FIRST)  # and the sandbox is warm
        rest = statistics.median(_took(ways[OURS], FIRST) for _ in range(10))
        for number in range(ROUNDS):
            turn = list(ways) if number % 2 else list(reversed(ways))
            for way in turn:
                runs.setdefault(way, []).append(_observed(server, ways[way], names[way][number]))
        _require_gone(cursor)
    rows = {way: _row(way, runs[way]) for way in ways}
    return report.Result(
        f"MySQL: drop of a schema with {TABLES} tables (median of {ROUNDS})",
        COLUMNS,
        [*rows.values(), {COLUMNS[0]: "qa-env, no such schema", COLUMNS[1]: rest}],
        _goals(rows),
        [
            "Longest: of each drop the longest write that overlapped it, and the median of these.",
            "No such schema: all that a drop consists of but the statement's own work.",
        ],
    )


def _observed(server: MariaDB, drop: Callable[[str], object], name: str) -> Run:
    with Writer(server) as writer:
        time.sleep(SETTLE)
        began = time.perf_counter()
        drop(name)
        ended = time.perf_counter()
    return Run((ended - began) * 1000, writer.during(began, ended))


def _took(drop: Callable[[str], object], name: str) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    drop(name)
    return (time.perf_counter() - began) * 1000


def _row(way: str, runs: list[Run]) -> report.Row:
    writes = sorted(write for run in runs for write in run.writes)
    took = statistics.median(run.took for run in runs) if way != NOBODY else ""
    longest = statistics.median(max(run.writes) for run in runs)
    cells = (way, took, statistics.median(writes), writes[len(writes) * 99 // 100], longest)
    return dict(zip(COLUMNS, cells, strict=True))


def _goals(rows: Mapping[str, report.Row]) -> list[report.Goal]:
    ours, bare = rows[OURS], rows[BARE]
    stall = "longest ms"
    return [
        report.Goal("drop against the bare statement", ours["ms"], bare["ms"], "ms", 1.1),
        report.Goal("longest write of another client meanwhile", ours[stall], bare[stall], "ms", 1.5),
    ]


def _seed(server: MariaDB, schemas: list[str]) -> None:
    """All schemas side by side, and without waiting for the disk: that is no part of what is measured."""
    tables = [f"table_{number:03d}" for number in range(TABLES)]
    with server.connect() as connection, connection.cursor() as cursor:
        for variable in DURABLE:
            cursor.execute(f"SET GLOBAL {variable} = 0")
        _make(server, "stg", ["orders"])
        with ThreadPoolExecutor(len(schemas)) as pool:
            for made in [pool.submit(_make, server, schema, tables) for schema in schemas]:
                made.result()
        for variable, value in DURABLE.items():
            cursor.execute(f"SET GLOBAL {variable} = {value}")


def _make(server: MariaDB, schema: str, tables: list[str]) -> None:
    """Tables as a framework makes them, with a few rows each."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE `{schema}`")
        connection.select_db(schema)
        for table in tables:
            cursor.execute(
                f"CREATE TABLE {table} (id BIGINT AUTO_INCREMENT PRIMARY KEY, user_id BIGINT NOT NULL,"
                " status VARCHAR(32) NOT NULL, note TEXT, created_at DATETIME DEFAULT CURRENT_TIMESTAMP,"
                " KEY (user_id), KEY (status), KEY (created_at), KEY (user_id, status))"
            )
            cursor.execute(f"INSERT INTO {table} (user_id, status, note) VALUES {ROWS}")  # noqa: S608 - constants


def _require_gone(cursor: Cursor) -> None:
    cursor.execute("SHOW DATABASES LIKE 'qa%'")
    left = cursor.fetchall()
    if left:
        raise RuntimeError(f"not dropped: {left}")


@contextmanager
def _server() -> Iterator[MariaDB]:
    with TemporaryDirectory(prefix="qa-env-bench-") as directory, MariaDB(Path(directory), OPTIONS) as server:
        yield server


if __name__ == "__main__":
    sys.exit(report.main(measure))
