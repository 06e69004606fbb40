"""Slack's secret, over real HTTP."""

from __future__ import annotations

from qa_env.doctor.finding import Level
from tests import canaries
from tests.doctor.sound import Sound


def test_a_token_that_is_refused_is_said_and_not_shown(world: Sound) -> None:
    world.secret("slack", {"token": "revoked-token"})

    found = world.worst("slack")
    assert found.level == Level.PROBLEM
    assert "invalid_auth" in found.text
    assert "revoked-token" not in found.text


def test_a_token_without_a_channel_is_said(world: Sound) -> None:
    world.changes["slack"] = world.values["slack"] | {"channel": None}

    assert "needs a channel" in world.worst("slack").text


def test_a_webhook_cannot_be_tried_without_a_message(world: Sound) -> None:
    world.secret("slack", {"webhook_url": f"https://hooks.slack.com{canaries.SLACK_HOOK}"})

    assert world.worst("slack").level == Level.UNKNOWN
    assert world.slack.messages == []


def test_nothing_is_posted(world: Sound) -> None:
    assert [one.text for one in world.findings("slack")] == ["Slack knows the bot as qa-env of Example"]
    assert world.slack.messages == []


def test_without_slack_nothing_is_asked(world: Sound) -> None:
    world.changes["slack"] = None

    assert world.findings("slack") == []
    assert world.slack.asked == []
