"""`qa-env exec`: into a container of the role that can be entered, or why not."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from qa_env.model import Slug
from tests import canaries
from tests.cli.terminal import Terminal
from tests.installation import A, Installation

FOO = Slug("qa-foo")
SESSION = {
    "sessionId": "ecs-execute-command-1",
    "streamUrl": "wss://x",
    "tokenValue": canaries.AWS_SESSION_TOKEN,
}


@pytest.fixture
def foo(qa: Installation) -> Installation:
    """qa/foo is ready at commit A, and ECS's agent runs in its tasks."""
    qa.push("qa/foo", A)
    qa.settle()
    for role in ("app", "worker"):
        for container in containers(qa, role):
            container["runtimeId"] = f"{role}-1"
            container["managedAgents"] = [{"name": "ExecuteCommandAgent", "lastStatus": "RUNNING"}]
    qa.aws.serve("ecs:ExecuteCommand", lambda *_: {"session": SESSION})
    return qa


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A session-manager-plugin that writes down its arguments; the file is what it wrote."""
    heard, program = tmp_path / "heard", tmp_path / "bin" / "session-manager-plugin"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nfor one in "$@"; do printf "%s\\n" "$one"; done > {heard}\n', "utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return heard


def containers(qa: Installation, role: str) -> list[dict[str, Any]]:
    service = qa.aws.ecs.service(f"qa-foo-{role}")
    return [container for task in service.running(service.primary) for container in task.containers]


def test_json_says_where_it_would_run(foo: Installation, terminal: Terminal) -> None:
    said = terminal.type("exec", "qa/foo", "app", "--json", "--", "bin/rails", "runner", "puts '1 2'")
    (task,) = foo.aws.client("ecs").list_tasks(cluster=foo.world.cluster, serviceName="qa-foo-app")[
        "taskArns"
    ]
    assert said.document == {
        "slug": "qa-foo",
        "role": "app",
        "cluster": foo.env(FOO).remembered("service", "app")["cluster"],
        "task": task,
        "container": "web",
        "command": """bin/rails runner 'puts '"'"'1 2'"'"''""",
    }
    assert foo.aws.calls_to("ecs:ExecuteCommand") == []


def test_the_plugin_gets_what_it_needs(foo: Installation, terminal: Terminal, plugin: Path) -> None:
    said = terminal.type("exec", "qa-foo", "app", "--", "ls", "-l", "--json")
    assert (said.code, said.out) == (0, "")
    (call,) = [one for one in foo.aws.calls_to("ecs:ExecuteCommand") if one.done]
    assert call.params["command"] == "ls -l --json"
    assert call.params["interactive"]
    session, region, what, profile, target, endpoint = plugin.read_text("utf-8").split("\n")[:-1]
    assert json.loads(session) == SESSION
    assert (region, what, profile) == (foo.aws.region, "StartSession", "")
    task = call.params["task"].rsplit("/", 1)[-1]
    assert json.loads(target) == {"Target": f"ecs:{foo.world.cluster}_{task}_app-1"}
    assert endpoint == f"https://ecs.{foo.aws.region}.amazonaws.com"


def test_without_a_command_it_is_a_shell(foo: Installation, terminal: Terminal) -> None:
    assert terminal.type("exec", "qa-foo", "worker", "--json").document["command"] == "/bin/sh"


def test_a_plugin_that_fails_is_a_failure(foo: Installation, terminal: Terminal, plugin: Path) -> None:
    (plugin.parent / "bin" / "session-manager-plugin").write_text("#!/bin/sh\nexit 255\n", "utf-8")
    assert terminal.type("exec", "qa-foo", "app").code == 1


def test_a_missing_plugin_is_said_before_anything_is_started(
    foo: Installation, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = terminal.type("exec", "qa-foo", "app")
    assert said.code == 1
    assert "https://docs.aws.amazon.com/systems-manager/" in said.err
    assert foo.aws.calls_to("ecs:ExecuteCommand") == []


def test_a_service_that_does_not_allow_it_is_said(foo: Installation, terminal: Terminal) -> None:
    foo.aws.client("ecs").update_service(
        cluster=foo.world.cluster, service="qa-foo-app", enableExecuteCommand=False
    )
    said = terminal.type("exec", "qa-foo", "app")
    assert said.code == 1
    assert "does not allow it" in said.err
    assert "roles.app" in said.err


def test_a_task_without_the_agent_is_said(foo: Installation, terminal: Terminal) -> None:
    for container in containers(foo, "app"):
        container["managedAgents"][0]["lastStatus"] = "STOPPED"
    said = terminal.type("exec", "qa-foo", "app")
    assert said.code == 1
    assert "ssmmessages:CreateControlChannel" in said.err


def test_what_does_not_run_cannot_be_entered(foo: Installation, terminal: Terminal) -> None:
    foo.aws.client("ecs").update_service(cluster=foo.world.cluster, service="qa-foo-app", desiredCount=0)
    foo.aws.ecs.settle_all()
    said = terminal.type("exec", "qa-foo", "app")
    assert said.code == 1
    assert "no task of qa-foo-app is running" in said.err


def test_a_service_that_was_never_made_or_is_gone_is_said(foo: Installation, terminal: Terminal) -> None:
    foo.push("qa/bar", A)
    foo.run_pass(Slug("qa-bar"))
    assert "has never run" in terminal.type("exec", "qa-bar", "app").err
    foo.aws.client("ecs").delete_service(cluster=foo.world.cluster, service="qa-foo-app", force=True)
    said = terminal.type("exec", "qa-foo", "app")
    assert said.code == 1
    assert "is not there" in said.err


def test_a_role_there_is_not_is_wrong_use(foo: Installation, terminal: Terminal) -> None:
    said = terminal.type("exec", "qa-foo", "web")
    assert said.code == 2
    assert "admin, app, worker" in said.err
