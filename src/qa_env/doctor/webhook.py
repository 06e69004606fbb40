"""The webhook: is it there and as it should be, are its deliveries taken, and does one arrive now?"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from qa_env import http_json, receiver
from qa_env.blueprint import Blueprint
from qa_env.doctor import github
from qa_env.doctor.finding import Finding, Findings, ok, problem, unknown, warning
from qa_env.doctor.world import World, is_safe
from qa_env.errors import Blocked
from qa_env.github_api import GitHub

NEEDED = ("push",)
USEFUL = ("create", "delete", "pull_request")
OF_CHECKS = ("check_suite", "check_run", "status", "workflow_run")
LOOKS = 10  # for the delivery of a ping, a second apart
TIMEOUT = 15  # seconds; GitHub gives ten
SECRET_FIX = "copy what the secret of the output WebhookSecretArn holds into the webhook's Secret"  # noqa: S105 - words about it
MEANING: Mapping[int, tuple[str, str]] = {
    HTTPStatus.UNAUTHORIZED: ("the signature is refused", SECRET_FIX),
    HTTPStatus.FORBIDDEN: (
        "the address may not be called by everybody",
        "its function needs lambda:InvokeFunctionUrl and lambda:InvokeFunction for everybody: make deploy",
    ),
    HTTPStatus.NOT_FOUND: ("nothing is there", "correct the webhook's Payload URL: the output WebhookUrl"),
}


@dataclass(frozen=True)
class Hook:
    """A webhook of ours at `path`, which GitHub shows to `hub`."""

    hub: GitHub
    path: str
    values: Mapping[str, Any] = field(repr=False)

    @property
    def can_be_pinged(self) -> bool:
        """GitHub sends pings for all but an App's."""
        return not self.path.startswith("/app/")

    def deliveries(self) -> list[Mapping[str, Any]]:
        """The last ones, newest first."""
        return list(self.hub.get(f"{self.path}/deliveries?per_page=30"))


def find(world: World, blueprint: Blueprint) -> Hook | None:
    """The App's, the repository's or its organisation's webhook that points at us; None if none is shown."""
    return world.once(("hook", blueprint.repository), lambda: _find(world, blueprint))


def _find(world: World, blueprint: Blueprint) -> Hook | None:
    if blueprint.github is None:
        return None
    hub, url = github.api(world, blueprint.github), world.stack().output("WebhookUrl")
    places = (f"/repos/{blueprint.repository}", f"/orgs/{blueprint.repository.partition('/')[0]}")
    found = [hook for place in places for hook in _listed(hub, place)] + list(_of_app(hub))
    return next((hook for hook in found if _address(hook) == url.rstrip("/")), None)


def _address(hook: Hook) -> str:
    return str(hook.values["config"].get("url") or "").rstrip("/")


def _listed(hub: GitHub, place: str) -> Iterator[Hook]:
    """What is not shown to these credentials is as if it were not there."""
    try:
        for page in hub.pages(f"{place}/hooks?per_page=100"):
            yield from (Hook(hub, f"{place}/hooks/{int(one['id'])}", one) for one in page)
    except (LookupError, Blocked):
        return


def _of_app(hub: GitHub) -> Iterator[Hook]:
    try:
        app = hub.app()
        if app is not None:
            config, about = app.get("/app/hook/config"), app.get("/app")
            yield Hook(app, "/app/hook", {"config": config, "events": about.get("events", [])})
    except (LookupError, Blocked):
        return


def settings(world: World, blueprint: Blueprint) -> Findings:
    """GitHub has a webhook to our address, active, signed, verified, with the events that are needed."""
    if blueprint.github is None:
        return
    hook = find(world, blueprint)
    if hook is None:
        url = world.stack().output("WebhookUrl")
        yield warning(
            f"the GitHub credentials see no webhook of {blueprint.repository} or its owner to {url}",
            "add it (README, The webhook); if it is there, give them the permission to read webhooks",
        )
        return
    faults = list(_faults(hook, blueprint))
    yield from faults or [ok("the webhook is active, signed, and has the events that are needed")]


