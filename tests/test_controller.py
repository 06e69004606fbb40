"""The loop's own decisions: which wish counts, what is waited for, what stops nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from qa_env.blueprint import Blueprint
from qa_env.controller import Controller, Plan
from qa_env.errors import Blocked, NotReady, Rejected
from qa_env.model import Change, Desired, Environment, Orphan, Outputs, Phase, Ref, Slug, State, Wish
from qa_env.watch import Watch
from tests.fakes import FakeBranches, MemoryStore, NothingToClaim
from tests.installation import REPOSITORY, A, B, C, Installation, installed

SLUG = Slug("qa-foo")


@dataclass
class Thing:
    """A resource in memory that says what the test wants it to say."""

    kind: str
    name: str = ""
    says: Exception | None = None
    exists: bool = False
    ensured: list[str] = field(default_factory=list)

    def ensure(self, env: Environment) -> Outputs:
        self.ensured.append(env.commit)
        if self.says:
            raise self.says
        self.exists = True
        return {"name": self.kind}

    def delete(self, env: Environment) -> None:
        if self.says:
            raise self.says
        self.exists = False

    def owners(self) -> Iterator[Slug]:
        return iter([SLUG] if self.exists else [])


@dataclass
class Loop:
    """A controller over fakes."""

    things: list[Thing]
    branches: FakeBranches | None = None
    store: MemoryStore = field(default_factory=MemoryStore)
    woken: list[Slug] = field(default_factory=list)
    now: float = 1000.0

    def __post_init__(self) -> None:
        with installed() as qa:
            self.blueprint = qa.blueprint
        self.controller = Controller(
            self.store, {REPOSITORY: self.blueprint}, self.plan, self.wake, clock=self.clock
        )

    def plan(self, blueprint: Blueprint) -> Plan:
        return Plan(NothingToClaim(), [self.things], [self.things], lambda roles: [], branches=self.branches)

    def wake(self, slug: Slug, why: str) -> None:
        self.woken.append(slug)

    def clock(self) -> float:
        self.now += 1
        return self.now

    def say(self, ref: Ref, commit: str = "", **details: Any) -> Slug:
        return self.controller.request(Change(SLUG, REPOSITORY, "qa/foo", ref, commit, **details))

    def state(self, kind: str) -> State:
        return self.store.records[SLUG].conditions[kind].state


def confirmed() -> tuple[Loop, Thing, FakeBranches]:
    """What was pushed is there, and GitHub has it."""
    branches = FakeBranches()
    branches.heads[(REPOSITORY, "qa/foo")] = A
    loop = Loop([thing := Thing("a")], branches)
    loop.say(Ref.PRESENT, A)
    loop.controller.reconcile(SLUG)
    return loop, thing, branches


def test_every_resource_is_tried_and_conditions_are_saved_before_an_error_is_raised() -> None:
    """One that breaks stops none of the others, and what they said is kept."""
    loop = Loop([Thing("a", says=RuntimeError("broken")), Thing("b"), Thing("c", says=NotReady("slow"))])
    loop.say(Ref.PRESENT, A)
    with pytest.raises(RuntimeError, match="broken"):
        loop.controller.reconcile(SLUG)
    assert [loop.state(k) for k in "abc"] == [State.FAILED, State.READY, State.WAITING]


def test_several_unexpected_errors_are_raised_together() -> None:
    """None of them hides the others."""
    loop = Loop([Thing("a", says=RuntimeError("one")), Thing("b", says=KeyError("two"))])
    loop.say(Ref.PRESENT, A)
    with pytest.raises(ExceptionGroup) as caught:
        loop.controller.reconcile(SLUG)
    assert len(caught.value.exceptions) == 2


def test_an_unexpected_error_shows_no_secret_of_its_text() -> None:
    """Exception texts may hold anything, so people see the type only."""
    loop = Loop([Thing("a", says=RuntimeError("password=hunter2"))])
    loop.say(Ref.PRESENT, A)
    with pytest.raises(RuntimeError):
        loop.controller.reconcile(SLUG)
    assert "hunter2" not in loop.store.records[SLUG].conditions["a"].message


def test_a_pass_that_changed_something_asks_for_another_and_a_quiet_one_does_not() -> None:
    """The loop goes on by itself until it is quiet."""
    loop = Loop([Thing("a")])
    loop.say(Ref.PRESENT, A)
    loop.controller.reconcile(SLUG)
    assert loop.woken == [SLUG]
    loop.controller.reconcile(SLUG)
    assert loop.woken == [SLUG]


def test_the_record_is_forgotten_only_after_two_passes_found_nothing() -> None:
    """Absence is never concluded from one look."""
    loop = Loop([Thing("a")])
    loop.say(Ref.PRESENT, A)
    loop.controller.reconcile(SLUG)
    loop.say(Ref.ABSENT)
    assert loop.controller.reconcile(SLUG) is not None
    assert loop.controller.reconcile(SLUG) is not None  # a moment later is no second look
    loop.now += 20
    assert loop.controller.reconcile(SLUG) is None
    assert SLUG not in loop.store.records


def test_what_comes_back_between_two_looks_is_removed_first() -> None:
    """A stale read that said gone does not end the teardown."""
    thing = Thing("a")
    loop = Loop([thing])
    loop.say(Ref.PRESENT, A)
    loop.controller.reconcile(SLUG)
    loop.say(Ref.ABSENT)
    loop.controller.reconcile(SLUG)
    thing.says = NotReady("there it is again")
    loop.controller.reconcile(SLUG)
    thing.says = None
    assert loop.controller.reconcile(SLUG) is not None
    loop.now += 20
    assert loop.controller.reconcile(SLUG) is None


def test_deleting_what_never_was_makes_no_record() -> None:
    """A delete webhook without an environment is nothing to do."""
    loop = Loop([])
    loop.say(Ref.ABSENT)
    assert loop.store.records == {}


def test_a_repeated_webhook_changes_nothing() -> None:
    """Twice the same push is one wish."""
    loop = Loop([Thing("a")])
    loop.say(Ref.PRESENT, A)
    first = loop.store.records[SLUG]
    loop.say(Ref.PRESENT, A)
    assert loop.store.records[SLUG] == first


def test_a_check_makes_no_environment() -> None:
    """Only a push or the branch itself does; a check is a reason to look."""
    loop = Loop([])
    loop.say(Ref.CHECKED, A)
    assert loop.store.records == {}


def test_an_unknown_repository_is_rejected() -> None:
    """The message says which one."""
    loop = Loop([])
    with pytest.raises(Rejected, match="other/repo") as caught:
        loop.controller.request(Change("qa-foo", "other/repo", "qa/foo", Ref.PRESENT, A))
    assert caught.value.status == 404


def test_a_slug_that_is_not_the_branchs_is_rejected() -> None:
    """A message cannot speak for another environment."""
    loop = Loop([])
    with pytest.raises(Rejected, match="qa-foo"):
        loop.controller.request(Change("qa-other", REPOSITORY, "qa/foo", Ref.PRESENT, A))


def test_github_overrules_a_late_push() -> None:
    """B was pushed after A; A's webhook comes last; B is what is built."""
    branches = FakeBranches()
    branches.heads[(REPOSITORY, "qa/foo")] = B
    loop = Loop([thing := Thing("a")], branches)
    loop.say(Ref.PRESENT, B)
    loop.controller.reconcile(SLUG)
    loop.say(Ref.PRESENT, A)
    loop.controller.reconcile(SLUG)
    assert loop.state("branch") is State.WAITING
    loop.now += 60
    loop.controller.reconcile(SLUG)
    assert loop.store.records[SLUG].commit == B
    assert set(thing.ensured) == {B}


