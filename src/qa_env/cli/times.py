"""Lengths of time and moments, as people type and read them in a terminal."""

from __future__ import annotations

import argparse
import re

from qa_env.page import times

UNITS = {"s": 1, "m": times.MINUTE, "h": times.HOUR, "d": times.DAY}


def duration(text: str) -> float:
    """Seconds of `90s`, `10m`, `2h` or `1d`, for argparse."""
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time: 90s, 10m, 2h, 1d")
    return int(found[1]) * UNITS[found[2]]


def ago(at: str, now: float) -> str:
    """How long ago: `now`, `5m`, `3h`, `2d`; empty if that cannot be read."""
    then = times.seconds(at)
    if then is None:
        return ""
    age = now - then
    if age < times.MINUTE:
        return "now"
    unit = next(unit for unit in "dhm" if age >= UNITS[unit])
    return f"{int(age // UNITS[unit])}{unit}"


def moment(at: str) -> str:
    """Date and time in UTC; empty if that cannot be read."""
    then = times.seconds(at)
    return "" if then is None else times.iso(then).replace("T", " ").removesuffix("Z")
