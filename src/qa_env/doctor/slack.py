"""Slack: does the secret work?"""

from __future__ import annotations

from qa_env.blueprint import Blueprint
from qa_env.doctor.finding import Findings, ok, problem, unknown
from qa_env.doctor.world import World
from qa_env.errors import Blocked
from qa_env.slack_api import Slack


def slack(world: World, blueprint: Blueprint) -> Findings:
    """A bot's token is valid, and there is a channel for it; a webhook cannot be tried without a message."""
    settings = blueprint.slack
    if settings is None:
        return
    client = Slack(settings.api_url, lambda: world.secret(settings.secret), world.clock)
    try:
        if not client.edits:
            yield unknown(
                "whether Slack takes messages by webhook_url shows only the first one", "push a branch"
            )
            return
        said = client.call("auth.test", {})
    except Blocked as error:
        yield problem(str(error), f"put a valid token into {settings.secret}")
        return
    if settings.channel is None:
        yield problem("a bot's token needs a channel", "name it as slack.channel in the blueprint")
    else:
        yield ok(f"Slack knows the bot as {said.get('user', '?')} of {said.get('team', '?')}")
