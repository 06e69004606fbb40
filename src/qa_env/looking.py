"""Looking at the world in few calls: several things at once, and nothing twice in one pass.

The resources of a pass share one `Seen`: what one of them has read is there for the others, and where AWS
answers for many things in one call, who reads asks for those of all roles. It ends with the pass: nothing is
believed that an earlier one saw.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

THREADS = 8

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")


class Once(Protocol):
    """How something is read or looked after that others of the same pass need as well."""

    def __call__(self, what: Hashable, read: Callable[[], T]) -> T: ...


class Seen:
    """The answers of one pass. Two who want the same at the same time wait for one answer, or one error."""

    def __init__(self) -> None:
        self._answers: dict[Hashable, Future[Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, what: Hashable, read: Callable[[], T]) -> T:
        with self._lock:
            is_first = what not in self._answers
            answer: Future[T] = self._answers.setdefault(what, Future())
        if is_first:
            try:
                answer.set_result(read())
            except BaseException as error:  # whoever waits for this must not wait for ever
                answer.set_exception(error)
        return answer.result()


def afresh(what: Hashable, read: Callable[[], T]) -> T:
    """For who is alone: every look is a new one."""
    return read()


def at_once(calls: Sequence[Callable[[], T]], threads: int = THREADS) -> list[T]:
    """What these return, called side by side; the first one's error when all have ended."""
    if len(calls) == 1:
        return [calls[0]()]
    with ThreadPoolExecutor(max_workers=max(1, min(threads, len(calls)))) as pool:
        futures = [pool.submit(call) for call in calls]
    return [future.result() for future in futures]


def both(first: Callable[[], A], second: Callable[[], B]) -> tuple[A, B]:
    """The same for two of different kinds."""
    calls: list[Callable[[], Any]] = [first, second]
    one, other = at_once(calls)
    return one, other
