"""The pull request's comment as GitHub's Markdown.

Nothing foreign can leave its place in it. Every ASCII character that means something to Markdown or HTML
is written as a character reference, which CommonMark never takes for structure; and all of it stands in
`<code>`, where GitHub looks for no @mention, issue number or commit.
"""

from __future__ import annotations

import string

from qa_env import telling
from qa_env.model import Slug
from qa_env.summary import Summary
from qa_env.wording import Words

_REFERENCES = str.maketrans({c: f"&#{ord(c)};" for c in string.punctuation})


def marker(installation: str, slug: Slug) -> str:
    """What our comment begins with, and people do not see."""
    return f"<!-- qa-env:{installation}:{slug} -->"


def render(mark: str, summary: Summary) -> str:
    """The comment on an environment that is there or going away."""
    words = telling.words(summary)
    parts = [
        mark,
        _title(words(f"report.{summary.phase}"), summary),
        _quoted(telling.reason(summary)),
        _urls(summary, words),
        _facts(summary, words),
        _links(summary, words),
    ]
    return "\n\n".join(part for part in parts if part)


def render_gone(mark: str, summary: Summary) -> str:
    """The comment on an environment that is no more."""
    words = telling.words(summary)
    return "\n\n".join((mark, _title(words("report.gone"), summary), _facts(summary, words)))


def _title(state: str, summary: Summary) -> str:
    return f"### {_code(summary.env.branch)} – {state}"


def _quoted(reason: str) -> str:
    return f"> {_code(reason)}" if reason else ""


def _urls(summary: Summary, words: Words) -> str:
    rows = [f"| {_escaped(role)} | {_link(url, _escaped(url))} |" for role, url in summary.urls.items()]
    head = [f"| {words('report.role')} | {words('report.url')} |", "| --- | --- |"]
    return "\n".join([*head, *rows]) if rows else ""


def _facts(summary: Summary, words: Words) -> str:
    env = summary.env
    commit = _link(summary.commit_url, f"<code>{env.commit[: telling.COMMIT_SHOWN]}</code>")
    facts = {
        "report.commit": commit if env.commit else "",
        "report.by": _code(env.by) if env.by else "",
        "report.at": telling.when(env),
    }
    return "\n".join(f"- {words(key)}: {value}" for key, value in facts.items() if value)


def _links(summary: Summary, words: Words) -> str:
    links = {"report.page": summary.page_url, "report.log": summary.log_url}
    return " · ".join(_link(url, words(key)) for key, url in links.items() if url)


def _link(url: str, text: str) -> str:
    return f'<a href="{_escaped(url)}">{text}</a>'


def _code(text: str) -> str:
    return f"<code>{_escaped(telling.cut(telling.one_line(text), telling.REASON_MAX))}</code>"


def _escaped(text: str) -> str:
    return text.translate(_REFERENCES)
