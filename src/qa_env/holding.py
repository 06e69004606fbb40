"""Whose data is. It bears no tags: its mark is the claim, read again from the table before it counts."""

from __future__ import annotations

from qa_env.errors import NotReady
from qa_env.model import UNCLAIMED, Claim, Environment, Ledger

LOST = {UNCLAIMED: "yes"}


def prefix(env: Environment, kind: str, present: str) -> str:
    """The prefix that its names were made with; `present` is the blueprint's, which may be another by now."""
    return env.remembered(kind).get("prefix", present)


def held(ledger: Ledger, env: Environment, name: str) -> Claim | None:
    """The claim of this key among the record's, if it is still held; None without one, or if another has it.

    NotReady if nobody has it: somebody deleted its item, and the next pass claims it again.
    """
    claim = env.claims.get(name)
    holder = ledger.holder(claim) if claim else None
    if claim and holder is None:
        raise NotReady(f"the claim on {claim} is gone from the table; it is claimed again", **LOST)
    return claim if holder == env.slug else None
