"""What a check says: how bad it is, what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "unknown"  # it could not be checked


@dataclass(frozen=True)
class Finding:
    """One line. `fix` is a sentence or a command; whatever is not ok has one."""

    level: Level
    text: str
    fix: str = ""


Findings = Iterator[Finding]


class Unchecked(Exception):
    """A check cannot be made; the text says why, `fix` what would help."""

    def __init__(self, text: str, fix: str) -> None:
        super().__init__(text)
        self.fix = fix


def ok(text: str) -> Finding:
    """As it should be."""
    return Finding(Level.OK, text)


def warning(text: str, fix: str) -> Finding:
    """Works, but not well, not for long, or for more people than it should."""
    return Finding(Level.WARNING, text, fix)


def problem(text: str, fix: str) -> Finding:
    """Something will not work."""
    return Finding(Level.PROBLEM, text, fix)


def unknown(text: str, fix: str) -> Finding:
    """It could not be checked."""
    return Finding(Level.UNKNOWN, text, fix)
