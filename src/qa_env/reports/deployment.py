"""The deployment on GitHub: one per commit, in an environment that is called like the branch.

A transient deployment is never inactivated by GitHub itself (facts A34), so we do it: an earlier commit's
when the new one is live, or at once if it never was, and everything when the environment goes. Until then
the old deployment truthfully stays active, because the old version still runs.

Ours bear the slug in their payload. What memory does not hold (a pass died before it was written down) is
found by commit, or among the newest of the environment.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from qa_env import telling
from qa_env.blueprint import Blueprint
from qa_env.errors import Blocked, NotReady
from qa_env.github_api import GitHub
from qa_env.model import Environment, Outputs, Phase, Slug
from qa_env.summary import PIPELINE, Summary

DESCRIPTION_MAX = 140  # facts A34
INACTIVE = "inactive"
RECENT = 10  # deployments looked through for ones that memory missed: more than one is hardly ever there
STATES = {
    Phase.QUEUED: "queued",
    Phase.BUILDING: "in_progress",
    Phase.DEPLOYING: "in_progress",
    Phase.READY: "success",
    Phase.ASLEEP: "success",
    Phase.FAILED: "failure",
    Phase.BLOCKED: "error",
}


@dataclass(frozen=True)
class Deployment:
    """Outputs: `said`, `id` and `commit` of the present deployment, the ids in `superseded`.

    `live` is the id of the last one that was a success, because GitHub may not show that yet.
    """

    github: GitHub
    blueprint: Blueprint
    name: str = ""
    kind = "deployment"

    def ensure(self, env: Environment) -> Outputs:
        """One deployment for the wanted commit, whose newest status is the phase; `inactive` while going."""
        known = env.remembered(self.kind)
        if env.phase is Phase.DELETING:
            return known if known.get("said") == INACTIVE else self._end(env)
        if not env.commit:
            raise NotReady("waiting for the commit")
        status = _status(Summary(env, self.blueprint))
        said = telling.digest([env.commit, status])
        if known.get("said") == said:
            return known
        number, shown = self._present(env, known) or (self._create(env), {})
        earlier = [one for one in self._earlier(env, known) if one != number]
        if shown != status:
            self._post(env, number, status)
        is_live = status["state"] == "success"
        live = number if is_live else known.get("live", "")
        left = [one for one in earlier if one == live or not self._retire(env, one, live=is_live)]
        outputs = {"said": said, "id": number, "commit": env.commit}
        return {**outputs, "superseded": " ".join(left), "live": live}

    def delete(self, env: Environment) -> None:
        """Everything of ours is inactive."""
        if env.remembered(self.kind).get("said") != INACTIVE:
            self._end(env)

    def owners(self) -> Iterator[Slug]:
        """Nothing that could be left: an inactive deployment is GitHub's history."""
        return iter(())

    def _end(self, env: Environment) -> Outputs:
        for number in self._all(env, env.remembered(self.kind)):
            self._retire(env, number, live=True)
        return {"said": INACTIVE}

    def _present(self, env: Environment, known: Outputs) -> tuple[str, dict[str, str]] | None:
        """The wanted commit's deployment and its newest status, unless there is none or it has ended."""
        for number in self._candidates(env, known):
            statuses = self._statuses(env, number)
            if statuses is not None and not _has_ended(statuses):
                return number, _shown(statuses)
        return None

    def _candidates(self, env: Environment, known: Outputs) -> Iterator[str]:
        if known.get("commit") == env.commit:
            yield known["id"]
        query = f"?sha={env.commit}&environment={quote(env.branch, safe='')}&per_page=100"
        yield from (str(one["id"]) for one in self._list(env, query))

    def _earlier(self, env: Environment, known: Outputs) -> list[str]:
        """The deployments of other commits that may not have ended."""
        if known.get("commit") == env.commit:
            return known.get("superseded", "").split()
        return self._all(env, known)

    def _all(self, env: Environment, known: Outputs) -> list[str]:
        """What is remembered, and what was made since by a pass that was not written down."""
        newest = self._list(env, f"?environment={quote(env.branch, safe='')}&per_page={RECENT}")
        last = int(known.get("id") or 0)
        remembered = [*known.get("id", "").split(), *known.get("superseded", "").split()]
        return list(dict.fromkeys([*remembered, *(str(n["id"]) for n in newest if int(n["id"]) > last)]))

    def _list(self, env: Environment, query: str) -> Iterable[Any]:
        try:
            found = self.github.get(f"/repos/{env.repository}/deployments{query}")
        except LookupError as error:
            raise _refused() from error
        return [one for one in found if _is_ours(one, env.slug)]

    def _create(self, env: Environment) -> str:
        body = {
            "ref": env.commit,
            "environment": env.branch,
            "task": "deploy",
            "payload": {"qa_env": env.slug},
            "description": telling.cut(f"qa-env {env.slug}", DESCRIPTION_MAX),
            "required_contexts": [],
            "auto_merge": False,
            "transient_environment": True,
            "production_environment": False,
        }
        try:
            return str(self.github.post(f"/repos/{env.repository}/deployments", body)["id"])
        except LookupError as error:
            raise _refused() from error

    def _post(self, env: Environment, number: str, status: dict[str, str]) -> None:
        path = f"/repos/{env.repository}/deployments/{number}/statuses"
        try:
            self.github.post(path, {**status, "auto_inactive": False})
        except LookupError as error:
            raise _refused() from error

    def _retire(self, env: Environment, number: str, *, live: bool) -> bool:
        """Make an earlier deployment inactive if what it stands for ended; True if nothing is left to do.

        One that never succeeded ends with its successor's begin; one that did, when that is live.
        """
        statuses = self._statuses(env, number)
        if statuses is None or _has_ended(statuses):
            return True
        if not live and any(one["state"] == "success" for one in statuses):
            return False
        with suppress(LookupError):  # removed by hand meanwhile
            path = f"/repos/{env.repository}/deployments/{number}/statuses"
            self.github.post(path, {"state": INACTIVE, "auto_inactive": False})
        return True

    def _statuses(self, env: Environment, number: str) -> list[Any] | None:
        """Its statuses, newest first; None if there is no such deployment."""
        path = f"/repos/{env.repository}/deployments/{number}/statuses?per_page=100"
        try:
            return sorted(self.github.get(path), key=lambda one: -int(one["id"]))
        except LookupError:
            return None


