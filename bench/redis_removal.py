"""What it costs to remove an environment's Redis keys, and what others notice of it.

    make bench        (PYTHONPATH=src:. python -m bench.redis_removal [--json])

200,000 keys of one namespace among 2,000,000, removed through the datastores function as the loop calls it,
and by a C client that does nothing but SCAN and UNLINK (`redis_removal.c`); then both over a connection
whose round trip takes 0.6 ms longer (`tcp_delay.c`). The same number of keys in ten namespaces, as of ten
branches that were deleted at once, is removed by one scan for all and by one scan for each. The keys are put
back in between, so that all find the same server.
Meanwhile another client reads one key every millisecond (`redis_neighbour.c`). Needs a C compiler.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import report
from bench.invocation import TIMEOUT, ask
from local import process
from local.servers import HOST, Redis
from qa_env.datastores.redis import PAGE, RESERVE_SECONDS

NAMESPACE = "qa_foo"
TEN = tuple(f"qa_branch{number}" for number in range(10))
KEYS, OTHERS = 200_000, 1_800_000
VALUE_BYTES = 100
DELAY = 600  # microseconds
ROUNDS = 3
SLICE = 0.25  # seconds that it has in the row with interruptions, before it must answer with its cursor
P99 = 2.0  # ms that another client may wait
PROGRAMS = ("redis_removal", "redis_neighbour", "tcp_delay")

OURS, PEER = "qa-env", "C client"
FAR = f", {DELAY / 1000:g} ms further away"
SLICED, LOOK, FLUSH, NOBODY = (
    "qa-env, interrupted",
    "qa-env, nothing there",
    "qa-env, numbered database",
    "nobody",
)
TOGETHER, EACH = "qa-env, ten namespaces in one scan", "qa-env, ten namespaces one by one"
COLUMNS = ("removal", "ms", "calls", "neighbour's p50 ms", "p99 ms", "max ms")


@dataclass(frozen=True)
class Run:
    """One removal: seconds, calls, and how many milliseconds the neighbour's reads took meanwhile."""

    seconds: float
    calls: int
    waits: list[float]


