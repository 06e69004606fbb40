"""The audit over a whole installation: what it finds, what it makes of it, what it does not touch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from qa_env import app, census, naming
from qa_env.audit import GRACE, NEEDS_A_PERSON, Report
from qa_env.blueprint import Blueprint
from qa_env.errors import Blocked, NotReady
from qa_env.model import Asked, Claim, Desired, Orphan, Phase, Slug, State
from qa_env.tagged import Tagged
from tests.installation import REPOSITORY, A, B, Installation, installed
from tests.strict_aws import Event

NOTHING = Report()


@pytest.fixture(params=[False, True], ids=["last-webhook", "github"])
def qa(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """Both ways of knowing where a branch is."""
    with installed(asks_github=request.param) as made:
        yield made


@pytest.fixture
def hub() -> Iterator[Installation]:
    """An installation that asks GitHub."""
    with installed(asks_github=True) as made:
        yield made


def settled(qa: Installation, *branches: str) -> list[Slug]:
    slugs = [qa.push(branch, A) for branch in branches]
    qa.settle()
    assert {qa.env(slug).phase for slug in slugs} <= {Phase.READY}
    return slugs


def lose_record(qa: Installation, slug: Slug, *, claims: bool = False) -> None:
    """Somebody deleted the item by hand; with `claims` these as well, as after a lost table."""
    if claims:
        for claim in qa.env(slug).claims.values():
            qa.store.table.delete_item(Key={"pk": f"claim#{claim.scope}", "sk": claim.name})
    qa.store.table.delete_item(Key={"pk": "environment", "sk": str(slug)})


def lose_branch(qa: Installation, branch: str) -> None:
    """The branch is gone and no webhook says so."""
    qa.heads.pop(branch)
    if qa.branches:
        qa.branches.heads.pop((REPOSITORY, branch))


def orphaned(qa: Installation) -> Slug:
    """An environment whose branch is gone and whose record is lost."""
    (slug,) = all_orphaned(qa, "qa/foo")
    return slug


def all_orphaned(qa: Installation, *branches: str) -> list[Slug]:
    slugs = settled(qa, *branches)
    for slug, branch in zip(slugs, branches, strict=True):
        lose_record(qa, slug)
        lose_branch(qa, branch)
    return slugs


@contextmanager
def broken_where(
    qa: Installation, is_it: Callable[[Event], bool], error: Exception | None = None
) -> Iterator[None]:
    """Every call that `is_it` is about fails, until the end of this."""
    broken = True

    def strike(event: Event) -> None:
        if broken and event.moment == "before" and is_it(event):
            raise error or ConnectionError(event.name)

    qa.aws.on_call(strike)
    yield
    broken = False


def looks_at(service: str) -> Callable[[Event], bool]:
    """Is this the look at one service?"""
    return lambda event: (
        event.name == "ecs:DescribeServices" and event.params["services"] == [f"{service}-app"]
    )


def remembers(event: Event) -> bool:
    """Are suspects written down?"""
    return event.name == "dynamodb:PutItem" and event.params["Item"]["pk"] == "audit"


def reads(event: Event, pk: str) -> bool:
    """Are the table's items of this kind listed?"""
    return event.name == "dynamodb:Query" and event.params["ExpressionAttributeValues"][":pk"].startswith(pk)


def twice(qa: Installation, **how: Any) -> Report:
    """Two audits, as far apart as the grace period wants."""
    first = qa.audit(**how)
    assert first.adopted == []
    qa.now += GRACE
    return qa.audit(**how)


def test_a_settled_installation_is_left_alone(qa: Installation) -> None:
    settled(qa, "qa/foo", "qa/bar")
    qa.aws.calls.clear()
    assert twice(qa) == NOTHING
    writes = [call for call in qa.aws.writes() if call.service != "dynamodb"]
    assert writes == []


def test_an_audit_of_nothing(qa: Installation) -> None:
    assert qa.audit() == NOTHING


# --- things without records -------------------------------------------------------------------------------


