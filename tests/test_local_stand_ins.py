"""The small stand-ins of the local stack: git's webhooks, GitHub's API, the port forward, health checks."""

from __future__ import annotations

import json
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from local import forward, git
from local.git import ZEROS, Remote
from local.github import GitHub
from local.slack import Slack
from local.task import matches

REPOSITORY = "example/shop"


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """A bare repository with two commits on main."""
    seed = tmp_path / "seed"
    seed.mkdir()
    (seed / "GREETING").write_text("hello")
    made = git.create(tmp_path / "remote.git", seed, REPOSITORY)
    clone = tmp_path / "clone"
    git.git(tmp_path, "clone", "--quiet", str(made.path), str(clone))
    git.git(clone, "commit", "--quiet", "--allow-empty", "--message", "second")
    git.git(clone, "push", "--quiet", "origin", "HEAD:refs/heads/main", "HEAD:refs/heads/qa/foo")
    git.git(clone, "push", "--quiet", "origin", "HEAD^:refs/heads/qa/foo-bar")
    return made


@pytest.fixture
def github(remote: Remote) -> GitHub:
    """GitHub for that repository; the token is `token`."""
    return GitHub(remote, REPOSITORY, "token")


def test_push_events_tell_create_update_force_and_delete_apart(remote: Remote) -> None:
    """The flags are those of GitHub's payload (facts A17)."""
    new, old = remote.head("qa/foo") or "", remote.head("qa/foo-bar") or ""

    def flags(before: str, after: str) -> tuple[bool, bool, bool]:
        event = git.push_event(remote, REPOSITORY, before, after, "refs/heads/qa/foo")
        return event["created"], event["deleted"], event["forced"]

    assert flags(ZEROS, new) == (True, False, False)
    assert flags(old, new) == (False, False, False)
    assert flags(new, old) == (False, False, True)
    assert flags(new, ZEROS) == (False, True, False)


def test_deletion_has_no_commits(remote: Remote) -> None:
    """As GitHub sends it."""
    event = git.push_event(remote, REPOSITORY, remote.head("main") or "", ZEROS, "refs/heads/qa/foo")

    assert (event["head_commit"], event["commits"]) == (None, [])


def test_extract_gives_the_files_of_the_commit(remote: Remote, tmp_path: Path) -> None:
    """What a build sees."""
    remote.extract(remote.head("main") or "", tmp_path / "files")

    assert (tmp_path / "files" / "GREETING").read_text() == "hello"


def test_matching_refs_are_a_prefix_search(github: GitHub) -> None:
    """`qa/foo` also finds `qa/foo-bar`; nothing is an empty list, not 404."""
    prefix = f"/repos/{REPOSITORY}/git/matching-refs/heads"
    _, found, _ = github.answer("GET", f"{prefix}/qa/foo", "Bearer token", b"")

    assert [ref["ref"] for ref in found] == ["refs/heads/qa/foo", "refs/heads/qa/foo-bar"]
    assert github.answer("GET", f"{prefix}/qa/none", "Bearer token", b"") == (200, [], {})


def test_pages_are_linked(github: GitHub) -> None:
    """One may follow `next` until the end."""
    path = f"/repos/{REPOSITORY}/git/matching-refs/heads/qa/?per_page=1"
    _, first, links = github.answer("GET", path, "Bearer token", b"")
    _, second, end = github.answer("GET", links["next"], "Bearer token", b"")

    assert [ref["ref"] for ref in first + second] == ["refs/heads/qa/foo", "refs/heads/qa/foo-bar"]
    assert end == {}


@pytest.mark.parametrize(
    ("path", "authorization", "status"),
    [
        (f"/repos/{REPOSITORY}", "Bearer wrong", 401),
        ("/repos/example/other", "Bearer token", 404),
        (f"/repos/{REPOSITORY}-other", "Bearer token", 404),
        (f"/repos/{REPOSITORY}/git/ref/heads/qa/none", "Bearer token", 404),
    ],
)
def test_refusals(github: GitHub, path: str, authorization: str, status: int) -> None:
    """As GitHub refuses."""
    assert github.answer("GET", path, authorization, b"")[0] == status


