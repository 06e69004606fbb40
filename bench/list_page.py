"""What the list of all environments costs: calls to the table, bytes read and sent, and time to make it.

    make bench        (PYTHONPATH=src:. python -m bench.list_page [--json])

The table is moto's, which answers a Query in pages of 1 MB as DynamoDB does. Its own time is not ours, so the
time is that of everything else: records in memory → the answer that the load balancer gets.
"""

from __future__ import annotations

import base64
import functools
import gzip
import json
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

os.environ.setdefault("AWS_DEFAULT_REGION", "eu-west-1")
os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "CRITICAL")

import boto3

from bench import report, settled
from bench.report import Goal, Result, Row
from handlers import page
from qa_env.blueprint import Blueprint
from qa_env.model import Desired, Environment, Slug
from qa_env.page.lookup import Places
from qa_env.store import DynamoStore
from tests.fakes import MemoryStore
from tests.light import quick_table
from tests.making import blueprint, event
from tests.strict_aws import strict_aws

SIZES = (10, 100, 500, 1000)
FEW, MANY = 100, 500  # both on one page of the list
REACH = 1.2
REPEATS = 9
READ_UNIT = 4096  # bytes; half a unit where the read need not be consistent
PAGE = 1_000_000  # bytes of a Query; what a load balancer takes from a function is as much
BALANCER = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/qa-{number}/0123456789abcdef"
COLUMNS = ("environments", "calls", "records KB", "HTML KB", "answer KB", "ms", "ms each")


def measure(sizes: Sequence[int] = SIZES) -> Result:
    """One row per size. The times of all sizes are measured in turns."""
    stores = {size: _store(size) for size in sizes}
    costs = _costs_of_reading(stores)
    times: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(REPEATS):
        for size, store in stores.items():
            started = time.process_time()
            _answer(store)
            times[size].append((time.process_time() - started) * 1000)
    rows = [_row(size, stores[size], *costs[size], statistics.median(times[size])) for size in sizes]
    return Result("The list page", COLUMNS, rows, _goals(rows), _notes(rows))


def _row(size: int, store: MemoryStore, calls: int, read: int, ms: float) -> Row:
    answer = _answer(store)
    html = gzip.decompress(base64.b64decode(answer["body"]))
    sent = len(json.dumps(answer))
    values = (size, calls, read / 1000, len(html) / 1000, sent / 1000, ms, ms / size)
    return dict(zip(COLUMNS, values, strict=True))


def _goals(rows: Sequence[Row]) -> list[Goal]:
    """What one environment costs does not grow, no call is made in vain, and every answer gets through."""
    known = {row["environments"]: row for row in rows}
    goals = []
    if FEW in known and MANY in known:
        figure = f"list page, ms each, {MANY} environments against {FEW}"
        goals.append(Goal(figure, known[MANY]["ms each"], known[FEW]["ms each"], "ms", REACH))
    for size, row in known.items():
        needed = -(-int(row["records KB"] * 1000) // PAGE)
        goals.append(Goal(f"list page of {size}", row["calls"], needed, "calls", REACH))
    largest = max(row["answer KB"] for row in rows)
    goals.append(Goal("the largest answer of what a load balancer takes", largest, PAGE / 1000, "KB", 1))
    return goals


def _notes(rows: Sequence[Row]) -> list[str]:
    return [
        f"{row['environments']} environments are {row['records KB'] * 1000 / READ_UNIT:.0f} read units,"
        " half of that for the list, which need not be consistent."
        for row in rows
    ]


def _store(size: int) -> MemoryStore:
    balancers = [BALANCER.format(number=n) for n in range(settled.load_balancers_for(size))]
    environments = [settled.environment(number, balancers) for number in range(size)]
    store = MemoryStore()
    store.records = {env.slug: env for env in environments}
    return store


def _answer(store: MemoryStore) -> Mapping[str, Any]:
    """As a browser asks: it takes gzip."""
    asked = event("alb-page")
    asked |= {"path": "/", "httpMethod": "GET", "queryStringParameters": {}}
    asked["headers"] |= {"accept-encoding": "gzip, br", "x-forwarded-port": "443"}
    one = _blueprint()
    places = Places("qa-env", (one.load_balancers[0].arn,))
    return page.handler(asked, None, store=store, places=places, blueprints={one.repository: one})


@functools.cache
def _blueprint() -> Blueprint:
    """Read once, as in the function."""
    return blueprint()


def _costs_of_reading(stores: Mapping[int, MemoryStore]) -> dict[int, tuple[int, int]]:
    """Size → (calls, bytes) of reading all records from the table, which grows from one size to the next."""
    costs = {}
    with strict_aws() as aws, quick_table():
        table = boto3.resource("dynamodb", region_name=aws.region).Table(aws.world().table)
        store = DynamoStore(table)
        written: set[Slug] = set()
        for number, records in sorted(stores.items()):
            for env in records.all():
                if env.slug not in written:
                    _write(store, env)
            written |= set(records.records)
            aws.calls.clear()
            assert len(list(store.all(consistent=False))) == number
            answers = [call.answer or {} for call in aws.calls]
            costs[number] = len(answers), sum(size(item) for answer in answers for item in answer["Items"])
    return costs


def _write(store: DynamoStore, env: Environment) -> None:
    """The record with its claims, without the transaction that takes them."""
    seen = replace(env, desired=Desired.ABSENT)
    store.desire(seen, None)
    store.renew(env, seen)


def size(item: Mapping[str, Any]) -> int:
    """As DynamoDB counts: names and values, in UTF-8."""
    return sum(len(name) + len(str(value).encode()) for name, value in item.items())


if __name__ == "__main__":
    sys.exit(report.main(measure))
