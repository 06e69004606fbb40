"""Webhook bytes → Changes. No I/O, standard library only: the receiver imports this on every cold start.

GitHub signs the raw body, so the signature is checked before anything is parsed. It signs no time, so a
delivery can be replayed; and it promises no order (facts A6). Both are harmless because a Change says
which branch to look at, never what to do. No address in a payload is ever used.

`index` is what `qa_env.blueprint.index()` wrote; `headers` have lower-case names.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from qa_env import naming
from qa_env.errors import Rejected
from qa_env.model import Change, Ref

BODY_MAX = 6 * 1024 * 1024  # what Lambda passes on (facts B6-1)
BRANCH_MAX = 255  # bytes; GitHub itself ends somewhat earlier (facts A42)
BY_MAX = 40  # a login has 39 characters at most

Index = Mapping[str, Mapping[str, Any]]

_SIGNATURE = re.compile(r"sha256=([0-9a-fA-F]{64})")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ZEROS = re.compile(r"0{40}|0{64}")
_ILLEGAL_BRANCH = re.compile(  # git-check-ref-format (facts A40)
    r"[\x00-\x20\x7f~^:?*\[\\]"  # control characters, space and what has a meaning to git
    r"|[\ud800-\udfff]"  # half a character: not expressible in UTF-8, so no name on disk or wire
    r"|\.\.|@\{|//"
    r"|(?:\A|/)\.|\.lock(?:/|\Z)"  # a component that starts with a dot or ends with .lock
    r"|\A/|/\Z|\.\Z|\A@?\Z"
)


@dataclass(frozen=True)
class Reception:
    """What became of a delivery: Changes to act on, or one line that says why there are none."""

    message: str
    changes: tuple[Change, ...] = ()

    @property
    def status(self) -> int:
        """202 for what will be acted on, 200 for what is none of our business."""
        return 202 if self.changes else 200


@dataclass(frozen=True)
class _News:
    """What one payload says about one branch."""

    branch: str
    ref: Ref
    commit: str = ""
    before: str = ""


def verify(secrets: Iterable[bytes], body: bytes, signature: str | None) -> None:
    """Return if one of the secrets signed the body; Rejected otherwise.

    `secrets` is consumed only as far as needed and only for a well-formed signature, so it may be lazy and
    costly towards its end. None at all refuses everything, and an empty secret is none: anybody has it.
    """
    if len(body) > BODY_MAX:
        raise Rejected(413, f"the body has {len(body)} bytes, at most {BODY_MAX} are read")
    well_formed = _SIGNATURE.fullmatch(signature or "")
    if well_formed is None:
        raise Rejected(401, "the header X-Hub-Signature-256 is missing or not sha256=<64 hex digits>")
    sent = bytes.fromhex(well_formed[1])
    known = False
    for secret in filter(None, secrets):
        known = True
        if hmac.compare_digest(hmac.digest(secret, body, "sha256"), sent):
            return
    if not known:
        raise Rejected(503, "no webhook secret is available, so every delivery is refused")
    raise Rejected(401, "the signature does not belong to this body and our secret")


def receive(headers: Mapping[str, str], body: bytes, index: Index) -> Reception:
    """Read a verified delivery. Rejected says what is wrong with it: 400, or 404 without a blueprint."""
    event = headers.get("x-github-event", "")
    if not event:
        raise Rejected(400, "the header X-GitHub-Event is missing")
    if event == "ping":  # an organisation's has no repository (facts A23)
        return Reception("pong")
    read = _READERS.get(event)
    if read is None:
        return Reception(f"the event {_shown(event)} is none of our business")
    payload = _payload(headers.get("content-type", ""), body)
    entry = _entry(payload, index)
    if event in _CHECKS and not entry["checks"]:
        return Reception(f"{entry['repository']} does not wait for checks")
    ours = [news for news in read(payload) if _is_ours(news.branch, entry)]
    if not ours:
        return Reception(f"no news in this {event} about a branch under {entry['branch_prefix']}")
    delivery = re.sub(r"[^0-9A-Za-z-]", "", headers.get("x-github-delivery", ""))[:40]
    changes = (_change(news, payload, entry, event, delivery) for news in ours)
    return Reception("queued", tuple({change.slug: change for change in changes}.values()))


def is_legal_branch(name: str) -> bool:
    """Would git allow a branch of this name?"""
    return _ILLEGAL_BRANCH.search(name) is None and len(name.encode("utf-8")) <= BRANCH_MAX


def _payload(content_type: str, body: bytes) -> dict[str, Any]:
    try:
        text = body.decode("utf-8")
        if content_type.lower().startswith("application/x-www-form-urlencoded"):
            (text,) = parse_qs(text, errors="strict", max_num_fields=10).get("payload", [""])
        payload = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Rejected(400, "the body is not JSON, nor a form with JSON in `payload`") from error
    if not isinstance(payload, dict):
        raise Rejected(400, "the body is not a JSON object")
    return payload


def _entry(payload: dict[str, Any], index: Index) -> Mapping[str, Any]:
    full_name = _text(payload, "repository", "full_name")
    entry = index.get(full_name.lower())
    if entry is None:
        raise Rejected(404, f"no blueprint here is for the repository {_shown(full_name)}")
    return entry


def _is_ours(branch: str, entry: Mapping[str, Any]) -> bool:
    if not is_legal_branch(branch):
        raise Rejected(400, f"git would not allow a branch called {_shown(branch)}")
    return branch.startswith(entry["branch_prefix"])


def _change(
    news: _News, payload: dict[str, Any], entry: Mapping[str, Any], event: str, delivery: str
) -> Change:
    by = _optional(payload, "sender", "login") or _optional(payload, "pusher", "name")
    return Change(
        slug=naming.slug(entry["slug_prefix"], entry["first_name"], news.branch),
        repository=entry["repository"],  # as the blueprint spells it
        branch=news.branch,
        ref=news.ref,
        commit=news.commit,
        before=news.before,
        pushed_at=_epoch(_find(payload, "repository", "pushed_at")),
        by=by[:BY_MAX].encode("utf-8", "replace").decode("utf-8"),
        event=event,
        delivery=delivery,
    )


def _push(payload: dict[str, Any]) -> Iterator[_News]:
    ref = _text(payload, "ref")
    if not ref.startswith("refs/heads/"):
        return
    branch = ref.removeprefix("refs/heads/")
    before = _commit(payload, "before") if "before" in payload else ""
    if payload.get("deleted") is True or not (after := _commit(payload, "after")):
        yield _News(branch, Ref.ABSENT, before=before)
    else:
        yield _News(branch, Ref.PRESENT, after, before)


def _create(payload: dict[str, Any]) -> Iterator[_News]:
    if _text(payload, "ref_type") == "branch":  # and `ref` is the short name (facts A19)
        yield _News(_text(payload, "ref"), Ref.PRESENT)


def _delete(payload: dict[str, Any]) -> Iterator[_News]:
    if _text(payload, "ref_type") == "branch":
        yield _News(_text(payload, "ref"), Ref.ABSENT)


def _check_suite(payload: dict[str, Any]) -> Iterator[_News]:
    branch = _optional(payload, "check_suite", "head_branch")  # null for a fork's push (facts A28)
    if _text(payload, "action") == "completed" and branch:
        yield _News(branch, Ref.CHECKED, _commit(payload, "check_suite", "head_sha"))


def _check_run(payload: dict[str, Any]) -> Iterator[_News]:
    branch = _optional(payload, "check_run", "check_suite", "head_branch")  # only there (facts A29)
    if _text(payload, "action") == "completed" and branch:
        yield _News(branch, Ref.CHECKED, _commit(payload, "check_run", "head_sha"))


def _workflow_run(payload: dict[str, Any]) -> Iterator[_News]:
    """A fork's run names the fork's branch, so the head repository decides; null is a deleted fork."""
    home = _text(payload, "repository", "full_name")
    names_head = "head_repository" in _object(payload, "workflow_run")
    is_fork = names_head and _optional(payload, "workflow_run", "head_repository", "full_name") != home
    branch = _optional(payload, "workflow_run", "head_branch")
    if _text(payload, "action") == "completed" and branch and not is_fork:
        yield _News(branch, Ref.CHECKED, _commit(payload, "workflow_run", "head_sha"))


def _status(payload: dict[str, Any]) -> Iterator[_News]:
    """A status belongs to a commit, and that to any number of branches (facts A30)."""
    if _text(payload, "state") == "pending":
        return
    branches = _find(payload, "branches")
    if not isinstance(branches, list):
        raise Rejected(400, "the field branches is missing or not a list")
    for branch in branches:
        yield _News(_text(branch, "name"), Ref.CHECKED, _commit(payload, "sha"))


def _pull_request(payload: dict[str, Any]) -> Iterator[_News]:
    """One that is open now may want a comment; a fork's branch is none of ours, null is a deleted fork."""
    home = _text(payload, "repository", "full_name")
    is_ours = _optional(payload, "pull_request", "head", "repo", "full_name") == home
    if _text(payload, "action") in ("opened", "reopened") and is_ours:
        branch = _text(payload, "pull_request", "head", "ref")
        yield _News(branch, Ref.CHECKED, _commit(payload, "pull_request", "head", "sha"))


