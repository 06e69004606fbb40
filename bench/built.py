"""Artefacts as `make build` makes them, and processes that run in them as Lambda would.

They are built for this machine's processor and, where an interpreter of it is here, for the functions'
version of Python; their files have the times of zip files, their directories cannot be written to.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scripts import build
from scripts.build import Runtime

PYTHON = "3.13"  # the functions', template.yaml
ZIP_TIME = 315532800  # 1980-01-01, where zip files begin
PROGRAMS = Path(__file__).parent / "programs"
REGION = "eu-west-1"


@dataclass(frozen=True)
class Workshop:
    """Where artefacts are built during one benchmark, and for which interpreter."""

    directory: Path
    blueprints: Path
    interpreter: str
    runtime: Runtime

    @property
    def notes(self) -> list[str]:
        """What the figures were measured with."""
        said = [f"Artefacts for {self.runtime.architecture} and Python {self.runtime.python}."]
        if self.runtime.python != PYTHON:
            said.append(f"The functions run on Python {PYTHON}, of which there is no interpreter on PATH.")
        return said

    def artefact(self, function: str) -> Path:
        """The function as it is deployed."""
        target = self.directory / function
        build.assemble(f"{function}Function", target, self.blueprints, self.runtime)
        return _deployed(target)

    def packages(self, names: Collection[str], services: Collection[str]) -> Path:
        """Packages and models of services, as an artefact has them, and nothing of ours."""
        target = self.directory / "-".join(sorted(names))
        pins = build.requirements(names)
        build.copy_packages(build.dependencies(pins, self.runtime), target, set(services))
        build.compile_all(target, self.runtime)
        return _deployed(target)

    def without_byte_code(self, artefact: Path) -> Path:
        """The same as SAM's own builder ships it."""
        copied = artefact.with_name(f"{artefact.name}-sources")
        shutil.copytree(artefact, copied, ignore=shutil.ignore_patterns("__pycache__"))
        return _deployed(copied)

    def installed(self, artefact: Path) -> Path:
        """The same as pip leaves it: byte code that is checked against its source's time, which fits."""
        copied = artefact.with_name(f"{artefact.name}-installed")
        shutil.copytree(artefact, copied, ignore=shutil.ignore_patterns("__pycache__"))
        command = [self.interpreter, "-m", "compileall", "-q", "-j", "0", str(copied)]
        subprocess.run(command, check=True)
        return copied


@contextmanager
def workshop() -> Iterator[Workshop]:
    """A directory of its own with the example as the one blueprint; gone afterwards with all artefacts."""
    here = Runtime.here()
    found = build.interpreter(PYTHON)
    with TemporaryDirectory(prefix="qa-env-bench-") as directory:
        blueprints = Path(directory, "blueprints")
        blueprints.mkdir()
        shutil.copy(build.ROOT / "blueprints" / "example.yaml", blueprints / "shop.yaml")
        runtime = replace(here, python=PYTHON) if found else here
        yield Workshop(Path(directory), blueprints, found or sys.executable, runtime)


def _deployed(target: Path) -> Path:
    """With a zip file's times, and not to be written to."""
    for path in [*target.rglob("*"), target]:
        os.utime(path, (ZIP_TIME, ZIP_TIME))
        path.chmod(0o555 if path.is_dir() else 0o444)
    return target


@dataclass
class Started:
    """A program in an artefact: its process, and how long it took until its first answer."""

    process: subprocess.Popen[str]
    first: dict[str, Any] = field(default_factory=dict)
    milliseconds: float = 0.0

    def ask(self, question: str) -> dict[str, Any]:
        """Another answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} ended with {self.process.wait()}: see above")
        return dict(json.loads(line))


@contextmanager
def started(
    python: str, artefact: Path, program: str, arguments: Sequence[str], environment: Mapping[str, str]
) -> Iterator[Started]:
    """A program of `bench/programs` with the artefact's modules; it answers in lines of JSON."""
    given = {
        "PYTHONPATH": str(artefact),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        **environment,
    }
    command = [python, "-P", str(PROGRAMS / f"{program}.py"), *arguments]
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, env=given, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    with process:
        running = Started(process)
        running.first = running._answer()
        running.milliseconds = (time.perf_counter() - begun) * 1000
        yield running


def interleaved(
    sides: Mapping[str, Callable[[], dict[str, float]]], rounds: int
) -> dict[str, list[dict[str, float]]]:
    """So many rounds of each, in turns; the first of all warms the page cache and does not count."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, measure in sides.items():
            taken[name].append(measure())
    return {name: one[1:] for name, one in taken.items()}