def test_github_overrules_a_late_delete() -> None:
    """The branch exists, so its environment is not torn down, whatever an old webhook says."""
    loop, thing, _ = confirmed()
    loop.say(Ref.ABSENT)
    loop.controller.reconcile(SLUG)
    assert thing.exists
    loop.now += 60
    env = loop.controller.reconcile(SLUG)
    assert env is not None
    assert env.phase is Phase.READY
    assert thing.exists


def test_a_ref_that_is_not_shown_yet_loses_no_push() -> None:
    """GitHub's refs lag behind its webhooks: the push waits for them and is built."""
    branches = FakeBranches()
    loop = Loop([thing := Thing("a")], branches)
    loop.say(Ref.PRESENT, A)
    loop.controller.reconcile(SLUG)
    assert thing.ensured == []
    branches.heads[(REPOSITORY, "qa/foo")] = A
    loop.controller.reconcile(SLUG)
    assert thing.ensured == [A]


def test_one_empty_answer_deletes_nothing() -> None:
    """A branch that vanished without a webhook must be seen missing twice, well apart."""
    loop, thing, branches = confirmed()
    loop.now += 3600
    heads, branches.heads = branches.heads, {}
    loop.controller.reconcile(SLUG)
    loop.controller.reconcile(SLUG)
    assert thing.exists
    branches.heads = heads
    loop.controller.reconcile(SLUG)
    assert loop.store.records[SLUG].phase is Phase.READY


