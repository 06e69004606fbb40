"""`qa-env wait`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

from qa_env.cli import environments, output, times
from qa_env.cli.ended import Ended, Exit
from qa_env.cli.installation import Installation
from qa_env.cli.output import Output
from qa_env.model import Environment, Phase, Slug, State, is_report
from qa_env.page import api

HELP = "wait until an environment is ready, settled or gone"
SECONDS = 3  # between two looks
AT_REST = (Phase.READY, Phase.ASLEEP)
GONE = "gone"


def configure(parser: argparse.ArgumentParser) -> None:
    """What is waited for, and for how long."""
    environments.add_argument(parser)
    parser.add_argument(
        "--for",
        dest="until",
        choices=("ready", "gone", "settled"),
        default="ready",
        help="ready: the application answers, or sleeps until a visit; settled: and everybody has been told;"
        " gone: nothing of it is left (default: ready)",
    )
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=times.duration,
        default=times.duration("30m"),
        help="then it ends with 124: 90s, 10m, 2h (default: 30m)",
    )
    parser.add_argument(
        "--commit",
        metavar="SHA",
        default="",
        help="with this commit, all or the first of its digits. Give it after a push: until the webhook"
        " has arrived, the environment is still what it was, or not there at all",
    )
    parser.epilog = 'example: git push && qa-env wait qa/foo --commit "$(git rev-parse HEAD)" --timeout 20m'


def run(given: argparse.Namespace, installation: Installation, out: Output) -> int:
    """Says every change of state; in JSON only what it was at last, as the API says it."""
    if given.commit and given.until == GONE:
        raise Ended(Exit.USAGE, "what is to be gone has no commit: leave --commit out")
    return _Wait(given.environment, given.until, given.commit.lower(), installation, out).run(given.timeout)


@dataclass
class _Wait:
    """One wait. `slug` is known once the environment was seen, `met` once it wanted the commit."""

    name: str
    until: str
    commit: str
    installation: Installation
    out: Output
    slug: Slug | None = None
    met: bool = False
    _told: list[str] = field(default_factory=list)

    def run(self, seconds: float) -> int:
        deadline = self.installation.clock() + seconds
        while True:
            env = self._look()
            self._tell(env)
            end = self._end(env)
            if end is not None:
                return self._say(env, end)
            if self.installation.clock() >= deadline:
                self._say(env, Exit.TIMEOUT)
                raise Ended(Exit.TIMEOUT, f"{self._described(env)}; that was all the time there was.")
            self.installation.pause(SECONDS)

    def _look(self) -> Environment | None:
        if self.slug:
            return self.installation.store.get(self.slug)
        env = environments.look_up(self.installation, self.name)
        if env is not None:
            self.slug = env.slug
        elif self.until == GONE:
            self.slug = environments.gone(self.installation, self.name)
        if self.slug is None and not self.commit:
            raise environments.unknown(self.name, list(self.installation.store.all()))
        return env

    def _end(self, env: Environment | None) -> Exit | None:
        """How it ends, None while it may still come to be."""
        if self.until == GONE:
            if env is None:
                return Exit.DONE
            return Exit.NOT_SO if env.phase is Phase.DELETING and env.needs_a_person else None
        if env is None:
            return Exit.NOT_SO if self.slug else None
        if not self._is_meant(env):
            return Exit.NOT_SO if self.met else None
        self.met = True
        if _is_pending(env):
            return None
        if env.phase in (Phase.DELETING, Phase.BLOCKED) or _is_failed(env):
            return Exit.NOT_SO
        is_built = not self.commit or (env.built is not None and env.built.commit == env.commit)
        return Exit.DONE if is_built and self._is_so(env) else None

    def _is_meant(self, env: Environment) -> bool:
        """Is it the commit that is waited for, and the branch there?"""
        return not self.commit or env.commit.startswith(self.commit)

    def _is_so(self, env: Environment) -> bool:
        at_rest = env.phase in AT_REST and env.asked.redeploy <= _number(env, "fulfilled")
        return at_rest and (self.until == "ready" or env.settled)

    def _tell(self, env: Environment | None) -> None:
        said = self._described(env)
        if said not in self._told[-1:]:
            self._told.append(said)
            if not self.out.json:
                self.out.note(said)

    def _described(self, env: Environment | None) -> str:
        if env is None:
            return f"{self.slug or self.name} is {GONE if self.slug else 'not there yet'}"
        if not self._is_meant(env):
            return f"{env.slug} is at commit {env.commit[:8] or 'none'}, not {self.commit[:8]}"
        why = self.installation.summary(env).reasons
        return f"{env.slug} is {env.phase}{': ' if why else ''}{'; '.join(why)}"

    def _say(self, env: Environment | None, end: Exit) -> int:
        """The result: what it is now."""
        if self.out.json:
            shown = api.environment(self.installation.summary(env)) if env else {}
            self.out.document(shown or {"slug": self.slug, "state": GONE if self.slug else None})
        elif end is Exit.DONE and env:
            urls = self.installation.summary(env).urls
            self.out.facts([("state", output.state(env.phase)), *urls.items()])
        elif end is Exit.NOT_SO and env and self.met and not self._is_meant(env):
            self.out.note(f"the branch has moved on to {env.commit}: nobody builds {self.commit} any more")
        return end


def _is_pending(env: Environment) -> bool:
    """Has somebody asked for something that no pass has seen yet? The state is from before that."""
    dismissed = bool(env.asked.dismissed) and env.asked.dismissed_in == env.generation
    return dismissed or env.asked.redeploy > _number(env, "asked")


def _is_failed(env: Environment) -> bool:
    """A failure that is nobody's verdict is tried again."""
    failed = [
        condition
        for name, condition in env.conditions.items()
        if condition.state is State.FAILED and condition.generation == env.generation and not is_report(name)
    ]
    return env.phase is Phase.FAILED and not all(condition.unexpected for condition in failed)


def _number(env: Environment, output_: str) -> int:
    return int(env.remembered("pipeline").get(output_) or 0)