@pytest.mark.parametrize("claims", [False, True], ids=["record-lost", "claims-lost-too"])
def test_things_without_a_record_are_removed(qa: Installation, claims: bool) -> None:
    """The record of a deleted branch is gone: everything that it led to goes the ordinary way."""
    gone, alive = settled(qa, "qa/foo", "qa/bar")
    lose_record(qa, gone, claims=claims)
    lose_branch(qa, "qa/foo")
    report = twice(qa)
    assert report.adopted == [gone]
    assert report.refused == []
    qa.settle()
    assert qa.store.get(gone) is None
    assert qa.env(alive).phase is Phase.READY, qa.messages(alive)
    assert {one.split(" ")[-1] for one in qa.left() if "bar" not in one} <= {"10003", "10004"}
    assert qa.datastores.schemas == {"qa-bar"}
    assert [event.kind for event in qa.store.history(gone)].count("found") == 1
    assert qa.audit() == NOTHING


def test_a_lost_record_of_a_living_branch_comes_back(hub: Installation) -> None:
    """GitHub shows the branch: the environment is taken up again with its ports, and nothing is removed."""
    (slug,) = settled(hub, "qa/foo")
    urls = hub.env(slug).urls
    lose_record(hub, slug)
    schemas = set(hub.datastores.schemas)
    report = hub.audit()
    assert (report.created, report.adopted) == ([slug], [])
    hub.settle()
    assert hub.env(slug).phase is Phase.READY, hub.messages(slug)
    assert hub.datastores.schemas == schemas
    assert hub.env(slug).urls == urls


def test_a_push_takes_a_tombstone_over(qa: Installation) -> None:
    """Between the audit and the first pass the branch is pushed: nothing is torn down."""
    slug = orphaned(qa)
    qa.audit()
    qa.now += GRACE
    assert qa.audit(deliver=False).adopted == [slug]
    assert (qa.env(slug).branch, qa.env(slug).desired) == ("", Desired.ABSENT)
    qa.push("qa/foo", B)
    qa.settle()
    env = qa.env(slug)
    assert (env.phase, env.branch, env.commit) == (Phase.READY, "qa/foo", B), qa.messages(slug)
    assert qa.service("qa-foo-app")["status"] == "ACTIVE"


def test_a_push_during_the_tombstones_teardown_waits_for_its_end(qa: Installation) -> None:
    slug = orphaned(qa)
    qa.audit()
    qa.now += GRACE
    qa.audit(deliver=False)
    qa.run_pass(slug)
    qa.push("qa/foo", B)
    qa.settle(rounds=20)
    env = qa.env(slug)
    assert (env.phase, env.branch, env.commit) == (Phase.READY, "qa/foo", B), qa.messages(slug)


def test_what_is_young_is_left_alone(qa: Installation) -> None:
    """A first look adopts nothing, and what has gone by the second was somebody's teardown."""
    (slug,) = settled(qa, "qa/foo")
    record = qa.env(slug)
    lose_record(qa, slug)
    lose_branch(qa, "qa/foo")
    assert qa.audit().young == [slug]
    qa.now += GRACE / 2
    assert qa.audit().young == [slug]
    qa.store.table.put_item(Item={**_item(qa, record)})
    qa.now += GRACE
    assert qa.audit().adopted == []


def _item(qa: Installation, env: Any) -> dict[str, Any]:
    return {
        "pk": "environment",
        "sk": str(env.slug),
        "repository": env.repository,
        "branch": env.branch,
        "desired": str(env.desired),
        "commit": env.commit,
        "generation": env.generation,
    }


def test_a_dry_run_does_and_remembers_nothing(qa: Installation) -> None:
    slug = orphaned(qa)
    qa.aws.calls.clear()
    assert qa.audit(dry_run=True).young == [slug]
    qa.now += GRACE
    assert qa.audit(dry_run=True).young == [slug]
    assert qa.aws.writes() == []
    qa.audit()
    qa.now += GRACE
    qa.aws.calls.clear()
    assert qa.audit(dry_run=True).adopted == [slug]
    assert qa.aws.writes() == []
    assert qa.store.get(slug) is None


