"""The numbers behind the dashboard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from qa_env import gauges
from qa_env.model import Claim, Condition, Desired, Environment, Phase, Ref, State, Wish
from tests.installation import A, B, Installation, installed
from tests.making import blueprint, environment, said

LB = blueprint().load_balancers[0]
NOW = datetime(2026, 11, 2, 12, tzinfo=UTC).timestamp()
MINUTE, HOUR = 60, 3600
READY, WAITING, BLOCKED, FAILED, GONE = State.READY, State.WAITING, State.BLOCKED, State.FAILED, State.GONE


def measured(*environments: Environment, now: float = NOW, **changes: object) -> dict[str, int]:
    found = gauges.of(list(environments), [blueprint(**changes)], now)
    return {gauge.phase or gauge.name: gauge.value for gauge in found}


def ago(hours: float) -> str:
    return datetime.fromtimestamp(NOW - hours * HOUR, UTC).isoformat(timespec="milliseconds")


def since(hours: float, state: State, generation: int = 7) -> Condition:
    return replace(said(state, generation=generation), since=ago(hours))


def overdue(desired: Desired = Desired.PRESENT, wished: float = 30, **conditions: Condition) -> bool:
    """Is an environment of these conditions overdue whose wish is so many hours old?"""
    env = environment(desired=desired, at=ago(wished), conditions=conditions)
    return measured(env)["Overdue"] == 1


def test_every_phase_is_counted_also_where_there_is_nobody() -> None:
    """A line that is not drawn would look like a gap in the data."""
    ready = environment(conditions={"service/app": said(State.READY)})
    going = environment("qa-bar", desired=Desired.ABSENT)
    found = measured(ready, going)
    assert {phase: found[phase] for phase in Phase if found[phase]} == {Phase.READY: 1, Phase.DELETING: 1}
    assert set(Phase) <= set(found)


def test_what_needs_a_person_is_counted_whatever_its_phase() -> None:
    """A teardown that is stuck is still called deleting."""
    stuck = environment(desired=Desired.ABSENT, conditions={"service/app": said(State.BLOCKED)})
    assert measured(stuck)["NeedsAPerson"] == 1
    assert measured(environment())["NeedsAPerson"] == 0


def test_free_ports_are_those_of_the_scarcest_load_balancer() -> None:
    other = LB.model_copy(update={"arn": LB.arn.replace("/qa/", "/other/"), "ports": "10001-10003"})
    both = {"load_balancers": (LB, other)}
    claim = Claim(f"port {other.arn}", "10002")
    env = replace(environment(), claims={"port/app": claim})
    assert measured(env, **both)["FreePorts"] == 2
    assert measured()["FreePorts"] == len(LB.port_range)


# --- what waits for ever ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("hours", "rings"), [(10 / 60, False), (2.9, False), (3.1, True), (400, True)])
def test_a_teardown_is_overdue_hours_after_it_was_wished(hours: float, rings: bool) -> None:
    """Whatever its conditions say, and since when: what comes back each time it is removed is never done."""
    for state in (WAITING, GONE, FAILED):
        for changed in (0.01, hours):
            conditions = {"branch": since(0.01, READY), "schema": since(changed, state)}
            assert overdue(Desired.ABSENT, hours, **conditions) is rings
    assert overdue(Desired.ABSENT, hours) is rings, "no pass was ever made"


@pytest.mark.parametrize(("hours", "rings"), [(10 / 60, False), (2.9, False), (3.1, True)])
def test_what_is_under_way_is_overdue_hours_after_its_last_step(hours: float, rings: bool) -> None:
    """Of the present wish: what it was before a push is no step."""
    assert overdue(pipeline=since(hours, WAITING), service=since(20, READY)) is rings
    assert overdue(pipeline=since(20, WAITING), service=since(hours, READY)) is rings
    assert overdue(pipeline=since(hours, WAITING), service=since(0.1, READY, generation=6)) is rings
    assert overdue(wished=hours, service=since(20, READY, generation=6)) is rings, "no pass since the push"
    assert overdue(wished=hours) is rings, "no pass was ever made"


def test_rest_is_never_overdue() -> None:
    """However old the wish is and whatever is still being told."""
    assert not overdue(service=since(30, READY))
    assert not overdue(service=replace(since(30, READY), outputs={"asleep": "1"}))
    assert not overdue(service=since(30, READY), branch=since(30, WAITING))
    assert not overdue(service=since(30, READY), slack=since(30, WAITING))


def test_neither_reports_nor_what_github_says_of_the_branch_are_steps() -> None:
    """Both change while nothing moves: *GitHub answers 503*, then *GitHub limits how often it is asked*."""
    young = {"branch": since(0.01, WAITING), "commit_status": since(0.01, READY)}
    assert overdue(pipeline=since(4, WAITING), **young)
    assert overdue(wished=4, **young)


def test_what_is_stopped_has_alarms_of_its_own() -> None:
    """`BlockedAlarm` names what to do, `FailedAlarm` leaves its developer a day: another says no more."""
    for stopped in (BLOCKED, FAILED):
        assert not overdue(pipeline=since(30, stopped), service=since(30, WAITING))
    assert not overdue(Desired.ABSENT, schema=since(30, BLOCKED), service=since(30, WAITING))


def test_a_time_that_cannot_be_read_stops_nobody() -> None:
    """The others are counted all the same."""
    unreadable = environment(desired=Desired.ABSENT, at="?")
    late = environment("qa-bar", desired=Desired.ABSENT, at=ago(4))
    assert measured(unreadable, late)["Overdue"] == 1


class TestALife:
    """The same with the records that the loop writes."""

    @pytest.fixture
    def qa(self) -> Iterator[Installation]:
        with installed() as qa:
            yield qa

    @staticmethod
    def after(qa: Installation, hours: float) -> int:
        """How many are overdue when so many hours of ticks have passed, a pass in each half hour."""
        for _ in range(int(hours * 2)):
            qa.now += HOUR / 2
            qa.watch.sweep(int(qa.now // MINUTE))
            qa.deliver()
        return measured(*qa.store.all(), now=qa.now)["Overdue"]

    def test_a_teardown_that_an_open_transaction_holds_up(self, qa: Installation) -> None:
        """Also if its sentence changes and the webhook is delivered again."""
        qa.push("qa/foo", A)
        qa.settle()
        assert self.after(qa, 10) == 0, "an old wish, and at rest"
        qa.datastores.error = {"error": "not_ready", "message": "an open transaction holds schema qa-foo"}
        qa.delete("qa/foo")
        qa.settle()
        assert self.after(qa, 1) == 0
        qa.datastores.error = {"error": "not_ready", "message": "MySQL cannot be reached"}
        qa.say("qa/foo", Ref.ABSENT, "")
        assert self.after(qa, 3) == 1
        qa.datastores.error = None
        qa.settle()
        assert list(qa.store.all()) == []

    def test_a_build_that_does_not_end(self, qa: Installation) -> None:
        """A push begins anew."""
        slug = qa.push("qa/foo", A)
        qa.deliver()
        assert qa.env(slug).phase is Phase.BUILDING
        assert (self.after(qa, 2), self.after(qa, 2)) == (0, 1)
        qa.push("qa/foo", B)
        qa.deliver()
        assert (self.after(qa, 2), self.after(qa, 2)) == (0, 1)

    def test_a_retry_of_what_was_stopped_for_long(self, qa: Installation) -> None:
        """All the others have waited since the first build."""
        slug = qa.push("qa/foo", A)
        qa.failing.add(("build", A))
        qa.settle()
        assert (qa.env(slug).phase, self.after(qa, 8)) == (Phase.FAILED, 0)
        qa.watch.ask(slug, Wish.REDEPLOY, "hanako")
        qa.deliver()
        oldest = max(c.age(qa.now) for c in qa.env(slug).conditions.values() if c.state is WAITING)
        assert (qa.env(slug).phase, oldest > 8 * HOUR) == (Phase.BUILDING, True)
        assert (self.after(qa, 0), self.after(qa, 4)) == (0, 1)

    def test_what_was_ready_for_long_and_is_put_back(self, qa: Installation) -> None:
        """A minute of that is none; tasks that never become healthy are."""
        slug = qa.push("qa/foo", A)
        qa.settle()
        assert self.after(qa, 10) == 0
        qa.aws.client("ecs").delete_service(cluster=qa.world.cluster, service="qa-foo-worker", force=True)
        qa.aws.ecs.drain_all()
        qa.run_pass(slug)
        assert qa.env(slug).phase is Phase.DEPLOYING
        assert (self.after(qa, 1 / 60), self.after(qa, 4)) == (0, 1)
        qa.settle()
        assert (qa.env(slug).phase, self.after(qa, 0)) == (Phase.READY, 0)

    def test_what_was_blocked_for_long_and_goes_on(self, qa: Installation) -> None:
        """A person has just helped: that it takes a while from here on is no news."""
        qa.datastores.error = {"error": "blocked", "message": "MySQL refuses the provisioner's password"}
        slug = qa.push("qa/foo", A)
        qa.settle()
        assert (qa.env(slug).phase, self.after(qa, 8)) == (Phase.BLOCKED, 0)
        qa.datastores.error = None
        qa.run_pass(slug)
        assert (qa.env(slug).phase, self.after(qa, 0)) == (Phase.BUILDING, 0)


def test_a_new_life_is_young() -> None:
    """A push during a teardown is a wish like any other."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        qa.delete("qa/foo")
        qa.run_pass(slug)
        qa.now += 4 * HOUR
        assert measured(*qa.store.all(), now=qa.now)["Overdue"] == 1
        qa.push("qa/foo", B)
        assert measured(*qa.store.all(), now=qa.now)["Overdue"] == 0
