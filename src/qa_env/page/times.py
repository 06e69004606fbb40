"""Times for people: how long ago, how long it takes. Records have ISO 8601; `now` is epoch seconds."""

from __future__ import annotations

from datetime import UTC, datetime

from qa_env.page.html import Markup, el
from qa_env.wording import Words

MINUTE, HOUR, DAY = 60, 3600, 86400


def seconds(at: str) -> float | None:
    """A record's time in epoch seconds; None if it cannot be read. What names no zone is UTC."""
    try:
        read = datetime.fromisoformat(at)
    except ValueError:
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def iso(at: float) -> str:
    """Epoch seconds as the API and `datetime` attributes have them: UTC, whole seconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ago(words: Words, at: str, now: float) -> Markup:
    """How long ago, with the exact time for machines and for who points at it."""
    then = seconds(at)
    if then is None:
        return el("span", None, words("page.unknown"))
    return el("time", {"datetime": iso(then), "title": _exact(then)}, _ago(words, now - then))


def exact(words: Words, at: str, now: float) -> Markup:
    """How long ago and when."""
    then = seconds(at)
    if then is None:
        return el("span", None, words("page.unknown"))
    shown = words("page.time", ago=_ago(words, now - then), exact=_minute(then))
    return el("time", {"datetime": iso(then), "title": _exact(then)}, shown)


def minutes(words: Words, length: float) -> str:
    """A length of time in whole minutes, at least one."""
    count = max(1, round(length / MINUTE))
    return words("page.minute") if count == 1 else words("page.minutes", count=count)


def _minute(then: float) -> str:
    return datetime.fromtimestamp(then, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _exact(then: float) -> str:
    return datetime.fromtimestamp(then, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _ago(words: Words, age: float) -> str:
    """Rounded down, as people do; a clock that runs ahead is no news from the future."""
    if age < MINUTE:
        return words("page.ago.now")
    if age < HOUR:
        count = int(age // MINUTE)
        return words("page.ago.minute") if count == 1 else words("page.ago.minutes", count=count)
    if age < DAY:
        count = int(age // HOUR)
        return words("page.ago.hour") if count == 1 else words("page.ago.hours", count=count)
    count = int(age // DAY)
    return words("page.ago.day") if count == 1 else words("page.ago.days", count=count)