def test_posted_statuses_are_kept_and_combined(github: GitHub, remote: Remote) -> None:
    """The newest status of a context counts; everything posted stays readable."""
    commit = remote.head("main") or ""
    path = f"/repos/{REPOSITORY}/statuses/{commit}"
    for state in ("pending", "success"):
        body = json.dumps({"state": state, "context": "qa-env/qa-foo"}).encode()
        assert github.answer("POST", path, "Bearer token", body)[0] == 201
    _, combined, _ = github.answer("GET", f"/repos/{REPOSITORY}/commits/{commit}/status", "Bearer token", b"")

    assert combined["state"] == "success"
    assert [one["body"]["state"] for one in github.posted] == ["pending", "success"]


def test_statuses_that_github_refuses(github: GitHub) -> None:
    """An unknown state or a long description is 422 and is not kept."""
    path = f"/repos/{REPOSITORY}/statuses/{'0' * 40}"
    for body in ({"state": "done"}, {"state": "success", "description": "x" * 141}):
        assert github.answer("POST", path, "Bearer token", json.dumps(body).encode())[0] == 422
    assert github.posted == []


def test_forward_replaces_host_and_connection() -> None:
    """Everything else of a request stays as it is."""
    head = b"GET /a?b HTTP/1.1\r\nHOST: localhost:10001\r\nConnection: keep-alive\r\nX-Hosts: 1"

    assert forward.rewrite(head, "qa.alb.localhost:10001") == (
        b"GET /a?b HTTP/1.1\r\nHost: qa.alb.localhost:10001\r\nConnection: close\r\nX-Hosts: 1\r\n\r\n"
    )


def test_two_reservations_differ() -> None:
    """Two stacks never get the same ports."""
    one, other = forward.reserve(3), forward.reserve(3)
    try:
        assert not set(one.ports) & set(other.ports)
    finally:
        one.close()
        other.close()


def test_health_check_codes() -> None:
    """Ranges and lists, as target groups write them."""
    assert [status for status in (199, 200, 399, 404, 500) if matches("200-399,404", status)] == [
        200,
        399,
        404,
    ]


class TestDeployments:
    """What GitHub refuses, so that qa-env cannot rely on it."""

    GOOD = '{"ref": "main", "environment": "qa/foo", "auto_merge": false, "required_contexts": []}'

    def call(self, github: GitHub, path: str, **body: Any) -> tuple[int, Any]:
        target = f"/repos/{REPOSITORY}/deployments{path}"
        return github.answer("POST", target, "Bearer token", json.dumps(body).encode())[:2]

    @pytest.mark.parametrize(
        ("changed", "status"),
        [({}, 201), ({"ref": "none"}, 422), ({"auto_merge": True}, 409), ({"required_contexts": ["x"]}, 409)],
    )
    def test_creation(self, github: GitHub, changed: dict[str, Any], status: int) -> None:
        assert self.call(github, "", **{**json.loads(self.GOOD), **changed})[0] == status
        assert len(github.deployments.all) == (status == 201)

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"state": "queued"}, 201),
            ({"state": "done"}, 422),
            ({"state": "success", "description": "x" * 141}, 422),
            ({"state": "success", "environment_url": "qa.example.com"}, 422),
        ],
    )
    def test_statuses(self, github: GitHub, body: dict[str, Any], status: int) -> None:
        _, made = self.call(github, "", **json.loads(self.GOOD))
        assert self.call(github, f"/{made['id']}/statuses", **body)[0] == status
        assert self.call(github, "/7/statuses", **body)[0] == 404

    def test_they_are_found_by_commit_and_environment(self, github: GitHub, remote: Remote) -> None:
        for ref, environment in (("main", "qa/foo"), ("qa/foo-bar", "qa/foo"), ("main", "qa/bar")):
            self.call(github, "", **{**json.loads(self.GOOD), "ref": ref, "environment": environment})
        query = f"?environment=qa%2Ffoo&sha={remote.head('main')}"
        _, found, _ = github.answer("GET", f"/repos/{REPOSITORY}/deployments{query}", "Bearer token", b"")
        assert [one["id"] for one in found] == [github.deployments.all[0]["id"]]