def test_a_dry_run_rings_no_alarm(hub: Installation, caplog: pytest.LogCaptureFixture) -> None:
    """It reports what a person would be told and what would be adopted, as the audit after it does."""
    slug = orphaned(hub)
    assert twice(hub).adopted == [slug]
    lose_record(hub, slug)
    hub.datastores.schemas.add("qa_backup")
    hub.now += GRACE
    caplog.clear()
    caplog.set_level(logging.INFO)
    planned = hub.audit(dry_run=True)
    assert (planned.adopted, len(planned.refused)) == ([slug], 1)
    assert [one for one in caplog.messages if NEEDS_A_PERSON in one or "adopting" in one] == []
    assert hub.audit() == planned
    assert [one for one in caplog.messages if NEEDS_A_PERSON in one or "adopting" in one] != []


def test_records_are_read_after_the_world(qa: Installation) -> None:
    """What is made while the world is listed has a record by the time that the table is read."""
    settled(qa, "qa/foo")
    qa.aws.calls.clear()
    asked: list[int] = []
    answer = qa.datastores

    def noted(request: Any) -> Any:
        asked.append(len(qa.aws.calls))
        return answer(request)

    qa.clients = replace(qa.clients, datastores=noted)
    qa.audit(deliver=False)
    table = [event.number for event in qa.aws.calls if reads(event, "environment")]
    claims = [event.number for event in qa.aws.calls if reads(event, "claim#")]
    listings = [event.number for event in qa.aws.calls if event.is_read and event.service != "dynamodb"]
    assert table
    assert claims
    assert listings
    assert asked
    assert max(claims + listings) < min(table)
    assert max(asked) < min(table)


def test_a_thing_in_a_cluster_that_is_gone_is_gone(hub: Installation) -> None:
    """The tagging API goes on showing it; nothing else waits for that."""
    slug = orphaned(hub)
    arn = f"arn:aws:ecs:{hub.aws.region}:{hub.aws.account}:service/deleted/qa-old-app"
    tags = {
        naming.TAG_INSTALLATION: "qa-env",
        naming.TAG_ENVIRONMENT: "qa-old",
        naming.TAG_REPOSITORY: REPOSITORY,
        naming.TAG_ROLE: "app",
    }
    hub.aws.tagging.offer(lambda: [(arn, tags)])
    report = twice(hub)
    assert (report.adopted, report.young, report.refused) == ([slug], [], [])


@pytest.mark.parametrize(
    "error", [ConnectionError("reset"), NotReady("not now")], ids=["broken", "not-ready"]
)
def test_one_that_cannot_be_looked_at_stops_no_other(hub: Installation, error: Exception) -> None:
    """A person is told; the others' hour goes on, and so does its own."""
    a, b = all_orphaned(hub, "qa/a", "qa/b")
    with broken_where(hub, looks_at(a), error):
        report = hub.audit()
        assert (report.young, [a in why for why in report.refused]) == ([b], [True])
    assert hub.audit().young == [a, b]
    hub.now += GRACE
    with broken_where(hub, looks_at(a), error):
        report = hub.audit()
        assert (report.adopted, [a in why for why in report.refused]) == ([b], [True])
    assert hub.audit().adopted == [a]


def test_a_listing_that_failed_ends_no_suspicion(hub: Installation) -> None:
    """What was not seen because nobody could look is not gone."""
    lb = hub.world.load_balancer.arn
    hub.store.table.put_item(
        Item={"pk": f"claim#port {lb}", "sk": "10001", "slug": "qa-old", "key": "port/app"}
    )
    assert hub.audit().young == ["qa-old"]
    hub.now += GRACE
    with broken_where(hub, lambda event: reads(event, "claim#port")):
        report = hub.audit()
        assert (report.young, report.adopted, len(report.refused)) == ([], [], 1)
    assert hub.audit().adopted == ["qa-old"]


def test_what_cannot_be_remembered_stops_nothing_else(hub: Installation) -> None:
    """A record whose service is gone is woken all the same."""
    (slug,) = settled(hub, "qa/foo")
    hub.aws.client("ecs").delete_service(cluster=hub.world.cluster, service="qa-foo-app", force=True)
    hub.aws.ecs.drain_all()
    with broken_where(hub, remembers):
        report = hub.audit(deliver=False)
    assert report.woken == [slug]
    assert report.refused == ["remembering what has no record failed: ConnectionError"]


