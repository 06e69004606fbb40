"""Late webhooks where GitHub cannot be asked: every order in which they may arrive.

`pushed_at` orders nearly all of them. Without it there are only `before` and `after`, which tell a
webhook's neighbours and no more: the tests named `..._cannot_be_known` hold what is done then, so that a
change of it is a decision. GitHub credentials in the blueprint make all of this go away.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations

import pytest

from qa_env import naming
from qa_env.controller import Controller, Plan
from qa_env.model import Change, Condition, Desired, Environment, Ref, State
from qa_env.ordering import is_late
from tests.fakes import MemoryStore
from tests.making import REPOSITORY, A, B, C, D, blueprint, environment

SLUG = naming.slug("", REPOSITORY, "qa/foo")


def push(commit: str, before: str = "", at: int = 0) -> Change:
    return Change(SLUG, REPOSITORY, "qa/foo", Ref.PRESENT, commit, before, at, "hanako", "push")


def delete(before: str = "", at: int = 0) -> Change:
    return Change(SLUG, REPOSITORY, "qa/foo", Ref.ABSENT, "", before, at, "hanako", "push")


def create(at: int = 0) -> Change:
    return Change(SLUG, REPOSITORY, "qa/foo", Ref.PRESENT, "", "", at, "hanako", "create")


class Nothing:
    """Claims nothing; there are no resources either."""

    def ensure(self, env: Environment) -> tuple[Environment, dict[str, str]]:
        return env, {}


PUSH = {
    "connection_arn": "arn:aws:codeconnections:ap-northeast-1:123456789012:connection/1",
    "role_arn": "arn:aws:iam::123456789012:role/pipeline",
    "artifact_bucket": "artifacts",
    "build_project": "build",
}


def controller(store: MemoryStore) -> Controller:
    """The real one, for a repository without GitHub credentials and without resources."""
    plan = Plan(Nothing(), [], [], lambda gone: [])
    made = blueprint(github=None, pipeline=PUSH)
    return Controller(store, {REPOSITORY: made}, lambda _: plan, lambda slug, why: None)


def after(changes: Iterable[Change], begun: bool = False) -> Environment | None:
    """The record once these arrived in this order; `begun`: each delete had already torn something down."""
    store = MemoryStore()
    asked = controller(store)
    for change in changes:
        asked.request(change)
        env = store.get(SLUG)
        if begun and env and env.desired is Desired.ABSENT:
            torn = Condition(State.WAITING, "stopping", {}, env.generation)
            store.save(env.with_conditions({"service/app": torn}))
    return store.get(SLUG)


LIFE = [push(A, "", 1), push(B, A, 2), push(A, B, 3), delete(A, 4), push(C, "", 5)]
"""A push, another, a force-push back, the delete, and a new branch of the same name."""


def wanted(env: Environment | None) -> tuple[Desired, str] | None:
    """What the record means in the end: a push that waits for the teardown counts."""
    if env is None:
        return None
    lives = env.desired is Desired.PRESENT or bool(env.next_commit)
    return (Desired.PRESENT, env.next_commit or env.commit) if lives else (Desired.ABSENT, "")


@pytest.mark.parametrize("begun", [False, True], ids=["before the teardown", "during the teardown"])
def test_every_order_of_a_life_ends_at_its_last_push(begun: bool) -> None:
    """With times, all 120 orders of five webhooks end with the commit that is there."""
    ends = {wanted(after(order, begun)) for order in permutations(LIFE)}
    assert ends == {(Desired.PRESENT, C)}


def test_every_order_of_a_life_that_ends_is_gone() -> None:
    """With times, every order ends as absent, or never begins where the delete is the first to be known."""
    for order in permutations(LIFE[:4]):
        expected = None if order[0].ref is Ref.ABSENT else (Desired.ABSENT, "")
        assert wanted(after(order)) == expected, [(c.ref, c.pushed_at) for c in order]


@pytest.mark.parametrize("at", [(0, 0), (9, 9), (9, 0)])
def test_a_delete_before_the_first_push_is_not_known_without_times(at: tuple[int, int]) -> None:
    """Nor within a second: then the push makes an environment."""
    deleted, pushed = at
    assert wanted(after([delete(A, deleted), push(A, "", pushed)])) == (Desired.PRESENT, A)


@pytest.mark.parametrize("at", [0, 9], ids=["without times", "in one second"])
class TestWithoutTimes:
    """Where `pushed_at` is missing or the same, the chain of commits is all there is."""

    def test_the_right_order_is_followed(self, at: int) -> None:
        """Push, push, force-push back, delete and push anew, in the order in which they happened."""
        ends = [
            (Desired.PRESENT, A),
            (Desired.PRESENT, B),
            (Desired.PRESENT, A),
            (Desired.ABSENT, ""),
            (Desired.PRESENT, C),
        ]
        life = [push(A, "", at), push(B, A, at), push(A, B, at), delete(A, at), push(C, "", at)]
        for number, end in enumerate(ends, start=1):
            assert wanted(after(life[:number])) == end
            assert wanted(after(life[:number], begun=True)) == end

    def test_the_push_before_the_known_one_is_late(self, at: int) -> None:
        """B was pushed on A, so A is older, however late it comes."""
        assert wanted(after([push(B, A, at), push(A, "", at)])) == (Desired.PRESENT, B)
        assert wanted(after([push(A, "", at), push(B, A, at), push(A, "", at)])) == (Desired.PRESENT, B)

    def test_a_force_push_back_is_not_late(self, at: int) -> None:
        """A once more, but pushed on B."""
        assert wanted(after([push(A, "", at), push(B, A, at), push(A, B, at)])) == (Desired.PRESENT, A)

    def test_a_late_push_does_not_revive_a_deleted_branch(self, at: int) -> None:
        """The delete came when the branch was at B: the push that brought it there was earlier."""
        life = [push(A, "", at), push(B, A, at), delete(B, at), push(B, A, at)]
        assert wanted(after(life)) == (Desired.ABSENT, "")
        life = [push(A, "", at), push(B, A, at), delete("", at), push(B, A, at)]
        assert wanted(after(life)) == (Desired.ABSENT, "")

    def test_restoring_a_deleted_branch_is_not_late(self, at: int) -> None:
        """GitHub's “restore branch” pushes the same commit anew: nothing was there before it."""
        assert wanted(after([push(A, "", at), delete(A, at), push(A, "", at)])) == (Desired.PRESENT, A)

    def test_a_push_upon_the_one_that_waits_for_the_teardown_follows_it(self, at: int) -> None:
        """During a teardown the waiting commit is the branch's head: D follows C, and C again is late."""
        life = [push(A, "", at), delete(A, at), push(C, "", at), push(D, C, at)]
        assert wanted(after(life, begun=True)) == (Desired.PRESENT, D)
        assert wanted(after([*life, push(C, "", at)], begun=True)) == (Desired.PRESENT, D)

    def test_duplicates_change_nothing(self, at: int) -> None:
        """Every webhook twice is every webhook once."""
        life = [push(A, "", at), push(B, A, at), delete(B, at)]
        for number in range(1, 4):
            once, twice = life[:number], [change for change in life[:number] for _ in range(2)]
            assert wanted(after(once)) == wanted(after(twice))

    def test_a_push_two_commits_old_cannot_be_known(self, at: int) -> None:
        """Only the neighbour is known: A after C looks like a force-push, and is followed."""
        assert wanted(after([push(B, A, at), push(C, B, at), push(A, "", at)])) == (Desired.PRESENT, A)

    def test_a_push_that_a_force_push_undid_cannot_be_known(self, at: int) -> None:
        """A → B → A with B's webhook last looks like A → B → A → B, and is followed."""
        assert wanted(after([push(A, "", at), push(A, B, at), push(B, A, at)])) == (Desired.PRESENT, B)