def test_github_shows_a_delete_whose_webhook_was_lost() -> None:
    """The next pass finds the branch gone and tears down."""
    loop, thing, branches = confirmed()
    branches.heads.clear()
    for _ in range(4):
        loop.now += 60
        loop.controller.reconcile(SLUG)
    assert not thing.exists
    assert loop.store.records == {}


@pytest.mark.parametrize(
    ("error", "state"), [(NotReady("down"), State.WAITING), (Blocked("404"), State.BLOCKED)]
)
def test_nothing_is_deleted_while_github_cannot_say(error: Exception, state: State) -> None:
    """A GitHub that is down, or shows no repository, is no reason to delete."""
    loop, thing, branches = confirmed()
    branches.heads.clear()
    branches.error = error
    loop.say(Ref.ABSENT)
    loop.controller.reconcile(SLUG)
    assert thing.exists
    assert loop.state("branch") is state


@pytest.mark.parametrize(
    ("error", "goes_on"), [(NotReady("down"), True), (Blocked("404"), False), (ValueError("odd"), False)]
)
def test_what_github_has_confirmed_goes_on_while_it_cannot_be_asked(error: Exception, goes_on: bool) -> None:
    """A finished build goes live, a visitor wakes what sleeps. The next commit waits for GitHub's word."""
    loop, thing, branches = confirmed()
    branches.error = error
    for _ in range(3):
        thing.exists = False
        with suppress(ValueError):
            loop.controller.reconcile(SLUG)
        assert thing.exists is goes_on
        assert loop.state("branch") is not State.READY
    loop.say(Ref.PRESENT, B, before=A)
    thing.exists = False
    with suppress(ValueError):
        loop.controller.reconcile(SLUG)
    assert not thing.exists
    branches.error = None
    branches.heads[(REPOSITORY, "qa/foo")] = B
    loop.controller.reconcile(SLUG)
    assert thing.exists


@pytest.mark.parametrize("error", [NotReady("down"), Blocked("404")])
def test_what_somebody_deletes_goes_though_github_shows_no_repository(error: Exception) -> None:
    """It was deleted, or access to it withdrawn: nobody could ever remove its environments."""
    loop, thing, branches = confirmed()
    branches.error = error
    Watch(loop.store, lambda slug, why: None, loop.clock).ask(SLUG, Wish.DELETE, "hanako")
    for _ in range(3):
        loop.now += 60
        loop.controller.reconcile(SLUG)
    assert not thing.exists
    assert loop.store.records == {}


def test_a_late_webhook_is_ignored_where_github_cannot_be_asked() -> None:
    """`before` and `after` chain: A's push came after B's, which followed A."""
    loop = Loop([])
    loop.say(Ref.PRESENT, B, before=A)
    loop.say(Ref.PRESENT, A)
    assert loop.store.records[SLUG].commit == B
    assert "late" in loop.store.history(SLUG)[0].text


def test_a_push_from_before_the_deletion_revives_nothing_after_the_end() -> None:
    """Its webhook is late by more than the teardown took; a later push is another life."""
    loop = Loop([Thing("a")])
    loop.say(Ref.PRESENT, A, pushed_at=1)
    loop.say(Ref.ABSENT, pushed_at=3)
    for _ in range(2):
        loop.controller.reconcile(SLUG)
        loop.now += 20
    assert SLUG not in loop.store.records
    loop.say(Ref.PRESENT, B, before=A, pushed_at=2)
    assert SLUG not in loop.store.records
    loop.say(Ref.PRESENT, C, pushed_at=4)
    assert loop.store.records[SLUG].commit == C


