"""The artefact for AWS is right whatever builds it: wheels, blueprints, modules, byte code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import build
from scripts.build import BuildError, Runtime

BLUEPRINT = """
version: 1
repository: Example/shop
cluster: stg
image_repository: shop
load_balancers:
  - arn: arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/qa/0123456789abcdef
    host: qa.example.com
    ports: 10001-10049
roles:
  app: { copy_of: shop-app, container: app, port: 3000, log_group: /qa/app }
pipeline:
  connection_arn: arn:aws:codeconnections:eu-west-1:123456789012:connection/0
  role_arn: arn:aws:iam::123456789012:role/pipeline
  artifact_bucket: shop-artifacts
  build_project: shop-build
"""
MACHINES = {"arm64": ("aarch64", 0xB7), "x86_64": ("x86_64", 0x3E)}  # in file names, in ELF headers
RUNNING = "{}.{}".format(*sys.version_info)


@pytest.fixture
def blueprints(tmp_path: Path) -> Path:
    directory = tmp_path / "blueprints"
    directory.mkdir()
    (directory / "shop.yaml").write_text(BLUEPRINT, "utf-8")
    (directory / "example.yaml").write_text("this is documentation: it is not read\n", "utf-8")
    return directory


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_wheels_are_those_of_the_lambda(tmp_path: Path, blueprints: Path, architecture: str) -> None:
    target = tmp_path / "artefact"
    build.assemble("ReconcileFunction", target, blueprints, Runtime(architecture))
    machine, elf = MACHINES[architecture]
    libraries = list(target.rglob("*.so"))
    assert {library.read_bytes()[18] for library in libraries} == {elf}
    names = {str(library.relative_to(target)) for library in libraries}
    assert f"pydantic_core/_pydantic_core.cpython-313-{machine}-linux-gnu.so" in names
    assert "cryptography/hazmat/bindings/_rust.abi3.so" in names
    versions = [library.name for library in libraries if "abi3" not in library.name]
    assert all(f".cpython-313-{machine}-" in name for name in versions)
    assert _unmet(target, machine) == []


def _unmet(target: Path, machine: str) -> list[str]:
    """pip decides with the markers of the Python that runs it, so ask again with those of the Lambda."""
    lambdas = {
        "implementation_name": "cpython",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "python_full_version": "3.13.0",
        "python_version": "3.13",
        "sys_platform": "linux",
        "extra": "",
    }
    installed = list(distributions(path=[str(target)]))
    versions = {canonicalize_name(one.name): one.version for one in installed}
    wanted = [(one.name, Requirement(text)) for one in installed for text in one.requires or ()]
    return [
        f"{name} needs {requirement}"
        for name, requirement in wanted
        if (requirement.marker is None or requirement.marker.evaluate(lambdas))
        and not requirement.specifier.contains(versions.get(canonicalize_name(requirement.name), "0"))
    ]


def test_the_receivers_artefact_is_small(tmp_path: Path, blueprints: Path) -> None:
    target = tmp_path / "artefact"
    build.assemble("WebhookFunction", target, blueprints, Runtime("arm64"))
    there = {path.name for path in target.iterdir()}
    assert {"boto3", "aws_lambda_powertools", "handlers", "qa_env", "repositories.json"} <= there
    assert not there & {"pydantic", "pymysql", "redis", "yaml", "cryptography", "blueprints", "bin"}


def test_blueprints_are_built_in_and_examples_are_not(tmp_path: Path, blueprints: Path) -> None:
    target = tmp_path / "artefact"
    build.assemble("ReconcileFunction", target, blueprints, None)
    assert [path.name for path in (target / "blueprints").iterdir()] == ["shop.yaml"]
    index = json.loads((target / "repositories.json").read_text("utf-8"))
    assert index["example/shop"]["branch_prefix"] == "qa/"


@pytest.mark.parametrize("name", build.FUNCTIONS)
def test_every_module_of_an_artefact_imports(tmp_path: Path, blueprints: Path, name: str) -> None:
    """Also those that are imported late, inside a function; and none comes from anywhere else."""
    target = tmp_path / "artefact"
    build.assemble(f"{name}Function", target, blueprints, None)
    modules = [
        str(path.relative_to(target).with_suffix("")).replace("/", ".") for path in target.rglob("*.py")
    ]
    assert f"handlers.{name.lower()}" in modules
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    file = importlib.import_module(name.removesuffix('.__init__')).__file__\n"
        f"    assert file.startswith({str(target)!r}), file\n"
        "print(*(set(sys.modules) & {'pymysql', 'redis'}))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(target), "AWS_DEFAULT_REGION": "eu-west-1"}
    done = subprocess.run(
        [sys.executable, "-c", script, *modules],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert bool(done.stdout.strip()) == (name == "Datastores"), "only datastores can reach data"


def test_byte_code_is_used_whatever_the_files_times_are(tmp_path: Path, blueprints: Path) -> None:
    target = tmp_path / "artefact"
    build.assemble("WebhookFunction", target, blueprints, None)
    assert build.compile_all(target, Runtime(python=RUNNING))
    for path in target.rglob("*"):
        os.utime(path, (315532800, 315532800))  # 1980, as zip files have it
    (handler,) = target.glob("handlers/__pycache__/webhook.*.pyc")
    assert int.from_bytes(handler.read_bytes()[4:8], "little") == 0b01, "unchecked hash"


def test_no_byte_code_of_another_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "module.py").write_text("", "utf-8")
    assert not build.compile_all(tmp_path, Runtime(python="3.1"))
    assert "no python3.1 here" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.pyc"))


def test_a_zip_is_the_same_for_the_same_content(tmp_path: Path, blueprints: Path) -> None:
    archives = []
    for name in ("one", "two"):
        build.assemble("WebhookFunction", tmp_path / name, blueprints, None)
        archives.append(build.zipped(tmp_path / name, tmp_path / f"{name}.zip").read_bytes())
    assert archives[0] == archives[1]
    assert "handlers/webhook.py" in zipfile.ZipFile(tmp_path / "one.zip").namelist()


def test_no_blueprint_is_an_error(tmp_path: Path, blueprints: Path) -> None:
    (blueprints / "shop.yaml").unlink()
    with pytest.raises(BuildError, match=r"no blueprint in .*: copy blueprints/example\.yaml"):
        build.assemble("WebhookFunction", tmp_path / "artefact", blueprints, None)


def test_a_wrong_blueprint_is_an_error_that_names_file_and_key(tmp_path: Path, blueprints: Path) -> None:
    (blueprints / "shop.yaml").write_text(BLUEPRINT.replace("10001-10049", "many"), "utf-8")
    with pytest.raises(BuildError, match=r"shop\.yaml: load_balancers\.0\.ports"):
        build.assemble("WebhookFunction", tmp_path / "artefact", blueprints, None)


def test_an_unknown_processor_or_function_is_an_error() -> None:
    with pytest.raises(BuildError, match="must be arm64 or x86_64"):
        Runtime("amd64")
    with pytest.raises(BuildError, match="no function OtherFunction"):
        build.handler_of("OtherFunction")


def test_an_import_without_a_pin_is_an_error() -> None:
    with pytest.raises(BuildError, match="provides 'requests'"):
        build.requirements({"requests"})


def test_the_command_line_says_what_is_wrong(tmp_path: Path, blueprints: Path) -> None:
    (blueprints / "shop.yaml").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "scripts.build", "WebhookFunction", "--target", str(tmp_path / "artefact")],
        cwd=build.ROOT,
        env={**os.environ, "BLUEPRINTS": str(blueprints)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("building WebhookFunction: no blueprint in")
