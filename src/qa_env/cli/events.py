"""`qa-env events`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import NamedTuple

from qa_env.cli import environments, following, output, times
from qa_env.cli.ended import Exit
from qa_env.cli.installation import Installation
from qa_env.cli.output import Output, Painted
from qa_env.model import Slug
from qa_env.page import api
from qa_env.store import Event

HELP = "what happened to an environment, or to all there are, the newest last"
MOST = 200


class Line(NamedTuple):
    """One event and whose it is."""

    slug: Slug
    event: Event


def configure(parser: argparse.ArgumentParser) -> None:
    """Which one, and whether to wait for more."""
    environments.add_argument(parser, optional=True)
    following.add_argument(parser)
    parser.epilog = "example: qa-env events qa/foo -f"


def run(given: argparse.Namespace, installation: Installation, out: Output) -> int:
    """A line each; in JSON as `history` of the API, with the slug."""
    asked_for = _slug(installation, given.environment) if given.environment else None
    slugs = {asked_for} if asked_for else set[Slug]()

    def look() -> Iterable[Line]:
        """Once seen, an environment is followed to its end: what is gone has a history, but no record."""
        if asked_for is None:
            slugs.update(env.slug for env in installation.store.all(consistent=False))
        found = [Line(slug, event) for slug in slugs for event in installation.store.history(slug)]
        return sorted(found, key=lambda line: line.event.at)[-MOST:]

    following.show(
        look, lambda line: line, lambda line: _tell(line, out), follow=given.follow, installation=installation
    )
    return Exit.DONE


def _slug(installation: Installation, name: str) -> Slug:
    """What is gone has a history, too."""
    env = environments.look_up(installation, name)
    slug = env.slug if env else environments.gone(installation, name)
    if slug is None:
        raise environments.unknown(name, list(installation.store.all()))
    return slug


def _tell(line: Line, out: Output) -> None:
    slug, event = line
    if out.json:
        out.record({"slug": slug, **api.event(event)})
    else:
        at = Painted(times.moment(event.at), "dim")
        state = output.state(event.phase)
        gap = "  " if event.phase else ""
        out.line(at, f"  {slug}  ", state, f"{gap}{event.kind} ({event.by}): {event.text}")