_CHECKS: dict[str, Callable[[dict[str, Any]], Iterator[_News]]] = {
    "check_suite": _check_suite,
    "check_run": _check_run,
    "status": _status,
    "workflow_run": _workflow_run,
}
_READERS = {"push": _push, "create": _create, "delete": _delete, "pull_request": _pull_request, **_CHECKS}
EVENTS = frozenset(_READERS)
"""What of GitHub's events is read at all."""


def _find(values: Any, *path: str) -> Any:
    """What is at the end of the path, None if something on the way is missing."""
    for name in path:
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _optional(values: Any, *path: str) -> str:
    found = _find(values, *path)
    return found if isinstance(found, str) else ""


def _object(values: Any, *path: str) -> dict[str, Any]:
    found = _find(values, *path)
    return found if isinstance(found, dict) else {}


def _text(values: Any, *path: str) -> str:
    found = _find(values, *path)
    if not isinstance(found, str):
        raise Rejected(400, f"the field {'.'.join(path)} is missing or not a text")
    return found


def _commit(payload: dict[str, Any], *path: str) -> str:
    """A commit id; empty for git's zeros, which mean “none”."""
    text = _text(payload, *path)
    if not _COMMIT.fullmatch(text):
        raise Rejected(400, f"the field {'.'.join(path)} is not a commit of 40 or 64 hex digits")
    return "" if _ZEROS.fullmatch(text) else text


def _epoch(value: Any) -> int:
    """A number in `push`, ISO 8601 elsewhere (facts A22); 0 for anything else: it is only a hint."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            value = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
        is_epoch = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40
    except (ValueError, OverflowError):
        return 0
    return int(value) if is_epoch else 0


def _shown(text: str) -> str:
    """Foreign text in a message: quoted, escaped and short."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")
