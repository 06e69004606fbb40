"""docs/cli.md says what there is: commands, options, exit codes, and what the caller must be allowed."""

from __future__ import annotations

import argparse
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qa_env.cli import redrive
from qa_env.cli.ended import Exit
from qa_env.cli.main import parser
from qa_env.model import Phase, Slug
from tests.cli.terminal import Terminal
from tests.installation import A, Installation
from tests.making import ROOT

DOCUMENT = (ROOT / "docs" / "cli.md").read_text("utf-8")
COMMON = "Options of every command"
NO_PERMISSION = {"sts:GetCallerIdentity"}
RENAMED = {"lambda:Invoke": "lambda:InvokeFunction"}


def section(heading: str) -> str:
    return re.split(r"^#+ ", DOCUMENT.split(f" {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def options_in(text: str) -> set[str]:
    """What the first cells of tables say."""
    cells = re.findall(r"^\| (`-[^|]+) \|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def commands(
    made: argparse.ArgumentParser, name: str = "qa-env"
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command, `blueprint check` and its like as one."""
    inner = [one for one in made._actions if isinstance(one, argparse._SubParsersAction)]
    if not inner:
        yield name, made
    for action in inner:
        for word, one in action.choices.items():
            yield from commands(one, f"{name} {word}")


PARSER = parser()
COMMANDS = dict(commands(PARSER))
OF_ALL = {option for one in PARSER._actions for option in one.option_strings} - {"-h"}
HEADINGS = re.findall(r"^### `(qa-env [^`]+)`$", DOCUMENT, re.MULTILINE)


def test_every_command_is_documented_and_no_other() -> None:
    documented = [
        " ".join(re.findall(r"(?<![\w-])[a-z][a-z-]*(?= |$)", one.split("[")[0])) for one in HEADINGS
    ]
    assert sorted(documented) == sorted(COMMANDS)


@pytest.mark.parametrize("heading", HEADINGS)
def test_every_option_is_documented_and_no_other(heading: str) -> None:
    (name,) = [one for one in COMMANDS if re.match(rf"{one}( |$)", heading)]
    actions = COMMANDS[name]._actions
    known = {option for one in actions for option in one.option_strings} - OF_ALL - {"-h"}
    assert options_in(section(f"`{heading}`")) == known
    for one in actions:
        if not one.option_strings:
            assert str(one.metavar) in heading


def test_the_options_of_all_commands_are_documented() -> None:
    assert options_in(section(COMMON)) == OF_ALL


def test_every_exit_code_is_documented() -> None:
    codes = re.findall(r"^\| (\d+) \|", section("Exit codes"), re.MULTILINE)
    assert codes == [str(int(one)) for one in Exit]
    assert all(f"{int(one)} " in str(PARSER.epilog) for one in Exit)


def test_every_phase_is_documented() -> None:
    assert {f"`{phase}`" for phase in Phase} <= set(section("`qa-env list`").split())


class TestPolicy:
    """Every command is run: the policy of the document admits what it does, and no more than that."""

    @pytest.fixture
    def done(
        self, qa: Installation, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> dict[str, set[str]]:
        """Command → the permissions that it used."""
        monkeypatch.setattr(redrive, "WAIT", 0)
        qa.push("qa/foo", A)
        qa.settle()
        self._answer(qa)
        self._install_plugin(tmp_path / "bin", monkeypatch)
        qa.aws.client("sqs").send_message(
            QueueUrl=qa.world.dlq_url, MessageBody="{}", MessageGroupId="qa-foo", MessageDeduplicationId="1"
        )
        used: dict[str, set[str]] = {}
        for typed in (
            ("list",),
            ("show", "qa/foo"),
            ("logs", "qa-foo"),
            ("logs", "qa-foo", "pipeline"),
            ("logs", "qa-foo", "qa-env"),
            ("events",),
            ("wait", "qa-foo"),
            ("exec", "qa-foo", "app"),
            ("redeploy", "qa-foo"),
            ("reset-db", "qa-foo", "--yes"),
            ("delete", "qa-foo", "--yes"),
            ("sweep",),
            ("redrive", "--dry-run"),
            ("redrive",),
        ):
            qa.aws.calls.clear()
            assert terminal.type(*typed).code == 0, typed
            names = {RENAMED.get(call.name, call.name) for call in qa.aws.calls}
            used.setdefault(typed[0], set()).update(names - NO_PERMISSION)
        return used

    def test_it_admits_what_each_command_does_and_no_more(self, done: dict[str, set[str]]) -> None:
        text = section("What the caller must be allowed")
        policy = json.loads(text.split("```json\n")[1].split("```")[0])
        actions = {
            one["Sid"]: {one["Action"]} if isinstance(one["Action"], str) else set(one["Action"])
            for one in policy["Statement"]
        }
        rows = re.findall(r"^\| (`[^|]+`) \| (`[^|]+`) \|$", text, re.MULTILINE)
        allowed = {
            command: set[str]().union(*(actions[sid] for sid in re.findall(r"`(\w+)`", statements)))
            for names, statements in rows
            for command in re.findall(r"`([\w-]+)`", names)
        }
        assert done.keys() == allowed.keys()
        assert {name: used - allowed[name] for name, used in done.items() if used - allowed[name]} == {}
        assert set[str]().union(*actions.values()) == set[str]().union(*done.values())

    def _answer(self, qa: Installation) -> None:
        """What moto and the stand-ins do not have."""
        build = {"latestExecution": {"externalExecutionId": "build:1"}}
        stage = {
            "stageName": "Build",
            "latestExecution": {"pipelineExecutionId": "1"},
            "actionStates": [build],
        }
        logs = {"groupName": "/aws/codebuild/build", "streamName": "1"}
        report = json.dumps({"refused": []}).encode()
        answers: dict[str, Any] = {
            "codepipeline:GetPipelineState": lambda *_: {"stageStates": [stage]},
            "codebuild:BatchGetBuilds": lambda *_: {"builds": [{"id": "build:1", "logs": logs}]},
            "logs:FilterLogEvents": lambda *_: {"events": []},
            "lambda:Invoke": lambda *_: {"StatusCode": 200, "Payload": io.BytesIO(report)},
            "ecs:ExecuteCommand": lambda *_: {"session": {"sessionId": "1"}},
        }
        for pattern, answer in answers.items():
            qa.aws.serve(pattern, answer)
        service = qa.aws.ecs.service("qa-foo-app")
        for container in service.running(service.primary)[0].containers:
            container["runtimeId"] = "1"
            container["managedAgents"] = [{"name": "ExecuteCommandAgent", "lastStatus": "RUNNING"}]
        assert qa.env(Slug("qa-foo")).phase is Phase.READY

    def _install_plugin(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        directory.mkdir()
        (directory / "session-manager-plugin").write_text("#!/bin/sh\n", "utf-8")
        (directory / "session-manager-plugin").chmod(0o755)
        monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