def test_a_claim_alone_is_released(qa: Installation) -> None:
    """A port that nobody uses and nobody can have."""
    lb = qa.world.load_balancer.arn
    qa.store.table.put_item(
        Item={"pk": f"claim#port {lb}", "sk": "10001", "slug": "qa-old", "key": "port/app"}
    )
    assert twice(qa).adopted == ["qa-old"]
    qa.settle()
    assert qa.left() == []


def test_a_schema_with_a_history_is_dropped(qa: Installation) -> None:
    """It came back after the environment was forgotten: the history says that it was ours."""
    slug = qa.push("qa/foo", A)
    qa.settle()
    qa.delete("qa/foo")
    qa.settle()
    qa.datastores.schemas.add("qa-foo")
    assert twice(qa).adopted == [slug]
    qa.settle()
    assert qa.left() == []


def test_a_name_alone_proves_nothing(qa: Installation) -> None:
    """A colleague's schema, keys and image that look like ours stay."""
    qa.datastores.schemas.add("qa-backup")
    qa.datastores.keys["qa_cache"] = 3
    qa._push_image(f"shop:qa-tools-{A}", "somebody")
    report = twice(qa)
    assert report.adopted == report.refused == []
    assert [one.split(" ")[0] for one in report.unknown] == ["qa-backup", "qa-cache", "qa-tools"]
    assert qa.datastores.schemas == {"qa-backup"}


def test_what_bears_anothers_tag_is_not_ours(qa: Installation) -> None:
    """Another installation in the same account."""
    settled(qa, "qa/foo")
    qa.clients = replace(qa.clients, installation="qa-other")
    report = Report()
    for _ in range(2):
        report = qa.audit(deliver=False)
        qa.now += GRACE
    assert report.adopted == []


def test_what_the_tagging_api_only_still_shows_is_nothing(qa: Installation) -> None:
    """It does so for hours after everything is gone."""
    qa.aws.tagging.lag = 1000
    settled(qa, "qa/foo")
    qa.delete("qa/foo")
    qa.settle()
    assert twice(qa) == NOTHING


def test_what_comes_back_after_its_removal_needs_a_person(qa: Installation) -> None:
    """It is tried again, and somebody should look why that is necessary."""
    slug = orphaned(qa)
    assert twice(qa).adopted == [slug]
    lose_record(qa, slug)
    qa.now += GRACE
    report = qa.audit()
    assert report.adopted == [slug]
    assert any("was removed, and is still there" in why for why in report.refused)


def test_a_record_that_cannot_be_read_is_a_record(qa: Installation) -> None:
    """Neither adopted nor asked for anew: a person is told."""
    (slug,) = settled(qa, "qa/foo")
    key = {"pk": "environment", "sk": str(slug)}
    record = qa.store.table.get_item(Key=key)["Item"]
    qa.store.table.put_item(Item={**record, "conditions": "{"})
    report = twice(qa, deliver=False)
    assert (report.adopted, report.created) == ([], [])
    assert report.refused
    assert all(str(slug) in why for why in report.refused)
    assert qa.datastores.schemas == {"qa-foo"}


# --- the brake --------------------------------------------------------------------------------------------


def test_a_lost_table_removes_nothing(qa: Installation, caplog: pytest.LogCaptureFixture) -> None:
    """More than the configured share would go at once: a person is told."""
    slugs = settled(qa, "qa/a", "qa/b", "qa/c")
    for slug in slugs:
        lose_record(qa, slug, claims=True)
    for branch in list(qa.heads):
        lose_branch(qa, branch)
    report = twice(qa)
    assert report.adopted == []
    assert ["3 of 3" in why for why in report.refused] == [True]
    assert NEEDS_A_PERSON in caplog.messages
    assert qa.datastores.schemas == {"qa-a", "qa-b", "qa-c"}
    assert sorted(qa.audit(share=1.0).adopted) == sorted(slugs)