def test_a_push_from_before_a_deletion_that_came_first_makes_nothing() -> None:
    """The deletion finds no record and is remembered; GitHub, where it is asked, knows better than that."""
    loop = Loop([Thing("a")])
    loop.say(Ref.ABSENT, pushed_at=3)
    loop.say(Ref.PRESENT, A, pushed_at=2)
    assert SLUG not in loop.store.records
    loop.branches = FakeBranches()
    loop.say(Ref.PRESENT, A, pushed_at=2)
    assert loop.store.records[SLUG].commit == A


def test_a_push_from_before_the_deletion_does_not_revive_a_tombstone() -> None:
    """The record was lost, so the deletion found none; what is left has been found by the audit since."""
    loop = Loop([Thing("a")])
    loop.say(Ref.ABSENT, pushed_at=3)
    loop.controller.adopt(Orphan(SLUG, REPOSITORY, ("a",), {}))
    loop.say(Ref.PRESENT, A, pushed_at=2)
    assert loop.store.records[SLUG].desired is Desired.ABSENT
    loop.say(Ref.PRESENT, B, pushed_at=4)
    assert loop.store.records[SLUG].desired is Desired.PRESENT


def test_a_create_event_waits_for_the_push_that_names_the_commit() -> None:
    """`create` has no commit; nothing is built until one is known."""
    loop = Loop([thing := Thing("a")])
    loop.say(Ref.PRESENT)
    loop.controller.reconcile(SLUG)
    assert thing.ensured == []
    loop.say(Ref.PRESENT, A)
    loop.controller.reconcile(SLUG)
    assert thing.ensured == [A]


def test_a_removed_blueprint_blocks_and_deletes_nothing() -> None:
    """Without the blueprint nobody knows where to look, and the condition says what to do."""
    loop = Loop([thing := Thing("a")])
    loop.say(Ref.PRESENT, A)
    loop.controller.reconcile(SLUG)
    replace(loop.controller, blueprints={}).reconcile(SLUG)
    assert thing.exists
    assert loop.state("branch") is State.BLOCKED
    said = loop.store.records[SLUG].conditions["branch"].message
    assert "add this name to formerly" in said
    assert "put the blueprint back" in said


def test_a_push_before_the_teardown_began_simply_overtakes_it() -> None:
    """Delete and push again at once: nothing was torn down, so nothing has to be."""
    loop = Loop([thing := Thing("a")])
    loop.say(Ref.PRESENT, A)
    loop.controller.reconcile(SLUG)
    loop.say(Ref.ABSENT)
    loop.say(Ref.PRESENT, B)
    loop.controller.reconcile(SLUG)
    assert loop.store.records[SLUG].phase is Phase.READY
    assert thing.ensured == [A, B]


def test_delete_after_a_push_during_teardown_means_gone() -> None:
    """The last wish counts, also while a teardown is under way."""
    loop = Loop([Thing("a", says=NotReady("draining"))])
    loop.say(Ref.PRESENT, A)
    loop.controller.reconcile(SLUG)
    loop.say(Ref.ABSENT)
    loop.controller.reconcile(SLUG)
    loop.say(Ref.PRESENT, B)
    loop.say(Ref.ABSENT)
    loop.things[0].says = None
    for _ in range(3):
        loop.controller.reconcile(SLUG)
        loop.now += 20
    assert loop.store.records == {}


def test_a_create_event_does_not_undo_the_push_beside_it() -> None:
    """GitHub sends both for a new branch; during a teardown the commit of the push is kept."""
    loop = Loop([Thing("a", says=NotReady("draining"))])
    loop.say(Ref.PRESENT, A)
    loop.controller.reconcile(SLUG)
    loop.say(Ref.ABSENT)
    loop.controller.reconcile(SLUG)
    loop.say(Ref.PRESENT, B)
    loop.say(Ref.PRESENT)
    assert loop.store.records[SLUG].next_commit == B


