"""Four errors, four retry policies (`docs/decisions/0001-the-loop.md`).

An exception's class *is* what happens next; anything that is not one of these is unexpected: the
conditions are saved, then it is raised, and the queue retries it until the dead-letter queue has it.
"""

from __future__ import annotations


class QaEnvError(Exception):
    """The common root: these carry a sentence fit for a person, never a secret."""


class Rejected(QaEnvError):
    """A request that will never be acted on; `status` is the HTTP status that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Unfinished(QaEnvError):
    """Carries what is known so far, so that the next pass can go on from there."""

    def __init__(self, message: str, **outputs: str) -> None:
        super().__init__(message)
        self.outputs = outputs


class NotReady(Unfinished):
    """Accepted but unfinished: an event or the next tick looks again."""


class Blocked(Unfinished):
    """Only a person can help: a quota, a permission, a name that others own. The sweep looks again."""


class Failed(Blocked):
    """Blocked by the branch's own code: a build, migration or start that failed. The next push helps.

    Same policy as `Blocked`; it is told apart only because it concerns the developer and rings no alarm.
    """


class Stale(QaEnvError):
    """The record moved on while we worked: nothing to do, a newer message has the truth."""
