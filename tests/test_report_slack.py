"""Slack: one message per push, edited in place with a token, one per change with a webhook."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from local.slack import Server
from local.slack import Slack as LocalSlack
from qa_env.errors import Blocked, NotReady
from qa_env.model import Environment, Phase, State
from qa_env.reports.slack import SlackMessage
from qa_env.slack_api import Slack
from tests import canaries, reporting
from tests.making import B, environment, said
from tests.reporting import ADMIN, HOSTILE, LOG, PAGE, URL, Loop, gone, settings, told

TOKEN = canaries.SLACK_TOKEN
NOW = datetime.fromtimestamp(time.time() - 60, UTC).isoformat()
SETTINGS = {"secret": "secretsmanager:slack", "channel": "#qa"}


@dataclass
class Workspace:
    """A Slack behind HTTP, and the two kinds of secret that lead to it."""

    slack: LocalSlack
    server: Server

    def bot(self, secret: Any = None, channel: str | None = "#qa", **changes: Any) -> SlackMessage:
        blueprint = settings(slack={**SETTINGS, "channel": channel}, **changes)
        secret = {"token": TOKEN} if secret is None else secret
        return SlackMessage(Slack(self.server.api_url, lambda: secret), blueprint)

    def hook(self, **changes: Any) -> SlackMessage:
        return self.bot({"webhook_url": self.server.webhook_url}, None, **changes)

    @property
    def texts(self) -> list[str]:
        """What each message says, oldest first."""
        return [one["text"] for one in self.slack.messages]


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    slack = LocalSlack(TOKEN, hook=canaries.SLACK_HOOK)
    server = Server(slack)
    server.start()
    yield Workspace(slack, server)
    server.stop()


def of(env: Environment) -> Environment:
    """The same, pushed a minute ago."""
    return environment(**{**{name: getattr(env, name) for name in env.__dataclass_fields__}, "at": NOW})


def block(message: dict[str, Any], kind: str) -> dict[str, Any]:
    (found,) = [one for one in message["blocks"] if one["type"] == kind]
    return dict(found)


def buttons(message: dict[str, Any]) -> list[tuple[str, str]]:
    """(label, address) of each."""
    actions = [one for one in message["blocks"] if one["type"] == "actions"]
    return [(one["text"]["text"], one["url"]) for block in actions for one in block["elements"]]


DETAILS = ("Details", f"{PAGE}/environments/qa-foo")


@pytest.mark.parametrize("kind", ["bot", "hook"])
class TestMessages:
    """The same from either secret."""

    def tell(self, workspace: Workspace, kind: str, env: Environment, **changes: Any) -> dict[str, Any]:
        told(getattr(workspace, kind)(**changes), of(env))
        (message,) = workspace.slack.messages
        return dict(message)

    @pytest.mark.parametrize("env", [reporting.queued(), reporting.building(), reporting.deploying()])
    def test_building(self, workspace: Workspace, kind: str, env: Environment) -> None:
        message = self.tell(workspace, kind, env)
        assert message["text"] == block(message, "header")["text"]["text"] == "Building qa/foo"
        assert buttons(message) == [DETAILS]

    def test_ready_has_the_urls_as_buttons(self, workspace: Workspace, kind: str) -> None:
        """The main role's first."""
        message = self.tell(workspace, kind, reporting.ready())
        assert message["text"] == "qa/foo is ready"
        assert buttons(message) == [("Open app", URL), ("Open admin", ADMIN), DETAILS]

    def test_what_it_is_about(self, workspace: Workspace, kind: str) -> None:
        message = self.tell(workspace, kind, reporting.ready())
        facts = [one["text"] for one in block(message, "context")["elements"]]
        assert facts[:3] == ["example/shop", "aaaaaaa", "hanako"]
        assert facts[3].endswith(" UTC")

    def test_asleep(self, workspace: Workspace, kind: str) -> None:
        message = self.tell(workspace, kind, reporting.asleep())
        assert message["text"] == "qa/foo is asleep: Opening it wakes it."
        assert buttons(message)[0] == ("Open app", URL)

    def test_failed_has_the_stage_the_reason_and_the_log(self, workspace: Workspace, kind: str) -> None:
        message = self.tell(workspace, kind, reporting.failed("exit code 1"))
        assert block(message, "header")["text"]["text"] == "qa/foo failed"
        assert block(message, "section")["text"]["text"] == "Stage Build: exit code 1"
        assert buttons(message) == [("Log", LOG), DETAILS]

    def test_blocked(self, workspace: Workspace, kind: str) -> None:
        message = self.tell(workspace, kind, reporting.blocked("no free port"))
        assert block(message, "header")["text"]["text"] == "qa/foo needs a person"
        assert block(message, "section")["text"]["text"] == "no free port"

    def test_going_away(self, workspace: Workspace, kind: str) -> None:
        assert self.tell(workspace, kind, reporting.deleting())["text"] == "qa/foo is going away"

    def test_gone(self, workspace: Workspace, kind: str) -> None:
        gone(getattr(workspace, kind)(), of(reporting.deleting()))
        (message,) = workspace.slack.messages
        assert message["text"] == "qa/foo is gone"
        assert buttons(message) == []

    def test_without_a_page_there_is_no_link_to_it(self, workspace: Workspace, kind: str) -> None:
        assert buttons(self.tell(workspace, kind, reporting.building(), page={})) == []

    def test_it_speaks_the_blueprints_language(self, workspace: Workspace, kind: str) -> None:
        message = self.tell(workspace, kind, reporting.ready(), language="ja")
        assert message["text"] == "qa/foo の準備ができました"
        assert buttons(message)[0] == ("app を開く", URL)

    def test_what_is_hostile_is_plain_text(self, workspace: Workspace, kind: str) -> None:
        """Slack makes no link, no mention and no formatting of it; the notification's text is escaped."""
        name = "qa/<!channel>&*x*_y_`z`<https://evil.example|x>:tada:"
        env = reporting.blocked(f"{name}\n<@U1>", branch=name, by=name)
        message = self.tell(workspace, kind, env)
        texts = [one["text"] for one in message["blocks"] if "text" in one]
        texts += block(message, "context")["elements"]
        assert {(one["type"], one["emoji"]) for one in texts} == {("plain_text", False)}
        assert block(message, "header")["text"]["text"] == f"{name} needs a person"
        assert block(message, "section")["text"]["text"] == f"{name} <@U1>"
        assert "<" not in message["text"]
        assert ">" not in message["text"]
        assert message["text"].startswith("qa/&lt;!channel&gt;&amp;*x*")

    def test_what_is_too_long_is_cut(self, workspace: Workspace, kind: str) -> None:
        """The stand-in refuses what Slack would."""
        env = reporting.blocked("é" * 5000, branch="qa/" + "é" * 300, by="é" * 5000)
        message = self.tell(workspace, kind, env)
        assert block(message, "header")["text"]["text"].endswith("…")
        assert block(message, "section")["text"]["text"].endswith("…")

    def test_an_address_that_is_too_long_is_left_out(self, workspace: Workspace, kind: str) -> None:
        """Half of it would lead nowhere."""
        long = "http://qa/" + "x" * 3000
        env = reporting.ready().with_conditions({"listener/app": said(State.READY, url=long)})
        assert buttons(self.tell(workspace, kind, env)) == [("Open admin", ADMIN), DETAILS]


