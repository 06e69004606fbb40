"""One environment's page: what is known of it, what became of it, and what may be asked for."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import Any

import pytest

from qa_env.model import REDIS_DATABASES, Asked, Claim, Condition, Environment, Phase, Slug, State, Wish
from qa_env.page import commands, detail, times
from qa_env.page.web import Page
from qa_env.store import Event
from qa_env.wording import Words
from tests.making import A, blueprint, environment, said
from tests.pages import ALL, HOSTILE, NOW, Reader, Visit, in_phase

CLAIMS = {"schema": Claim("schema", "qa-foo"), "redis": Claim("redis namespace", "qa_foo")}


def full() -> Environment:
    """One of which everything is known."""
    stages = [
        {"name": "Source", "status": "Succeeded", "url": "https://s"},
        {"name": "Build", "status": "Failed"},
    ]
    tasks = json.dumps({"running": 0, "desired": 1, "stopped": "exited with code 137"})
    conditions = {
        "pipeline": said(State.FAILED, "no such file", stages=json.dumps(stages), log_url="https://log"),
        "service/app": said(State.WAITING, "starting", tasks=tasks),
        "listener/app": said(State.READY, url="https://qa.example.com:10001/"),
        "listener/admin": said(State.READY, url="https://qa.example.com:10002/"),
        "slack": said(State.BLOCKED, "no such channel"),
    }
    return environment(conditions=conditions, claims=CLAIMS, visited=int((NOW - 60) * 1000))


def show(env: Environment, *history: Event, language: str = "en", **changes: Any) -> Reader:
    visit = Visit(env, **changes)
    visit.store.events[env.slug] = list(history)
    page = visit.ask(f"/environments/{env.slug}", accept_language=language)
    assert page.status == 200
    return Reader(page)


def test_everything_that_is_known_is_shown() -> None:
    read = show(full())
    texts = set(read.texts)
    assert {
        "qa/foo",
        "failed",
        "example/shop",
        A[:8],
        "hanako",
        "1 minute ago (2026-11-02 06:12 UTC)",
    } <= texts
    assert {"https://qa.example.com:10001/", "https://qa.example.com:10002/", "https://log"} <= set(
        read.links
    )
    assert {"no such file", "It failed in the stage “Build”.", "starting", "no such channel"} <= texts
    assert {"0 of 1", "exited with code 137"} <= texts
    assert {"pipeline", "service/app", "listener/admin", "slack"} <= texts
    assert "https://s" in read.links
    assert any("codepipeline" in one for one in read.links)
    assert any("logs-insights" in one for one in read.links)
    assert any("/ecs/v2/" in one for one in read.links)


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_in_both_languages(phase: Phase, language: str) -> None:
    read = show(in_phase(phase), language=language)
    assert Words(language)(f"phase.{phase}") in read.texts
    assert read.those("html", lang=language)


@pytest.mark.parametrize("state", list(State))
def test_every_state_of_a_part_has_its_word(state: State) -> None:
    read = show(environment(conditions={"schema": said(state)}))
    assert Words("en")(detail.STATES[state]) in read.texts


def test_urls_can_be_copied() -> None:
    labels = [one["aria-label"] for one in show(full()).those("button", type="button")]
    assert labels[:2] == ["Copy: app", "Copy: admin"]


def test_a_reset_is_said() -> None:
    assert "the database is being reset" in show(in_phase(Phase.BUILDING, asked=Asked(reset=5))).texts


class TestHistory:
    @pytest.mark.parametrize("language", ["en", "ja"])
    @pytest.mark.parametrize("kind", [*detail.KINDS, "", "unheard-of"])
    def test_every_kind_has_its_words(self, kind: str, language: str) -> None:
        """One that only another version notes is called as it is."""
        event = Event(times.iso(NOW - 60), "taro", "text", kind, "ready")
        read = show(environment(), event, language=language)
        words = Words(language)
        expected = words(detail.KINDS[kind]) if kind in detail.KINDS else kind or words("history.other")
        assert {expected, "taro", "text", words("phase.ready")} <= set(read.texts)

    def test_what_the_product_notes_is_known_here(self) -> None:
        """Wishes are noted under their own names."""
        assert set(Wish) <= set(detail.KINDS)

    def test_who_is_not_known_is_somebody(self) -> None:
        event = Event(times.iso(NOW), "page", "commit a", "redeploy")
        assert "somebody on this page" in show(environment(), event).texts

    def test_a_long_pass_opens_on_demand_and_stays_open(self) -> None:
        """Its id counts from the oldest event on, so that it is the same when newer ones come."""
        passed = Event(times.iso(NOW), "qa-env", "schema: ready; claims: ready", "pass", "building")
        later = Event(times.iso(NOW), "x", "y", "late")
        one, two = show(environment(), passed), show(environment(), later, passed)
        assert "2 changes" in one.texts
        assert {"schema: ready", "claims: ready"} <= set(one.texts)
        assert one.those("details") == two.those("details") == [{"id": "event-0"}]

    def test_newest_first(self) -> None:
        old, new = Event("2026-11-01T00:00:00", "a", "older"), Event("2026-11-02T00:00:00", "b", "newer")
        texts = show(environment(), new, old).texts
        assert texts.index("newer") < texts.index("older")

    def test_it_outlives_the_environment(self) -> None:
        visit = Visit()
        visit.store.note(Slug("qa-foo"), "hanako", "wants it gone", kind="unwanted")
        page = visit.ask("/environments/qa-foo")
        assert page.status == 404
        assert {"qa-foo", "wants it gone", "It is to go"} <= set(Reader(page).texts)
        assert not Reader(page).those("nav", **{"class": "wishes"})

    def test_without_any_there_is_no_page(self) -> None:
        page = Visit().ask("/environments/qa-foo")
        assert page.status == 404
        assert "Not found" in Reader(page).texts


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_from_outside_is_only_text(text: str, language: str) -> None:
    """Branch, person, commit, messages, reasons, kinds, names of stages and of parts."""

    def made(text: str) -> Reader:
        stages = json.dumps([{"name": text, "status": "Failed", "url": text}])
        tasks = json.dumps({"running": 1, "desired": 1, "stopped": text})
        conditions = {
            "pipeline": said(State.FAILED, text, stages=stages, log_url=text),
            f"service/{text.replace('/', '_')}": said(State.READY, text, tasks=tasks),
            "listener/app": said(State.READY, url=text),
        }
        env = environment(branch=text, by=text, commit=text + A, conditions=conditions, claims=CLAIMS)
        return show(env, Event("", text, text, text, text), Event("", text, f"{text}; {text}", "pass"))

    usual, read = made("qa/as-usual"), made(text)
    assert read.elements == usual.elements
    assert [name for name, _ in read.attributes] == [name for name, _ in usual.attributes]
    assert read.texts.count(text) == usual.texts.count("qa/as-usual") >= 10


class TestCommands:
    def test_lines_hold_names_and_no_secret(self) -> None:
        read = show(full())
        assert "mysql --host=STG_MYSQL_HOST --user=STG_MYSQL_USER --password qa-foo" in read.texts
        assert "redis-cli -h STG_REDIS_HOST -n 9 --scan --pattern 'qa_foo:*'" in read.texts
        assert not any("secretsmanager" in one for one in read.texts)

    def test_without_claims_there_is_nothing_to_look_into(self) -> None:
        env = environment()
        assert (commands.schema(env), commands.redis(env, blueprint())) == ("", "")

    def test_a_numbered_database_is_asked_for_as_a_whole(self) -> None:
        env = environment(claims={"redis": Claim(REDIS_DATABASES, "5")})
        assert commands.redis(env, blueprint()) == "redis-cli -h STG_REDIS_HOST -n 5 --scan"

    def test_a_shell_for_every_role_that_allows_it(self) -> None:
        """In the cluster where the service is."""
        env = environment(conditions={"service/worker": said(State.READY, cluster="old")})
        lines = commands.shells(env, blueprint())
        assert set(lines) == {"app", "admin", "worker"}
        assert "--cluster old" in lines["worker"]
        assert "--cluster stg" in lines["app"]
        assert "--service-name qa-foo-admin" in lines["admin"]
        assert commands.shells(env, None) == {}

    @pytest.mark.parametrize("text", ["a b", "$(touch x)", "`id`", "'; id; '", '"', "a\\", "*"])
    def test_a_shell_takes_every_argument_as_it_is(self, text: str) -> None:
        """Names come from a blueprint and a record; a shell must not run them."""
        env = environment(
            claims={"schema": Claim("schema", text), "redis": Claim("redis namespace", text)},
            conditions={"service/app": Condition(State.READY, outputs={"cluster": text})},
        )
        assert _ran(commands.schema(env))[-1] == text
        assert _ran(commands.redis(env, blueprint()))[-1] == f"{text}:*"
        run = _ran(commands.shells(env, blueprint())["app"])
        assert run[run.index("--cluster") + 1] == text
        task = shlex.split(run[run.index("--task") + 1])
        assert task[task.index("--cluster") + 1] == text
        assert run[-2:] == ["--command", "/bin/sh"]


def _ran(line: str) -> list[str]:
    """The arguments that a real shell gives the program; `aws list-tasks` answers with its own arguments."""
    show = 'show() { printf "%s\\0" "$@"; }; mysql() { show "$@"; }; redis-cli() { show "$@"; }'
    aws = 'aws() { if [ "$2" = list-tasks ]; then printf "%q " "$@"; else show "$@"; fi; }'
    ran = subprocess.run(["bash", "-c", f"{show}; {aws}; {line}"], capture_output=True, check=True)
    assert ran.stderr == b""
    return ran.stdout.decode().rstrip("\0").split("\0")


class TestButtons:
    def wishes(self, env: Environment, **changes: Any) -> list[str]:
        links = show(env, **changes).links
        return [one.rsplit("/", 1)[1] for one in links if one.startswith("/environments/")]

    def test_only_what_the_blueprint_allows(self) -> None:
        assert self.wishes(environment()) == ["redeploy", "reset", "delete"]
        assert self.wishes(environment(), page={"buttons": ["redeploy"]}) == ["redeploy"]
        assert self.wishes(environment(), page={}) == []

    def test_none_for_what_is_being_deleted_or_has_no_blueprint(self) -> None:
        assert self.wishes(in_phase(Phase.DELETING)) == []
        assert self.wishes(environment(repository="example/other")) == []

    @pytest.mark.parametrize("language", ["en", "ja"])
    @pytest.mark.parametrize("wish", list(Wish))
    def test_each_says_what_will_happen_and_does_nothing_yet(self, wish: Wish, language: str) -> None:
        visit = Visit(environment(claims=CLAIMS))
        page = visit.ask(f"/environments/qa-foo/{wish}", accept_language=language)
        read, words = Reader(page), Words(language)
        assert page.status == 200
        assert {words(f"wish.{wish}.title"), words(f"wish.{wish}.text"), words(f"wish.{wish}.send")} <= set(
            read.texts
        )
        assert read.those("form", method="post", action=f"/environments/qa-foo/{wish}")
        assert ("qa-foo" in read.texts) is (wish is not Wish.REDEPLOY)
        assert visit.woken == []
        assert visit.store.records[Slug("qa-foo")].asked == Asked()

    @pytest.mark.parametrize("wish", [*Wish, "x", ""])
    def test_what_was_asked_for_is_confirmed(self, wish: str) -> None:
        visit = Visit(environment())
        page: Page = visit.ask("/environments/qa-foo", query={"done": wish})
        notices = Reader(page).those("p", **{"class": "notice"})
        assert len(notices) == (wish in list(Wish))


def test_what_has_no_database_cannot_be_reset() -> None:
    """A button that only hid the application for a while would promise what it does not do."""
    shown = Visit(environment(), **ALL, database=None).ask("/environments/qa-foo")
    links = Reader(shown).links
    assert "/environments/qa-foo/redeploy" in links
    assert "/environments/qa-foo/reset" not in links
