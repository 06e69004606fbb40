"""Waking: by the tick, by an event, by a finished build."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from qa_env.errors import Rejected, Stale
from qa_env.model import Asked, Built, Condition, Desired, Environment, Phase, Slug, State, Wish
from qa_env.watch import NOT_SETTLED, RECHECK_MINUTES, RETRY_MINUTES, Watch
from tests.fakes import MemoryStore
from tests.making import A, B, environment, said

READY, WAITING, BLOCKED, FAILED, GONE = State.READY, State.WAITING, State.BLOCKED, State.FAILED, State.GONE
HOUR = 60


class Woken:
    """A watch over a store, and what it put on the queue."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.queue: list[tuple[Slug, str]] = []
        self.watch = Watch(self.store, lambda slug, why: self.queue.append((slug, why)))

    def add(self, slug: str, *conditions: Condition, desired: Desired = Desired.PRESENT) -> None:
        env = environment(slug, desired=desired)
        self.store.desire(env, None)
        self.store.save(env.with_conditions({f"kind/{n}": one for n, one in enumerate(conditions)}))

    def put_to_sleep(self, slug: str, **others: Condition) -> Environment:
        """Its web role sleeps since its push; the other roles are as they are."""
        roles = {"app": long(READY, outputs={"asleep": "7"}), **others}
        services = {f"service/{role}": condition for role, condition in roles.items()}
        env = replace(self.store.records[Slug(slug)], conditions=services)
        self.store.save(env)
        return env

    def swept(self, minutes: int) -> Counter[str]:
        """How often each was woken in so many minutes."""
        return Counter(slug for minute in range(minutes) for slug in self.watch.sweep(29_893_100 + minute))


@pytest.fixture
def woken() -> Woken:
    return Woken()


def long(state: State, **changes: Any) -> Condition:
    """A condition that began hours before the first tick."""
    return replace(said(state), since="2026-11-01T20:00:00+00:00", **changes)


def test_a_tick_wakes_all_at_once_where_that_can_be_done(woken: Woken) -> None:
    """Each with its own reason, and nobody twice."""
    together: list[tuple[Slug, str]] = []
    watch = replace(woken.watch, wake_all=together.extend)
    woken.add("qa-foo", long(WAITING))
    woken.add("qa-bar", long(READY))
    minutes = range(29_893_100, 29_893_100 + HOUR)
    assert [slug for minute in minutes for slug in watch.sweep(minute)] == [slug for slug, _ in together]
    assert woken.queue == []
    assert Counter(together) == {("qa-foo", NOT_SETTLED): HOUR, ("qa-bar", "a look at what is settled"): 1}