def test_a_branch_is_missing_only_when_it_was_missing_twice() -> None:
    """A wait for another reason, however long, is no first look."""
    loop, thing, branches = confirmed()
    loop.now += 3600
    branches.error = NotReady("rate limit")
    loop.controller.reconcile(SLUG)
    loop.now += 120
    branches.error, branches.heads = None, {}
    loop.controller.reconcile(SLUG)
    loop.controller.reconcile(SLUG)
    assert thing.exists
    assert loop.state("branch") is State.WAITING


def test_a_teardown_that_was_killed_has_begun_all_the_same() -> None:
    """What follows it is built anew, not taken for untouched."""
    loop = Loop([thing := Thing("a")])
    loop.say(Ref.PRESENT, A)
    loop.controller.reconcile(SLUG)
    loop.say(Ref.ABSENT)

    def killed(env: Environment) -> None:
        raise KeyboardInterrupt

    ordinary, thing.delete = thing.delete, killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        loop.controller.reconcile(SLUG)
    thing.delete = ordinary  # type: ignore[method-assign]
    loop.say(Ref.PRESENT, A)
    record = loop.store.records[SLUG]
    assert (record.desired, record.next_commit) == (Desired.ABSENT, A)


def test_a_worker_overtaken_by_a_newer_wish_writes_nothing() -> None:
    """The fence: a pass that began before the delete cannot save over it."""
    loop = Loop([thing := Thing("a")])
    loop.say(Ref.PRESENT, A)

    def overtaken(env: Environment) -> Outputs:
        loop.say(Ref.ABSENT)
        return {"late": "yes"}

    thing.ensure = overtaken  # type: ignore[method-assign]
    loop.controller.reconcile(SLUG)
    assert loop.store.records[SLUG].conditions == {}
    assert loop.woken == [SLUG]


@pytest.mark.parametrize("hung_until", ["the first look", "the second look"])
def test_a_teardown_looks_anew_after_a_worker_that_it_overtook(hung_until: str) -> None:
    """What that one makes after a look, or while one is under way, is found; the next is told what was."""
    loop = Loop([thing := Thing("a")])
    loop.say(Ref.PRESENT, A)
    sound = {name: getattr(thing, name) for name in ("ensure", "delete")}

    def looks(env: Environment) -> None:
        """An old answer: it looks gone, whatever happens meanwhile."""
        if hung_until == "the second look" and loop.now > 1020:
            sound["ensure"](env)
            loop.controller._look_anew(loop.store.records[SLUG])

    def hangs(env: Environment) -> Outputs:
        thing.ensure = sound["ensure"]  # type: ignore[method-assign]
        loop.say(Ref.ABSENT)
        loop.controller.reconcile(SLUG)
        assert loop.state("a") is State.GONE
        return thing.ensure(env) if hung_until == "the first look" else {}

    thing.ensure = hangs  # type: ignore[method-assign]
    loop.controller.reconcile(SLUG)
    loop.now += 20
    thing.delete = looks  # type: ignore[method-assign]
    assert loop.controller.reconcile(SLUG) is not None
    thing.delete = sound["delete"]  # type: ignore[method-assign]
    for _ in range(3):
        loop.now += 20
        loop.controller.reconcile(SLUG)
    assert SLUG not in loop.store.records
    assert not thing.exists


def test_reports_speak_of_what_is_blocked_too() -> None:
    """An environment that cannot even claim a port says so where the developer looks."""
    loop = Loop([thing := Thing("a")])
    report = Thing("commit_status")

    def plan(blueprint: Blueprint) -> Plan:
        class Full(NothingToClaim):
            def ensure(self, env: Environment) -> tuple[Environment, Outputs]:
                raise Blocked("no port is free")

        return Plan(Full(), [[thing]], [[thing]], lambda roles: [], reports=[report])

    loop.say(Ref.PRESENT, A)
    env = replace(loop.controller, plan=plan).reconcile(SLUG)
    assert env is not None
    assert env.phase is Phase.BLOCKED
    assert thing.ensured == []
    assert report.ensured == [A]


