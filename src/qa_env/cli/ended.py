"""How a command ends: its exit code and, where it did not do what was asked, one sentence."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What scripts may rely on (`docs/cli.md`)."""

    DONE = 0
    NOT_SO = 1  # it did not come to be
    USAGE = 2
    UNKNOWN = 3  # no such environment
    AWS = 4  # cannot be reached, or refuses
    TIMEOUT = 124
    INTERRUPTED = 130


class Ended(Exception):
    """The command is over: the sentence says what happened, to what, and what to do."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code