def test_a_lost_table_removes_nothing_though_one_was_suspected_before(qa: Installation) -> None:
    """It was removed and pushed again since the last audit, so its grace period is over already."""
    slugs = settled(qa, "qa/a", "qa/b", "qa/c")
    lose_record(qa, slugs[0])
    lose_branch(qa, "qa/a")
    assert twice(qa).adopted == slugs[:1]
    qa.settle()
    assert settled(qa, "qa/a") == slugs[:1]
    for slug in slugs:
        lose_record(qa, slug)
    for branch in list(qa.heads):
        lose_branch(qa, branch)
    qa.now += GRACE
    report = qa.audit()
    assert report.adopted == []
    assert any("3 of 3" in why for why in report.refused)
    assert qa.datastores.schemas == {"qa-a", "qa-b", "qa-c"}


def test_a_lost_table_removes_nothing_though_one_cannot_be_looked_at(hub: Installation) -> None:
    """Two are few, but the third has lost its record as well."""
    slugs = all_orphaned(hub, "qa/a", "qa/b", "qa/c")
    hub.audit()
    hub.now += GRACE
    with broken_where(hub, looks_at(slugs[0])):
        report = hub.audit()
    assert report.adopted == []
    assert any("3 of 3" in why for why in report.refused)


@pytest.mark.parametrize(
    "broken",
    ["elbv2:DescribeTargetGroups", "ecs:ListServices", "resourcegroupstaggingapi:GetResources"],
)
def test_a_listing_that_failed_adopts_nothing(qa: Installation, broken: str) -> None:
    """What else could be listed is not acted on, either; a person is told which one it was."""
    slug = orphaned(qa)
    qa.audit()
    qa.now += GRACE
    qa.aws.fail(broken, times=99, error="AccessDenied")
    report = qa.audit()
    assert report.adopted == []
    assert any("cannot be listed" in why for why in report.refused)
    qa.aws.clear_faults()
    assert qa.audit().adopted == [slug]


def test_what_the_tagging_api_does_not_show_yet_is_found_by_its_kind(qa: Installation) -> None:
    """Whose a listed thing is, it then says itself."""
    (slug,) = settled(qa, "qa/foo")
    watched = app.watched(qa.clients, qa.store, qa.blueprint)
    tagged = Tagged(qa.aws.client, "qa-env")
    shown = census.take(qa.store, [watched], tagged.things)
    hidden = census.take(qa.store, [watched], list)
    assert shown.found[slug].tagged
    assert hidden.found[slug].tagged == {}
    assert hidden.found[slug].things == shown.found[slug].things
    assert {"target_group": 2, "listener": 2, "service": 3, "pipeline": 1}.items() <= (
        hidden.found[slug].things.items()
    )


def test_data_that_cannot_be_listed_adopts_nothing(qa: Installation) -> None:
    orphaned(qa)
    qa.audit()
    qa.now += GRACE
    qa.datastores.error = {"error": "not_ready", "message": "MySQL cannot be reached"}
    assert qa.audit(deliver=False).adopted == []


def silent(hub: Installation) -> None:
    hub.branches.error = NotReady("GitHub answers 500")


def refusing(hub: Installation) -> None:
    hub.branches.error = Blocked("no such repository")


def broken(hub: Installation) -> None:
    hub.branches.error = ValueError("<html>")


def empty(hub: Installation) -> None:
    hub.branches.heads, hub.branches.visible = {}, False


@pytest.mark.parametrize("trouble", [silent, refusing, broken, empty])
def test_a_github_that_shows_nothing_deletes_nothing(hub: Installation, trouble: Any) -> None:
    """Neither what has a record nor what has none."""
    first, second = settled(hub, "qa/foo", "qa/bar")
    lose_record(hub, second)
    for _ in range(3):
        trouble(hub)
        assert hub.audit().adopted == []
        hub.settle(rounds=2)
        hub.now += GRACE
    assert hub.env(first).desired is Desired.PRESENT
    assert hub.datastores.schemas == {"qa-foo", "qa-bar"}
    assert hub.service("qa-bar-app")["status"] == "ACTIVE"


@pytest.mark.parametrize("trouble", [silent, refusing])
def test_a_github_that_shows_nothing_is_told_with_what_it_holds_back(hub: Installation, trouble: Any) -> None:
    """Not while nothing is due: that GitHub is away for a minute concerns nobody."""
    slug = orphaned(hub)
    silent(hub)
    assert hub.audit().refused == []
    hub.now += GRACE
    trouble(hub)
    report = hub.audit()
    assert report.adopted == []
    held = [why for why in report.refused if slug in why]
    assert len(held) == 1
    assert f"GitHub cannot be asked about {REPOSITORY}" in held[0]
    hub.branches.error = None
    assert hub.audit().adopted == [slug]


