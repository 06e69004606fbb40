"""`qa-env logs`: of tasks, of the newest build, of qa-env's own functions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qa_env.model import Slug
from tests.cli.cloudwatch import Logs
from tests.cli.terminal import Terminal, interrupt
from tests.installation import A, Installation
from tests.making import environment

FOO = Slug("qa-foo")
MINUTE = 60


@pytest.fixture
def logs(qa: Installation) -> Logs:
    """CloudWatch, as it is once qa/foo is ready."""
    qa.push("qa/foo", A)
    qa.settle()
    made = Logs()
    qa.aws.serve("logs:FilterLogEvents", made.answer)
    return made


def messages(records: list[dict[str, Any]]) -> list[str]:
    return [one["message"] for one in records]


class TestOfTasks:
    def test_a_role_s_lines_come_in_order_and_no_other_environment_s(
        self, qa: Installation, logs: Logs, terminal: Terminal
    ) -> None:
        for number in range(8):
            logs.write("/qa/app", "qa-foo/web/1", f"line {number}", qa.now - 9 + number)
        logs.write("/qa/app", "qa-foo-bar/web/1", "of another", qa.now)
        logs.write("/qa/worker", "qa-foo/worker/1", "of the worker", qa.now)
        said = terminal.type("logs", "qa/foo", "app", "--json")
        assert said.code == 0
        assert messages(said.records) == [f"line {number}" for number in range(8)]
        assert (
            said.records[0].items() >= {"slug": "qa-foo", "source": "app", "stream": "qa-foo/web/1"}.items()
        )

    def test_without_a_role_all_of_them_are_mixed_by_time(
        self, qa: Installation, logs: Logs, terminal: Terminal
    ) -> None:
        logs.write("/qa/app", "qa-foo/web/1", "second", qa.now - 2)
        logs.write("/qa/worker", "qa-foo/worker/1", "first", qa.now - 3)
        logs.write("/qa/worker", "qa-foo/worker/1", "third", qa.now - 1)
        said = terminal.type("logs", "qa-foo")
        assert [line.split()[2:] for line in said.out.splitlines()] == [
            ["worker", "first"],
            ["app", "second"],
            ["worker", "third"],
        ]
        assert "log group /qa/admin" in said.err

    def test_how_far_back_can_be_said(self, qa: Installation, logs: Logs, terminal: Terminal) -> None:
        logs.write("/qa/app", "qa-foo/web/1", "old", qa.now - 11 * MINUTE)
        logs.write("/qa/app", "qa-foo/web/1", "new", qa.now - 9 * MINUTE)
        assert messages(terminal.type("logs", "qa-foo", "app", "--json").records) == ["new"]
        since = terminal.type("logs", "qa-foo", "app", "--json", "--since", "1h")
        assert messages(since.records) == ["old", "new"]

    def test_following_shows_what_comes_late_and_nothing_twice(
        self, qa: Installation, logs: Logs, terminal: Terminal
    ) -> None:
        start = qa.now
        logs.write("/qa/app", "qa-foo/web/1", "first", start)
        terminal.meanwhile = [
            lambda: logs.write("/qa/app", "qa-foo/web/1", "third", start + 5),
            lambda: logs.write("/qa/app", "qa-foo/web/2", "second, late", start + 4),
            interrupt,
        ]
        said = terminal.type("logs", "qa-foo", "app", "-f", "--json")
        assert said.code == 130
        assert messages(said.records) == ["first", "third", "second, late"]

    def test_a_stack_trace_keeps_its_lines_and_a_colour_is_left_out(
        self, qa: Installation, logs: Logs, terminal: Terminal
    ) -> None:
        logs.write("/qa/app", "qa-foo/web/1", "\x1b[1;31mError\x1b[0m: no\n\tat line 1\n", qa.now)
        shown = terminal.type("logs", "qa-foo", "app").out.splitlines()
        assert [line.split("app", 1)[1] for line in shown] == ["  Error: no", "      at line 1"]

    def test_a_role_there_is_not_is_wrong_use(self, logs: Logs, terminal: Terminal) -> None:
        said = terminal.type("logs", "qa-foo", "web")
        assert said.code == 2
        assert "admin, app, worker, pipeline, qa-env" in said.err

    def test_what_was_never_built_has_none(self, qa: Installation, terminal: Terminal) -> None:
        qa.push("qa/bar", A)
        qa.run_pass(Slug("qa-bar"))
        said = terminal.type("logs", "qa-bar", "app")
        assert (said.code, said.out) == (0, "")
        assert "app of qa-bar has never run" in said.err

    def test_what_a_task_writes_never_speaks_to_the_terminal(
        self, qa: Installation, logs: Logs, terminal: Terminal
    ) -> None:
        logs.write("/qa/app", "qa-foo/web/1", "\x1b[2J\x08gone\x9b\u202e\n", qa.now)
        out = terminal.type("logs", "qa-foo", "app").out
        assert out.endswith("app  \\x1b[2J\\x08gone\\x9b\\u202e\n")
        assert terminal.type("logs", "qa-foo", "app", "--json").out.isascii()


class TestOfQaEnv:
    def line(self, slug: str, text: str, **more: str) -> str:
        return json.dumps({"level": "INFO", "message": text, "environment": slug, **more})

    def test_only_what_is_about_the_environment_is_shown(
        self, qa: Installation, logs: Logs, terminal: Terminal
    ) -> None:
        group = "/aws/lambda/qa-env-reconcile"
        logs.write(group, "[1]", self.line("qa-foo", "a pass"), qa.now - 3)
        logs.write(group, "[1]", self.line("qa-foo-bar", "qa-foo"), qa.now - 2)
        logs.write(group, "[1]", "START RequestId: qa-foo", qa.now - 1)
        logs.write("/aws/lambda/qa-env-webhook", "[1]", self.line("qa-bar,qa-foo", "taken"), qa.now - 5)
        said = terminal.type("logs", "qa-foo", "qa-env", "--json")
        assert [(one["source"], json.loads(one["message"])["message"]) for one in said.records] == [
            ("webhook", "taken"),
            ("reconcile", "a pass"),
        ]

    def test_people_see_level_sentence_and_exception(
        self, qa: Installation, logs: Logs, terminal: Terminal
    ) -> None:
        broken = self.line("qa-foo", "a pass broke", level="ERROR", exception_name="KeyError")
        logs.write("/aws/lambda/qa-env-reconcile", "[1]", broken, qa.now)
        assert terminal.type("logs", "qa-foo", "qa-env").out.endswith("ERROR  a pass broke  KeyError\n")


class TestOfTheBuild:
    def state(self, qa: Installation, logs: Logs) -> None:
        """Build is over, Migrate runs; Deploy shows what an older execution did."""
        actions = {
            "Source": ("2", []),
            "Build": ("2", [{"latestExecution": {"externalExecutionId": "build:2"}}]),
            "Migrate": ("2", [{"latestExecution": {"externalExecutionId": "migrate:2"}}]),
            "Deploy": ("1", [{"latestExecution": {"externalExecutionId": "deploy:1"}}]),
        }
        stages = [
            {"stageName": name, "latestExecution": {"pipelineExecutionId": of}, "actionStates": states}
            for name, (of, states) in actions.items()
        ]
        qa.aws.serve("codepipeline:GetPipelineState", lambda *_: {"stageStates": stages})
        qa.aws.serve("codebuild:BatchGetBuilds", self.builds)
        logs.write("/aws/codebuild/build", "2", "docker build\n", qa.now - 3 * 3600)
        logs.write("/aws/codebuild/build", "1", "of an older one", qa.now)
        logs.write("/aws/codebuild/migrate", "2", "db:migrate\n", qa.now)

    def builds(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        found = [
            {"id": one, "logs": {"groupName": f"/aws/codebuild/{project}", "streamName": number}}
            for one in params["ids"]
            for project, number in [one.split(":")]
        ]
        return {"builds": found}

    def test_all_of_the_newest_build_is_shown_stage_by_stage(
        self, qa: Installation, logs: Logs, terminal: Terminal
    ) -> None:
        self.state(qa, logs)
        said = terminal.type("logs", "qa-foo", "pipeline", "--json")
        assert [(one["source"], one["message"]) for one in said.records] == [
            ("Build", "docker build\n"),
            ("Migrate", "db:migrate\n"),
        ]
        last = terminal.type("logs", "qa-foo", "pipeline", "--since", "1h").out.splitlines()
        assert [line.split()[2:] for line in last] == [["Migrate", "db:migrate"]]

    def test_where_no_log_is_known_that_is_said(self, logs: Logs, terminal: Terminal) -> None:
        """As on the local stack, whose builds run here."""
        said = terminal.type("logs", "qa-foo", "pipeline")
        assert (said.code, said.out) == (0, "")
        assert "no build whose log is known" in said.err

    def test_what_has_no_pipeline_yet_is_said(self, qa: Installation, terminal: Terminal) -> None:
        qa.store.desire(environment("qa-new", branch="qa/new"), None)
        said = terminal.type("logs", "qa-new", "pipeline")
        assert said.code == 0
        assert "no build whose log is known" in said.err
