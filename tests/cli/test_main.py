"""What all commands share: where they find the installation, how they refuse, how they end."""

from __future__ import annotations

import json
import logging
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber

from qa_env.cli import installation, output
from qa_env.cli.main import COMMANDS, load, main, refusal
from scripts import imports
from tests.cli.terminal import Terminal, deploy_stack
from tests.installation import Installation
from tests.making import ROOT, environment


class TestInstallation:
    @pytest.fixture
    def elsewhere(self, qa: Installation) -> Installation:
        """The default stack is another one's; `qa-2` is the installation's."""
        qa.aws.client("cloudformation").delete_stack(StackName="qa-env")
        deploy_stack(qa, "qa-env", TableName=None)
        deploy_stack(qa, "qa-2")
        qa.store.desire(environment(), None)
        return qa

    @pytest.mark.parametrize("options", [("--stack", "qa-2", "show"), ("show", "--stack", "qa-2")])
    def test_the_stack_can_be_named_before_and_after_the_command(
        self, elsewhere: Installation, terminal: Terminal, options: tuple[str, ...]
    ) -> None:
        assert terminal.type(*options, "qa-foo", "--json").document["slug"] == "qa-foo"

    def test_the_stack_can_be_named_by_the_environment(
        self, elsewhere: Installation, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("QA_ENV_STACK", "qa-2")
        assert terminal.type("show", "qa-foo").code == 0
        assert terminal.type("show", "qa-foo", "--stack", "qa-env").code == 4

    def test_a_stack_of_something_else_is_said(self, elsewhere: Installation, terminal: Terminal) -> None:
        said = terminal.type("list")
        assert (said.code, said.out) == (4, "")
        assert "stack qa-env has no output TableName: is it qa-env's" in said.err

    def test_a_stack_that_is_not_there_is_said(self, terminal: Terminal) -> None:
        said = terminal.type("list", "--stack", "qa-3")
        assert said.code == 4
        assert said.err.startswith("qa-env: there is no stack qa-3 in ")
        assert "--stack" in said.err

    def test_the_local_stack_is_meant_only_where_no_other_is_named(self) -> None:
        info = {"region": "eu-west-1", "aws_access_key_id": "1", "aws_secret_access_key": "local"}
        info |= {"aws_endpoint_url": "http://127.0.0.1:1", "codepipeline_endpoint_url": "http://127.0.0.1:2"}
        installation.LOCAL_STACK.write_text(json.dumps(info), "utf-8")
        local = installation.find(None)
        assert local.title == "the local stack"
        assert local.client("sqs").meta.endpoint_url == "http://127.0.0.1:1"
        assert local.client("codepipeline").meta.endpoint_url == "http://127.0.0.1:2"
        assert "local" not in repr(local).partition("credentials")[2]
        assert not installation.find("qa-env").is_local
        assert not installation.find(None, region="eu-west-1").is_local
        assert not installation.find(None, profile="work").is_local

    def test_that_it_is_the_local_stack_is_said(
        self, qa: Installation, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        info = {"region": qa.aws.region, "aws_access_key_id": "1", "aws_secret_access_key": "local"}
        here = f"https://cloudformation.{qa.aws.region}.amazonaws.com"
        info |= {"aws_endpoint_url": here, "codepipeline_endpoint_url": here}
        installation.LOCAL_STACK.write_text(json.dumps(info), "utf-8")
        qa.aws.serve("cloudformation:DescribeStacks", lambda *_: {"Stacks": [{"StackName": "qa-env"}]})
        assert terminal.type("list").err.startswith("The local stack of `make run`")

    def test_a_local_stack_that_cannot_be_read_is_said(self, terminal: Terminal) -> None:
        installation.LOCAL_STACK.write_text("{", "utf-8")
        said = terminal.type("list")
        assert said.code == 4
        assert "make run" in said.err


class TestRefusals:
    def answer(self, qa: Installation, code: str, message: str) -> None:
        def refuse(operation: str, params: Any) -> Any:
            raise ClientError({"Error": {"Code": code, "Message": message}}, operation)

        qa.aws.serve("dynamodb:Query", refuse)

    def test_the_permission_that_is_missing_is_named(self, qa: Installation, terminal: Terminal) -> None:
        self.answer(qa, "AccessDeniedException", "User: arn:aws:iam::1:user/x is not authorized")
        said = terminal.type("list")
        assert (said.code, said.out) == (4, "")
        assert "do not allow" in said.err
        assert "Query" in said.err
        assert "docs/cli.md" in said.err
        assert said.err.count("\n") == 1

    def test_a_permission_is_named_as_policies_name_it(self) -> None:
        client = installation.Installation(region="eu-west-1").client("lambda")
        with Stubber(client) as stubber:
            stubber.add_client_error("invoke", "AccessDeniedException", "no")
            with pytest.raises(ClientError) as caught:
                client.invoke(FunctionName="qa-env-audit")
        assert "do not allow lambda:InvokeFunction " in refusal(caught.value)

    def test_credentials_that_have_expired_are_said(self, qa: Installation, terminal: Terminal) -> None:
        self.answer(qa, "ExpiredTokenException", "The security token included in the request is expired")
        said = terminal.type("list")
        assert said.code == 4
        assert "log in again" in said.err

    def test_what_aws_says_has_no_control_characters(self, qa: Installation, terminal: Terminal) -> None:
        self.answer(qa, "ValidationException", "\x1b[2J\n")
        said = terminal.type("list")
        assert said.code == 4
        assert "\\x1b[2J\\x0a" in said.err

    def test_an_aws_that_does_not_answer_is_said(self, qa: Installation, terminal: Terminal) -> None:
        qa.aws.fail("dynamodb:Query", 1, EndpointConnectionError(endpoint_url="https://dynamodb.x"))
        said = terminal.type("list")
        assert said.code == 4
        assert "AWS cannot be asked: Could not connect" in said.err

    def test_a_profile_that_is_not_there_is_said(self, terminal: Terminal) -> None:
        said = terminal.type("list", "--profile", "nobody")
        assert said.code == 4
        assert "nobody" in said.err


class TestEnds:
    @pytest.mark.parametrize(
        "arguments", [(), ("lst",), ("show",), ("show", "--", "qa-foo"), ("list", "--phase", "x")]
    )
    def test_wrong_use_is_two(self, terminal: Terminal, arguments: tuple[str, ...]) -> None:
        assert terminal.type(*arguments).code == 2

    def test_who_has_read_enough_ends_it_quietly(
        self, qa: Installation, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """As `| head` does."""

        class Closed:
            def __init__(self) -> None:
                self.file = (tmp_path / "out").open("w")

            def write(self, text: str) -> int:
                raise BrokenPipeError

            def flush(self) -> None:
                pass

            def isatty(self) -> bool:
                return False

            def fileno(self) -> int:
                return self.file.fileno()

        monkeypatch.setattr("sys.stdout", Closed())
        assert main(["list", "--json"]) == 0

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_has_help_with_an_example(self, terminal: Terminal, name: str) -> None:
        said = terminal.type(name, "--help")
        assert said.code == 0
        assert load(name).HELP in " ".join(said.out.split())
        assert f"qa-env {name}" in said.out.split("example", 1)[1]


class TestTerminal:
    """Colours are for people who look, and can be switched off."""

    @pytest.fixture
    def look(
        self, qa: Installation, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[..., str]:
        """The list, as a terminal of 70 columns gets it."""
        qa.store.desire(environment(branch="qa/" + "日本" * 40), None)
        monkeypatch.setenv("COLUMNS", "70")

        def seen(*options: str) -> str:
            monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
            return terminal.type("list", *options).out

        return seen

    def test_colours_are_for_terminals(self, look: Callable[..., str], terminal: Terminal) -> None:
        assert "\x1b[34mqueued" in look()

    def test_colours_can_be_switched_off(
        self, look: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert "\x1b" not in look("--no-color")
        monkeypatch.setenv("NO_COLOR", "1")
        assert "\x1b" not in look()

    def test_a_table_fits(self, look: Callable[..., str]) -> None:
        lines = look("--no-color").splitlines()
        assert max(map(output.columns, lines)) <= 70
        assert "…" in lines[1]

    def test_json_is_not_painted(self, look: Callable[..., str]) -> None:
        assert "\x1b" not in look("--json")


def test_the_entry_point_is_the_command() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert EntryPoint("qa-env", project["scripts"]["qa-env"], "console_scripts").load() is main


@pytest.mark.parametrize(
    "handler", sorted(path.stem for path in (ROOT / "src" / "handlers").glob("[a-z]*.py"))
)
def test_no_function_carries_the_command(handler: str) -> None:
    files, _ = imports.closure(f"handlers.{handler}", ROOT / "src")
    assert files
    assert not [path for path in files if path.parent.name in ("cli", "doctor")]


def test_what_is_logged_is_one_line_without_a_traceback(
    qa: Installation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    for name, value in (("handlers", []), ("propagate", True)):  # a function's handler may have been imported
        monkeypatch.setattr(logging.getLogger("qa_env"), name, value)
    qa.store.table.put_item(Item={"pk": "environment", "sk": "qa-\x1b", "desired": "?"})
    assert main(["list"]) == 0
    error = capsys.readouterr().err
    assert "qa-env: a record that cannot be read: qa-\\x1b\n" in error
    assert "Traceback" not in error
