"""`qa-env doctor` as somebody types it: lines, JSON and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from botocore.exceptions import EndpointConnectionError, NoCredentialsError

from qa_env.cli import doctor
from qa_env.cli import installation as installations
from qa_env.cli.ended import Exit
from qa_env.cli.main import main
from qa_env.doctor import checks
from qa_env.doctor.world import World
from tests import canaries
from tests.doctor.sound import NOW, Sound
from tests.making import ROOT


class Said(NamedTuple):
    """The exit code, and what stood on standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def findings(self) -> list[dict[str, str]]:
        return list(json.loads(self.out)["findings"])


Typing = Callable[..., Said]


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory of its own, without a local stack and without settings of who runs the tests."""
    monkeypatch.setattr(installations, "LOCAL_STACK", tmp_path / "stack.json")
    monkeypatch.chdir(tmp_path)
    for name in ("QA_ENV_STACK", "BLUEPRINTS", "NO_COLOR", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def typed(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> Typing:
    """Type `qa-env doctor …` at the time of the sound world."""

    def find(*given: Any) -> installations.Installation:
        return replace(installations.find(*given), clock=lambda: NOW, pause=lambda seconds: None)

    def run(*arguments: str) -> Said:
        capsys.readouterr()
        try:
            code = main(["doctor", *arguments], find=find)
        except SystemExit as error:  # argparse's
            code = int(str(error.code))
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def installed(world: Sound, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> Sound:
    """The blueprint's file, and the stack as CloudFormation shows it; the table is the strict world's."""
    monkeypatch.setattr(doctor, "World", partial(World, fetch=world.world.fetch))
    directory = nowhere / "blueprints"
    directory.mkdir()
    (directory / "shop.yaml").write_text(yaml.safe_dump(world.values), "utf-8")
    shown = {
        "Outputs": world.outputs | {"TableName": world.account.table},
        "Parameters": world.parameters,
    }
    stack = {
        "StackName": "qa-env",
        **{kind: _listed(kind.removesuffix("s"), values) for kind, values in shown.items()},
    }
    resources = [
        {"ResourceType": kind, "PhysicalResourceId": name}
        for kind, names in world.resources.items()
        for name in names
    ]
    world.aws.serve("cloudformation:DescribeStacks", lambda *_: {"Stacks": [stack]})
    world.aws.serve("cloudformation:ListStackResources", lambda *_: {"StackResourceSummaries": resources})
    return world


def _listed(kind: str, values: dict[str, str]) -> list[dict[str, str]]:
    return [{f"{kind}Key": key, f"{kind}Value": value} for key, value in values.items()]


def test_a_sound_installation_has_no_problem(installed: Sound, typed: Typing) -> None:
    said = typed("--json")

    assert said.code == Exit.DONE
    assert [one for one in said.findings if one["level"] != "ok"] == []
    assert {one["check"] for one in said.findings} == set(checks.NAMES)
    assert json.loads(said.out)["counts"] == {
        "ok": len(said.findings),
        "warning": 0,
        "problem": 0,
        "unknown": 0,
    }
    assert canaries.found_in(said.out + said.err) == []


def test_a_line_per_finding_and_the_fix_below(installed: Sound, typed: Typing) -> None:
    installed.said["codeconnections:GetConnection"]["ConnectionStatus"] = "PENDING"

    said = typed("--only", "connection")
    assert said.code == Exit.NOT_SO
    first, second, last = said.out.splitlines()
    assert first.split(maxsplit=2) == ["problem", "connection", "example/shop: connection github is PENDING"]
    assert second.lstrip().startswith("→ finish it in the console")
    assert last == "0 ok, 0 warning, 1 problem, 0 unknown"


def test_a_warning_is_no_problem(installed: Sound, typed: Typing) -> None:
    installed.aws.client("logs").delete_retention_policy(logGroupName="/qa/app")

    said = typed("--only", "log-groups", "--json")
    assert said.code == Exit.DONE
    assert [one["level"] for one in said.findings] == ["warning", "ok"]


def test_only_one_check_is_made(installed: Sound, typed: Typing) -> None:
    said = typed("--only", "cluster", "--json")

    assert [one["check"] for one in said.findings] == ["cluster"]


def test_a_check_that_does_not_exist_is_wrong_use(installed: Sound, typed: Typing) -> None:
    said = typed("--only", "clusters")

    assert said.code == Exit.USAGE
    assert "clusters" in said.err


def test_offline_needs_no_aws(nowhere: Path, typed: Typing) -> None:
    said = typed("--offline", str(ROOT / "blueprints" / "example.yaml"))

    assert said.code == Exit.DONE
    assert "is valid" in said.out


@pytest.mark.parametrize("offline", [True, False])
def test_a_mistake_in_a_blueprint_leaves_the_others(
    installed: Sound, typed: Typing, nowhere: Path, offline: bool
) -> None:
    (nowhere / "blueprints" / "bad.yaml").write_text("version: 1\nrepositry: x/y\n", "utf-8")

    said = typed("--json", *(["--offline"] if offline else []))
    assert said.code == Exit.NOT_SO
    mistakes = [one["message"] for one in said.findings if one["level"] == "problem"]
    assert any("repositry: there is no such key; did you mean repository?" in one for one in mistakes)
    assert ("cluster" in {one["check"] for one in said.findings}) != offline


def test_blueprints_that_share_names_are_said(installed: Sound, typed: Typing, nowhere: Path) -> None:
    other = installed.values | {"repository": "example/other"}
    (nowhere / "blueprints" / "other.yaml").write_text(yaml.safe_dump(other), "utf-8")

    said = typed("--offline", "--json")
    assert said.code == Exit.NOT_SO
    assert any("slug_prefix" in one["message"] for one in said.findings)


def test_a_secret_in_a_broken_blueprint_is_not_repeated(
    installed: Sound, typed: Typing, nowhere: Path
) -> None:
    wrong = installed.values | {"database": {"secret": canaries.MYSQL_PASSWORD}}
    (nowhere / "blueprints" / "shop.yaml").write_text(yaml.safe_dump(wrong), "utf-8")

    said = typed("--offline")
    assert said.code == Exit.NOT_SO
    assert "database.secret" in said.out
    assert canaries.found_in(said.out + said.err) == []


@pytest.mark.parametrize("arguments", [[], ["gone.yaml"]])
def test_without_a_blueprint_it_is_wrong_use(nowhere: Path, typed: Typing, arguments: list[str]) -> None:
    said = typed(*arguments)

    assert said.code == Exit.USAGE
    assert "--blueprints" in said.err or "gone.yaml" in said.err


def test_before_the_first_deployment_the_rest_is_checked(installed: Sound, typed: Typing) -> None:
    cloudformation = installed.aws.client("cloudformation")

    def missing(*_: Any) -> dict[str, Any]:
        error = {"Error": {"Code": "ValidationError", "Message": "Stack with id qa-env does not exist"}}
        raise cloudformation.exceptions.ClientError(error, "DescribeStacks")

    installed.aws.serve("cloudformation:DescribeStacks", missing)
    said = typed("--json")

    levels = {one["check"]: one["level"] for one in said.findings}
    assert said.code == Exit.DONE
    assert {levels[name] for name in ("functions", "dead-letters", "alarms", "built-in", "mysql")} == {
        "unknown"
    }
    assert {levels[name] for name in ("cluster", "connection", "load-balancers", "secrets")} == {"ok"}


@pytest.mark.parametrize(
    "error", [NoCredentialsError(), EndpointConnectionError(endpoint_url="https://sts.example.com")]
)
def test_an_aws_that_cannot_be_reached_is_said_once(
    installed: Sound, typed: Typing, error: Exception
) -> None:
    def unreachable(*_: Any) -> dict[str, Any]:
        raise error

    installed.aws.serve("sts:GetCallerIdentity", unreachable)
    said = typed()

    assert said.code == Exit.AWS
    assert "AWS cannot be asked" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(("seconds", "code"), [(3600, Exit.NOT_SO), (0, Exit.AWS)])
def test_a_clock_that_is_wrong_is_told_from_wrong_credentials(
    installed: Sound, typed: Typing, seconds: int, code: Exit
) -> None:
    """AWS refuses the signature of both."""
    sts = installed.aws.client("sts")
    date = format_datetime(datetime.fromtimestamp(NOW - seconds, UTC), usegmt=True)

    def refuse(*_: Any) -> dict[str, Any]:
        metadata = {"HTTPHeaders": {"date": date}}
        error = {"Error": {"Code": "SignatureDoesNotMatch", "Message": "x"}, "ResponseMetadata": metadata}
        raise sts.exceptions.ClientError(error, "GetCallerIdentity")

    installed.aws.serve("sts:GetCallerIdentity", refuse)
    said = typed("--only", "clock")

    assert said.code == code
    assert ("3600 seconds ahead" in said.out) == (code == Exit.NOT_SO)


def test_what_others_named_does_not_reach_the_terminal_raw(installed: Sound, typed: Typing) -> None:
    installed.said["codeconnections:GetConnection"]["ConnectionName"] = "git\x1b[2Jhub\r"

    said = typed("--only", "connection")
    assert "\x1b" not in said.out
    assert "git\\x1b[2Jhub\\x0d is AVAILABLE" in said.out