def test_a_failed_report_holds_nothing_up() -> None:
    """GitHub's refusal to show a status does not make the environment less ready."""
    loop = Loop([Thing("a")])
    report = Thing("commit_status", says=Blocked("GitHub refuses"))

    def plan(blueprint: Blueprint) -> Plan:
        return Plan(NothingToClaim(), [loop.things], [], lambda roles: [], reports=[report])

    loop.say(Ref.PRESENT, A)
    env = replace(loop.controller, plan=plan).reconcile(SLUG)
    assert env is not None
    assert env.phase is Phase.READY


# --- over strict AWS ------------------------------------------------------------------------------------


@pytest.fixture
def qa() -> Iterator[Installation]:
    """An installation without environments."""
    with installed() as made:
        yield made


def test_checks_are_waited_for() -> None:
    """With `start: checks` no pipeline exists until every required check is green; red ones fail."""
    github = {"secret": "secretsmanager:github"}
    with installed(asks_github=True) as qa:
        values = qa.blueprint.model_dump(by_alias=True)
        pipeline = {**values["pipeline"], "start": "checks", "required_checks": ["test", "lint"]}
        gated = Blueprint.model_validate({**values, "pipeline": pipeline, "github": github})
        qa = Installation(qa.aws, qa.world, gated, qa.branches)
        assert qa.branches is not None
        slug = qa.push("qa/foo", A)
        qa.branches.found[A] = {"test": "success", "lint": "pending"}
        env = qa.run_pass(slug)
        assert env is not None
        assert env.conditions["checks"].message == "waiting for lint"
        assert qa.codepipeline.list_pipelines()["pipelines"] == []
        assert set(env.urls) == {"app", "admin"}
        qa.branches.found[A] = {"test": "success", "lint": "failure"}
        assert qa.run_pass(slug).phase is Phase.FAILED  # type: ignore[union-attr]
        qa.branches.found[A] = {"test": "success", "lint": "success"}
        qa.deliver()
        qa.run_pass(slug)
        qa.settle()
        assert qa.env(slug).phase is Phase.READY, qa.messages(slug)


def test_redis_databases_are_claimed_and_freed() -> None:
    """database mode: each environment has a number of its own, and gives it back."""
    redis = {
        "mode": "database",
        "secret": "secretsmanager:redis",
        "databases": "1-2",
        "variables": {"REDIS_DB": "{database}"},
    }
    with installed(redis=redis) as qa:
        first, second, third = (qa.push(f"qa/{name}", A) for name in ("one", "two", "three"))
        qa.deliver()
        held = {qa.env(slug).output("keyspace")["database"] for slug in (first, second)}
        assert held == {"1", "2"}
        assert qa.env(third).phase is Phase.BLOCKED
        assert "qa-one, qa-two" in qa.env(third).conditions["claims"].message
        qa.settle()
        qa.delete("qa/one")
        qa.settle()
        qa.run_pass(third)
        assert qa.env(third).output("keyspace")["database"] == "1"


def test_a_failed_start_says_why(qa: Installation) -> None:
    """Exit codes, missing room and unpullable images reach the condition as a sentence."""
    slug = qa.push("qa/foo", A)
    qa.deliver()
    qa.engine.run_until_idle()
    qa.deliver()
    qa.aws.ecs.stop_task("qa-foo-app", "Essential container in task exited", exit_code=3)
    qa.aws.ecs.fail("qa-foo-app", "tasks failed to start")
    qa.run_pass(slug)
    env = qa.env(slug)
    assert env.phase is Phase.FAILED
    assert "exited with code 3" in env.conditions["service/app"].message
    qa.now += 10
    qa.engine.run_until_idle()
    state = qa.codepipeline.get_pipeline_state(name="qa-foo")["stageStates"][-1]
    assert "exited with code 3" in state["actionStates"][0]["latestExecution"]["errorDetails"]["message"]


