"""Many at once: nothing is lost, no port is held twice, and the last word on each branch is what counts.

The small edition of `bench/load.py`, which has the figures.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import load
from qa_env.model import Phase, Slug
from tests import installation, light
from tests.installation import A

ENVIRONMENTS = 12


@pytest.fixture(params=[False, True], ids=["last-webhook", "github"])
def qa(request: pytest.FixtureRequest) -> Iterator[light.Installation]:
    """Both ways of knowing where a branch is, with exactly as many ports as environments."""
    with light.installed(load_balancers=3, asks_github=request.param, ports="10001-10004") as made:
        yield made


def phases(qa: light.Installation) -> set[Phase]:
    return {env.phase for env in qa.store.all()}


def test_bursts_lose_nothing(qa: light.Installation) -> None:
    """Pushed at once, all become ready on ports of their own; deleted at once, nothing of them stays."""
    qa.burst(load.pushes(ENVIRONMENTS))
    qa.settle()
    assert qa.complaints() == []
    assert len(list(qa.store.all())) == ENVIRONMENTS
    assert phases(qa) == {Phase.READY}
    qa.burst((branch, "") for branch, _ in load.pushes(ENVIRONMENTS))
    qa.settle()
    assert qa.complaints() == []
    assert list(qa.store.all()) == []


def test_the_last_word_on_each_branch_counts(qa: light.Installation) -> None:
    """Pushed twice and deleted, deleted and pushed again, forced back: one branch's in order, all at once."""
    qa.burst(load.pushes(ENVIRONMENTS // 2))  # the others' branches begin in the storm
    qa.settle()
    qa.burst(load.storm(ENVIRONMENTS))
    qa.settle()
    assert qa.complaints() == []
    assert len(list(qa.store.all())) == ENVIRONMENTS * 2 // 3


def test_a_wish_that_changes_while_it_is_worked_on_counts(qa: light.Installation) -> None:
    """The second burst is sent while passes over the first are under way."""
    qa.burst(load.pushes(ENVIRONMENTS))
    later = iter(qa.written(load.storm(ENVIRONMENTS)))
    passes = qa.source.handler

    def interrupted(records: dict[str, object]) -> object:
        if (deliveries := next(later, None)) is not None:
            qa.send([deliveries])
        return passes(records)

    qa.source.handler = interrupted
    qa.settle()
    assert next(later, None) is None
    assert qa.complaints() == []


def test_who_finds_no_port_waits_for_one_and_gets_it() -> None:
    """More environments than ports: the rest is blocked, holds nothing, and follows when others go."""
    with light.installed(ports="10001-10008") as qa:
        qa.burst(load.pushes(12))
        qa.settle(lambda: len(ready(qa)) == 8)
        blocked = [env for env in qa.store.all() if env.phase is Phase.BLOCKED]
        assert len(blocked) == 4
        assert [dict(env.claims) for env in blocked] == [{}] * 4
        qa.burst((f"qa/{slug.removeprefix('qa-')}", "") for slug in ready(qa)[:4])
        qa.settle()
        assert qa.complaints() == []
        assert len(ready(qa)) == 8


def ready(qa: light.Installation) -> list[Slug]:
    return [env.slug for env in qa.store.all() if env.phase is Phase.READY]


def test_environments_that_claim_at_once_share_nothing() -> None:
    """With everything that an environment consists of: no URL is two environments', none lacks its own."""
    with installation.installed(load_balancers=1) as qa:
        slugs = [qa.push(branch, A) for branch, _ in load.pushes(6)]
        load.together(qa, slugs)
        assert load.shared(qa, slugs) == []
        listening = qa.aws.client("elbv2").describe_listeners(LoadBalancerArn=qa.world.load_balancer.arn)
        assert len({listener["Port"] for listener in listening["Listeners"]}) == 2 * len(slugs)
        assert len(qa.datastores.schemas) == len(qa.datastores.keys) == len(slugs)