@pytest.mark.parametrize(
    ("conditions", "times"),
    [
        ((), HOUR),
        ((long(WAITING), long(READY)), HOUR),
        ((long(FAILED), long(READY)), HOUR // RETRY_MINUTES),
        ((long(FAILED), long(WAITING)), HOUR // RETRY_MINUTES),
        ((long(BLOCKED),), HOUR // RETRY_MINUTES),
        ((long(FAILED, unexpected=True),), HOUR),
        ((long(READY), long(READY)), HOUR // RECHECK_MINUTES),
        ((long(READY, generation=6),), HOUR),
        ((long(BLOCKED, generation=6), long(WAITING)), HOUR),
    ],
    ids=[
        "new",
        "waiting",
        "failed",
        "failed and waiting",
        "blocked",
        "unexpected",
        "settled",
        "pushed again",
        "blocked before",
    ],
)
def test_an_hour_of_ticks(woken: Woken, conditions: tuple[Condition, ...], times: int) -> None:
    """What waits every minute, what only a person can help every ten, what is settled every hour."""
    woken.add("qa-foo", *conditions)
    assert woken.swept(HOUR) == {"qa-foo": times}
    assert [slug for slug, _ in woken.queue] == ["qa-foo"] * times


@pytest.mark.parametrize("state", [FAILED, BLOCKED])
def test_trouble_is_looked_at_every_minute_at_first(woken: Woken, state: State) -> None:
    """A slip that is put right at once is over at once; after ten minutes every ten will do."""
    woken.add("qa-foo", replace(said(state), since="2026-11-02T02:19:00+00:00"))
    assert woken.swept(9) == {"qa-foo": 9}
    assert woken.swept(2 * HOUR)["qa-foo"] < 30


@pytest.mark.parametrize("conditions", [(), (said(GONE),), (said(WAITING), said(GONE)), (said(READY),)])
def test_what_is_being_deleted_is_woken_every_minute(woken: Woken, conditions: tuple[Condition, ...]) -> None:
    """Until it is gone."""
    woken.add("qa-foo", *conditions, desired=Desired.ABSENT)
    assert woken.swept(10) == {"qa-foo": 10}


def test_the_settled_are_spread_over_the_hour(woken: Woken) -> None:
    """A hundred environments are not looked at in one minute."""
    for number in range(100):
        woken.add(f"qa-{number}", said(READY))
    each_minute = [len(woken.watch.sweep(minute)) for minute in range(HOUR, 2 * HOUR)]
    assert sum(each_minute) == 100
    assert max(each_minute) < 10


def test_what_settled_a_moment_ago_is_looked_at_more_often(woken: Woken) -> None:
    """GitHub may have shown an older commit for longer than it was doubted."""
    woken.add("qa-foo", said(READY))
    assert sum(len(woken.watch.sweep(minute)) for minute in range(30)) == 6


def test_nothing_to_do_wakes_nobody(woken: Woken) -> None:
    """An installation without environments."""
    assert woken.watch.sweep(1) == []
    assert woken.queue == []


def test_a_signal_wakes_what_there_is(woken: Woken) -> None:
    """With the reason that the log shows."""
    woken.add("qa-foo")
    assert woken.watch.signal(Slug("qa-foo"), "ECS Task State Change")
    assert woken.queue == [("qa-foo", "ECS Task State Change")]


def test_a_signal_about_others_wakes_nobody(woken: Woken) -> None:
    """STG's services make events as well."""
    woken.add("qa-foo")
    assert not woken.watch.signal(Slug("stg"), "ECS Task State Change")
    assert woken.queue == []
    assert woken.store.get(Slug("stg")) is None


def test_announce_records_and_wakes(woken: Woken) -> None:
    """What was built stands in the record and in the history before anybody is woken."""
    woken.add("qa-foo")
    built = Built(A, "image", "1")
    woken.watch.announce(Slug("qa-foo"), built)
    env = woken.store.get(Slug("qa-foo"))
    assert env
    assert env.built == built
    assert [(e.by, e.text) for e in woken.store.history(env.slug)] == [("pipeline", f"built commit {A}")]
    assert woken.queue == [("qa-foo", "built")]


@pytest.mark.parametrize("case", ["superseded", "deleted", "forgotten"])
def test_announcing_what_is_not_wanted_changes_nothing(woken: Woken, case: str) -> None:
    """Late builds revive nothing and wake nobody."""
    if case != "forgotten":
        woken.add("qa-foo", desired=Desired.ABSENT if case == "deleted" else Desired.PRESENT)
    before = woken.store.get(Slug("qa-foo"))
    with pytest.raises(Stale):
        woken.watch.announce(Slug("qa-foo"), Built(B if case == "superseded" else A, "image", "1"))
    assert woken.store.get(Slug("qa-foo")) == before
    assert woken.store.history(Slug("qa-foo")) == []
    assert woken.queue == []


# --- what people ask for -----------------------------------------------------------------------------------


def asked(woken: Woken, slug: str = "qa-foo") -> Asked:
    env = woken.store.get(Slug(slug))
    assert env is not None
    return env.asked


@pytest.mark.parametrize("wish", list(Wish))
def test_a_wish_is_written_down_and_wakes(woken: Woken, wish: Wish) -> None:
    """Nothing else is done here; the history says who wanted it."""
    woken.add("qa-foo", said(READY))
    woken.watch.ask(Slug("qa-foo"), wish, "花子")
    assert [slug for slug, _ in woken.queue] == ["qa-foo"]
    newest = woken.store.history(Slug("qa-foo"))[0]
    assert (newest.by, newest.kind) == ("花子", wish)
    assert asked(woken).by == "花子"


@pytest.mark.parametrize("wish", list(Wish))
def test_a_wish_whose_wake_up_was_lost_is_looked_at_with_the_next_tick(woken: Woken, wish: Wish) -> None:
    """Not an hour later, when whoever was told that it failed has gone on working."""
    woken.add("qa-foo", long(READY))
    woken.watch.ask(Slug("qa-foo"), wish, "hanako")
    assert woken.swept(HOUR) == {"qa-foo": HOUR}


def test_a_wish_that_was_answered_is_settled(woken: Woken) -> None:
    woken.add("qa-foo", long(READY))
    woken.watch.ask(Slug("qa-foo"), Wish.REDEPLOY, "hanako")
    env = woken.store.get(Slug("qa-foo"))
    assert env
    built = long(READY, outputs={"asked": str(env.asked.redeploy)})
    woken.store.save(env.with_conditions({"pipeline": built}))
    assert woken.swept(HOUR) == {"qa-foo": HOUR // RECHECK_MINUTES}


def test_each_wish_says_what_it_means(woken: Woken) -> None:
    """A reset deploys again, too; a deletion is of the commit that one sees."""
    woken.add("qa-foo", said(READY))
    woken.watch.ask(Slug("qa-foo"), Wish.REDEPLOY, "a")
    assert asked(woken).redeploy > 0 == asked(woken).reset
    woken.watch.ask(Slug("qa-foo"), Wish.RESET, "a")
    assert asked(woken).redeploy == asked(woken).reset > 0
    assert asked(woken).dismissed == ""
    woken.watch.ask(Slug("qa-foo"), Wish.DELETE, "a")
    assert asked(woken).dismissed == A
    assert asked(woken).reset > 0, "an earlier wish stays"


@pytest.mark.parametrize("desired", [None, Desired.ABSENT])
def test_nothing_can_be_asked_of_what_is_gone(woken: Woken, desired: Desired | None) -> None:
    if desired:
        woken.add("qa-foo", said(GONE), desired=desired)
    with pytest.raises(Rejected) as refusal:
        woken.watch.ask(Slug("qa-foo"), Wish.REDEPLOY, "a")
    assert refusal.value.status == 404
    assert woken.queue == []


def test_what_changed_under_ones_eyes_is_refused(woken: Woken, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody pushed between the look and the wish."""
    woken.add("qa-foo", said(READY))
    seen = woken.store.get(Slug("qa-foo"))
    assert seen is not None
    woken.store.desire(replace(seen, commit=B, generation=8), seen)
    monkeypatch.setattr(woken.store, "get", lambda slug: seen)
    with pytest.raises(Rejected) as refusal:
        woken.watch.ask(Slug("qa-foo"), Wish.DELETE, "a")
    assert refusal.value.status == 409
    assert woken.queue == []


def test_a_visitor_wakes_what_sleeps(woken: Woken) -> None:
    """And only that: whoever looks at what is being built changes nothing."""
    woken.add("qa-foo", said(READY))
    woken.watch.awaken(Slug("qa-foo"))
    woken.watch.awaken(Slug("qa-bar"))
    assert (asked(woken), woken.queue) == (Asked(), [])
    asleep = woken.put_to_sleep("qa-foo")
    assert asleep.phase is Phase.ASLEEP
    woken.watch.awaken(Slug("qa-foo"))
    assert asked(woken).awake > 0
    assert woken.store.history(Slug("qa-foo"))[0].kind == "awoken"
    assert [slug for slug, _ in woken.queue] == ["qa-foo"]
    woken.watch.awaken(Slug("qa-foo"))
    assert len(woken.queue) == 1


def test_what_sleeps_is_woken_whatever_its_phase_is(woken: Woken) -> None:
    """A worker that does not start is no reason to keep a web role from who comes for it."""
    woken.add("qa-foo", said(READY))
    assert woken.put_to_sleep("qa-foo", worker=said(FAILED)).phase is Phase.FAILED
    woken.watch.awaken(Slug("qa-foo"))
    assert asked(woken).awake > 0


def test_a_wake_up_that_nobody_heard_is_repeated(woken: Woken) -> None:
    """It is written down that somebody came, and still a part sleeps: it is not settled."""
    woken.add("qa-foo", said(READY))
    woken.put_to_sleep("qa-foo")
    assert woken.swept(HOUR) == {"qa-foo": HOUR // RECHECK_MINUTES}
    woken.watch.awaken(Slug("qa-foo"))
    assert woken.swept(HOUR) == {"qa-foo": HOUR}


def test_whoever_is_not_told_yet_is_looked_at_again(woken: Woken) -> None:
    """A report that waits for GitHub is tried every minute, one that needs a person every ten."""
    for slug, state in (("qa-told", READY), ("qa-waiting", WAITING), ("qa-refused", BLOCKED)):
        env = environment(slug)
        woken.store.desire(env, None)
        woken.store.save(env.with_conditions({"service/app": long(READY), "slack": long(state)}))
    times = woken.swept(HOUR)
    assert times == {"qa-told": 1, "qa-waiting": HOUR, "qa-refused": HOUR // RETRY_MINUTES}


@pytest.mark.parametrize("desired", list(Desired))
def test_a_report_that_is_stuck_makes_nothing_slower(woken: Woken, desired: Desired) -> None:
    """Slack's channel was archived: what is built, or goes, is looked at every minute all the same."""
    woken.add("qa-foo", desired=desired)
    state = GONE if desired is Desired.ABSENT else WAITING
    env = woken.store.records[Slug("qa-foo")]
    woken.store.save(env.with_conditions({"service/app": long(state), "slack": long(BLOCKED)}))
    assert woken.swept(HOUR) == {"qa-foo": HOUR}


def test_a_report_that_is_stuck_makes_no_other_slower(woken: Woken) -> None:
    woken.add("qa-foo", long(READY))
    env = woken.store.records[Slug("qa-foo")]
    woken.store.save(env.with_conditions({"slack": long(BLOCKED), "deployment": long(WAITING)}))
    assert woken.swept(HOUR) == {"qa-foo": HOUR}


def test_a_report_that_cannot_speak_for_no_known_reason_is_stuck_too(woken: Woken) -> None:
    """All is well but the news of it: that is not worth a whole pass every minute for ever."""
    woken.add("qa-foo", long(READY))
    env = woken.store.records[Slug("qa-foo")]
    woken.store.save(env.with_conditions({"slack": long(FAILED, unexpected=True)}))
    assert woken.swept(HOUR) == {"qa-foo": HOUR // RETRY_MINUTES}