def test_a_missing_stg_service_is_blocked_with_its_name() -> None:
    """A blueprint that names a service that does not exist says so, and what to correct."""
    with installed() as qa:
        values = qa.blueprint.model_dump(by_alias=True)
        values["roles"]["worker"]["copy_of"] = "stg-nothing"
        qa = Installation(qa.aws, qa.world, Blueprint.model_validate(values))
        slug = qa.push("qa/foo", A)
        qa.settle()
        said = qa.env(slug).conditions["task_definition/worker"].message
        assert "stg-nothing is not in cluster" in said
        assert "copy_of" in said


def test_a_role_that_left_the_blueprint_is_removed(qa: Installation) -> None:
    """Its service, listener and target group go with the next push; the others stay."""
    slug = qa.push("qa/foo", A)
    qa.settle()
    values = qa.blueprint.model_dump(by_alias=True)
    del values["roles"]["admin"]
    qa.use(Blueprint.model_validate(values))
    qa.push("qa/foo", B)
    qa.settle()
    env = qa.env(slug)
    assert env.phase is Phase.READY, qa.messages(slug)
    assert env.conditions["service/admin"].state is State.GONE
    assert set(env.urls) == {"app"}
    services = qa.aws.client("ecs").list_services(cluster=qa.world.cluster, maxResults=100)["serviceArns"]
    assert not [arn for arn in services if arn.endswith("qa-foo-admin")]
    qa.delete("qa/foo")
    qa.settle()
    assert qa.left() == []


def test_a_database_that_is_down_is_waited_for(qa: Installation) -> None:
    """Nothing is lost: everything else goes on, and the schema follows when the server is back."""
    qa.datastores.error = {"error": "not_ready", "message": "db.example.com does not answer"}
    slug = qa.push("qa/foo", A)
    env = qa.run_pass(slug)
    assert env is not None
    assert env.conditions["schema"].state is State.WAITING
    assert set(env.urls) == {"app", "admin"}
    qa.datastores.error = None
    qa.settle()
    assert qa.env(slug).phase is Phase.READY, qa.messages(slug)


def test_a_database_that_is_down_keeps_the_record_of_a_teardown(qa: Installation) -> None:
    """Deleted is never said before the schema was seen gone."""
    slug = qa.push("qa/foo", A)
    qa.settle()
    qa.datastores.error = {"error": "not_ready", "message": "db.example.com does not answer"}
    qa.delete("qa/foo")
    qa.settle(rounds=5)
    assert qa.env(slug).phase is Phase.DELETING
    assert qa.env(slug).claims
    qa.datastores.error = None
    qa.settle()
    assert qa.left() == []


def test_task_definitions_do_not_pile_up(qa: Installation) -> None:
    """Of the revisions of three pushes one is left."""
    for commit in (A, B, C):
        qa.push("qa/foo", commit)
        qa.settle()
    listed = qa.aws.client("ecs").list_task_definitions(familyPrefix="qa-foo-app")["taskDefinitionArns"]
    assert len(listed) == 1


def test_the_copy_has_only_the_branchs_differences(qa: Installation) -> None:
    """Image, variables and log stream are ours; the rest is STG's."""
    slug = qa.push("qa/foo", A)
    qa.settle()
    ecs = qa.aws.client("ecs")
    ours = ecs.describe_task_definition(taskDefinition=qa.task_definition("qa-foo-app"))["taskDefinition"]
    stg = ecs.describe_task_definition(taskDefinition=qa.world.stg_web)["taskDefinition"]
    (mine,), (theirs,) = ours["containerDefinitions"], stg["containerDefinitions"]
    assert mine["image"].endswith(f"/shop:{slug}-{A}")
    variables = {one["name"]: one["value"] for one in mine["environment"]}
    wanted = {
        "BRANCH": "qa/foo",
        "COMMIT": A,
        "DB_NAME": "qa-foo",
        "REDIS_NAMESPACE": "qa_foo",
        "RAILS_MAX_THREADS": "3",
    }
    assert wanted.items() <= variables.items()
    assert mine["logConfiguration"]["options"]["awslogs-stream-prefix"] == slug
    assert mine["logConfiguration"]["options"]["awslogs-group"] == "/qa/app"
    assert mine["secrets"] == theirs["secrets"]
    assert mine["command"] == theirs["command"]
    assert (ours["cpu"], ours["memory"]) == (stg["cpu"], stg["memory"])
