"""What Slack is told, as Block Kit. Pure.

Whatever comes from a branch or an error is `plain_text`, where Slack knows no link, no formatting and no
mention. The fallback text is for notifications: there Slack takes only `&`, `<` and `>` for more than text.
Slack refuses a whole message for one thing that is too long, so lengths are kept here.
"""

from __future__ import annotations

from typing import Any

from qa_env import telling
from qa_env.model import Phase
from qa_env.summary import Summary
from qa_env.wording import Words

HEADER_MAX, SECTION_MAX, BUTTON_MAX, URL_MAX, BUTTONS_MAX, FACT_MAX = 150, 3000, 75, 3000, 25, 300
_KEYS = {
    Phase.QUEUED: "slack.building",
    Phase.BUILDING: "slack.building",
    Phase.DEPLOYING: "slack.building",
    Phase.READY: "slack.ready",
    Phase.ASLEEP: "slack.asleep",
    Phase.FAILED: "slack.failed",
    Phase.BLOCKED: "slack.blocked",
    Phase.DELETING: "slack.deleting",
}

Block = dict[str, Any]


def message(summary: Summary) -> dict[str, Any]:
    """`text` and `blocks` for the present phase; all of a build is one message."""
    words = telling.words(summary)
    title = words(_KEYS[summary.phase], branch=summary.env.branch)
    why = _why(summary, words)
    return _message(title, why, _facts(summary), _buttons(summary, words))


def gone(summary: Summary) -> dict[str, Any]:
    """The last message."""
    words = telling.words(summary)
    return _message(words("slack.gone", branch=summary.env.branch), "", _facts(summary), [])


def replaced(summary: Summary, commit: str) -> dict[str, Any]:
    """The last word on an earlier push's commit that never came to an end."""
    words = telling.words(summary)
    title = words("slack.replaced", branch=summary.env.branch)
    facts = [_plain(fact, FACT_MAX) for fact in (summary.env.repository, _short(commit))]
    return _message(title, "", facts, [])


def _message(title: str, why: str, facts: list[Block], buttons: list[Block]) -> dict[str, Any]:
    blocks: list[Block] = [{"type": "header", "text": _plain(title, HEADER_MAX)}]
    if why:
        blocks.append({"type": "section", "text": _plain(why, SECTION_MAX)})
    blocks.append({"type": "context", "elements": facts})
    if buttons:
        blocks.append({"type": "actions", "elements": buttons[:BUTTONS_MAX]})
    text = telling.cut(f"{title}: {telling.one_line(why)}" if why else title, HEADER_MAX)
    return {"text": _escaped(text), "blocks": blocks}


def _why(summary: Summary, words: Words) -> str:
    if summary.phase is Phase.ASLEEP:
        return words("slack.wakes")
    reason = telling.reason(summary)
    if summary.failed_stage and reason:
        return words("slack.stage", stage=summary.failed_stage, reason=reason)
    return reason


def _short(commit: str) -> str:
    return commit[: telling.COMMIT_SHOWN]


def _facts(summary: Summary) -> list[Block]:
    env = summary.env
    facts = [env.repository, _short(env.commit), env.by, telling.when(env)]
    return [_plain(fact, FACT_MAX) for fact in facts if fact]


def _buttons(summary: Summary, words: Words) -> list[Block]:
    """The roles where there is something to open, the log where there is something to read, the page."""
    live = summary.phase in (Phase.READY, Phase.ASLEEP)
    links = {f"open-{role}": (words("slack.open", role=role), url) for role, url in summary.urls.items()}
    wanted = {
        **(links if live else {}),
        "log": (words("slack.log"), summary.log_url),
        "page": (words("slack.page"), summary.page_url),
    }
    return [
        {"type": "button", "text": _plain(label, BUTTON_MAX), "url": url, "action_id": name}
        for name, (label, url) in wanted.items()
        if url and len(url) <= URL_MAX
    ]


def _plain(text: str, limit: int) -> Block:
    return {"type": "plain_text", "text": telling.cut(text, limit), "emoji": False}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