def test_many_branches_that_vanish_without_a_webhook_stay(hub: Installation) -> None:
    """A token that sees less than yesterday: each environment says why it is not removed."""
    slugs = settled(hub, "qa/a", "qa/b", "qa/c", "qa/d")
    hub.now += 3600
    hub.branches.heads = {}
    for _ in range(4):
        hub.audit()
        hub.now += 120
        for slug in slugs:
            hub.run_pass(slug)
    for slug in slugs:
        env = hub.env(slug)
        assert (env.desired, env.phase) == (Desired.PRESENT, Phase.BLOCKED)
        assert "bulk_brake" in env.conditions["branch"].message
    hub.branches.heads = {(REPOSITORY, branch): head for branch, head in hub.heads.items()}
    hub.settle()
    assert {hub.env(slug).phase for slug in slugs} == {Phase.READY}


def test_a_few_that_vanish_without_a_webhook_go(hub: Installation) -> None:
    slugs = settled(hub, "qa/a", "qa/b", "qa/c", "qa/d")
    hub.now += 3600
    for branch in ("qa/a", "qa/b"):
        lose_branch(hub, branch)
    hub.audit()
    hub.settle()
    assert [hub.store.get(slug) is None for slug in slugs] == [True, True, False, False]


def test_branches_of_an_earlier_prefix_are_seen(hub: Installation) -> None:
    """They are there, so the one that vanished is no sign that much is missing; many are one all the same."""
    slugs = settled(hub, "qa/a", "qa/b", "qa/c", "qa/d", "qa/e")
    changed = hub.blueprint.model_dump(exclude_unset=True, by_alias=True) | {"branch_prefix": "preview/"}
    for store in ("database", "redis"):
        changed[store] = {**changed[store], "prefix": "preview"}
    hub.use(Blueprint.model_validate(changed))
    lose_branch(hub, "qa/a")
    an_hour_later(hub, slugs)
    assert hub.store.get(slugs[0]) is None, hub.messages(slugs[0])
    for branch in ("qa/b", "qa/c", "qa/d"):
        lose_branch(hub, branch)
    an_hour_later(hub, slugs[1:])
    assert [hub.env(slug).desired for slug in slugs[1:]] == [Desired.PRESENT] * 4
    assert "bulk_brake" in hub.env(slugs[1]).conditions["branch"].message


def an_hour_later(hub: Installation, slugs: Iterable[Slug]) -> None:
    """Each is looked at again, some minutes apart, and what comes of it."""
    hub.now += 3600
    for _ in range(3):
        hub.now += 120
        for slug in slugs:
            hub.run_pass(slug)
    hub.settle(rounds=20)


def test_many_that_webhooks_deleted_go(qa: Installation) -> None:
    """The brake is for what nobody said: a bulk clean-up is signed, branch by branch."""
    settled(qa, "qa/a", "qa/b", "qa/c", "qa/d")
    for branch in ("qa/a", "qa/b", "qa/c", "qa/d"):
        qa.delete(branch)
    qa.settle()
    assert qa.left() == []


# --- branches and records ---------------------------------------------------------------------------------


def test_a_branch_whose_first_push_was_lost_is_built(hub: Installation) -> None:
    hub.heads["qa/foo"] = A
    hub.branches.heads[REPOSITORY, "qa/foo"] = A
    assert hub.audit(world=False).created == ["qa-foo"]
    hub.settle()
    assert hub.env(Slug("qa-foo")).phase is Phase.READY
    assert hub.audit() == NOTHING


def test_a_push_that_was_lost_is_found(hub: Installation) -> None:
    (slug,) = settled(hub, "qa/foo")
    hub.now += 3600
    hub.heads["qa/foo"] = hub.branches.heads[REPOSITORY, "qa/foo"] = B
    assert hub.audit(world=False).woken == [slug]
    hub.settle()
    assert (hub.env(slug).commit, hub.env(slug).phase) == (B, Phase.READY)