def _state(summary: Summary) -> str:
    """A mishap is `error`: not the commit's failure. What waits until its build begins is `queued`."""
    if telling.is_mishap(summary.env):
        return "error"
    if summary.phase is Phase.BUILDING and PIPELINE in summary.env.conditions:
        same = summary.env.remembered(PIPELINE).get("commit") == summary.env.commit
        return "in_progress" if same and any(stage.status for stage in summary.stages) else "queued"
    return STATES[summary.phase]


def _status(summary: Summary) -> dict[str, str]:
    log = summary.log_url or summary.page_url
    return {
        "state": _state(summary),
        "description": telling.cut(telling.headline(summary), DESCRIPTION_MAX),
        **({"environment_url": summary.url} if summary.url else {}),
        **({"log_url": log} if log else {}),
    }


def _has_ended(statuses: list[Any]) -> bool:
    return bool(statuses) and statuses[0]["state"] == INACTIVE


def _shown(statuses: list[Any]) -> dict[str, str]:
    newest = statuses[0] if statuses else {}
    keys = ("state", "description", "environment_url", "log_url")
    return {key: newest[key] for key in keys if newest.get(key)}


def _is_ours(deployment: Any, slug: Slug) -> bool:
    payload = deployment.get("payload")
    if isinstance(payload, str):  # GitHub gives back what was sent as text in some versions
        with suppress(ValueError):
            payload = json.loads(payload)
    return isinstance(payload, dict) and payload.get("qa_env") == slug


def _refused() -> Blocked:
    return Blocked("GitHub shows no deployments to these credentials: give them “Deployments: write”")
