"""What a burst of webhooks costs, and how long the queue takes to drain.

    make bench        (PYTHONPATH=src:. python -m bench.load [--environments 500 --claiming 50] [--json])

Hundreds of branches are pushed at once, pushed and deleted in quick succession, and deleted at once. All of
it goes the real way: signed bytes, webhook, queue, event source mapping, reconcile, controller, claims and
table. An environment is a port and one small thing (`tests/light.py`); in the last row, which is first passes
at once, it is everything that it consists of in AWS.

AWS is moto under a lock: its time is in the seconds and AWS's own is not, so messages and calls are what to
compare. `minutes` are the sweep's; nothing waits for them in real time. A fifth of the environments comes
first, so that what a burst costs each of them is compared with a smaller burst of the same run.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from bench import report
from bench.report import Goal, Result, Row
from qa_env.model import Ref, Slug
from tests import installation, light

ENVIRONMENTS, CLAIMING = 100, 20
REACH = 1.2
PORTS = 50  # per load balancer
SERVICES = ("dynamodb", "elbv2", "sqs")
COLUMNS = (
    *("phase", "environments", "webhooks", "per second", "drained s", "minutes", "messages"),
    *SERVICES,
    "wrong",
)
NOTES = (
    "Messages and calls are per environment. `wrong` counts what is not as its branch's last webhook said,",
    "was lost, or is held twice.",
)


def pushes(environments: int) -> Iterator[tuple[str, str]]:
    """A commit of its own for each branch."""
    for number in range(environments):
        yield f"qa/branch-{number}", _commit(0, number)


def storm(environments: int) -> Iterator[tuple[str, str]]:
    """Three words on each branch in quick succession; what the last one says differs."""
    for number, (branch, _) in enumerate(pushes(environments)):
        words = _words(_commit(1, number), _commit(2, number))
        yield from ((branch, word) for word in words[number % 3])


def _words(first: str, second: str) -> list[tuple[str, ...]]:
    return [(first, second, ""), (first, "", second), (second, first, second)]


def _commit(generation: int, number: int) -> str:
    return f"c{generation:07x}{number:032x}"


def measure(environments: int = ENVIRONMENTS, at_once: int = CLAIMING) -> Result:
    """One row per burst, of a fifth and of all."""
    logging.disable()
    rows: list[Row] = []
    for number in (environments // 5, environments):
        for asks_github in (False, True):
            rows += _bursts(number, asks_github)
    rows += [_claiming(at_once // 5), _claiming(at_once)]
    logging.disable(logging.NOTSET)
    return Result("Load", COLUMNS, rows, list(_goals(rows)), NOTES)


def _goals(rows: Sequence[Row]) -> Iterator[Goal]:
    """Each burst beside the one of the same kind with fewer; and nothing may go wrong."""
    first: dict[str, Row] = {}
    for row in rows:
        fewer = first.setdefault(row["phase"], row)
        if fewer is not row:
            figure = f"{row['phase']}, {row['environments']} environments against {fewer['environments']}"
            yield Goal(figure, row["messages"], fewer["messages"], "messages each", REACH)
            calls, known = (sum(one[service] for service in SERVICES) for one in (row, fewer))
            yield Goal(figure, calls, known, "calls each", REACH)
    yield Goal("what went wrong in all bursts", sum(row["wrong"] for row in rows), 0, "environments", 1)


def _bursts(environments: int, asks_github: bool) -> Iterator[Row]:
    bursts = {
        "pushed": list(pushes(environments)),
        "in succession": list(storm(environments)),
        "deleted": [(branch, "") for branch, _ in pushes(environments)],
    }
    with light.installed(-(-environments // PORTS), asks_github) as qa:
        for name, said in bursts.items():
            yield _burst(qa, name, said)


def _burst(qa: light.Installation, name: str, said: Iterable[tuple[str, str]]) -> Row:
    qa.aws.calls.clear()
    before = sum(qa.source.received.values())
    deliveries = qa.written(said)
    started = time.perf_counter()
    qa.send(deliveries)
    sent = time.perf_counter()
    minutes = qa.settle()
    drained = time.perf_counter()
    number = sum(map(len, deliveries))
    return {
        "phase": f"{name}, {'GitHub asked' if qa.branches else 'last webhook'}",
        "environments": len(deliveries),
        "webhooks": number,
        "per second": number / (sent - started),
        "drained s": drained - sent,
        "minutes": minutes,
        "messages": (sum(qa.source.received.values()) - before) / len(deliveries),
        **_calls(qa.aws, len(deliveries)),
        "wrong": len(qa.complaints()),
    }


def _calls(aws: Any, environments: int) -> dict[str, float]:
    """Calls per environment, by service."""
    counted = Counter(call.service for call in aws.calls)
    return {service: counted[service] / environments for service in SERVICES}


def _claiming(environments: int) -> Row:
    """So many first passes at once, with all that an environment consists of."""
    load_balancers = -(-environments * 2 // 49)  # two web roles each; AWS admits 50 listeners
    with installation.installed(load_balancers=load_balancers) as qa:
        slugs = [qa.say(branch, Ref.PRESENT, commit) for branch, commit in pushes(environments)]
        qa.aws.calls.clear()
        started = time.perf_counter()
        passes, waiting = 0, slugs
        while waiting:  # who lost the race for a port too often has another pass
            together(qa, waiting)
            passes += len(waiting)
            waiting = [slug for slug in waiting if not qa.env(slug).claims]
        return {
            "phase": "claiming, everything",
            "environments": environments,
            "webhooks": environments,
            "drained s": time.perf_counter() - started,
            "messages": passes / environments,
            **_calls(qa.aws, environments),
            "wrong": len(shared(qa, slugs)),
        }


def together(qa: installation.Installation, slugs: Iterable[Slug]) -> None:
    """A pass over each of these, all at once."""
    slugs = list(slugs)
    with ThreadPoolExecutor(len(slugs)) as pool:
        for done in [pool.submit(qa.controller.reconcile, slug) for slug in slugs]:
            done.result()


def shared(qa: installation.Installation, slugs: Iterable[Slug]) -> list[str]:
    """URLs that two of these have, or that one of them lacks."""
    urls = {slug: qa.env(slug).urls for slug in slugs}
    found = Counter(url for each in urls.values() for url in each.values())
    lacking = [slug for slug, each in urls.items() if set(each) != {"app", "admin"}]
    return [*(url for url, holders in found.items() if holders > 1), *lacking]


def _sized() -> partial[Result]:
    """As many as the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--environments", type=int, default=ENVIRONMENTS, metavar="N")
    parser.add_argument("--claiming", type=int, default=CLAIMING, metavar="N")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    return partial(measure, given.environments, given.claiming)


if __name__ == "__main__":
    sys.exit(report.main(_sized()))