@dataclass(frozen=True)
class Bench:
    """The server and the directory of the compiled programs."""

    server: Redis
    programs: Path

    def surround(self) -> None:
        """Everybody else's keys: in portions, because the server answers nobody meanwhile."""
        for portion in range(OTHERS // KEYS):
            self.fill(f"stg{portion}")

    def fill(self, *names: str, database: int = 0) -> None:
        """Every key of names that are not there, as many of each."""
        with self.server.connect(database) as client:
            for name in names:
                client.execute_command("DEBUG", "POPULATE", KEYS // len(names), name, VALUE_BYTES)

    def ours(
        self,
        port: int,
        seconds: float = TIMEOUT,
        expected: int = KEYS,
        scans: Sequence[Sequence[str]] = ((NAMESPACE,),),
    ) -> Run:
        """Ask as the loop does, in one scan after the other: again from the cursor, until all are gone."""
        removed = calls = 0
        with self._neighbour() as waits:
            started = time.perf_counter()
            for names in scans:
                cursor = "0"
                while cursor:
                    namespaces = dict.fromkeys(names, "qa")
                    place = {"mode": "namespace", "database": 0, "namespaces": namespaces}
                    answer: Any = self._ask(port, seconds, **place, cursor=cursor)
                    cursor, calls = answer.get("cursor", ""), calls + 1
                    removed += sum(answer["removed"].values())
            took = time.perf_counter() - started
        _require(removed, expected)
        return Run(took, calls, waits)

    def peer(self, port: int) -> Run:
        """The C client, each of whose round trips waits for the one before."""
        with self._neighbour() as waits:
            started = time.perf_counter()
            removed = self._run("redis_removal", str(port), f"{NAMESPACE}:*", str(PAGE))
            took = time.perf_counter() - started
        _require(int(removed), KEYS)
        return Run(took, 1, waits)

    def flush(self) -> Run:
        """A numbered database that holds as many keys."""
        self.fill(NAMESPACE, database=1)
        with self._neighbour() as waits:
            started = time.perf_counter()
            answer = self._ask(self.server.port, TIMEOUT, mode="database", database=1)
            took = time.perf_counter() - started
        _require(int(answer["removed"]), KEYS)
        return Run(took, 1, waits)

    def nobody(self) -> Run:
        """What the neighbour waits for when nothing is removed."""
        with self._neighbour() as waits:
            time.sleep(1)
        return Run(0, 0, waits)

    @contextmanager
    def further_away(self) -> Iterator[int]:
        """A port from which every round trip takes longer."""
        port = process.free_port()
        command = [str(self.programs / "tcp_delay"), str(port), str(self.server.port), str(DELAY)]
        running = process.start(command, log=self.programs / "tcp_delay.log")
        try:
            yield port
        finally:
            process.stop(running)

    def round_trip(self, port: int) -> float:
        """Milliseconds, the median of many."""
        took = []
        with self.server.connect() as client:
            client.connection_pool.connection_kwargs["port"] = port
            for _ in range(200):
                started = time.perf_counter()
                client.ping()
                took.append(time.perf_counter() - started)
        return statistics.median(took) * 1000

    def _ask(self, port: int, seconds: float, **request: object) -> Mapping[str, str]:
        secret = json.dumps({"url": f"redis://:{self.server.password}@{HOST}:{port}"})
        return ask(secret, seconds, store="redis", action="delete", **request)

    def _run(self, program: str, *arguments: str) -> str:
        command = [str(self.programs / program), *arguments]
        return subprocess.run(
            command, env=self._environment, stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    @contextmanager
    def _neighbour(self) -> Iterator[list[float]]:
        """Milliseconds of another client's reads; there when it is over."""
        waits: list[float] = []
        command = [str(self.programs / "redis_neighbour"), str(self.server.port)]
        neighbour = subprocess.Popen(
            command, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            yield waits
        finally:
            said, _ = neighbour.communicate()
        waits += (int(line) / 1000 for line in said.splitlines())

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "REDIS_PASSWORD": self.server.password}


def measure() -> report.Result:
    """Every removal in turn, `ROUNDS` times."""
    runs: dict[str, list[Run]] = {}
    with _bench() as bench, bench.further_away() as far:
        bench.surround()
        near = bench.server.port
        trips = [bench.round_trip(port) for port in (near, far)]
        removals = {
            NOBODY: bench.nobody,
            OURS: lambda: bench.ours(near),
            PEER: lambda: bench.peer(near),
            TOGETHER: lambda: bench.ours(near, scans=[TEN]),
            EACH: lambda: bench.ours(near, scans=[[name] for name in TEN]),
            OURS + FAR: lambda: bench.ours(far),
            PEER + FAR: lambda: bench.peer(far),
            SLICED: lambda: bench.ours(near, RESERVE_SECONDS + SLICE),
            FLUSH: bench.flush,
        }
        for number in range(ROUNDS):
            turn = list(removals) if number % 2 else list(reversed(removals))
            for name in turn:
                bench.fill(*(TEN if name in (TOGETHER, EACH) else (NAMESPACE,)))
                runs.setdefault(name, []).append(removals[name]())
            bench.ours(near)
            runs.setdefault(LOOK, []).append(bench.ours(near, expected=0))
    rows = {name: _row(name, runs[name]) for name in (*removals, LOOK)}
    return report.Result(
        f"Redis: {KEYS:,} keys of one namespace among {KEYS + OTHERS:,} (median of {ROUNDS})",
        COLUMNS,
        list(rows.values()),
        _goals(rows),
        [
            f"Round trips: {trips[0]:.2f} ms, further away {trips[1]:.2f} ms.",
            f"Interrupted: a call has {SLICE} s, and the next one goes on from its cursor.",
            "Nothing there: the look that ends a teardown.",
        ],
    )


def _goals(rows: Mapping[str, report.Row]) -> list[report.Goal]:
    def took(figure: str, ours: str, bound: str) -> report.Goal:
        return report.Goal(figure, rows[ours]["ms"], rows[bound]["ms"], "ms", 1.3)

    return [
        took("removal against the C client", OURS, PEER),
        took(f"the same{FAR}", OURS + FAR, PEER + FAR),
        report.Goal("another client's p99 meanwhile", rows[OURS]["p99 ms"], P99, "ms", 1),
        took("interrupted again and again against at one go", SLICED, OURS),
        took("ten namespaces in one scan against one namespace of as many keys", TOGETHER, OURS),
    ]


def _row(name: str, runs: list[Run]) -> report.Row:
    waits = sorted(wait for run in runs for wait in run.waits)
    return dict(
        zip(
            COLUMNS,
            (
                name,
                statistics.median(run.seconds for run in runs) * 1000,
                max(run.calls for run in runs),
                statistics.median(waits),
                waits[len(waits) * 99 // 100],
                waits[-1],
            ),
            strict=True,
        )
    )


def _require(removed: int, expected: int) -> None:
    if removed != expected:
        raise RuntimeError(f"{removed} keys were removed, not {expected}")


@contextmanager
def _bench() -> Iterator[Bench]:
    with TemporaryDirectory(prefix="qa-env-bench-") as directory:
        for program in PROGRAMS:
            _compile(program, Path(directory))
        with Redis(Path(directory) / "redis", options=["--enable-debug-command", "yes"]) as server:
            yield Bench(server, Path(directory))


def _compile(program: str, directory: Path) -> None:
    """Make a program of this package; says so if there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("cc is not installed; run: apt-get install gcc libc6-dev")
    source = Path(__file__).with_name(f"{program}.c")
    subprocess.run([compiler, "-O2", "-o", str(directory / program), str(source)], check=True)


if __name__ == "__main__":
    sys.exit(report.main(measure))