class TestBot:
    def test_one_message_is_edited_in_place(self, workspace: Workspace) -> None:
        """Through a push, to the end."""
        report = workspace.bot()
        env = told(report, of(reporting.queued()))
        for later in (reporting.building(), reporting.ready(), reporting.deleting()):
            env = told(report, of(later), env)
        assert workspace.texts == ["qa/foo is going away"]
        gone(report, of(reporting.deleting()), env)
        assert workspace.texts == ["qa/foo is gone"]

    def test_each_push_has_its_own(self, workspace: Workspace) -> None:
        report = workspace.bot()
        env = told(report, of(reporting.ready()))
        env = told(report, of(reporting.building(commit=B)), env)
        told(report, of(reporting.ready(commit=B)), env)
        assert workspace.texts == ["qa/foo is ready", "qa/foo is ready"]

    def test_a_push_that_never_came_to_an_end_says_so(self, workspace: Workspace) -> None:
        """It would be building for ever; also where the pass that told of the next one died."""
        report = workspace.bot(channel="C0QAENV0001")
        env = told(report, of(reporting.building()))
        for _ in range(2):
            told(report, of(reporting.building(commit=B)), env)
        assert workspace.texts == ["qa/foo was pushed again", "Building qa/foo"]
        facts = block(workspace.slack.messages[0], "context")["elements"]
        assert [one["text"] for one in facts] == ["example/shop", "aaaaaaa"]

    def test_a_life_of_which_the_end_could_not_be_told_does_not_go_away_for_ever(
        self, workspace: Workspace
    ) -> None:
        """The next life says so, whose push did not wait for the farewell."""
        report = workspace.bot(channel="C0QAENV0001")
        env = told(report, of(reporting.deleting()))
        for _ in range(2):
            told(report, of(reporting.building(commit=B)), env)
        assert workspace.texts == ["qa/foo is gone", "Building qa/foo"]
        facts = block(workspace.slack.messages[0], "context")["elements"]
        assert "aaaaaaa" in [one["text"] for one in facts]

    def test_what_was_said_is_not_said_again(self, workspace: Workspace) -> None:
        """Not even asked for; all of a build is one thing."""
        report = workspace.bot()
        env = told(report, of(reporting.queued()))
        asked = len(workspace.slack.asked)
        for later in (reporting.building(), reporting.deploying(), reporting.building()):
            env = told(report, of(later), env)
        assert len(workspace.slack.asked) == asked

    @pytest.mark.parametrize("channel", ["C0QAENV0001", "#qa"])
    def test_what_memory_lost_is_found(self, workspace: Workspace, channel: str) -> None:
        """A pass that died after telling tells nothing twice, once the channel's id is known."""
        report = workspace.bot(channel=channel)
        before = told(report, of(reporting.ready()))
        told(report, of(reporting.building(commit=B)), before)
        told(report, of(reporting.ready(commit=B)), before)
        assert workspace.texts == ["qa/foo is ready", "qa/foo is ready"]
        if channel.startswith("C"):
            told(report, of(reporting.ready(commit=B)))
            assert len(workspace.texts) == 2

    def test_only_its_own_message_since_the_push_is_found(self, workspace: Workspace) -> None:
        """Another environment's, another commit's and an earlier life's stay as they are."""
        report = workspace.bot(channel="C0QAENV0001")
        told(report, of(reporting.building(slug="qa-bar", branch="qa/bar")))
        told(report, of(reporting.building(commit=B)))
        told(report, of(reporting.building()))
        later = datetime.fromtimestamp(time.time() + 60, UTC).isoformat()
        told(report, reporting.ready(at=later))
        assert workspace.texts == [
            "Building qa/bar",
            "Building qa/foo",
            "Building qa/foo",
            "qa/foo is ready",
        ]

    def test_a_token_that_may_not_look_back_just_posts(self, workspace: Workspace) -> None:
        workspace.slack.may_look_back = False
        report = workspace.bot(channel="C0QAENV0001")
        env = told(report, of(reporting.building()))
        told(report, of(reporting.ready()), env)
        assert workspace.texts == ["qa/foo is ready"]

    def test_a_message_that_was_removed_is_posted_anew(self, workspace: Workspace) -> None:
        report = workspace.bot()
        env = told(report, of(reporting.building()))
        workspace.slack.messages.clear()
        told(report, of(reporting.ready()), env)
        assert workspace.texts == ["qa/foo is ready"]

    @pytest.mark.parametrize("later", [reporting.ready(), reporting.ready(commit=B)])
    def test_a_channel_that_is_no_more_keeps_nobody_silent(
        self, workspace: Workspace, later: Environment
    ) -> None:
        """The blueprint names another one by now, or the token is another workspace's."""
        report = workspace.bot()
        place = {"channel": "C0ELSEWHERE", "ts": "1.000001"}
        memory = environment().with_conditions(
            {"slack": said(State.READY, said="…", commit=environment().commit, phase="building", **place)}
        )
        env = told(report, of(later), memory)
        assert workspace.texts == ["qa/foo is ready"]
        assert env.remembered("slack")["channel"] != place["channel"]

    def test_it_needs_a_channel(self, workspace: Workspace) -> None:
        with pytest.raises(Blocked, match=r"must name slack\.channel$"):
            told(workspace.bot(channel=None), of(reporting.ready()))

    @pytest.mark.parametrize(
        ("word", "advice"),
        [
            ("channel_not_found", "correct slack.channel"),
            ("not_in_channel", "invite the app"),
            ("is_archived", "choose another channel"),
            ("missing_scope", "chat:write"),
            ("token_revoked", "valid token"),
            ("something_new", "documentation"),
        ],
    )
    def test_a_refusal_says_what_to_do(self, workspace: Workspace, word: str, advice: str) -> None:
        workspace.slack.refuses = word
        report = workspace.bot()
        with pytest.raises(Blocked, match=f"^Slack says {word}: .*{advice}") as caught:
            told(report, of(reporting.ready()))
        assert TOKEN not in str(caught.value)
        workspace.slack.refuses = ""
        told(report, of(reporting.ready()))
        assert workspace.texts == ["qa/foo is ready"]


