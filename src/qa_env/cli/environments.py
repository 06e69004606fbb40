"""Which environment is meant by ENV: its slug, or its branch."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence

from qa_env import naming
from qa_env.cli.ended import Ended, Exit
from qa_env.cli.installation import Installation
from qa_env.model import Environment, Slug

ARGUMENT = "the environment: its slug (qa-foo) or its branch (qa/foo)"


def add_argument(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """ENV, as every command takes it."""
    parser.add_argument("environment", metavar="ENV", nargs="?" if optional else None, help=ARGUMENT)


def find(installation: Installation, name: str) -> Environment:
    """The environment of this slug or branch; Ended if there is none, or if it could be several."""
    found = look_up(installation, name)
    if found is None:
        raise unknown(name, list(installation.store.all()))
    return found


def look_up(installation: Installation, name: str) -> Environment | None:
    """The same, but None if there is none."""
    env = installation.store.get(Slug(name)) if naming.is_slug(name) else None
    if env is not None:
        return env
    found = [one for one in installation.store.all() if one.branch == name]
    if len(found) > 1:
        each = ", ".join(sorted(f"{one.slug} ({one.repository})" for one in found))
        raise Ended(Exit.USAGE, f"the branch {name} has several environments, name one of them: {each}")
    return found[0] if found else None


def gone(installation: Installation, name: str) -> Slug | None:
    """The slug of what has no record any more, but still a history."""
    slugs = {blueprint.slug(name) for blueprint in installation.blueprints.values()}
    candidates = [name] if naming.is_slug(name) else sorted({*slugs, name.replace("/", "-", 1)})
    left = [Slug(one) for one in candidates if naming.is_slug(one) and installation.store.history(Slug(one))]
    return left[0] if len(left) == 1 else None


def unknown(name: str, known: Sequence[Environment]) -> Ended:
    """There is no such environment; perhaps another one is meant."""
    names = sorted({*(env.slug for env in known), *(env.branch for env in known)})
    near = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`qa-env list` shows all there are."
    return Ended(Exit.UNKNOWN, f"there is no environment {name}; {hint}")
