"""GitHub's credentials: do they work, do they see the repository, and may they do what is asked of them?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

from qa_env.blueprint import Blueprint
from qa_env.blueprint import GitHub as Settings
from qa_env.doctor.finding import Finding, Findings, ok, problem, warning
from qa_env.doctor.world import World
from qa_env.errors import Blocked
from qa_env.github_api import MUST_HOLD, GitHub, Refused

NOTHING = "0" * 40  # no commit has this name
NO_REF = "no such ref"  # nor any ref one with spaces
WRITES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "commit statuses": (f"/statuses/{NOTHING}", {"state": "pending", "context": "qa-env doctor"}),
    "deployments": ("/deployments", {"ref": NO_REF, "required_contexts": [], "auto_merge": False}),
    "pull requests": ("/pulls", {"title": "qa-env doctor", "head": NO_REF, "base": NO_REF}),
}
"""Writes that cannot be carried out: who may write is told so, who may not is refused."""
REPORTED = {"commit_status": "commit statuses", "deployment": "deployments", "pull_request": "pull requests"}
PERMISSIONS = {"commit statuses": "statuses", "deployments": "deployments", "pull requests": "pull_requests"}


def api(world: World, settings: Settings) -> GitHub:
    """The client of these credentials, made once."""
    key = ("GitHub", settings.api_url, settings.secret)
    made = GitHub(settings.api_url, lambda: world.secret(settings.secret), world.clock)
    return world.once(key, lambda: made)


def repository(world: World, blueprint: Blueprint) -> Findings:
    """The credentials work and see the repository, which is alive and deletes merged branches."""
    settings, name = blueprint.github, blueprint.repository
    if settings is None:
        yield warning(
            "there are no GitHub credentials: the last webhook counts, and nothing is reported there",
            "make an App or a token, and name its secret under github in the blueprint",
        )
        return
    try:
        found = api(world, settings).get(f"/repos/{name}")
    except LookupError:
        yield problem(
            f"the GitHub credentials do not see {name}",
            "give the token or the App access to it, or correct repository in the blueprint",
        )
        return
    except Blocked as error:
        yield problem(str(error), f"put valid credentials into {settings.secret}")
        return
    if found.get("archived"):
        yield problem(
            f"{name} is archived: nothing can be reported there", "unarchive it, or remove the blueprint"
        )
    else:
        yield ok(f"the GitHub credentials see {name}")
    if found.get("delete_branch_on_merge") is False:
        yield warning(
            "GitHub keeps the branches of merged pull requests, and so their environments stay",
            "Settings, General: Automatically delete head branches",
        )


def permissions(world: World, blueprint: Blueprint) -> Findings:
    """They may read branches and checks, and write what `github.report` names."""
    if blueprint.github is None:
        return
    hub = api(world, blueprint.github)
    wanted = [REPORTED[one] for one in blueprint.github.report]
    as_app = hub.app()
    if as_app is None:
        yield from _of_token(hub, blueprint, wanted)
    else:
        number = _installation(world.secret(blueprint.github.secret))
        granted = dict(as_app.get(f"/app/installations/{number}").get("permissions", {}))
        yield from _of_app(granted, blueprint, wanted)


def _installation(secret: Any) -> int:
    try:
        return int(secret["installation_id"])
    except (KeyError, TypeError, ValueError):
        raise Blocked(f"the GitHub secret cannot be used: {MUST_HOLD}") from None


def _of_app(granted: Mapping[str, str], blueprint: Blueprint, wanted: list[str]) -> Findings:
    """GitHub shows an App what its installation may do."""
    needed = {"contents": "read"} | {PERMISSIONS[one]: "write" for one in wanted}
    if blueprint.pipeline.start == "checks":
        needed |= {"checks": "read", "statuses": needed.get("statuses", "read")}
    short = [
        f"{name}: {level}"
        for name, level in needed.items()
        if granted.get(name) != "write" and granted.get(name) != level
    ]
    if short:
        yield problem(
            f"the App's installation lacks the permissions {', '.join(short)}",
            "give them to the App, then accept them where it is installed; or shorten github.report",
        )
    else:
        yield ok(f"the App may {', '.join(f'{name}: {level}' for name, level in needed.items())}")


def _of_token(hub: GitHub, blueprint: Blueprint, wanted: list[str]) -> Findings:
    """GitHub tells what a token may do only by letting it try: X-Accepted-GitHub-Permissions is about the
    route. Comments need the permission that opening a pull request needs; who may write may read."""
    place = f"/repos/{blueprint.repository}"
    reads = {"contents": f"{place}/git/matching-refs/heads/{blueprint.branch_prefix}"}
    if blueprint.pipeline.start == "checks":
        reads["commit statuses"] = f"{place}/commits/HEAD/status"
        reads["checks"] = f"{place}/commits/HEAD/check-runs?per_page=1"
    for name, path in reads.items():
        yield _tried(f"read {name}", partial(hub.get, path))
    for name in wanted:
        path, body = WRITES[name]
        yield _tried(f"write {name}", partial(hub.post, place + path, body))


def _tried(what: str, attempt: Callable[[], object]) -> Finding:
    """What is refused for its content was permitted."""
    fix = "give the token this permission for the repository, or leave it out of github.report"
    try:
        attempt()
    except LookupError:
        return problem(f"the token may not {what}", fix)
    except Refused as error:
        if error.status != HTTPStatus.UNPROCESSABLE_ENTITY:
            return problem(f"the token may not {what}: {error}", fix)
    return ok(f"the token may {what}")
