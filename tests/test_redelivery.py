"""Lost deliveries are asked for again: over the GitHub client and a stand-in that has webhooks."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from local.github_hooks import App, Webhook
from qa_env.errors import Blocked, NotReady
from qa_env.github import EVENTS
from qa_env.github_api import GitHub
from qa_env.redelivery import AT_ONCE, Redelivery
from tests import canaries
from tests.making import REPOSITORY
from tests.reporting import TOKEN, Hub, github

OURS = "https://abc.lambda-url.eu-west-1.on.aws/"
NOW = 1_800_000_000.0
MINUTE, HOUR, DAY = 60, 3600, 24 * 3600
OWNER = REPOSITORY.partition("/")[0]
KEY = canaries.app_key()
AS_APP = {"app_id": "12345", "installation_id": "678", "private_key": canaries.pem(KEY)}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with github() as made:
        made.hooks.clock = lambda: NOW
        yield made


@pytest.fixture
def hook(hub: Hub) -> Webhook:
    """The repository's webhook that leads to us, behind one that leads to others."""
    mine = Webhook(OURS, id=7)
    hub.hooks.of[f"/repos/{REPOSITORY}"] = [Webhook("https://ci.example.com/hook", id=6), mine]
    return mine


@pytest.fixture
def app(hub: Hub) -> Webhook:
    """An App whose webhook leads to us."""
    hub.hooks.app = App(KEY.public_key(), Webhook(OURS))
    return hub.hooks.app.webhook


def run(hub: Hub, credentials: dict[str, str] | None = None, **given: Any) -> list[str]:
    """One run, ten minutes after NOW unless `now` says else; the GUIDs that it named."""
    now = given.pop("now", NOW)
    repositories = given.pop("repositories", [REPOSITORY])
    url = given.pop("url", OURS)
    hub.hooks.clock = lambda: now
    api = GitHub(hub.api.api_url, lambda: credentials or {"token": TOKEN}, clock=lambda: now)
    return Redelivery(api, url, repositories, clock=lambda: now).run(**given)


def again(hook: Webhook) -> list[str]:
    """What was delivered again, oldest first."""
    return [one["guid"] for one in hook.deliveries[::-1] if one["redelivery"]]


class TestLost:
    @pytest.mark.parametrize("status", [0, 408, 429, 500, 502, 503, 504])
    def test_what_was_not_taken_is_asked_for_again(self, hub: Hub, hook: Webhook, status: int) -> None:
        hook.record("taken", 202, NOW - HOUR)
        hook.record("lost", status, NOW - HOUR)
        assert run(hub) == again(hook) == ["lost"]

    def test_a_throttled_delivery_is_asked_for_again(self, hub: Hub, hook: Webhook) -> None:
        hook.record("lost", 0, NOW - HOUR, throttled_at="2027-01-15T07:30:00Z", status_code=None)
        assert run(hub) == again(hook) == ["lost"]

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
    def test_what_was_refused_on_purpose_is_left(self, hub: Hub, hook: Webhook, status: int) -> None:
        hook.record("refused", status, NOW - HOUR)
        assert run(hub) == again(hook) == []

    @pytest.mark.parametrize("statuses", [(503, 202), (202, 503), (503, 200, 503), (503, 401)])
    def test_any_delivery_that_was_taken_and_a_last_one_that_was_refused_end_it(
        self, hub: Hub, hook: Webhook, statuses: tuple[int, ...]
    ) -> None:
        for number, status in enumerate(statuses):
            hook.record("one", status, NOW - HOUR * (9 - number), redelivery=number > 0)
        assert run(hub) == []

    def test_a_redelivery_that_is_taken_ends_it(self, hub: Hub, hook: Webhook) -> None:
        hook.record("lost", 503, NOW - HOUR)
        assert run(hub) == ["lost"]
        assert run(hub, now=NOW + DAY / 2) == []
        assert [one["status_code"] for one in hook.deliveries] == [202, 503]

    @pytest.mark.parametrize("event", sorted(EVENTS))
    def test_every_event_that_is_read(self, hub: Hub, hook: Webhook, event: str) -> None:
        hook.record("lost", 503, NOW - HOUR, event)
        assert run(hub) == ["lost"]

    @pytest.mark.parametrize("event", ["ping", "issues", "star"])
    def test_an_event_that_nobody_reads_is_left(self, hub: Hub, hook: Webhook, event: str) -> None:
        hook.record("lost", 503, NOW - HOUR, event)
        assert run(hub) == []

    def test_the_oldest_comes_first(self, hub: Hub, hook: Webhook) -> None:
        hook.record("first", 503, NOW - 5 * HOUR)
        hook.record("second", 503, NOW - 4 * HOUR)
        hook.record("first", 503, NOW - 3 * HOUR, redelivery=True)
        assert run(hub) == again(hook)[1:] == ["first", "second"]

    def test_a_dry_run_asks_for_nothing(self, hub: Hub, hook: Webhook) -> None:
        hook.record("lost", 503, NOW - HOUR)
        assert run(hub, dry_run=True) == ["lost"]
        assert again(hook) == []


