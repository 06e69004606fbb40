"""Which environments the list and the API show, in which order, and how many in one answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode

from qa_env.model import Phase
from qa_env.page import times
from qa_env.summary import Summary

TEXT_MAX = 200
ROWS = 500
BYTES = 800_000  # of an answer's rows; a load balancer takes 1 MB of JSON from a function
TROUBLE_FIRST = (
    Phase.BLOCKED,
    Phase.FAILED,
    Phase.DEPLOYING,
    Phase.BUILDING,
    Phase.QUEUED,
    Phase.READY,
    Phase.ASLEEP,
    Phase.DELETING,
)
SORTS: Mapping[str, Callable[[Summary], tuple[object, ...]]] = {
    "age": lambda s: (-(times.seconds(s.env.at) or 0.0), s.env.slug),
    "branch": lambda s: (s.env.branch.casefold(), s.env.slug),
    "state": lambda s: (TROUBLE_FIRST.index(s.phase), s.env.slug),
    "owner": lambda s: (s.env.by.casefold(), s.env.slug),
}
One = TypeVar("One")


@dataclass(frozen=True)
class Query:
    """What a visitor asked to see. Empty texts mean all; `start` is the place of the first one shown."""

    text: str = ""
    repository: str = ""
    state: str = ""
    owner: str = ""
    sort: str = "age"
    start: int = 0

    @property
    def narrows(self) -> bool:
        """Is something left out on purpose?"""
        return bool(self.text or self.repository or self.state or self.owner)

    def select(self, summaries: Iterable[Summary]) -> list[Summary]:
        """Those that are asked for, in the order that is asked for."""
        return sorted((one for one in summaries if self._wants(one)), key=SORTS[self.sort])

    def address(self, path: str, start: int) -> str:
        """The same question from another place on."""
        asked = {
            "q": self.text,
            "repository": self.repository,
            "state": self.state,
            "owner": self.owner,
            "sort": self.sort if self.sort != "age" else "",
            "from": str(start) if start else "",
        }
        given = urlencode({name: value for name, value in asked.items() if value})
        return f"{path}?{given}" if given else path

    def _wants(self, summary: Summary) -> bool:
        env = summary.env
        exact = ((self.repository, env.repository), (self.state, summary.phase), (self.owner, env.by))
        if any(wanted and wanted != has for wanted, has in exact):
            return False
        text = self.text.casefold()
        fields = (env.branch, env.slug, env.by, env.repository)
        return not text or any(text in one.casefold() for one in fields) or env.commit.startswith(text)


def read(given: Mapping[str, str]) -> Query:
    """The query parameters; what is not understood is as if it had not been sent."""
    sort, start, state = given.get("sort", ""), given.get("from", ""), given.get("state", "")
    return Query(
        text=given.get("q", "").strip()[:TEXT_MAX],
        repository=given.get("repository", ""),
        state=state if state in list(Phase) else "",
        owner=given.get("owner", ""),
        sort=sort if sort in SORTS else "age",
        start=int(start) if start.isascii() and start.isdecimal() and len(start) < 7 else 0,
    )


def window(
    found: Sequence[Summary], start: int, make: Callable[[Summary], One], size: Callable[[One], int]
) -> tuple[list[One], int]:
    """(what fits into one answer, where the next one begins or 0): so many rows, or so many bytes."""
    made: list[One] = []
    left = BYTES
    for place, one in enumerate(found[start : start + ROWS], start):
        row = make(one)
        left -= size(row)
        if left < 0 and made:
            return made, place
        made.append(row)
    end = start + len(made)
    return made, end if end < len(found) else 0


def deployed_at(summary: Summary) -> str:
    """When the last of its services came up as wanted, in ISO 8601; empty while none has.

    Of what sleeps it is when it was built: its services have changed since because they stopped. From the
    record: the history knows more, but is another query for every row.
    """
    if summary.phase is Phase.ASLEEP:
        pipeline = summary.env.conditions.get("pipeline")
        return pipeline.since if pipeline and pipeline.state == "ready" else ""
    services = (c for name, c in summary.env.conditions.items() if name.startswith("service/"))
    return max((c.since for c in services if c.state == "ready"), default="")


def visited_at(summary: Summary) -> str:
    """When somebody last came, in ISO 8601; empty where that is not known."""
    return times.iso(summary.env.visited / 1000) if summary.env.visited else ""
