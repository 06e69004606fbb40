"""Streams of lines: what there is, and with `-f` what comes after it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import TypeVar

from qa_env.cli.installation import Installation

SECONDS = 2  # between two looks
Line = TypeVar("Line")


def add_argument(parser: argparse.ArgumentParser) -> None:
    """`-f`."""
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C")


def show(
    look: Callable[[], Iterable[Line]],
    key: Callable[[Line], object],
    tell: Callable[[Line], None],
    *,
    follow: bool,
    installation: Installation,
) -> None:
    """Tell every line that a look finds, each once; looks may overlap, as news come late and out of order."""
    before: set[object] = set()
    while True:
        lines = list(look())
        for line in lines:
            if key(line) not in before:
                tell(line)
        if not follow:
            return
        before |= {key(line) for line in lines}
        installation.pause(SECONDS)