def test_a_pull_request_rings_the_bell_and_closes_with_its_branch(remote: Remote) -> None:
    """As GitHub does; its event is what the receiver reads."""
    rung: list[tuple[str, dict[str, Any]]] = []
    github = GitHub(remote, REPOSITORY, "token", tell=lambda event, payload: rung.append((event, payload)))
    body = json.dumps({"title": "Foo", "head": "qa/foo", "base": "main"}).encode()
    target = f"/repos/{REPOSITORY}/pulls"
    assert github.answer("POST", target, "Bearer token", body)[0] == 201
    assert github.answer("POST", target, "Bearer token", body)[0] == 422
    ((event, payload),) = rung
    assert (event, payload["action"], payload["pull_request"]["head"]["ref"]) == (
        "pull_request",
        "opened",
        "qa/foo",
    )
    wanted = f"{target}?state=open&head=example%3Aqa%2Ffoo"
    assert len(github.answer("GET", wanted, "Bearer token", b"")[1]) == 1
    git.git(remote.path, "update-ref", "-d", "refs/heads/qa/foo")
    assert github.answer("GET", wanted, "Bearer token", b"")[1] == []
    closed = github.answer("GET", wanted.replace("open", "all"), "Bearer token", b"")[1]
    assert [one["state"] for one in closed] == ["closed"]


def plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text}


def button(**changed: Any) -> dict[str, Any]:
    return {"type": "button", "text": plain("x"), "url": "https://x", "action_id": "a"} | changed


@pytest.mark.parametrize(
    ("block", "fits"),
    [
        ({"type": "header", "text": plain("x" * 150)}, True),
        ({"type": "header", "text": plain("x" * 151)}, False),
        ({"type": "header", "text": {"type": "mrkdwn", "text": "x"}}, False),
        ({"type": "header", "text": plain("")}, False),
        ({"type": "section", "text": plain("x" * 3000)}, True),
        ({"type": "section", "text": plain("x" * 3001)}, False),
        ({"type": "context", "elements": [plain("x")] * 10}, True),
        ({"type": "context", "elements": [plain("x")] * 11}, False),
        ({"type": "context", "elements": []}, False),
        ({"type": "actions", "elements": [button()]}, True),
        ({"type": "actions", "elements": [button(), button()]}, False),
        ({"type": "actions", "elements": [button(action_id=str(number)) for number in range(26)]}, False),
        ({"type": "actions", "elements": [button(text=plain("x" * 76))]}, False),
        ({"type": "actions", "elements": [button(url="https://" + "x" * 3000)]}, False),
        ({"type": "actions", "elements": [button(url="javascript:x")]}, False),
        ({"type": "table"}, False),
    ],
)
def test_blocks_that_slack_refuses(block: dict[str, Any], fits: bool) -> None:
    """The whole message, for one thing that is too long."""
    slack, headers = Slack("token"), Message()
    headers["Authorization"] = "Bearer token"
    body = json.dumps({"channel": "#qa", "text": "x", "blocks": [block]}).encode()
    _, said, _ = slack.answer("POST", "/api/chat.postMessage", headers, body)
    assert said["ok"] == fits
    assert fits or said["error"] == "invalid_blocks"
    assert len(slack.answer("GET", "/_local/messages", Message(), b"")[1]) == fits


def test_a_slack_that_does_not_know_the_token() -> None:
    """In the body, with status 200, as Slack says it."""
    headers = Message()
    headers["Authorization"] = "Bearer other"
    assert Slack("token").answer("POST", "/api/chat.postMessage", headers, b"{}") == (
        200,
        {"ok": False, "error": "invalid_auth"},
        {},
    )