def test_a_branch_elsewhere_is_none_of_our_business(hub: Installation) -> None:
    hub.branches.heads |= {(REPOSITORY, "main"): A, ("example/other", "qa/foo"): A}
    assert hub.audit() == NOTHING


def test_what_somebody_dismissed_does_not_come_back(hub: Installation) -> None:
    """The button removed it and its branch stays; the next push brings it back."""
    (slug,) = settled(hub, "qa/foo")
    env = hub.env(slug)
    hub.store.ask(env, Asked(dismissed=A, dismissed_in=env.generation, by="hanako"))
    hub.run_pass(slug)
    hub.settle()
    assert hub.store.get(slug) is None
    assert hub.audit() == NOTHING
    assert hub.store.dismissals() == {slug: A}
    hub.heads["qa/foo"] = hub.branches.heads[REPOSITORY, "qa/foo"] = B
    assert hub.audit().created == [slug]
    assert hub.store.dismissals() == {}


# --- records without things -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["service", "pipeline", "schema"])
def test_what_lacks_something_is_repaired(qa: Installation, kind: str) -> None:
    """Within the next audit, not within the hour of the settled."""
    (slug,) = settled(qa, "qa/foo")
    match kind:
        case "service":
            for role in ("app", "admin", "worker"):
                qa.aws.client("ecs").delete_service(
                    cluster=qa.world.cluster, service=f"qa-foo-{role}", force=True
                )
            qa.aws.ecs.drain_all()
        case "pipeline":
            qa.codepipeline.delete_pipeline(name="qa-foo")
        case "schema":
            qa.datastores.schemas.clear()
    assert qa.audit(deliver=False).woken == [slug]
    qa.settle()
    assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
    assert qa.audit() == NOTHING


@pytest.mark.parametrize("shown", [0, 1000], ids=["at-once", "late"])
@pytest.mark.parametrize("kind", ["service", "listener"])
def test_what_lacks_one_role_of_several_is_repaired(hub: Installation, kind: str, shown: int) -> None:
    """Whether or not the tagging API goes on showing what is gone."""
    (slug,) = settled(hub, "qa/foo")
    hub.aws.tagging.lag = shown
    match kind:
        case "service":
            hub.aws.client("ecs").delete_service(cluster=hub.world.cluster, service="qa-foo-app", force=True)
            hub.aws.ecs.drain_all()
            hub.aws.ecs.purge("qa-foo-app")
        case "listener":
            arn = hub.env(slug).conditions["listener/app"].outputs["arn"]
            hub.aws.client("elbv2").delete_listener(ListenerArn=arn)
    reasons: list[str] = []
    receive = hub._receive

    def noted(slug: Slug, message: Any) -> None:
        reasons.append(message["why"])
        receive(slug, message)

    hub._receive = noted
    assert hub.audit(deliver=False).woken == [slug]
    named = f"{kind}/app" if not shown else f"1 of {3 if kind == 'service' else 2} {kind}"
    assert reasons == [f"audit: {named} missing"]
    hub.settle()
    assert hub.env(slug).phase is Phase.READY, hub.messages(slug)
    assert hub.audit() == NOTHING


def test_what_the_tagging_api_does_not_show_yet_is_not_missing(hub: Installation) -> None:
    """It tells the roles, but not whether something is there."""
    settled(hub, "qa/foo")
    hub.aws.serve("resourcegroupstaggingapi:GetResources", lambda *_: {"ResourceTagMappingList": []})
    assert hub.audit() == NOTHING


def test_one_that_cannot_be_woken_stops_no_other(hub: Installation) -> None:
    a, b = settled(hub, "qa/a", "qa/b")
    hub.codepipeline.delete_pipeline(name="qa-a")
    hub.codepipeline.delete_pipeline(name="qa-b")
    receive = hub._receive

    def broken_for_a(slug: Slug, message: Any) -> None:
        if slug == a:
            raise ConnectionError
        receive(slug, message)

    hub._receive = broken_for_a
    report = hub.audit(deliver=False)
    assert report.woken == [b]
    assert report.refused == [f"waking {a} failed: ConnectionError"]