class TestPatience:
    def test_it_waits_longer_each_time_and_ends_after_five_deliveries(self, hub: Hub, hook: Webhook) -> None:
        """Asked every other minute for half a day, while the receiver is out of order."""
        hook.answer = 503
        hook.record("lost", 503, NOW)
        for minute in range(0, 12 * 60, 2):
            run(hub, now=NOW + minute * MINUTE)
        times = [one["delivered_at"][11:16] for one in hook.deliveries[::-1]]
        assert times == ["08:00", "08:02", "08:10", "08:42", "10:50"]

    def test_a_throttled_delivery_is_given_time(self, hub: Hub, hook: Webhook) -> None:
        hook.record("late", 0, NOW - HOUR, throttled_at="2027-01-15T07:59:00Z")
        assert run(hub) == []
        assert run(hub, now=NOW + 2 * MINUTE) == ["late"]

    def test_not_all_at_once(self, hub: Hub, hook: Webhook) -> None:
        """And the next run goes on where this one ended."""
        names = [f"lost-{number}" for number in range(AT_ONCE + 20)]
        for name in names:
            hook.record(name, 503, NOW - HOUR)
        assert run(hub) == names[:AT_ONCE]
        assert run(hub, now=NOW + MINUTE) == names[AT_ONCE:]


class TestHowFarBack:
    def test_a_quiet_day_is_one_page(self, hub: Hub, hook: Webhook) -> None:
        for number in range(150):
            hook.record(f"old-{number}", 202, NOW - 2 * DAY)
        for number in range(80):
            hook.record(f"new-{number}", 202, NOW - HOUR)
        assert run(hub) == []
        assert [path for _, path in hub.asked if "deliveries" in path] == ["/hooks/7/deliveries?per_page=100"]

    def test_all_pages_of_the_last_day(self, hub: Hub, hook: Webhook) -> None:
        hook.record("lost", 503, NOW - 20 * HOUR)
        for number in range(350):
            hook.record(f"new-{number}", 202, NOW - HOUR)
        assert run(hub) == ["lost"]

    def test_a_long_outage_is_followed_back(self, hub: Hub, hook: Webhook) -> None:
        """As far as GitHub delivers again."""
        hook.record("too old", 503, NOW - 3 * DAY - HOUR)
        for number in range(120):
            hook.record(f"refused-{number}", 503, NOW - 2 * DAY)
        assert run(hub, dry_run=True) == [f"refused-{number}" for number in range(AT_ONCE)]

    def test_a_very_busy_webhook_is_not_read_to_its_end(self, hub: Hub, hook: Webhook) -> None:
        hook.record("lost", 503, NOW - 2 * HOUR)
        for number in range(1000):
            hook.record(f"new-{number}", 202, NOW - HOUR)
        assert run(hub) == []
        assert len([path for _, path in hub.asked if "deliveries" in path]) == 10

    def test_what_began_before_what_is_looked_at_is_left(self, hub: Hub, hook: Webhook) -> None:
        """How often it was tried cannot be known."""
        hook.record("lost", 503, NOW - 3 * DAY - HOUR)
        hook.record("lost", 503, NOW - HOUR, redelivery=True)
        assert run(hub) == []


class TestWhose:
    def test_the_slash_at_the_end_of_our_address_does_not_matter(self, hub: Hub, hook: Webhook) -> None:
        hook.record("lost", 503, NOW - HOUR)
        assert run(hub, url=OURS.rstrip("/"), dry_run=True) == ["lost"]
        hook.url = OURS.rstrip("/")
        assert run(hub, dry_run=True) == ["lost"]

    def test_what_others_did_not_take_is_theirs(self, hub: Hub, hook: Webhook) -> None:
        other = hub.hooks.of[f"/repos/{REPOSITORY}"][0]
        other.record("theirs", 503, NOW - HOUR)
        assert run(hub) == again(other) == []

    def test_an_organisations_webhook_counts_for_our_repositories(self, hub: Hub) -> None:
        shared = Webhook(OURS, id=8)
        hub.hooks.of[f"/orgs/{OWNER}"] = [shared]
        shared.record("ours", 503, NOW - HOUR)
        shared.record("another repository's", 503, NOW - HOUR, repository_id=2)
        shared.record("no repository's", 503, NOW - HOUR, repository_id=None)
        assert run(hub) == again(shared) == ["ours"]

    def test_one_repository_that_is_not_shown_does_not_stop_the_others(self, hub: Hub, hook: Webhook) -> None:
        hook.record("lost", 503, NOW - HOUR)
        assert run(hub, repositories=[f"{OWNER}/gone", REPOSITORY, "other/gone"]) == ["lost"]


