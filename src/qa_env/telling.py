"""What the reports have in common: the sentence, the reason, who and when, and lengths that are kept.

Pure. What comes from a branch or an error is hostile; whoever shows it escapes it for where it goes.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from qa_env.model import Environment, Phase, is_report
from qa_env.summary import Summary
from qa_env.wording import Words

COMMIT_SHOWN = 7  # digits, as GitHub shows them
REASON_MAX = 1000  # characters of a reason, where nothing asks for less


def words(summary: Summary) -> Words:
    """The language in which the repository's reports are written."""
    return Words(summary.blueprint.language if summary.blueprint else "en")


def headline(summary: Summary) -> str:
    """The phase in a word or two, with the reason where there is trouble: one line of any length."""
    said = words(summary)(f"report.{summary.phase}")
    why = reason(summary)
    return f"{said}: {why}" if why else said


def reason(summary: Summary) -> str:
    """The first thing that failed or blocks, in one line; empty where all is well."""
    if summary.phase is not Phase.FAILED and not summary.env.needs_a_person:
        return ""
    return cut(one_line(next(iter(summary.reasons), "")), REASON_MAX)


def when(env: Environment) -> str:
    """When the wish was written, for people; empty if that is not known."""
    try:
        return f"{datetime.fromisoformat(env.at).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return ""


def is_mishap(env: Environment) -> bool:
    """Did it fail for a reason that is nobody's verdict, least of all the commit's?"""
    return env.phase is Phase.FAILED and any(
        c.unexpected and c.generation == env.generation
        for name, c in env.conditions.items()
        if not is_report(name)
    )


def digest(said: Any) -> str:
    """What would be said, as short as it can be remembered."""
    canonical = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def one_line(text: str) -> str:
    """The same without line breaks and runs of blanks."""
    return " ".join(text.split())


def cut(text: str, limit: int) -> str:
    """At most so many characters; a cut shows."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