def test_one_that_is_stuck_stops_no_other(qa: Installation) -> None:
    """A tombstone that cannot be written, and another beside it."""
    settled(qa, "qa/a", "qa/b")
    for slug, branch in (("qa-a", "qa/a"), ("qa-b", "qa/b")):
        lose_record(qa, Slug(slug))
        lose_branch(qa, branch)
    qa.audit()
    qa.now += GRACE
    send, sent = qa._receive, []

    def broken_for_a(slug: Slug, message: Any) -> None:
        sent.append(slug)
        if slug == "qa-a":
            raise ConnectionError
        send(slug, message)

    qa._receive = broken_for_a
    report = qa.audit()
    assert report.adopted == ["qa-b"]
    assert ["qa-a" in why for why in report.refused] == [True]
    qa._receive = send
    assert qa.audit().adopted == ["qa-a"]


def test_a_claim_that_another_took_meanwhile_is_not_the_tombstones(qa: Installation) -> None:
    (slug,) = settled(qa, "qa/foo")
    theirs = qa.env(slug).claims["schema"]
    mine = Claim("schema", "qa-old")
    orphan = Orphan("qa-old", REPOSITORY, ("schema",), {"schema": theirs, "port/app": mine})
    qa.controller.adopt(orphan)
    assert dict(qa.env(Slug("qa-old")).claims) == {"port/app": mine}
    assert qa.env(Slug("qa-old")).conditions["schema"].state is State.WAITING
    assert qa.store.holder(theirs) == slug


def test_a_lost_record_comes_back_on_its_port_even_if_somebody_changed_the_listener() -> None:
    """Its target group tells no load balancer then, and a second listener would be left to nobody."""
    with installed(asks_github=True) as qa:
        (slug,) = settled(qa, "qa/foo")
        before = qa.env(slug).claims
        elbv2 = qa.aws.client("elbv2")
        said: Any = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}
        for role in qa.blueprint.web_roles:
            listener = qa.env(slug).output("listener", role)["arn"]
            elbv2.modify_listener(ListenerArn=listener, DefaultActions=[said])
        lose_record(qa, slug, claims=True)
        qa.audit()
        qa.settle()
        assert qa.env(slug).phase is Phase.READY
        assert qa.env(slug).claims == before
        qa.delete("qa/foo")
        qa.settle()
        assert qa.left() == []


# --- numbered databases of Redis ----------------------------------------------------------------------------

NUMBERED = {"mode": "database", "secret": "secretsmanager:redis", "databases": "1-4"}


def databases(qa: Installation) -> dict[str, str]:
    """Number → whose it is."""
    return {env.claims["redis"].name: str(env.slug) for env in qa.store.all()}


def test_after_a_lost_table_each_keeps_its_database() -> None:
    """Nothing in AWS shows the number, so the database itself does: nobody is given another's jobs."""
    with installed(asks_github=True, redis=NUMBERED) as qa:
        slugs = settled(qa, "qa/gone", "qa/a", "qa/b")
        lose_branch(qa, "qa/gone")
        qa.delete("qa/gone")
        qa.settle()
        before = databases(qa)
        assert "1" not in before
        for slug in slugs[1:]:
            lose_record(qa, slug, claims=True)
        qa.audit()
        qa.settle()
        assert databases(qa) == before
        assert all(env.phase is Phase.READY for env in qa.store.all())


def test_a_database_whose_record_is_lost_goes_with_the_rest() -> None:
    with installed(redis=NUMBERED) as qa:
        (slug,) = settled(qa, "qa/foo")
        lose_record(qa, slug, claims=True)
        assert "1" in qa.datastores.owners
        for _ in range(2):
            qa.audit()
            qa.settle()
            qa.now += GRACE + 1
        assert qa.store.get(slug) is None
        assert qa.datastores.owners == {}
        assert qa.datastores.keys == {}


def test_a_database_with_keys_that_bear_no_mark_is_given_to_nobody_and_told_of() -> None:
    with installed(redis=NUMBERED) as qa:
        qa.datastores.keys["1"] = 7
        settled(qa, "qa/foo")
        assert databases(qa) == {"2": "qa-foo"}
        report = qa.audit()
        assert [one for one in report.unknown if "redis database 1 is nobody's" in one]
        assert qa.datastores.keys["1"] == 7