class TestWebhook:
    def test_each_change_is_a_message(self, workspace: Workspace) -> None:
        """It can neither edit nor find; but nothing is said that was said."""
        report = workspace.hook()
        env = told(report, of(reporting.queued()))
        for later in (reporting.building(), reporting.ready(), reporting.ready(), reporting.deleting()):
            env = told(report, of(later), env)
        gone(report, of(reporting.deleting()), env)
        assert workspace.texts == [
            "Building qa/foo",
            "qa/foo is ready",
            "qa/foo is going away",
            "qa/foo is gone",
        ]

    def test_a_push_during_the_teardown_does_not_repeat_that_it_goes(self, workspace: Workspace) -> None:
        """It changes who wished for what, and when; that the environment goes is no news."""
        report = workspace.hook()
        env = told(report, of(reporting.deleting()))
        told(report, reporting.deleting(next_commit=B, by="taro"), env)
        assert workspace.texts == ["qa/foo is going away"]

    @pytest.mark.parametrize("word", ["no_service", "action_prohibited", "channel_is_archived"])
    def test_a_refusal_says_what_to_do(self, workspace: Workspace, word: str) -> None:
        workspace.slack.refuses = word
        with pytest.raises(Blocked, match=f"^Slack says {word}: ") as caught:
            told(workspace.hook(), of(reporting.ready()))
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("kind", ["bot", "hook"])
def test_without_a_commit_there_is_nothing_to_say(workspace: Workspace, kind: str) -> None:
    report = getattr(workspace, kind)()
    with pytest.raises(NotReady, match=r"^waiting for the commit$"):
        told(report, environment(commit=""))
    told(report, reporting.deleting(commit=""))
    gone(report, reporting.deleting(commit=""))
    assert workspace.slack.asked == []
    assert list(report.owners()) == []


