"""Whole lives of an environment while AWS lags behind itself.

What was made is not shown yet, what is gone is still in use, services drain long, lists have pages of one.
Each alone and all together: the environment becomes ready twice, goes without a trace, and nothing of it
was ever made twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from qa_env import naming
from qa_env.model import Environment, Phase, Slug, State
from tests import light
from tests.installation import A, B, C, Installation, installed
from tests.strict_aws.faults import CREATES

SLOW = 40
"""Minutes until everything must have come to rest."""
LONG = 3
"""So many calls see what was before."""

Lag = Callable[[Installation], None]
ACCOUNTS: dict[str, Any] = {"database": {"secret": "secretsmanager:mysql", "accounts": "own"}}


def in_use(qa: Installation) -> None:
    """Target groups are in use for a while after their listener is gone (facts B1-7)."""
    qa.aws.elbv2.in_use_lag = LONG


def associated_late(qa: Installation) -> None:
    """ECS does not see yet that a listener uses a target group (facts B2-4)."""
    qa.aws.elbv2.association_lag = LONG


def drains_late(qa: Installation) -> None:
    """Services are DRAINING for several looks (facts B2-2), whatever the installation's `settle` plays."""
    qa.aws.ecs.drain_after(2 * LONG)
    qa.aws.ecs.drain_all = lambda: None  # type: ignore[method-assign]


def small_pages(qa: Installation) -> None:
    """One thing on each page."""
    for service in (qa.aws.elbv2, qa.aws.ecr, qa.aws.dynamodb, qa.aws.tagging):
        service.page_size = 1


def hidden(create: str, qa: Installation) -> None:
    """What this makes is not shown to the next reads."""
    qa.aws.hide_new(create, describes=LONG)


def stale(qa: Installation) -> None:
    """Reads of each service repeat what they answered before."""
    for reads in ("elbv2:Describe*", "ecs:Describe*", "ecs:List*", "codepipeline:List*"):
        qa.aws.stale(reads, times=LONG)


def secrets_linger(qa: Installation) -> None:
    """A secret that was deleted is shown, and its name in use, for many looks."""
    qa.aws.secretsmanager.lingers = LONG


def tags_linger(qa: Installation) -> None:
    """The tagging API goes on showing what is gone."""
    qa.aws.tagging.lag = LONG


def together(qa: Installation) -> None:
    """All of it."""
    for lag in LAGS.values():
        lag(qa)


LAGS: dict[str, Lag] = {
    "in use": in_use,
    "associated late": associated_late,
    "drains late": drains_late,
    "small pages": small_pages,
    "stale": stale,
    "secrets linger": secrets_linger,
    "tags linger": tags_linger,
    **{f"hidden {create}": partial(hidden, create) for create in CREATES},
}


@pytest.fixture(params=[*LAGS.values(), together], ids=[*LAGS, "together"])
def lag(request: pytest.FixtureRequest) -> Lag:
    """Each way in which AWS lags, and all at once."""
    chosen: Lag = request.param
    return chosen


@pytest.fixture
def qa() -> Iterator[Installation]:
    """With a MySQL user of its own, so that every kind of create happens."""
    with installed(asks_github=True, **ACCOUNTS) as made:
        yield made


