"""The artefact for AWS is right whatever builds it: wheels, blueprints, modules, byte code."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import build, expand, imports
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
CLIENTS = {"elasticloadbalancing": "elbv2", "tag": "resourcegroupstaggingapi"}  # where IAM has another name
NOT_CALLED = {"logs", "xray", "iam", "codeconnections", "codestar-connections", "ec2", "kms"}
"""Rights that Lambda or the called service uses: no function has a client for them."""
HERE = Runtime.here()


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
    assert {"botocore", "aws_lambda_powertools", "handlers", "qa_env", "repositories.json"} <= there
    assert not there & {"boto3", "pydantic", "pymysql", "redis", "yaml", "cryptography", "blueprints", "bin"}


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("Signals", {"pydantic", "yaml", "cryptography"}),
        ("Deploy", {"pydantic", "yaml", "cryptography"}),
        ("Sweep", {"cryptography"}),
        ("Datastores", {"pydantic", "yaml"}),
    ],
)
def test_what_only_the_worker_needs_is_not_in_others(name: str, without: set[str]) -> None:
    _, packages = imports.closure(f"handlers.{name.lower()}", build.SOURCE)
    assert "boto3" in packages
    assert not packages & without


@pytest.fixture(scope="module")
def roles() -> dict[str, Any]:
    """What the functions may do: their roles in the template."""
    resources = expand.expanded()["Resources"]
    return {
        name: resources[resources[f"{name}Function"]["Properties"]["Role"]["Fn::GetAtt"][0]]
        for name in build.FUNCTIONS
    }


@pytest.mark.parametrize("name", build.FUNCTIONS)
def test_each_service_that_a_function_may_call_has_its_model(name: str, roles: dict[str, Any]) -> None:
    """The roles are complete: `test_privilege.py` holds a life against them."""
    allowed = {action.partition(":")[0] for action in _actions(roles[name]["Properties"]["Policies"])}
    called = {CLIENTS.get(prefix, prefix) for prefix in allowed - NOT_CALLED}
    files, _ = imports.closure(f"handlers.{name.lower()}", build.SOURCE)
    assert called
    assert called <= imports.texts(files)


def _actions(value: Any) -> Iterator[str]:
    """Every `Action` of a role's policies, wherever it stands."""
    if isinstance(value, list):
        for one in value:
            yield from _actions(one)
    elif isinstance(value, dict):
        actions = value.get("Action", [])
        yield from [actions] if isinstance(actions, str) else actions
        yield from _actions(list(value.values()))


def test_a_client_is_asked_for_by_a_text_that_the_build_can_read() -> None:
    """Wherever in the functions one is made; `runtime.client` itself is given the name."""
    asked = [
        (path.name, ast.unparse(call))
        for name in build.FUNCTIONS
        for path in imports.closure(f"handlers.{name.lower()}", build.SOURCE)[0]
        for call in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func).rpartition(".")[2] in ("client", "create_client", "resource")
        if call.args and not isinstance(call.args[0], ast.Constant)
    ]
    assert {file for file, _ in asked} == {"runtime.py"}, asked


def test_models_of_other_services_are_left_out(tmp_path: Path, blueprints: Path) -> None:
    """What stands beside them, endpoints and retry rules, stays."""
    target = tmp_path / "artefact"
    build.assemble("WebhookFunction", target, blueprints, HERE)
    data = list((target / "botocore" / "data").iterdir())
    assert {path.name for path in data if path.is_dir()} == {"sqs", "secretsmanager"}
    assert {"endpoints.json", "partitions.json", "_retry.json"} <= {path.name for path in data}


@pytest.mark.parametrize("name", ["Webhook", "Reconcile", "Datastores"])
def test_what_is_left_of_the_packages_is_enough(tmp_path: Path, blueprints: Path, name: str) -> None:
    """With nothing else to import from: every module of ours, every client, and a signature."""
    target = tmp_path / "artefact"
    build.assemble(f"{name}Function", target, blueprints, HERE)
    models = [path.name for path in (target / "botocore" / "data").iterdir() if path.is_dir()]
    ours = [path for top in ("handlers", "qa_env") for path in (target / top).rglob("*.py")]
    modules = [str(path.relative_to(target).with_suffix("")).replace("/", ".") for path in ours]
    script = (
        "import importlib, sys, botocore.session\n"
        f"for name in {modules}:\n"
        "    importlib.import_module(name.removesuffix('.__init__'))\n"
        f"for name in {models}:\n"
        "    botocore.session.get_session().create_client(name)\n"
        f"if {(target / 'cryptography').is_dir()}:\n"
        "    from cryptography.hazmat.primitives import hashes\n"
        "    from cryptography.hazmat.primitives.asymmetric import padding, rsa\n"
        "    rsa.generate_private_key(65537, 2048).sign(b'', padding.PKCS1v15(), hashes.SHA256())\n"
        "print(len(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],  # without the environment's own packages
        env={"PYTHONPATH": str(target), "AWS_DEFAULT_REGION": "eu-west-1", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {"handlers." + name.lower(), "qa_env.naming"} <= set(modules)
    assert models


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
    said = _run(tmp_path, environment, script, *modules)
    assert bool(said) == (name == "Datastores"), "only datastores can reach data"


def test_byte_code_is_used_whatever_the_files_times_are(tmp_path: Path, blueprints: Path) -> None:
    """The source is made useless after it was compiled, so whatever is imported came from byte code."""
    target = tmp_path / "artefact"
    build.assemble("WebhookFunction", target, blueprints, None)
    assert build.compile_all(target, Runtime(python=HERE.python))
    for path in target.rglob("*.py"):
        path.write_text("raise RuntimeError('compiled again')\n", "utf-8")
    for path in target.rglob("*"):
        os.utime(path, (315532800, 315532800))  # 1980, as zip files have it
    script = "import handlers.webhook; print(handlers.webhook.__cached__)"
    environment = {**os.environ, "PYTHONPATH": str(target), "PYTHONDONTWRITEBYTECODE": "1"}
    said = _run(tmp_path, environment, script)
    assert Path(said).parent == target / "handlers" / "__pycache__"


def _run(directory: Path, environment: dict[str, str], script: str, *arguments: str) -> str:
    """What a Python of its own prints, which must not fail."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment,
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


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