def _faults(hook: Hook, blueprint: Blueprint) -> Findings:
    config, events = hook.values["config"], set(hook.values.get("events", ()))
    if hook.values.get("active") is False:
        yield problem("the webhook is not active", "tick Active in its settings on GitHub")
    if not config.get("secret"):
        yield problem("the webhook has no secret, so its deliveries are refused", SECRET_FIX)
    if config.get("content_type") not in ("json", "form"):
        yield problem("the webhook has no content type that we read", "set Content type to application/json")
    if str(config.get("insecure_ssl", "0")) != "0":
        yield warning(
            "the webhook does not verify TLS", "tick Enable SSL verification in its settings on GitHub"
        )
    if "*" in events:
        return
    useful = USEFUL + (OF_CHECKS if blueprint.pipeline.start == "checks" else ())
    if missing := [one for one in NEEDED if one not in events]:
        yield problem(f"the webhook does not send {', '.join(missing)}", "tick it among the webhook's events")
    if missing := [one for one in useful if one not in events]:
        yield warning(
            f"the webhook does not send {', '.join(missing)}", "tick them among the webhook's events"
        )


def deliveries(world: World, blueprint: Blueprint) -> Findings:
    """The last deliveries were taken, at the first or a later attempt."""
    hook = find(world, blueprint)
    if hook is None:
        return
    newest: dict[str, int] = {}
    for one in reversed(hook.deliveries()):
        if not _is_taken(newest.get(str(one["guid"]), 0)):
            newest[str(one["guid"])] = int(one.get("status_code") or 0)
    # 404 is our answer to a repository without a blueprint, which an organisation's webhook has as well.
    lost = [status for status in newest.values() if not _is_taken(status) and status != HTTPStatus.NOT_FOUND]
    if lost:
        said = ", ".join(sorted({str(status or "no answer") for status in lost}))
        _, fix = _meaning(lost[-1])
        yield problem(f"{len(lost)} of the last {len(newest)} deliveries were not taken ({said})", fix)
    else:
        yield ok(f"the last {len(newest)} deliveries were taken")


def ping(world: World, blueprint: Blueprint) -> Findings:
    """A ping arrives now: GitHub's, or one that we sign ourselves where GitHub sends none for us."""
    hook = find(world, blueprint)
    answered = _pinged(world, hook) if hook and hook.can_be_pinged else None
    yield answered or _signed(world)


def _pinged(world: World, hook: Hook) -> Finding | None:
    """What became of GitHub's ping; None if it may not be sent or is not shown."""
    try:
        before = {one["id"] for one in hook.deliveries()}
        hook.hub.post(f"{hook.path}/pings", {})
        for _ in range(LOOKS):
            for one in hook.deliveries():
                if one["id"] not in before and one["event"] == "ping":
                    return _judged("GitHub's ping", int(one.get("status_code") or 0))
            world.pause(1)
    except (LookupError, Blocked):
        return None
    return None


def _signed(world: World) -> Finding:
    url = world.stack().output("WebhookUrl")
    if not is_safe(url):
        return problem(f"the webhook's address {url} is not https", "deploy again: make deploy")
    arn = world.stack().output("WebhookSecretArn")
    secret = receiver.read_secret(world.client("secretsmanager"), arn)[0]
    body = {"zen": "qa-env doctor"}
    signature = hmac.new(secret, json.dumps(body).encode(), hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "qa-env",
        "X-GitHub-Event": "ping",
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-Hub-Signature-256": f"sha256={signature}",
    }
    try:
        status = http_json.send("POST", url, headers, body, TIMEOUT).status
    except http_json.Unreachable as error:
        return unknown(
            f"{url} cannot be reached from here ({error})", "try from a place with Internet access"
        )
    return _judged("a ping that we signed", status)


def _judged(what: str, status: int) -> Finding:
    if _is_taken(status):
        return ok(f"{what} was taken ({status})")
    meaning, fix = _meaning(status)
    return problem(f"{what} was not taken ({status or 'no answer'}): {meaning}", fix)


def _meaning(status: int) -> tuple[str, str]:
    return MEANING.get(
        status, ("the function failed or took too long", "see the log of the webhook function")
    )


def _is_taken(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
