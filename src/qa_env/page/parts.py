"""What several pages show in the same way: a state, a commit, stages, reasons, something to copy."""

from __future__ import annotations

from collections.abc import Iterable

from qa_env.model import Environment, Phase
from qa_env.page.html import Child, Markup, el, outside
from qa_env.summary import Stage, Summary
from qa_env.wording import Words

SHORT = 8  # characters of a commit that tell it from all others of one repository, for people
STAGES = {
    "Source": "page.stage.source",
    "Build": "page.stage.build",
    "Migrate": "page.stage.migrate",
    "Deploy": "page.stage.deploy",
}
STATUS = {
    "Succeeded": "done",
    "InProgress": "running",
    "Stopping": "running",
    "Failed": "failed",
    "Stopped": "failed",
    "Cancelled": "failed",
}
SPOKEN = "en"  # the language of what AWS and resources say
MOVING = frozenset({Phase.QUEUED, Phase.BUILDING, Phase.DEPLOYING})


def badge(words: Words, phase: str) -> Markup:
    """A phase in words and colour; a phase that only an older build knew is shown as it is."""
    known = phase in list(Phase)
    name = words(f"phase.{phase}") if known else phase
    return el("span", {"class": f"badge is-{phase if known else 'queued'}"}, name)


def is_resetting(env: Environment) -> bool:
    """Is the schema being emptied and filled again, with nothing in the way?"""
    return env.resetting and env.phase in MOVING


def link(address: str, *text: Child, **attributes: str) -> Markup:
    """A link to somewhere else."""
    return el("a", {"href": address, **attributes}, *text)


def commit(words: Words, summary: Summary) -> Markup:
    """The commit, short, leading to it on GitHub."""
    if not summary.env.commit:
        return el("span", None, words("page.unknown"))
    short = el("code", None, summary.env.commit[:SHORT])
    return link(summary.commit_url, short, title=summary.env.commit)


def branch(summary: Summary) -> Markup:
    """The branch, leading to it on GitHub."""
    return link(summary.branch_url, outside(summary.env.branch))


def who(words: Words, name: str) -> Markup:
    """Whoever pushed or asked."""
    return outside(name) if name else el("span", None, words("page.unknown"))


def copyable(words: Words, thing: Markup, what: str) -> list[Child]:
    """A link or a piece of code with a button that copies it; without a script there is no button."""
    label = words("page.copy", what=what)
    return [thing, el("button", {"type": "button", "class": "copy", "aria-label": label})]


def facts(rows: Iterable[tuple[str, Child]]) -> Markup:
    """Names and what they are."""
    return el(
        "dl",
        {"class": "facts"},
        [el("div", None, el("dt", None, name), el("dd", None, text)) for name, text in rows],
    )


def reasons(words: Words, summary: Summary) -> Markup | None:
    """What stops it or what it waits for, in the words of whoever said so, and where to read more."""
    if not summary.reasons or summary.phase in (Phase.READY, Phase.ASLEEP):
        return None
    if summary.phase is Phase.BUILDING and summary.stages:
        return None  # the stages say it already
    trouble = summary.phase in (Phase.FAILED, Phase.BLOCKED)
    heading = words("page.reason") if trouble else words("page.waiting")
    log = el("p", None, link(summary.log_url, words("page.log"), **{"class": "button"}))
    return el(
        "section",
        {"class": f"reasons is-{summary.phase}", "aria-label": heading},
        el("h2", None, heading),
        _failed_in(words, summary),
        [el("p", {"class": "said"}, outside(reason, SPOKEN)) for reason in summary.reasons],
        log if summary.log_url else None,
    )


def stages(words: Words, summary: Summary, *, linked: bool = False) -> Markup | None:
    """The pipeline from its first stage to its last; None while nothing is known of it."""
    if not summary.stages:
        return None
    name = words("page.stages")
    return el(
        "ol", {"class": "stages", "aria-label": name}, [_stage(words, s, linked) for s in summary.stages]
    )


def stage_name(words: Words, name: str) -> str:
    """What a stage does; one that only another version of the pipeline has is called as it is."""
    return words(STAGES[name]) if name in STAGES else name


def _stage(words: Words, stage: Stage, linked: bool) -> Markup:
    status = STATUS.get(stage.status, "waiting")
    log = link(stage.url, words("page.log")) if linked and stage.url else None
    return el(
        "li",
        {"class": f"is-{status}", "aria-current": "step" if status == "running" else None},
        el("span", {"class": "name"}, stage_name(words, stage.name)),
        el("span", {"class": "status"}, words(f"page.status.{status}")),
        log,
    )


def _failed_in(words: Words, summary: Summary) -> Markup | None:
    if not summary.failed_stage:
        return None
    return el("p", None, words("page.failed_in", stage=stage_name(words, summary.failed_stage)))
