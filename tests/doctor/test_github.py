"""GitHub's credentials, over real HTTP."""

from __future__ import annotations

import pytest

from qa_env.doctor.finding import Level
from tests import canaries
from tests.doctor.sound import Sound


def checks(world: Sound) -> None:
    """The blueprint waits for required checks."""
    pipeline = world.values["pipeline"]
    world.changes["pipeline"] = pipeline | {"start": "checks", "required_checks": ["test"]}


def report(world: Sound, *kinds: str) -> None:
    world.changes["github"] = world.values["github"] | {"report": kinds}


def test_missing_credentials_are_said(world: Sound) -> None:
    world.changes["github"] = None

    found = world.worst("github")
    assert found.level == Level.WARNING
    assert "the last webhook counts" in found.text
    assert world.findings("github-permissions") == []


def test_a_repository_that_is_not_seen_is_said(world: Sound) -> None:
    world.changes["repository"] = "example/other"

    assert world.worst("github").text == "the GitHub credentials do not see example/other"


def test_a_token_that_is_refused_is_said_and_not_shown(world: Sound) -> None:
    world.secret("github", {"token": "revoked-token"})

    found = world.worst("github")
    assert found.level == Level.PROBLEM
    assert "(401)" in found.text
    assert found.fix == "put valid credentials into secretsmanager:github"
    assert "revoked-token" not in found.text


@pytest.mark.parametrize(
    ("shown", "level", "text"),
    [
        ({"archived": True}, Level.PROBLEM, "is archived"),
        ({"delete_branch_on_merge": False}, Level.WARNING, "keeps the branches"),
    ],
)
def test_a_repository_that_will_not_do_is_said(
    world: Sound, monkeypatch: pytest.MonkeyPatch, shown: dict[str, bool], level: Level, text: str
) -> None:
    monkeypatch.setattr(world.hub, "_repository", lambda _: (200, {"id": 1, **shown}))

    found = world.worst("github")
    assert (found.level, text in found.text) == (level, True)


def test_a_github_that_is_down_leaves_it_unknown(world: Sound) -> None:
    world.hub.available = False

    assert world.worst("github").level == Level.UNKNOWN


def test_what_a_token_may_is_tried_without_leaving_anything(world: Sound) -> None:
    found = world.findings("github-permissions")

    assert {one.text for one in found} == {
        "the token may read contents",
        "the token may write commit statuses",
        "the token may write deployments",
        "the token may write pull requests",
    }
    assert world.hub.posted == []
    assert world.hub.deployments.all == []
    assert world.hub.pulls.all == []


@pytest.mark.parametrize(
    ("method", "part", "text"),
    [
        ("GET", "/git/matching-refs", "read contents"),
        ("POST", "/statuses/", "write commit statuses"),
        ("POST", "/deployments", "write deployments"),
        ("POST", "/pulls", "write pull requests"),
        ("GET", "/check-runs", "read checks"),
        ("GET", "/commits/HEAD/status", "read commit statuses"),
    ],
)
@pytest.mark.parametrize("status", [403, 404])
def test_what_a_token_may_not_is_said(world: Sound, method: str, part: str, text: str, status: int) -> None:
    checks(world)
    world.hub.refusing[method, part] = (status, "Resource not accessible by personal access token")

    found = [one for one in world.findings("github-permissions") if text in one.text]
    assert [one.level for one in found] == [Level.PROBLEM]
    assert found[0].text.startswith(f"the token may not {text}")


def test_only_what_is_reported_is_tried(world: Sound) -> None:
    report(world, "commit_status")
    world.hub.refusing["POST", "/deployments"] = (403, "no")

    assert {one.level for one in world.findings("github-permissions")} == {Level.OK}


@pytest.mark.parametrize("waits", [True, False])
def test_an_apps_permissions_are_shown_by_github(world: Sound, waits: bool) -> None:
    world.use_app()
    if waits:
        checks(world)

    (found,) = world.findings("github-permissions")
    assert found.level == Level.OK
    assert ("checks: read" in found.text) == waits
    assert [one.level for one in world.findings("github")] == [Level.OK]


@pytest.mark.parametrize(
    ("name", "level"), [("statuses", "read"), ("deployments", ""), ("contents", ""), ("checks", "")]
)
def test_what_an_app_lacks_is_said(world: Sound, name: str, level: str) -> None:
    app = world.use_app()
    checks(world)
    app.permissions[name] = level

    found = world.worst("github-permissions")
    assert found.level == Level.PROBLEM
    assert f"lacks the permissions {name}: " in found.text


def test_a_secret_without_an_installation_is_said(world: Sound) -> None:
    world.secret("github", {"app_id": 1, "installation_id": "x", "private_key": canaries.GITHUB_TOKEN})

    found = world.worst("github-permissions")
    assert found.level == Level.PROBLEM
    assert "app_id, installation_id and private_key" in found.text


def test_a_key_that_cannot_be_read_is_said_and_not_shown(world: Sound) -> None:
    world.secret("github", {"app_id": 1, "installation_id": 2, "private_key": canaries.GITHUB_TOKEN})

    found = world.worst("github")
    assert found.level == Level.PROBLEM
    assert canaries.found_in(found.text + found.fix) == []
