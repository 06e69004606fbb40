"""The webhook: how GitHub has it, what became of its deliveries, and one that is sent now."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.github_hooks import Webhook
from qa_env import github as deliveries
from qa_env.doctor.finding import Level
from tests import canaries
from tests.doctor.sound import NOW, REPOSITORY, Sound
from tests.github_server import Answer


def pipeline(world: Sound, **changes: Any) -> None:
    world.changes["pipeline"] = world.values["pipeline"] | changes


def test_a_webhook_that_is_not_seen_is_said(world: Sound) -> None:
    world.hook.url = "https://example.com/other"

    found = world.worst("webhook")
    assert found.level == Level.WARNING
    assert f"no webhook of {REPOSITORY} or its owner to {world.outputs['WebhookUrl']}" in found.text
    assert world.findings("webhook-deliveries") == []


def test_an_organisations_webhook_will_do(world: Sound) -> None:
    world.hub.hooks.of["/orgs/example"] = world.hub.hooks.of.pop(f"/repos/{REPOSITORY}")

    assert {one.level for one in world.findings("webhook")} == {Level.OK}


def test_a_token_that_may_not_see_webhooks_is_no_fault_of_theirs(world: Sound) -> None:
    world.hub.refusing["GET", "/hooks"] = (403, "Resource not accessible by personal access token")

    assert "permission to read webhooks" in world.worst("webhook").fix


@pytest.mark.parametrize(
    ("changes", "level", "text"),
    [
        ({"active": False}, Level.PROBLEM, "is not active"),
        ({"signed": False}, Level.PROBLEM, "has no secret"),
        ({"events": ("create", "delete", "pull_request")}, Level.PROBLEM, "does not send push"),
        ({"events": ("push", "delete")}, Level.WARNING, "does not send create, pull_request"),
    ],
)
def test_a_webhook_that_will_not_do_is_said(
    world: Sound, changes: dict[str, Any], level: Level, text: str
) -> None:
    for name, value in changes.items():
        setattr(world.hook, name, value)

    found = world.worst("webhook")
    assert found.level == level
    assert text in found.text


@pytest.mark.parametrize(
    ("config", "level", "text"),
    [
        ({"content_type": "xml"}, Level.PROBLEM, "content type"),
        ({"insecure_ssl": "1"}, Level.WARNING, "does not verify TLS"),
        ({"insecure_ssl": 1}, Level.WARNING, "does not verify TLS"),
    ],
)
def test_a_webhook_that_is_set_up_otherwise_is_said(
    world: Sound, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], level: Level, text: str
) -> None:
    other = world.hook.config | config
    monkeypatch.setattr(Webhook, "config", property(lambda _: other))

    found = world.worst("webhook")
    assert found.level == level
    assert text in found.text


def test_a_form_and_every_event_are_understood(world: Sound, monkeypatch: pytest.MonkeyPatch) -> None:
    form = world.hook.config | {"content_type": "form"}
    monkeypatch.setattr(Webhook, "config", property(lambda _: form))
    world.hook.events = ("*",)

    assert {one.level for one in world.findings("webhook")} == {Level.OK}


def test_required_checks_need_their_events(world: Sound) -> None:
    pipeline(world, start="checks", required_checks=["test"])

    assert "does not send check_suite, check_run, status, workflow_run" in world.worst("webhook").text


def test_deliveries_that_were_not_taken_are_said(world: Sound) -> None:
    for guid, status in (("a", 202), ("b", 401), ("c", 502)):
        world.hook.record(guid, status, NOW)

    found = world.worst("webhook-deliveries")
    assert found.level == Level.PROBLEM
    assert found.text == "2 of the last 3 deliveries were not taken (401, 502)"


@pytest.mark.parametrize(("status", "fix"), [(401, "WebhookSecretArn"), (0, "log"), (403, "make deploy")])
def test_what_a_refusal_means_is_said(world: Sound, status: int, fix: str) -> None:
    world.hook.record("a", status, NOW)

    assert fix in world.worst("webhook-deliveries").fix


def test_a_delivery_that_was_taken_later_is_fine(world: Sound) -> None:
    """Whatever came after it."""
    for status in (502, 202, 502):
        world.hook.record("a", status, NOW)
    world.hook.record("b", 404, NOW)  # a repository of the organisation that has no blueprint

    assert [one.level for one in world.findings("webhook-deliveries")] == [Level.OK]


def test_a_ping_of_githubs_is_sent_and_judged(world: Sound) -> None:
    (found,) = world.findings("webhook-ping")

    assert found.text == "GitHub's ping was taken (200)"
    assert [one["event"] for one in world.hook.deliveries] == ["ping"]
    assert world.receiver.asked == []


def test_an_earlier_ping_proves_nothing(world: Sound) -> None:
    world.hook.record("ping-old", 200, NOW, "ping")
    world.hook.answer = 401

    found = world.worst("webhook-ping")
    assert found.level == Level.PROBLEM
    assert found.text == "GitHub's ping was not taken (401): the signature is refused"
    assert "WebhookSecretArn" in found.fix


@pytest.mark.parametrize("why", ["no credentials", "no permission", "an App", "nothing shown"])
def test_where_github_sends_no_ping_we_sign_one(
    world: Sound, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "no credentials":
        world.changes["github"] = None
    elif why == "no permission":
        world.hub.refusing["POST", "/pings"] = (403, "no")
    elif why == "an App":
        world.use_app()
    else:
        world.hook.record("ping-old", 401, NOW, "ping")
        monkeypatch.setattr(Webhook, "record", lambda *_, **__: {})

    (found,) = world.findings("webhook-ping")
    assert found.text == "a ping that we signed was taken (200)"
    (asked,) = world.receiver.asked
    signature = asked.headers["X-Hub-Signature-256"]
    assert asked.headers["X-GitHub-Event"] == "ping"
    body = json.dumps(asked.body).encode()
    deliveries.verify([canaries.WEBHOOK_SECRET.encode()], body, signature)


@pytest.mark.parametrize(
    ("status", "text"), [(401, "signature is refused"), (403, "may not be called"), (502, "failed or took")]
)
def test_a_ping_that_is_not_taken_is_said(world: Sound, status: int, text: str) -> None:
    world.changes["github"] = None
    world.receiver.answers["POST /"] = Answer({}, status)

    found = world.worst("webhook-ping")
    assert found.level == Level.PROBLEM
    assert text in found.text


def test_an_address_that_is_not_reached_is_unknown(world: Sound) -> None:
    world.changes["github"] = None
    world.outputs["WebhookUrl"] = "http://127.0.0.1:1/"

    assert world.worst("webhook-ping").level == Level.UNKNOWN


def test_an_address_that_is_not_encrypted_gets_no_ping(world: Sound) -> None:
    world.changes["github"] = None
    world.outputs["WebhookUrl"] = "http://webhook.example.com/"

    assert "is not https" in world.worst("webhook-ping").text
