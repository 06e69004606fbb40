"""Looking at once and once: nothing is asked twice in a pass, nothing is remembered after it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from qa_env import app
from qa_env.looking import Seen, afresh, at_once
from qa_env.model import Slug
from tests.installation import A, installed


class TestSeen:
    def test_the_second_who_asks_gets_the_first_answer(self) -> None:
        """Also where it is nothing."""
        once, answers = Seen(), iter([None, "another"])
        assert once("what", lambda: next(answers)) is None
        assert once("what", lambda: next(answers)) is None

    def test_different_things_are_read_each(self) -> None:
        once = Seen()
        assert [once(name, lambda name=name: name.upper()) for name in ("a", "b")] == ["A", "B"]

    def test_who_asks_meanwhile_waits_for_the_answer(self) -> None:
        """Two members of a wave ask for the same at the same time: it is read once."""
        once, reading, go_on, reads = Seen(), threading.Event(), threading.Event(), []

        def read() -> str:
            reads.append("once more")
            reading.set()
            assert go_on.wait(10)
            return "answer"

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(once, "what", read)
            assert reading.wait(10)
            second = pool.submit(once, "what", read)
            go_on.set()
            assert [first.result(10), second.result(10)] == ["answer", "answer"]
        assert reads == ["once more"]

    def test_an_error_is_everybodys(self) -> None:
        """Nobody asks again in this pass what has just been refused."""
        once = Seen()
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                once("what", lambda: 1 // 0)
            with pytest.raises(ZeroDivisionError):
                once("what", lambda: 1)

    def test_without_a_pass_every_look_is_new(self) -> None:
        answers = iter([1, 2])
        assert [afresh("what", lambda: next(answers)) for _ in range(2)] == [1, 2]


class TestAtOnce:
    def test_they_run_beside_each_other(self) -> None:
        """Each waits for all: in turns they would wait for ever."""
        all_here = threading.Barrier(3, timeout=10)
        assert len(at_once([all_here.wait] * 3)) == 3

    def test_the_answers_come_in_the_order_of_the_calls(self) -> None:
        assert at_once([lambda: "a", lambda: "b", lambda: "c"], threads=2) == ["a", "b", "c"]
        assert at_once([]) == []

    def test_the_first_error_is_raised_when_all_have_ended(self) -> None:
        """What another call did must not be left half done."""
        ended = []
        with pytest.raises(ZeroDivisionError):
            at_once([lambda: 1 // 0, lambda: ended.append("other")])
        assert ended == ["other"]


def test_a_plan_remembers_nothing_of_an_earlier_one() -> None:
    """What somebody deleted between two passes is missed by the second."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        (listener,) = {
            one["ListenerArn"]
            for one in qa.aws.client("elbv2").describe_listeners(LoadBalancerArn=qa.world.load_balancer.arn)[
                "Listeners"
            ]
            if one["Port"] == 10001
        }
        qa.aws.client("elbv2").delete_listener(ListenerArn=listener)
        plans = [app.plan(qa.clients, qa.store, qa.blueprint) for _ in range(2)]
        assert plans[0].claims.once is not plans[1].claims.once
        qa.run_pass(Slug(slug))
        listeners = qa.aws.client("elbv2").describe_listeners(LoadBalancerArn=qa.world.load_balancer.arn)
        assert {one["Port"] for one in listeners["Listeners"]} >= {10001, 10002}
