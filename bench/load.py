"""What a burst of webhooks costs, and how long the queue takes to drain.

    make bench        (PYTHONPATH=src:. python -m bench.load [--environments 500] [--claiming 50] [--json])

Hundreds of branches are pushed at once, pushed and deleted in quick succession, and deleted at once. All of
it goes the real way: signed bytes, webhook, queue, event source mapping, reconcile, controller, claims and
table. An environment is a port and one small thing (`tests/light.py`); in the last row, which is first passes
at once, it is everything that it consists of in AWS.

AWS is moto under a lock: its time is in the seconds and AWS's own is not, so messages and calls are what to
compare. `minutes` are the sweep's; nothing waits for them in real time.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from qa_env.model import Ref, Slug
from tests import installation, light

PORTS = 50  # per load balancer
SERVICES = ("dynamodb", "elbv2", "sqs")
COLUMNS = ("phase", "webhooks", "per second", "drained s", "minutes", "messages", *SERVICES, "wrong")
Row = dict[str, Any]


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


def measure(environments: int, asks_github: bool) -> Iterator[Row]:
    """One row per burst."""
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


def claiming(environments: int) -> Row:
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


def main(arguments: list[str] | None = None) -> int:
    """Prints a row per burst; what is not as it should be is counted, not judged."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--environments", type=int, default=500, metavar="N")
    parser.add_argument("--claiming", type=int, default=50, metavar="N")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    logging.disable()
    machine = f"{platform.platform()}, Python {platform.python_version()}"
    rows = _rows(given.environments, given.claiming)
    if given.json:
        print(json.dumps({"machine": machine, "rows": list(rows)}, indent=2))
        return 0
    print(f"Load ({machine}; messages and calls per environment)\n")
    print(f"{COLUMNS[0]:<30}" + "".join(f"{column:>12}" for column in COLUMNS[1:]), flush=True)
    for row in rows:
        cells = (row.get(column, 0) for column in COLUMNS[1:])
        print(f"{row['phase']:<30}" + "".join(f"{cell:>12.1f}" for cell in cells), flush=True)
    return 0


def _rows(environments: int, at_once: int) -> Iterator[Row]:
    for asks_github in (False, True):
        yield from measure(environments, asks_github)
    yield claiming(at_once)


if __name__ == "__main__":
    sys.exit(main())
