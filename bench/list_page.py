"""What the list of all environments costs: calls to the table, bytes read and sent, and time to make it.

    make bench        (PYTHONPATH=src:. python -m bench.list_page [--json])

The table is moto's, which answers a Query in pages of 1 MB as DynamoDB does. Its own time is not ours, so the
time is that of everything else: records in memory → the answer that the load balancer gets.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

os.environ.setdefault("AWS_DEFAULT_REGION", "eu-west-1")
os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "CRITICAL")

import boto3
from moto import mock_aws

from handlers import page
from qa_env.blueprint import Blueprint
from qa_env.model import Claim, Condition, Desired, Environment, State, port_key, port_scope
from qa_env.naming import slug
from qa_env.page.lookup import Places
from qa_env.store import DynamoStore
from tests.fakes import MemoryStore
from tests.making import blueprint, event

SIZES = (10, 100, 500, 1000)
REPEATS = 15
READ_UNIT = 4096  # bytes; half a unit where the read need not be consistent
ANSWER_MAX = 1_000_000  # bytes that a load balancer takes from a function
WEB = ("app", "admin")
COLUMNS = ("environments", "calls", "records KB", "HTML KB", "answer KB", "ms")


def environment(number: int, load_balancer: str) -> Environment:
    """One as the table has it when it is ready: three roles, two of them with a URL."""
    branch = f"qa/feature-{number:04d}-of-usual-length"
    name = slug("", "example/shop", branch)
    commit, generation = f"{number:040x}", 1_793_586_000_000 + number
    arn = f"{load_balancer.rpartition(':')[0]}:targetgroup/{name}/0123456789abcdef"

    def ready(**outputs: str) -> Condition:
        return Condition(State.READY, "", outputs, generation, "2026-11-02T02:20:01.000+00:00")

    stages = [{"name": one, "status": "Succeeded"} for one in ("Source", "Build", "Migrate", "Deploy")]
    said = {key: ready() for key in ("branch", "claims", "commit_status", "deployment", "slack", "event")}
    said |= {"schema": ready(name=name), "keyspace": ready(namespace=name)}
    said["pipeline"] = ready(execution=commit[:36], commit=commit, stages=json.dumps(stages), seconds="240")
    for role in (*WEB, "worker"):
        tasks = json.dumps({"running": 1, "desired": 1})
        said[f"task_definition/{role}"] = ready(arn=arn, commit=commit, execution=commit[:36])
        said[f"service/{role}"] = ready(serving="yes", tasks=tasks, task_definition=arn, commit=commit)
    for place, role in enumerate(WEB):
        url = f"https://{name}.qa.example.com:{10001 + 2 * number + place}/"
        said |= {f"target_group/{role}": ready(arn=arn), f"curtain/{role}": ready()}
        said[f"listener/{role}"] = ready(arn=arn, url=url)
    claims = {"schema": Claim("schema", name), "redis": Claim("redis namespace", name)}
    for place, role in enumerate(WEB):
        claims[port_key(role)] = Claim(port_scope(load_balancer), str(10001 + 2 * number + place))
    return Environment(
        slug=name,
        repository="example/shop",
        branch=branch,
        desired=Desired.PRESENT,
        commit=commit,
        generation=generation,
        by=f"developer-{number % 20}",
        at="2026-11-02T02:16:01.000+00:00",
        claims=claims,
        conditions=said,
    )


def measure(size: int, one: Blueprint) -> dict[str, float]:
    """One row of the table."""
    places = Places("qa-env", (one.load_balancers[0].arn,))
    environments = [environment(number, one.load_balancers[0].arn) for number in range(size)]
    calls, read = _cost_of_reading(environments)
    store = MemoryStore()
    store.records = {env.slug: env for env in environments}
    answers, times = [], []
    for _ in range(REPEATS):
        started = time.perf_counter()
        answers.append(_answer(store, places, one))
        times.append(time.perf_counter() - started)
    body = base64.b64decode(answers[0]["body"])
    row = (size, calls, read / 1000, len(gzip.decompress(body)) / 1000, len(json.dumps(answers[0])) / 1000)
    return dict(zip(COLUMNS, (*row, statistics.median(times) * 1000), strict=True))


def _answer(store: MemoryStore, places: Places, one: Blueprint) -> Mapping[str, Any]:
    """As a browser asks: it takes gzip."""
    asked = event("alb-page")
    asked |= {"path": "/", "httpMethod": "GET", "queryStringParameters": {}}
    asked["headers"] |= {"accept-encoding": "gzip, br", "x-forwarded-port": "443"}
    return page.handler(asked, None, store=store, places=places, blueprints={one.repository: one})


def _cost_of_reading(environments: list[Environment]) -> tuple[int, int]:
    """(calls, bytes) of reading all records from the table."""
    with mock_aws():
        table = boto3.resource("dynamodb").create_table(
            TableName="qa-env",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            KeySchema=[
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
        )
        store = DynamoStore(table)
        for env in environments:
            gone = replace(env, desired=Desired.ABSENT)
            store.desire(gone, None)
            store.renew(env, gone)  # with its claims, and without a transaction, which moto is slow at
            store.save(env)
        answers: list[Any] = []
        events = table.meta.client.meta.events
        events.register("after-call.dynamodb.Query", lambda parsed, **_: answers.append(parsed))
        assert len(list(store.all())) == len(environments)
        items = [item for answer in answers for item in answer["Items"]]
    return len(answers), sum(_size(item) for item in items)


def _size(item: Mapping[str, Any]) -> int:
    """As DynamoDB counts: names and values, in UTF-8."""
    return sum(len(name) + len(str(value).encode()) for name, value in item.items())


def main(arguments: list[str]) -> int:
    """0 if every answer fits through a load balancer."""
    one = blueprint()
    rows = [measure(size, one) for size in SIZES]
    if "--json" in arguments:
        print(json.dumps({"machine": platform.platform(), "rows": rows}, indent=2))
    else:
        machine = f"{platform.platform()}, Python {platform.python_version()}"
        print(f"The list page ({machine}, median of {REPEATS})\n")
        print("".join(f"{column:>14}" for column in COLUMNS))
        for row in rows:
            print("".join(f"{row[column]:>14.0f}" for column in COLUMNS))
        units = sum(row["records KB"] for row in rows if row["environments"] == 500) * 1000 / READ_UNIT
        print(f"\n500 environments are {units:.0f} read units, half of that for the list.")
    return int(any(row["answer KB"] * 1000 > ANSWER_MAX for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
