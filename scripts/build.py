"""Build the artefact of a function: its modules, the blueprints, and the packages it needs.

    python -m scripts.build WebhookFunction --target DIR [--no-dependencies] [--zip]

Called once per function by `sam build` (src/Makefile). Packages are wheels for the Lambda's processor and
Python, whatever this machine runs, and are installed once per set into `build/dependencies`. The local stack
builds with `--no-dependencies`: its interpreter has them already.

A function gets the modules that its handler imports (read with `ast`, see `scripts/imports.py`), the packages
these import without what they cannot need of them (`scripts/pruning.py`), and of botocore's models, most of
its size, those of the services that they name. Environment:
`BLUEPRINTS` (a directory, default blueprints/), `ARCHITECTURE` (arm64 or x86_64), `PYTHON_VERSION` (3.13).
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
sys.path[:0] = [path for path in (str(ROOT), str(SOURCE)) if path not in sys.path]

from qa_env import blueprint  # noqa: E402  (found through the line above)
from scripts import imports, pruning  # noqa: E402  (found through the line above)

FUNCTIONS = ("Webhook", "Reconcile", "Signals", "Sweep", "Audit", "Deploy", "Datastores", "Page")
READS_BLUEPRINTS = "qa_env.blueprint"
PLATFORMS = {"arm64": "aarch64", "x86_64": "x86_64"}
PROVIDED_BY = {  # imported name → distribution in src/requirements.txt
    "aws_lambda_powertools": "aws-lambda-powertools",
    "boto3": "boto3",
    "botocore": "botocore",
    "cryptography": "cryptography",
    "pydantic": "pydantic",
    "pymysql": "PyMySQL",
    "redis": "redis",
    "yaml": "PyYAML",
}
IMPLIED = {"boto3": ["botocore"]}  # pinned together: boto3 alone would take any newer botocore
MODELS = ("boto3/data", "botocore/data")  # a directory per service of AWS
STRIPPED = ("bin", "**/__pycache__", "**/tests", "boto3/examples", "**/*.pyi", "**/*.dist-info/RECORD")


class BuildError(Exception):
    """Why there is no artefact, for the person who builds."""


@dataclass(frozen=True)
class Runtime:
    """What the artefact will run on."""

    architecture: str = "arm64"
    python: str = "3.13"

    def __post_init__(self) -> None:
        if self.architecture not in PLATFORMS:
            raise BuildError(f"ARCHITECTURE is {self.architecture!r}: it must be arm64 or x86_64")

    @classmethod
    def here(cls) -> Self:
        """This machine's, as far as Lambda has it: what tests and benchmarks can start."""
        machine = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
        return cls(machine, "{}.{}".format(*sys.version_info))

    @property
    def platforms(self) -> list[str]:
        """Wheel platforms, for pip. The runtime is Amazon Linux 2023, whose glibc is 2.34."""
        machine = PLATFORMS[self.architecture]
        return [f"manylinux2014_{machine}", f"manylinux_2_28_{machine}"]


def assemble(function: str, target: Path, blueprints: Path, runtime: Runtime | None) -> None:
    """Write the artefact of `WebhookFunction` and so on into `target`; no runtime: without packages."""
    files, foreign = imports.closure(f"handlers.{handler_of(function)}", SOURCE)
    known = read_blueprints(blueprints)
    target.mkdir(parents=True, exist_ok=True)
    if runtime:
        copy_packages(dependencies(requirements(foreign), runtime), target, imports.texts(files))
    for file in sorted(files | set(_resources(files))):
        destination = target / file.relative_to(SOURCE)
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, destination)
    index = json.dumps(blueprint.index(known.values()), indent=2)
    (target / "repositories.json").write_text(index + "\n", "utf-8")
    if imports.file_of(READS_BLUEPRINTS, SOURCE) in files:
        for path in sorted(blueprints.glob("*.yaml")):
            if not path.name.startswith("example"):
                (target / "blueprints").mkdir(exist_ok=True)
                shutil.copy(path, target / "blueprints")
    if runtime:
        pruning.prune(target, f"handlers.{handler_of(function)}")
        compile_all(target, runtime)


def handler_of(function: str) -> str:
    """`WebhookFunction` → `webhook`, the module of its handler."""
    name = function.removesuffix("Function")
    module = name.lower()
    if name not in FUNCTIONS or imports.file_of(f"handlers.{module}", SOURCE) is None:
        raise BuildError(f"no function {function}: src/handlers/{module}.py is missing or not in FUNCTIONS")
    return module


def read_blueprints(directory: Path) -> dict[str, blueprint.Blueprint]:
    """The blueprints that the functions will work from: an artefact without any would do nothing."""
    try:
        found = blueprint.load(directory)
    except blueprint.BlueprintError as error:
        raise BuildError(str(error)) from error
    if not found:
        raise BuildError(f"no blueprint in {directory}: copy blueprints/example.yaml")
    return found


