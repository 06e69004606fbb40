"""Push A, push B, delete, push C, delivered in every order, doubled, an hour late, or not at all.

Signed webhooks through receiver, FIFO queue and reconcile. When the first of them arrives, all of it has
happened: the branch lives at C. The orders of one test are branches of one installation, which share nothing
but its ports. `test_ordering.py` has the rule for one order after another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import permutations, zip_longest
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from qa_env import runtime
from qa_env.audit import Audit
from qa_env.census import Watched
from tests.event_source import waiting
from tests.light import Died, Installation, installed, slug_of
from tests.making import A, B, C

STORY = "ABxC"
"""In the order in which it happened; `x` is the deletion."""
COMMITS = {"A": A, "B": B, "C": C, "x": ""}
ORDERS = ["".join(order) for order in permutations(STORY)]
DOUBLED = [STORY + webhook for webhook in STORY]
"""Each of them once more when all of it is over."""
LOST = [STORY.replace(webhook, "") for webhook in STORY[:-1]]
"""Each but the last never delivered."""
MINUTE, HOUR = 60, 3600

Pace = Callable[[Installation, Iterable[list[dict[str, Any]]]], None]


def at_once(qa: Installation, deliveries: Iterable[list[dict[str, Any]]]) -> None:
    """Nothing is worked off before the last one is taken."""
    qa.send(deliveries)
    qa.settle()


def an_hour_apart(qa: Installation, deliveries: Iterable[list[dict[str, Any]]]) -> None:
    """Each finds what the one before has made of its environment, at rest."""
    for next_ones in zip_longest(*deliveries):
        qa.send([one] for one in next_ones if one)
        qa.settle()
        qa.clock.advance(HOUR)


def branch_of(order: str) -> str:
    """A branch of its own for each; names of environments know no capitals."""
    return f"qa/{order.lower()}"


def happened(qa: Installation, order: str, seconds: int) -> list[dict[str, Any]]:
    """The branch has gone through all of it, so many seconds apart; these are still on their way."""
    told = {}
    for webhook in STORY:
        told[webhook] = qa.delivery(branch_of(order), COMMITS[webhook])
        qa.clock.advance(seconds)
    return [told[webhook] for webhook in order]


def expect(qa: Installation, ends: Mapping[str, str]) -> None:
    """Order → the webhook whose word counts in the end: each environment is there, or not, and no other."""
    for order, end in ends.items():
        qa.heads[branch_of(order)] = COMMITS[end]
    assert qa.complaints() == []
    assert len(list(qa.store.all())) == len([end for end in ends.values() if end != "x"])


@pytest.fixture(params=[False, True], ids=["last-webhook", "github"])
def qa(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """Both ways of knowing where a branch is."""
    with installed(asks_github=request.param) as made:
        yield made


@pytest.fixture
def deaf() -> Iterator[Installation]:
    """The last webhook is all there is."""
    with installed(asks_github=False) as made:
        yield made


@pytest.fixture
def asking() -> Iterator[Installation]:
    """GitHub is asked."""
    with installed(asks_github=True) as made:
        yield made


paced = pytest.mark.parametrize("pace", [at_once, an_hour_apart])


@paced
def test_every_order_ends_at_the_last_push(qa: Installation, pace: Pace) -> None:
    """All 24, each webhook doubled, each but the last one lost; seconds between the events."""
    orders = [*ORDERS, *DOUBLED, *LOST]
    pace(qa, [happened(qa, order, seconds=10) for order in orders])
    expect(qa, dict.fromkeys(orders, "C"))


WITHIN_A_SECOND = {
    "": "C",
    "x": "C",  # it does not follow C
    "A": "A",  # it looks like a force-push, as does B
    "B": "B",
    "AB": "B",
    "BA": "B",  # A is what B followed
    "Ax": "A",
    "xA": "A",
    "Bx": "x",  # it follows B
    "xB": "B",
    "ABx": "x",
    "BAx": "x",
    "AxB": "B",
    "xAB": "B",
    "xBA": "B",
    "BxA": "A",  # it creates
}
"""What arrives after C → whose word counts: without GitHub only the neighbours of a commit are known."""


@paced
def test_every_order_of_one_second_ends_where_the_neighbours_of_a_commit_lead(
    deaf: Installation, pace: Pace
) -> None:
    """Decision 0011, "What cannot be known": C comes last, or what comes after it is judged by it alone."""
    orders = {order: WITHIN_A_SECOND[order.partition("C")[2]] for order in ORDERS}
    pace(deaf, [happened(deaf, order, seconds=0) for order in orders])
    expect(deaf, orders)


LAST_LOST = ["".join(order) for order in permutations(STORY[:-1])]


@paced
def test_any_webhook_leads_to_the_push_whose_own_was_lost_where_github_is_asked(
    asking: Installation, pace: Pace
) -> None:
    """The webhook says which branch, GitHub says where it is."""
    pace(asking, [happened(asking, order, seconds=10) for order in LAST_LOST])
    expect(asking, dict.fromkeys(LAST_LOST, "C"))


@paced
def test_a_push_whose_webhook_was_lost_is_not_known_without_github(deaf: Installation, pace: Pace) -> None:
    """The deletion is the last word, whenever it arrives; also where the teardown has ended long before."""
    pace(deaf, [happened(deaf, order, seconds=10) for order in LAST_LOST])
    expect(deaf, dict.fromkeys(LAST_LOST, "x"))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("dies", [False, True], ids=["fails", "dies"])
def test_a_receiver_that_breaks_at_its_call_is_told_again(qa: Installation, dies: bool, after: bool) -> None:
    """GitHub sees no 202, so the delivery counts as failed, and redelivery asks for it: `test_redelivery.py`.

    A redelivery keeps its id and is another request, so it is on the queue beside the first where that was
    taken after all. Whatever happened to the branch meanwhile, its last word counts.
    """
    told = {webhook: qa.delivery("qa/foo", COMMITS[webhook]) for webhook in "AB"}
    error = Died() if dies else ReadTimeoutError(endpoint_url="https://sqs.example.com")
    qa.aws.fail("sqs:SendMessage", 1, error, after=after)
    with pytest.raises(Died if dies else AssertionError, match="" if dies else "503"):
        qa.deliver(told["A"])
    assert waiting(qa.sqs, qa.queue) == after
    qa.deliver(told["B"])
    qa.clock.advance(MINUTE)
    qa.deliver(told["A"])
    assert waiting(qa.sqs, qa.queue) == 2 + after
    qa.settle()
    assert qa.complaints() == []
    assert qa.env("qa/foo").commit == B


class Nothing:
    """No tagged things: this audit looks at branches."""

    def things(self) -> list[Any]:
        return []

    def is_there(self, arn: str) -> bool:
        raise AssertionError(arn)


def audited(qa: Installation) -> None:
    """One audit compares records with branches, and what it asks for is done."""
    watched = Watched(qa.blueprint, [], [], qa.branches)
    Audit(qa.store, [watched], Nothing(), [], runtime.send, clock=qa.clock).run(world=False)
    qa.settle()


def test_a_webhook_lost_while_it_happens_is_made_good(asking: Installation) -> None:
    """Each event an hour after the last and told at once, but one; only the audit finds what none follows."""
    lives = {lost: f"qa/without-{lost.lower()}" for lost in STORY}
    for webhook in STORY:
        said = {lost: asking.delivery(branch, COMMITS[webhook]) for lost, branch in lives.items()}
        asking.send([delivery] for lost, delivery in said.items() if lost != webhook)
        asking.settle()
        asking.clock.advance(HOUR)
    assert asking.complaints() == [f"{slug_of(lives['C'])}: lost"]
    audited(asking)
    assert asking.complaints() == []
    assert {env.commit for env in asking.store.all()} == {C}


def test_a_deletion_lost_and_never_followed_is_found_by_looking(asking: Installation) -> None:
    """Nothing is told after it: the look at what is settled asks GitHub, twice before it believes that."""
    asking.push("qa/foo", A)
    asking.settle()
    asking.delivery("qa/foo", "")
    asking.settle(lambda: asking.store.get(slug_of("qa/foo")) is None)
    assert asking.complaints() == []
