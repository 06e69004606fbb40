"""When an environment falls asleep: decided from the record and the clock, by all of its parts alike.

It may sleep once its wanted commit is built, and nothing asked for is pending. From then on only a visit, a
wish or a push changes the decision: each is a later sign that somebody is interested.
"""

from __future__ import annotations

from datetime import datetime

from qa_env.model import Environment

HOUR = 3_600_000  # milliseconds


def asleep(env: Environment, hours: int | None, now: datetime) -> str:
    """The last sign of interest (milliseconds since the epoch) if it is more than `hours` old, else empty.

    Where one part of the environment has written down that it sleeps since that sign, all sleep, so that
    clocks which differ by a moment wake nothing.
    """
    if hours is None or not _is_built(env):
        return ""
    sign = env.interest
    told = any(c.outputs.get("asleep") == str(sign) for c in env.conditions.values())
    is_over = now.timestamp() * 1000 - sign > hours * HOUR
    return str(sign) if told or is_over else ""


def _is_built(env: Environment) -> bool:
    """By the record, not by states: what cannot be asked for a moment wakes nobody."""
    fulfilled = int(env.remembered("pipeline").get("fulfilled") or 0)
    return env.built is not None and env.built.commit == env.commit and env.asked.redeploy <= fulfilled