def test_a_late_delete_is_known_within_a_second() -> None:
    """Deleted at A, pushed anew as C within the second: the delete that arrives last is not about C."""
    assert wanted(after([push(A, "", 9), push(C, "", 9), delete(A, 9)])) == (Desired.PRESENT, C)
    waiting = [push(A, "", 9), delete(A, 9), push(C, "", 9), delete(A, 9)]
    assert wanted(after(waiting, begun=True)) == (Desired.PRESENT, C)


def test_a_delete_before_the_push_it_followed() -> None:
    """A, then the delete of B, then B's own push: without times the delete is believed and B is late."""
    assert wanted(after([push(A), delete(B), push(B, A)])) == (Desired.ABSENT, "")


def test_a_delete_before_the_push_it_followed_within_a_second_cannot_be_known() -> None:
    """The delete of B could be older than A, so it is not believed, and the environment stays."""
    assert wanted(after([push(A, "", 9), delete(B, 9), push(B, A, 9)])) == (Desired.PRESENT, B)


def test_a_late_delete_without_times_cannot_be_known() -> None:
    """Without times a delete is believed: the branch may have been pushed and deleted since."""
    assert wanted(after([push(A), push(C), delete(A)])) == (Desired.ABSENT, "")


def test_a_delete_that_names_no_commit_is_believed() -> None:
    """GitHub's `delete` event has no commit; only an older time makes it late."""
    assert wanted(after([push(A, "", 5), delete("", 5)])) == (Desired.ABSENT, "")
    assert wanted(after([push(A, "", 5), delete("", 4)])) == (Desired.PRESENT, A)


