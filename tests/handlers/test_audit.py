"""The audit's clock, and what a person may ask of it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from handlers import audit
from qa_env.audit import Report


class Audits:
    """Remembers how it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def run(self, **how: Any) -> Report:
        self.asked.append(how)
        return Report(adopted=["qa-foo"])


def test_the_world_is_listed_once_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six runs of an hour, whichever minute the schedule has come to begin with."""
    for first in range(audit.EVERY_MINUTES):
        audits = Audits()
        for minute in range(first, 60, audit.EVERY_MINUTES):
            monkeypatch.setattr(time, "time", lambda minute=minute: 1_793_588_400.0 + 60 * minute + 59)
            audit.handler({"version": "0"}, None, audit=audits)
        assert [one["world"] for one in audits.asked].count(True) == 1
        assert {(one["dry_run"], one["share"]) for one in audits.asked} == {(False, None)}


@pytest.mark.parametrize(
    ("event", "asked"),
    [
        ({"dry_run": True}, {"world": True, "dry_run": True, "share": None}),
        ({"dry_run": False}, {"world": True, "dry_run": False, "share": None}),
        ({"share": 1}, {"world": True, "dry_run": False, "share": 1.0}),
        ({"share": 0, "dry_run": True}, {"world": True, "dry_run": True, "share": 0.0}),
    ],
)
def test_a_person_sees_everything_at_once(event: dict[str, Any], asked: dict[str, Any]) -> None:
    audits = Audits()
    assert audit.handler(event, None, audit=audits)["adopted"] == ["qa-foo"]
    assert audits.asked == [asked]