def requirements(packages: Iterable[str]) -> list[str]:
    """The lines of src/requirements.txt that provide these imports, with their pins."""
    names: set[str] = set()
    for package in packages:
        if package not in PROVIDED_BY:
            raise BuildError(f"nothing in src/requirements.txt provides {package!r}: add it to PROVIDED_BY")
        names |= {PROVIDED_BY[package], *IMPLIED.get(package, [])}
    lines = (SOURCE / "requirements.txt").read_text("utf-8").splitlines()
    pins = [line.strip() for line in lines if "==" in line and not line.startswith("#")]
    chosen = [pin for pin in pins if pin.split("==")[0].split("[")[0] in names]
    missing = names - {pin.split("==")[0].split("[")[0] for pin in chosen}
    if missing:
        raise BuildError(f"src/requirements.txt has no pin for {', '.join(sorted(missing))}")
    return chosen


def dependencies(pins: list[str], runtime: Runtime) -> Path:
    """A directory with these packages for the runtime, installed at most once."""
    if not pins:
        raise BuildError("a function without packages: is its handler empty?")
    wanted = json.dumps([sorted(pins), runtime.platforms, runtime.python, STRIPPED])
    key = f"{runtime.architecture}-{runtime.python}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    cache = ROOT / "build" / "dependencies"
    with _locked(cache / f"{key}.lock"):
        ready = cache / key
        if not ready.is_dir():
            unfinished = cache / f"{key}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            install(pins, unfinished, runtime)
            _strip(unfinished)
            unfinished.rename(ready)
    return ready


def compile_all(target: Path, runtime: Runtime) -> bool:
    """Compile ahead if an interpreter of exactly that version is here; byte code of another is useless.

    Zip files carry no usable times, so only byte code that is never checked against them is used.
    """
    python = interpreter(runtime.python)
    if python is None:
        print(f"not compiled: no python{runtime.python} here; cold starts take longer", file=sys.stderr)
        return False
    options = ["-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([python, "-m", "compileall", *options, str(target)], check=True)
    return True


def interpreter(version: str) -> str | None:
    """A program that runs this minor version; a name on PATH alone may be a version manager's stub."""
    for program in (sys.executable, shutil.which(f"python{version}")):
        asked = [program, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"] if program else ["false"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False)
        if program and answer.stdout.strip() == version:
            return program
    return None


def zipped(directory: Path, archive: Path) -> Path:
    """The directory as a zip file, the same bytes for the same content."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                entry = zipfile.ZipInfo(str(path.relative_to(directory)))
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                opened.writestr(entry, path.read_bytes())
    return archive


def install(pins: list[str], target: Path, runtime: Runtime) -> None:
    """The packages as wheels for the runtime, whole: all that pip puts there."""
    platforms = [option for one in runtime.platforms for option in ("--platform", one)]
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-compile", "--no-warn-conflicts", "--target", str(target)),
        *("--python-version", runtime.python, "--implementation", "cp", "--only-binary=:all:", *platforms),
        *pins,
    ]
    if subprocess.run(command, check=False).returncode:
        raise BuildError(f"pip could not install {' '.join(pins)} for {runtime.architecture}; see above")


def _strip(directory: Path) -> None:
    for pattern in STRIPPED:
        for path in list(directory.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _resources(files: Iterable[Path]) -> Iterator[Path]:
    """Files beside the modules of a package that are not Python: a page's template, say."""
    for directory in {path.parent for path in files if path.parent != SOURCE}:
        yield from (p for p in directory.iterdir() if p.is_file() and p.suffix not in (".py", ".pyc"))


def copy_packages(source: Path, target: Path, named: set[str]) -> None:
    """Without the models of services that are not named: a client's name stands somewhere as a text."""

    def left_out(directory: str, entries: list[str]) -> list[str]:
        if Path(directory).relative_to(source).as_posix() not in MODELS:
            return []
        return [entry for entry in entries if Path(directory, entry).is_dir() and entry not in named]

    shutil.copytree(source, target, dirs_exist_ok=True, ignore=left_out)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments: list[str]) -> int:
    """Build one function."""
    parser = argparse.ArgumentParser(prog="python -m scripts.build", description="Build one function.")
    parser.add_argument("function", help=", ".join(f"{name}Function" for name in FUNCTIONS))
    parser.add_argument("--target", type=Path, required=True, help="directory to write")
    parser.add_argument("--no-dependencies", action="store_true", help="leave packages out")
    parser.add_argument("--zip", action="store_true", help="also write TARGET.zip")
    options = parser.parse_args(arguments)
    blueprints = Path(os.environ.get("BLUEPRINTS") or ROOT / "blueprints")
    try:
        runtime = None if options.no_dependencies else _runtime()
        assemble(options.function, options.target, blueprints, runtime)
        if options.zip:
            zipped(options.target, options.target.with_name(f"{options.target.name}.zip"))
    except BuildError as error:
        print(f"building {options.function}: {error}", file=sys.stderr)
        return 1
    return 0


def _runtime() -> Runtime:
    return Runtime(os.environ.get("ARCHITECTURE") or "arm64", os.environ.get("PYTHON_VERSION") or "3.13")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