def test_the_same_wish_said_later_moves_the_time() -> None:
    """A force-push back to A that arrives before the push it undid: that one is late, and A stays."""
    env = after([push(A, "", 1), push(A, B, 3), push(B, A, 2)])
    assert wanted(env) == (Desired.PRESENT, A)
    assert env
    assert env.pushed_at == 3


def test_the_same_wish_said_later_makes_no_new_generation() -> None:
    """Nothing is wished for anew, so nothing is built or deployed anew and no worker is overtaken."""
    store = MemoryStore()
    asked = controller(store)
    asked.request(push(A, "", 1))
    first = store.get(SLUG)
    asked.request(push(A, B, 3))
    again = store.get(SLUG)
    assert first
    assert again
    assert (again.generation, again.at, again.commit) == (first.generation, first.at, first.commit)
    assert (again.pushed_at, again.before) == (3, B)


def test_create_and_push_are_one_wish() -> None:
    """Both events of one push, in either order, leave the pushed commit."""
    for order in permutations([create(5), push(A, "", 5)]):
        assert wanted(after(order)) == (Desired.PRESENT, A)


def test_a_late_create_does_not_revive_a_deleted_branch() -> None:
    """With times; without, it may have been made anew: the push that names the commit is waited for."""
    assert wanted(after([push(A, "", 1), delete(A, 4), create(1)])) == (Desired.ABSENT, "")
    assert wanted(after([push(A), delete(A), create()])) == (Desired.PRESENT, "")


def test_an_older_time_is_late_whatever_the_chain_says() -> None:
    """The repository's last push was later than this one."""
    env = environment(commit=A, before="", pushed_at=5)
    assert is_late(env, push(B, A, 4))
    assert is_late(env, delete(A, 4))
    assert not is_late(env, push(B, A, 5))
    assert not is_late(env, push(B, A, 6))


def test_a_late_webhook_leaves_a_line_in_the_history() -> None:
    """A developer who wonders finds what was ignored."""
    store = MemoryStore()
    asked = controller(store)
    for change in (push(B, A, 2), push(A, "", 1)):
        asked.request(change)
    assert store.history(SLUG)[0].text == f"ignored a late push of {A}"