@pytest.fixture
def cries(qa: Installation, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What any pass left for a person to repair: an alarm goes by it."""
    heard: set[str] = set()
    run_pass = qa.run_pass

    def listening(slug: Slug) -> Environment | None:
        env = run_pass(slug)
        if env and env.needs_a_person:
            heard.update(qa.messages(slug).values())
        return env

    monkeypatch.setattr(qa, "run_pass", listening)
    return heard


def standing(qa: Installation) -> dict[str, Any]:
    """What there is of ours in AWS, each thing as often as it is there, and which commits were built."""
    elbv2, ecs = qa.aws.client("elbv2"), qa.aws.client("ecs")
    listed = elbv2.get_paginator("describe_target_groups").paginate()
    groups = [one["TargetGroupName"] for page in listed for one in page["TargetGroups"]]
    pages = elbv2.get_paginator("describe_listeners").paginate(LoadBalancerArn=qa.world.load_balancer.arn)
    ports = [one["Port"] for page in pages for one in page["Listeners"]]
    services = ecs.list_services(cluster=qa.world.cluster)["serviceArns"]
    return {
        "target groups": sorted(groups),
        "ports": sorted(ports),
        "services": sorted(arn.rpartition("/")[2] for arn in services),
        "revisions": [int(qa.task_definition(f"qa-foo-{role}")[-1]) for role in qa.blueprint.roles],
        "pipelines": list(qa.engine.pipelines),
        "builds": [
            (one["status"], one["sourceRevisions"][0]["revisionId"])
            for one in qa.codepipeline.list_pipeline_executions(pipelineName="qa-foo")[
                "pipelineExecutionSummaries"
            ]
        ],
    }


def once_each(qa: Installation, *built: str) -> dict[str, Any]:
    """The same as it is to be: one target group, listener and service per role, one build per commit."""
    curtain = naming.curtain_target_group("qa-env", qa.world.load_balancer.arn)
    ours = ["qa-foo-admin", "qa-foo-app", "qa-foo-worker"]
    return {
        "target groups": sorted([*ours[:2], curtain, qa.world.stg_web]),
        "ports": [10001, 10002],
        "services": [*ours, qa.world.stg_web, qa.world.stg_worker],
        "revisions": [len(built)] * len(ours),
        "pipelines": ["qa-foo"],
        "builds": [("Succeeded", commit) for commit in reversed(built)],
    }


def assert_ready(qa: Installation, slug: Slug, *built: str) -> None:
    """It is ready at the last of these commits, each of which was built once, and nothing is there twice."""
    qa.settle(rounds=SLOW)
    env = qa.env(slug)
    assert env.phase is Phase.READY, qa.messages(slug)
    assert env.built is not None
    assert env.built.commit == built[-1]
    qa.aws.clear_faults()  # what nobody has looked for is hidden still
    assert standing(qa) == once_each(qa, *built)


def assert_gone(qa: Installation) -> None:
    """Nothing is left, and what was hidden from the product is none of it."""
    qa.settle(rounds=SLOW)
    qa.aws.clear_faults()
    assert qa.left() == []


def test_a_whole_life(qa: Installation, lag: Lag, cries: set[str]) -> None:
    """Pushed, pushed again, deleted; before each of them AWS begins to lag anew. Nobody has to help."""
    lag(qa)
    slug = qa.push("qa/foo", A)
    assert_ready(qa, slug, A)
    lag(qa)
    qa.push("qa/foo", B)
    assert_ready(qa, slug, A, B)
    lag(qa)
    qa.delete("qa/foo")
    assert_gone(qa)
    assert cries == set()


def test_a_rule_of_somebody_else_in_the_place_of_the_curtain_needs_a_person(qa: Installation) -> None:
    """It is shown, so that nobody waits for what will never come."""
    env = qa.run_pass(qa.push("qa/foo", A))
    assert env is not None
    listener, elbv2 = env.output("listener", "app")["arn"], qa.aws.client("elbv2")
    rules = elbv2.describe_rules(ListenerArn=listener)["Rules"]
    (curtain,) = [one for one in rules if not one["IsDefault"]]
    elbv2.delete_rule(RuleArn=curtain["RuleArn"])
    conditions: Any = [{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/theirs"]}}]
    elbv2.create_rule(
        ListenerArn=listener,
        Priority=1,
        Conditions=conditions,
        Actions=[{"Type": "forward", "TargetGroupArn": env.output("target_group", "app")["arn"]}],
    )
    env = qa.run_pass(env.slug)
    assert env is not None
    assert env.conditions["curtain/app"].state is State.BLOCKED
    assert "priority" in env.conditions["curtain/app"].message


@pytest.mark.parametrize("create", CREATES)
def test_deleted_before_what_was_made_is_shown(qa: Installation, create: str) -> None:
    """The branch goes after the first pass, and the first look at each thing does not see it."""
    qa.aws.hide_new(create, describes=1)
    slug = qa.push("qa/foo", A)
    qa.run_pass(slug)
    qa.delete("qa/foo")
    assert_gone(qa)


def test_a_next_life_begins_when_ecs_has_forgotten_the_last(qa: Installation) -> None:
    """Its services were INACTIVE, then not even that (facts B2-2)."""
    slug = qa.push("qa/foo", A)
    assert_ready(qa, slug, A)
    qa.delete("qa/foo")
    assert_gone(qa)
    for role in qa.blueprint.roles:
        qa.aws.ecs.purge(f"qa-foo-{role}")
    qa.push("qa/foo", B)
    qa.settle(rounds=SLOW)
    assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
    qa.delete("qa/foo")
    assert_gone(qa)


def test_services_that_are_forgotten_as_they_end_are_gone(
    qa: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody ever sees them INACTIVE: DescribeServices answers MISSING (facts B2-2)."""
    slug = qa.push("qa/foo", A)
    assert_ready(qa, slug, A)
    drain = qa.aws.ecs.drain

    def drain_and_purge(name: str) -> None:
        drain(name)
        qa.aws.ecs.purge(name)

    monkeypatch.setattr(qa.aws.ecs, "drain", drain_and_purge)
    qa.delete("qa/foo")
    assert_gone(qa)


@pytest.mark.parametrize("write", ["TransactWriteItems", "PutItem", "UpdateItem"])
@pytest.mark.parametrize("said", [C, ""], ids=["a push", "a deletion"])
def test_a_write_that_meets_another_of_the_table_loses_nothing(write: str, said: str) -> None:
    """Each conflict is answered by the queue, which brings the message again (facts B5-1)."""
    with light.installed() as qa:
        qa.push("qa/foo", A)
        qa.settle()
        qa.aws.conflict(write, times=2)
        qa.push("qa/foo", said)
        qa.settle(lambda: qa.complaints() == [])