class TestApp:
    def test_its_webhook_is_read_with_its_jwt(self, hub: Hub, app: Webhook) -> None:
        """The stand-in refuses any other credentials there, and the JWT everywhere else."""
        app.record("ours", 503, NOW - HOUR)
        app.record("another repository's", 503, NOW - HOUR, repository_id=2)
        app.record("an installation's", 503, NOW - HOUR, repository_id=None)
        assert run(hub, AS_APP) == again(app) == ["ours"]
        assert not [path for _, path in hub.asked if path.endswith("/hooks?per_page=100")]

    def test_it_is_asked_once_for_all_repositories(self, hub: Hub, app: Webhook) -> None:
        app.record("ours", 503, NOW - HOUR)
        assert run(hub, AS_APP, repositories=[REPOSITORY, f"{OWNER}/gone"]) == ["ours"]
        assert [path for verb, path in hub.asked if verb == "POST" and "attempts" in path] == [
            "/app/hook/deliveries/10000/attempts"
        ]

    def test_repositories_have_their_own_where_the_apps_webhook_is_anothers(
        self, hub: Hub, hook: Webhook, app: Webhook
    ) -> None:
        app.url = "https://elsewhere.example.com/"
        app.record("theirs", 503, NOW - HOUR)
        hook.record("ours", 503, NOW - HOUR)
        assert run(hub, AS_APP) == ["ours"]
        assert again(app) == []

    def test_a_key_that_github_does_not_know(self, hub: Hub, app: Webhook) -> None:
        """Nothing is found; the comparison of branches tells a person."""
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        hub.hooks.app = App(other.public_key(), app)
        app.record("ours", 503, NOW - HOUR)
        assert run(hub, AS_APP) == again(app) == []

    def test_a_token_has_no_app(self, hub: Hub) -> None:
        assert hub.api.app() is None

    def test_the_jwt_is_made_anew_before_it_ends(self, hub: Hub, app: Webhook) -> None:
        """The stand-in looks at its times."""
        now = [NOW]
        hub.hooks.clock = lambda: now[0]
        api = GitHub(hub.api.api_url, lambda: AS_APP, clock=lambda: now[0]).app()
        assert api
        for _ in range(40):
            assert api.get("/app/hook/config")["url"] == OURS
            now[0] += MINUTE


class TestRefusals:
    @pytest.mark.parametrize("status", [403, 404])
    @pytest.mark.parametrize("part", ["/hooks?", "/deliveries?"])
    def test_credentials_that_may_not_look_are_no_fault(
        self, hub: Hub, hook: Webhook, part: str, status: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        hook.record("lost", 503, NOW - HOUR)
        hub.refusing["GET", part] = (status, "Resource not accessible by personal access token")
        with caplog.at_level(logging.INFO):
            assert run(hub) == []
        assert {record.levelno for record in caplog.records} <= {logging.INFO}
        assert len(caplog.records) <= 1

    def test_without_a_webhook_of_ours_one_line_says_so(
        self, hub: Hub, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            assert run(hub) == []
        (line,) = caplog.records
        assert "no webhook of ours" in line.message
        assert vars(line)["repositories"] == [REPOSITORY]

    @pytest.mark.parametrize("status", [403, 404, 422])
    def test_one_that_cannot_be_delivered_again_does_not_stop_the_others(
        self, hub: Hub, hook: Webhook, status: int
    ) -> None:
        first = hook.record("first", 503, NOW - 2 * HOUR)
        hook.record("second", 503, NOW - HOUR)
        hub.refusing["POST", f"/{first['id']}/"] = (status, "no")
        assert run(hub) == again(hook) == ["second"]

    @pytest.mark.parametrize("part", ["/hooks?", "/deliveries?"])
    def test_a_github_that_cannot_answer_now_is_asked_later(self, hub: Hub, hook: Webhook, part: str) -> None:
        hub.refusing["GET", part] = (502, "Unicorn!")
        with pytest.raises(NotReady, match="trying again"):
            run(hub)

    def test_a_github_that_is_asked_too_often_is_left_alone(self, hub: Hub, app: Webhook) -> None:
        """The App's client shares the silence of the client that it came from."""
        api = GitHub(hub.api.api_url, lambda: AS_APP, clock=lambda: NOW)
        hub.refusing["GET", "/app/hook/config"] = (429, "slow down")
        redelivery = Redelivery(api, OURS, [REPOSITORY], clock=lambda: NOW)
        for _ in range(2):
            with pytest.raises(NotReady, match="limits how often"):
                redelivery.run()
        with pytest.raises(NotReady, match="limits how often"):
            api.get(f"/repos/{REPOSITORY}")
        assert len(hub.asked) == 1

    @pytest.mark.parametrize("credentials", [{"app_id": "1"}, AS_APP | {"private_key": "none"}])
    def test_credentials_that_are_none(self, hub: Hub, credentials: dict[str, str]) -> None:
        """Nothing is found here; whoever asks for branches with them is told."""
        assert run(hub, credentials) == []
        with pytest.raises(Blocked, match="the GitHub secret cannot be used"):
            GitHub(hub.api.api_url, lambda: json.loads(json.dumps(credentials))).get("/user")
