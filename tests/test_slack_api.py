"""The Slack client against a server on this machine: secrets, refusals, limits, what it never does."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from qa_env.errors import Blocked, NotReady
from qa_env.slack_api import Refused, Slack
from tests.github_server import Answer, Server, serve

TOKEN = "xoxb-t0ps3cret"
HOOK = "/services/T0/B0/s3cret"
POST = "/api/chat.postMessage"
NOW = 1_800_000_000.0  # 08:00:00 UTC


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as made:
        yield made


@pytest.fixture
def now() -> list[float]:
    return [NOW]


@pytest.fixture
def bot(server: Server, now: list[float]) -> Slack:
    return Slack(f"{server.url}/api/", lambda: {"token": f"{TOKEN}\n"}, clock=lambda: now[0])


@pytest.fixture
def hook(server: Server, now: list[float]) -> Slack:
    return Slack("https://slack.com/api", lambda: {"webhook_url": server.url + HOOK}, clock=lambda: now[0])


def refusal(act: Callable[[], Any], error: type[Exception]) -> str:
    """What is said, after a look that no secret is in it or in what a log would show of it."""
    with pytest.raises(error) as caught:
        act()
    told = "".join(traceback.format_exception(caught.value))
    for secret in (TOKEN, "s3cret", "/services/"):
        assert secret not in told
    return str(caught.value)


def test_a_call_is_json_with_the_token(server: Server, bot: Slack) -> None:
    server.answers[f"POST {POST}"] = Answer({"ok": True, "ts": "1.2"})
    assert bot.call("chat.postMessage", {"text": "é"})["ts"] == "1.2"
    (asked,) = server.asked
    assert (asked.body, asked.headers["Authorization"]) == ({"text": "é"}, f"Bearer {TOKEN}")
    assert asked.headers["Content-Type"] == "application/json; charset=utf-8"


def test_a_question_is_a_query(server: Server, bot: Slack) -> None:
    """Slack's methods that read take no JSON."""
    server.answers["GET /api/conversations.history?channel=%23a+b"] = Answer({"ok": True, "messages": []})
    assert bot.ask("conversations.history", {"channel": "#a b"})["messages"] == []


def test_a_webhook_gets_no_token(server: Server, hook: Slack) -> None:
    server.answers[f"POST {HOOK}"] = Answer("ok")
    hook.post({"text": "x"})
    (asked,) = server.asked
    assert (asked.body, asked.headers["Authorization"]) == ({"text": "x"}, None)


class TestRefusals:
    def test_slacks_word_and_what_to_do(self, server: Server, bot: Slack) -> None:
        server.answers[POST] = Answer({"ok": False, "error": "not_in_channel"})
        said = refusal(lambda: bot.call("chat.postMessage", {}), Refused)
        assert said == "Slack says not_in_channel: invite the app to the channel"

    def test_a_word_without_end_is_cut(self, server: Server, bot: Slack) -> None:
        server.answers[POST] = Answer({"ok": False, "error": "x" * 10_000})
        assert len(refusal(lambda: bot.call("chat.postMessage", {}), Refused)) < 200

    @pytest.mark.parametrize("status", [403, 404, 410])
    def test_a_webhook_that_is_gone(self, server: Server, hook: Slack, status: int) -> None:
        server.answers[f"POST {HOOK}"] = Answer("<html>No</html>", status)
        said = refusal(lambda: hook.post({}), Blocked)
        assert said == f"Slack says HTTP {status}: make a new webhook and put it into the secret"

    @pytest.mark.parametrize("word", ["internal_error", "fatal_error", "service_unavailable"])
    def test_words_that_pass(self, server: Server, bot: Slack, word: str) -> None:
        server.answers[POST] = Answer({"ok": False, "error": word})
        assert "trying again" in refusal(lambda: bot.call("chat.postMessage", {}), NotReady)

    @pytest.mark.parametrize("answer", [Answer("", 500), Answer("<html>", 200), Answer([]), Answer("1")])
    def test_a_slack_that_cannot_answer_now(self, server: Server, bot: Slack, answer: Answer) -> None:
        server.answers[POST] = answer
        assert "trying again" in refusal(lambda: bot.call("chat.postMessage", {}), NotReady)

    def test_nobody_at_home(self) -> None:
        """The address is a secret, also where it cannot be reached."""
        for url in (f"http://127.0.0.1:1{HOOK}", f"https://127.0.0.1:1{HOOK}\x01"):
            slack = Slack("https://slack.com/api", lambda url=url: {"webhook_url": url})
            assert "Slack cannot be reached: " in refusal(lambda slack=slack: slack.post({}), NotReady)

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_no_redirect_is_followed(self, server: Server, bot: Slack, hook: Slack, status: int) -> None:
        """Neither the token nor the message is carried on."""
        for path in (POST, HOOK):
            server.answers[path] = Answer("", status, {"Location": f"{server.url}/elsewhere"})
        refusal(lambda: bot.call("chat.postMessage", {}), Refused)
        refusal(lambda: hook.post({}), Refused)
        assert [one.path for one in server.asked] == [POST, HOOK]