@pytest.mark.parametrize("kind", ["bot", "hook"])
def test_a_slack_that_limits_holds_nothing_up(workspace: Workspace, kind: str) -> None:
    """The phase stays, and the tick asks again; many passes are one message."""
    workspace.slack.limited = 1
    report = getattr(workspace, kind)()
    now = [time.time()]
    report.slack._silence.clock = lambda: now[0]
    loop = Loop(report)
    for _ in range(3):
        env = loop.run()
    assert env is not None
    assert (env.phase, loop.condition.state) == (Phase.READY, State.WAITING)
    assert len(workspace.slack.asked) == 1
    workspace.slack.limited = 0
    now[0] += 2
    for _ in range(3):
        loop.run()
    assert workspace.texts == ["qa/foo is ready"]
    loop.remove()
    while loop.run():
        pass
    assert workspace.texts[-1] == "qa/foo is gone"


def test_a_message_about_a_hostile_branch_is_found_again(workspace: Workspace) -> None:
    report = workspace.bot(channel="C0QAENV0001")
    told(report, of(reporting.building(branch=HOSTILE)))
    told(report, of(reporting.ready(branch=HOSTILE)))
    (message,) = workspace.slack.messages
    assert block(message, "header")["text"]["text"] == f"{HOSTILE} is ready"
