"""Deliveries that GitHub could not make are found and made again, which it does not do by itself (facts A2).

An event is lost if no delivery of it was taken and we did not refuse the last one on purpose. All deliveries
of an event share its GUID (facts A4), so that is also how often it was tried. Nothing is harmed by one
delivery too many: it only says where to look. And nothing depends on it: what is never delivered is found by
the audit's comparison of branches, only later. So credentials that may not see deliveries are no fault, and
whatever else is wrong with them or with a repository's name, that comparison says it to a person.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from qa_env.errors import Blocked
from qa_env.github import EVENTS
from qa_env.github_api import GitHub

logger = logging.getLogger(__name__)

USUAL = 24 * 3600  # seconds that are always looked back …
FARTHEST = 3 * USUAL  # … and while there are lost events: GitHub delivers none again that is older (facts A3)
PAGES = 10  # of a hundred deliveries
ATTEMPTS = 5  # deliveries of an event, the first one included
WAIT = 120  # seconds after its first delivery; four times as long after each further one
AT_ONCE = 50  # in one run: GitHub limits what is written (facts A38), and the next run goes on
OVERLOADED = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
"""Refusals that are not our receiver's: Lambda gives them where too much arrives at once."""


@dataclass(frozen=True)
class Redelivery:
    """For all repositories of one set of credentials: an App has one webhook for all of them.

    `webhook_url` is our own address: it tells our webhooks from others. `clock` is seconds since the epoch.
    """

    github: GitHub
    webhook_url: str
    repositories: Sequence[str]
    clock: Callable[[], float] = time.time

    def run(self, *, dry_run: bool = False) -> list[str]:
        """Ask for what was lost; the GUIDs that were, or would be, asked for: of each hook oldest first."""
        asked: list[str] = []
        for hook in self._hooks():
            for lost in self._due(hook)[: AT_ONCE - len(asked)]:
                if dry_run or _ask(hook, lost):
                    asked.append(lost.guid)
        return asked

    def _hooks(self) -> list[_Hook]:
        """The App's if that is ours, else the repositories' own, else their organisations'."""
        if hook := self._app_hook():
            return [hook]
        own = {name: self._hook(f"/repos/{name}") for name in self.repositories}
        without = [name for name, hook in own.items() if hook is None]
        owners = dict.fromkeys(name.partition("/")[0] for name in without)
        shared = {owner: self._hook(f"/orgs/{owner}", without) for owner in owners}
        unseen = [name for name in without if shared[name.partition("/")[0]] is None]
        if unseen:
            logger.info(
                "no webhook of ours is shown to these credentials: lost deliveries are not looked for",
                extra={"repositories": unseen},
            )
        return [hook for hook in (*own.values(), *shared.values()) if hook]

    def _app_hook(self) -> _Hook | None:
        try:
            app = self.github.app()
            is_ours = app is not None and self._is_ours(app.get("/app/hook/config"))
        except (LookupError, Blocked) as error:
            logger.debug("the App's webhook is not to be seen: %s", error)
            return None
        return _Hook(app, "/app/hook", self.repositories) if app and is_ours else None

    def _hook(self, place: str, repositories: Sequence[str] = ()) -> _Hook | None:
        for page in _pages(self.github, f"{place}/hooks?per_page=100"):
            for hook in page:
                if self._is_ours(hook["config"]):
                    return _Hook(self.github, f"{place}/hooks/{int(hook['id'])}", repositories)
        return None

    def _is_ours(self, config: Mapping[str, Any]) -> bool:
        return str(config.get("url") or "").rstrip("/") == self.webhook_url.rstrip("/")

    def _due(self, hook: _Hook) -> list[_Delivery]:
        """The last delivery of each lost event that may be tried again now."""
        events: dict[str, list[_Delivery]] = defaultdict(list)
        for delivery in self._recent(hook):
            events[delivery.guid].append(delivery)
        due = [tried for tried in events.values() if self._is_due(tried)]
        if due and hook.repositories:
            ours = self._ids(hook.repositories)
            due = [tried for tried in due if tried[-1].repository in ours]
        return [tried[0] for tried in sorted(reversed(due), key=lambda tried: tried[-1].at)]

    def _recent(self, hook: _Hook) -> Iterator[_Delivery]:
        """Newest first, as far back as there is a reason to look."""
        now = self.clock()
        for page in _pages(hook.github, f"{hook.path}/deliveries?per_page=100"):
            seen = [_Delivery.read(item) for item in page]
            yield from (one for one in seen if one.event in EVENTS and now - one.at < FARTHEST)
            far = FARTHEST if any(one.is_lost for one in seen) else USUAL
            if not seen or now - seen[-1].at >= far:
                return

    def _is_due(self, tried: Sequence[_Delivery]) -> bool:
        """Of an event's deliveries, newest first. Where the first is out of sight, others may be as well."""
        return (
            not any(one.is_taken for one in tried)
            and tried[0].is_lost
            and not tried[-1].is_again
            and len(tried) < ATTEMPTS
            and self.clock() - tried[0].at >= WAIT * 4 ** (len(tried) - 1)
        )

    def _ids(self, repositories: Sequence[str]) -> set[int]:
        """Deliveries name a repository by its number."""
        found = set()
        for name in repositories:
            try:
                found.add(int(self.github.get(f"/repos/{name}")["id"]))
            except (LookupError, Blocked) as error:
                logger.debug("GitHub does not show %s: %s", name, error)
        return found


@dataclass(frozen=True)
class _Hook:
    """A webhook of ours at `path`, and whose deliveries are looked at; all of them if nobody is named."""

    github: GitHub
    path: str
    repositories: Sequence[str]


@dataclass(frozen=True)
class _Delivery:
    """One attempt. `status` is 0 where nothing answered; `at` is when it was made or put off."""

    id: int
    guid: str
    event: str
    repository: int | None
    status: int
    at: float
    is_again: bool

    @classmethod
    def read(cls, item: Mapping[str, Any]) -> _Delivery:
        """From an element of GitHub's list (facts A5)."""
        moments = (item["delivered_at"], item.get("throttled_at"))
        return cls(
            int(item["id"]),
            str(item["guid"]),
            str(item["event"]),
            item.get("repository_id"),
            int(item.get("status_code") or 0),
            max(datetime.fromisoformat(moment).timestamp() for moment in moments if moment),
            bool(item.get("redelivery")),
        )

    @property
    def is_taken(self) -> bool:
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def is_lost(self) -> bool:
        """Not taken, and not refused on purpose, which it would be again."""
        is_refusal = HTTPStatus.BAD_REQUEST <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR
        return not self.is_taken and (not is_refusal or self.status in OVERLOADED)


def _pages(github: GitHub, path: str) -> Iterator[Any]:
    """What GitHub lists there; nothing if these credentials may not see it."""
    try:
        yield from itertools.islice(github.pages(path), PAGES)
    except (LookupError, Blocked) as error:
        logger.debug("not to be seen: %s", error)


def _ask(hook: _Hook, lost: _Delivery) -> bool:
    """Was it possible to ask for this delivery?"""
    try:
        hook.github.post(f"{hook.path}/deliveries/{lost.id}/attempts", {})
    except (LookupError, Blocked) as error:
        logger.info("GitHub does not deliver %s again: %s", lost.guid, error)
        return False
    logger.info("asked GitHub to deliver %s again", lost.guid)
    return True