class TestLimits:
    @pytest.mark.parametrize(
        ("answer", "seconds"),
        [
            (Answer("", 429, {"Retry-After": "30"}), 30),
            (Answer("", 429), 60),
            (Answer({"ok": False, "error": "ratelimited"}), 60),
        ],
    )
    def test_it_is_silent_for_as_long_as_slack_says(
        self, server: Server, bot: Slack, now: list[float], answer: Answer, seconds: int
    ) -> None:
        server.answers[POST] = answer
        said = refusal(lambda: bot.call("chat.postMessage", {}), NotReady)
        assert said.startswith("Slack limits how often it is asked; going on at 08:0")
        now[0] += seconds - 1
        assert refusal(lambda: bot.ask("conversations.history", {}), NotReady) == said
        assert len(server.asked) == 1
        now[0] += 1
        server.answers[POST] = Answer({"ok": True})
        assert bot.call("chat.postMessage", {}) == {"ok": True}

    def test_a_webhooks_limit(self, server: Server, hook: Slack) -> None:
        server.answers[HOOK] = Answer("rate_limited", 429, {"Retry-After": "7"})
        for _ in range(2):
            assert "08:00:07" in refusal(lambda: hook.post({}), NotReady)
        assert len(server.asked) == 1


class TestSecrets:
    @pytest.mark.parametrize(
        "url",
        [
            "http://hooks.slack.com/services/s3cret",
            "http://localhost.evil.example/services/s3cret",
            "ftp://localhost/services/s3cret",
            "file:///services/s3cret",
            "https:///services/s3cret",
            "https://[/services/s3cret",
            "/services/s3cret",
        ],
    )
    def test_a_webhook_is_https(self, url: str) -> None:
        """Except on this machine."""
        slack = Slack("https://slack.com/api", lambda: {"webhook_url": url})
        assert "no https address" in refusal(lambda: slack.post({}), Blocked)

    @pytest.mark.parametrize("secret", [{}, [], None, "x", {"token": ""}, {"token": 7}, {"url": "s3cret"}])
    def test_a_secret_that_holds_nothing_of_use(self, secret: Any) -> None:
        slack = Slack("https://slack.com/api", lambda: secret)
        assert "must hold" in refusal(lambda: slack.edits, Blocked)

    def test_a_secret_that_is_not_json(self) -> None:
        """Most likely the bare token, which is not repeated."""
        slack = Slack("https://slack.com/api", lambda: json.loads(TOKEN))
        assert "not JSON" in refusal(lambda: slack.edits, Blocked)

    def test_it_is_read_when_needed_and_again_when_refused(self, server: Server) -> None:
        secrets = [{"token": "old"}, {"token": TOKEN}]
        slack = Slack(f"{server.url}/api", lambda: secrets.pop(0))
        server.answers[POST] = Answer({"ok": False, "error": "token_revoked"})
        refusal(lambda: slack.call("chat.postMessage", {}), Refused)
        server.answers[POST] = Answer({"ok": True})
        slack.call("chat.postMessage", {})
        slack.call("chat.postMessage", {})
        tokens = [one.headers["Authorization"] for one in server.asked]
        assert tokens == ["Bearer old", f"Bearer {TOKEN}", f"Bearer {TOKEN}"]

    def test_it_is_in_no_text_of_the_client(self, server: Server, bot: Slack, hook: Slack) -> None:
        """Whoever logs the client logs no secret."""
        assert (bot.edits, hook.edits) == (True, False)
        assert "s3cret" not in repr(bot) + repr(hook)
