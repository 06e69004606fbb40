"""From ten to a thousand environments: what a sweep, an audit, the list page, a claim and a pass cost.

    make bench        (PYTHONPATH=src:. python -m bench.scale [--json])

All of it is the product's own code over strict AWS. Its load balancers are as many as so many environments
need, so what costs a call per load balancer grows too. The bounds are worked out from the number of things
and from what one call takes or gives. `ms` is the processor's time without AWS's part in it: moto's time is
not AWS's, and a busy machine is not ours. `steps` are the calls of Python functions: the same on every
machine, whatever else runs and whatever its caches hold, so they say whether the *work* grows.
"""

from __future__ import annotations

import cProfile
import gc
import itertools
import logging
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from io import StringIO
from typing import Any
from unittest.mock import patch

from bench import list_page, report, settled
from bench.report import Goal, Result, Row
from handlers import page, sweep
from qa_env import runtime
from qa_env.audit import Report
from qa_env.blueprint import Blueprint
from qa_env.model import Desired, Environment, Phase, Slug, port_scope
from qa_env.page.lookup import Places
from qa_env.visits import EVERY_MINUTES, Visits
from qa_env.watch import Watch
from tests.installation import A, Installation, installed
from tests.light import quick_table
from tests.making import environment, event
from tests.strict_aws.call import Answer, Call, Event, copied

SIZES = (10, 100, 500, 1000)
FEW, BUDGET, MANY = 100, 500, 1000  # what is compared with what, and where the calls are
FEWEST = 10  # what milliseconds are compared with: a hundred records still fit into a processor's cache
REACH = 1.2
REPEATS = 5
MEGABYTE = 1_000_000  # a page of a Query ends there: we count like DynamoDB, moto in MiB of its own
PER_CALL = {
    "GetMetricData": 500,  # service model: MetricDataQueries
    "GetResources": 100,  # service model: ResourcesPerPage
    "DescribeTargetGroups": 400,  # service model: PageSize
    "DescribeServices": 10,  # service model: services
    "ListServices": 100,  # service model: maxResults
    "ListPipelines": 1000,  # service model: maxResults
    "ListImages": 1000,  # service model: maxResults
    "SendMessageBatch": 10,  # API reference: "up to 10 messages"
}
LISTS = {  # what the audit lists, and where in the answer it is
    "GetResources": "ResourceTagMappingList",
    "DescribeTargetGroups": "TargetGroups",
    "DescribeServices": "services",
    "ListServices": "serviceArns",
    "ListPipelines": "pipelines",
    "ListImages": "imageIds",
}
SWEEP, AUDIT, LIST, PASS = "sweep", "audit", "list page", "pass over one"
SHARED = BUDGETED = (SWEEP, AUDIT, LIST)
CLAIM, CLAIM_OF_ALL, CLAIM_OF_LAST = "claim", "claim, all load balancers", "claim, the last two ports"
TITLE = "From ten to a thousand environments: calls, and milliseconds of our own"
NOTES = (
    "What is said of each is per environment; of a claim and of a pass it is the whole.",
    "A claim reads once per load balancer of the blueprint, side by side, and never per environment.",
)
COLUMNS = (
    *("what", "environments", "load balancers", "calls", "calls each", "steps each", "ms", "ms each"),
    "by service",
)
Bound = Mapping[str, int]


@dataclass
class Cost:
    """Calls by service and milliseconds of one doing."""

    calls: Counter[str]
    ms: float
    tries: int
    """Transactions: a claim needs one."""
    steps: int


@dataclass
class Meter:
    """Counts calls, and takes AWS's share out of the time.

    What is done again is told what AWS said the first time: that saves minutes of moto's time.
    """

    qa: Installation
    spent: float = 0.0
    again: bool = False
    said: dict[tuple[str, str], Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        handle = self.qa.aws.handle

        def timed(call: Call) -> Answer:
            started = time.thread_time()
            what = (call.name, repr(call.params))
            try:
                if not (self.again and what in self.said):
                    self.said[what] = handle(call)
                return copied(self.said[what])
            finally:
                self.spent += time.thread_time() - started

        self.qa.aws.handle = timed  # type: ignore[method-assign]  # a meter between the clients and AWS

    def cost(self, act: Callable[[], object], repeats: int = REPEATS) -> Cost:
        """The calls of the first time, and the median of the times."""
        self.said.clear()
        self.qa.aws.calls.clear()
        asked = len(self.qa.datastores.requests)
        times = [self._time(act)]
        calls = Counter(call.service for call in self.qa.aws.calls)
        calls["lambda"] = len(self.qa.datastores.requests) - asked
        tries = len(self.qa.aws.calls_to("TransactWriteItems"))
        _leave_alone()  # the answers, too, are AWS's
        self.again = True
        times += [self._time(act) for _ in range(repeats - 1)]
        steps = _steps(act)
        self.again = False
        return Cost(+calls, statistics.median(times), tries, steps)

    def _time(self, act: Callable[[], object]) -> float:
        self.spent, started = 0.0, time.process_time()
        act()
        return (time.process_time() - started - self.spent) * 1000


def _steps(act: Callable[[], object]) -> int:
    """Calls of functions; those of other threads are not seen."""
    profile = cProfile.Profile()
    profile.runcall(act)
    return sum(one.callcount for one in profile.getstats())


def _leave_alone() -> None:
    """What AWS keeps in this process is not ours to look through for garbage."""
    gc.collect()
    gc.freeze()


@dataclass
class Fleet:
    """An installation in which so many environments are settled; the first of them had a whole life."""

    qa: Installation
    whole: Blueprint
    living: Slug
    size: int = 1
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def grow(self, size: int) -> None:
        """Let there be so many, with the load balancers that they need."""
        settled.settle(self.qa, range(self.size, size))
        self.size = size
        self.use(settled.load_balancers_for(size))
        _leave_alone()

    def use(self, load_balancers: int) -> None:
        """The blueprint names only so many."""
        some = self.whole.load_balancers[:load_balancers]
        self.qa.use(self.whole.model_copy(update={"load_balancers": some}))

    def sweep(self) -> None:
        """The dearest tick: the one of a quarter of an hour, which looks for visits as well."""
        qa = self.qa
        watch = Watch(qa.store, runtime.wake, wake_all=runtime.wake_all)
        visits = Visits(qa.aws.client("cloudwatch"), qa.store)
        with patch.object(sweep.time, "time", lambda: qa.now - qa.now % (60 * EVERY_MINUTES)):
            sweep.handler({}, None, watch=watch, visits=visits, blueprints=[qa.blueprint])

    def audit(self) -> None:
        """The hourly one, with AWS and the data. It must find nothing, or this measures something else."""
        found = self.qa.audit(deliver=False)
        assert found == Report(), found

    def list_page(self) -> None:
        """As a browser asks."""
        asked = event("alb-page")
        asked |= {"path": "/", "httpMethod": "GET", "queryStringParameters": {}}
        asked["headers"] |= {"accept-encoding": "gzip, br", "x-forwarded-port": "443"}
        blueprint = self.qa.blueprint
        places = Places("qa-env", tuple(lb.arn for lb in blueprint.load_balancers))
        known = {blueprint.repository: blueprint}
        answer = page.handler(asked, None, store=self.qa.store, places=places, blueprints=known)
        assert answer["statusCode"] == 200, answer

    def reconcile(self) -> None:
        """A pass over a settled environment."""
        env = self.qa.run_pass(self.living)
        assert env is not None
        assert env.phase is Phase.READY, self.qa.messages(self.living)

    @property
    def doings(self) -> dict[str, Callable[[], object]]:
        """What is measured at every size, but claims."""
        return {SWEEP: self.sweep, AUDIT: self.audit, LIST: self.list_page, PASS: self.reconcile}

    def use_up(self, left: int) -> None:
        """The blueprint names the ports that are taken, and on the last load balancer so many more."""
        room = []
        for lb in self.whole.load_balancers:
            taken = len(self.qa.store.taken(port_scope(lb.arn)))
            is_last = not taken or taken + left < len(lb.port_range)
            last = lb.port_range[taken + left - 1 if is_last else taken - 1]
            room.append(lb.model_copy(update={"ports": f"{lb.port_range[0]}-{last}"}))
            if is_last:
                break
        self.qa.use(self.whole.model_copy(update={"load_balancers": room}))

    def wished(self) -> Environment:
        """A new environment that holds nothing yet."""
        branch = f"qa/new-{next(self.numbers)}"
        wish = environment(settled.slug_of(branch), branch=branch)
        self.qa.store.desire(wish, None)
        return wish

    def claim(self, env: Environment) -> Environment:
        """It takes all that it must hold."""
        return self.qa.plan(self.qa.blueprint).claims.ensure(env)[0]

    def release(self, env: Environment) -> None:
        """It gives back what it holds."""
        gone = replace(env, desired=Desired.ABSENT, generation=env.generation + 1)
        self.qa.store.desire(gone, env)
        self.qa.store.forget(gone)


@contextmanager
def fleet(largest: int) -> Iterator[Fleet]:
    """One environment that had a whole life, and room for so many."""
    with ExitStack() as stack:
        qa = stack.enter_context(installed(load_balancers=settled.load_balancers_for(largest)))
        stack.enter_context(quick_table())
        variables = {"QA_ENV_QUEUE_URL": qa.world.queue_url, "POWERTOOLS_METRICS_NAMESPACE": "qa-env"}
        stack.enter_context(patch.dict(os.environ, variables))
        stack.enter_context(patch.object(runtime, "client", qa.aws.client))
        living = qa.push("qa/feature-0000-of-usual-length", A)
        qa.settle()
        yield Fleet(qa, qa.blueprint, living)
        gc.unfreeze()


def measure(sizes: Sequence[int] = SIZES) -> Result:
    """Grow one installation and measure at each size."""
    rows: list[Row] = []
    goals: list[Goal] = []
    logging.disable()
    with fleet(max(sizes)) as made, redirect_stdout(StringIO()):  # the metrics of sweeps are lines of the log
        meter = Meter(made.qa)
        for size in sizes:
            made.grow(size)
            rows += [_row(made, what, meter.cost(act)) for what, act in made.doings.items()]
            rows += _claims(made, meter)
            if size == BUDGET:
                goals += [goal for what in BUDGETED for goal in within_budget(made, meter, what)]
    logging.disable(logging.NOTSET)
    return Result(TITLE, COLUMNS, rows, [*_growth(rows), *_steady(rows), *goals], NOTES)


def _row(made: Fleet, what: str, cost: Cost) -> Row:
    each = made.size if what in SHARED else 1
    return {
        "what": what,
        "environments": made.size,
        "load balancers": len(made.qa.blueprint.load_balancers),
        "calls": cost.calls.total(),
        "calls each": cost.calls.total() / each,
        "steps each": cost.steps / each,
        "ms": cost.ms,
        "ms each": cost.ms / each,
        "by service": ", ".join(f"{service} {number}" for service, number in sorted(cost.calls.items())),
    }


def _claims(made: Fleet, meter: Meter) -> Iterator[Row]:
    """With the load balancers that so many need, with all of them, and where only two ports are left."""
    yield _row(made, CLAIM, _cost_of_claims(made, meter))
    made.use(len(made.whole.load_balancers))
    yield _row(made, CLAIM_OF_ALL, _cost_of_claims(made, meter))
    made.use_up(left=2)
    cost = _cost_of_claims(made, meter)
    yield _row(made, CLAIM_OF_LAST, cost) | {"tries": cost.tries}
    made.use(settled.load_balancers_for(made.size))


def _cost_of_claims(made: Fleet, meter: Meter) -> Cost:
    """What they wish for and give back is no part of it."""
    env = made.wished()
    held: list[Environment] = []
    cost = meter.cost(lambda: held.append(made.claim(env)))
    made.release(held[0])
    return cost


# --- what it is compared with -----------------------------------------------------------------------------


def _growth(rows: Sequence[Row]) -> Iterator[Goal]:
    """The cost of one environment, or of one pass, with many environments against that with few."""
    known = {(row["what"], row["environments"]): row for row in rows}
    for what in (*SHARED, PASS):
        for column, size in (("calls each", FEW), ("steps each", FEW), ("ms each", FEWEST)):
            few, many = known.get((what, size)), known.get((what, MANY))
            if few and many:
                figure = f"{what}, {column}, {MANY} environments against {size}"
                yield Goal(figure, many[column], few[column], column.split()[0], REACH)


def _steady(rows: Sequence[Row]) -> Iterator[Goal]:
    """A claim costs the same calls however many environments there are, and one try however few ports."""
    calls = {row["environments"]: row["calls"] for row in rows if row["what"] == CLAIM_OF_ALL}
    least, most = min(calls), max(calls)
    figure = f"{CLAIM_OF_ALL}, {most} environments against {least}"
    yield Goal(figure, calls[most], calls[least], "calls", REACH)
    for row in rows:
        if row["what"] == CLAIM_OF_LAST:
            figure = f"{CLAIM_OF_LAST} beside {row['environments']} environments"
            yield Goal(figure, row["tries"], 1, "tries", 1)


def within_budget(made: Fleet, meter: Meter, what: str) -> Iterator[Goal]:
    """The calls to each service against what so many things need at least."""
    cost = meter.cost(made.doings[what], 1)
    bound = BOUNDS[what](made)
    for service in sorted({*cost.calls, *bound}):
        figure = f"{what} over {made.size} settled environments, {service}"
        yield Goal(figure, cost.calls[service], bound.get(service, 0), "calls", REACH)


def _bound_of_records(made: Fleet) -> Bound:
    """Every record, a megabyte a Query."""
    records = _answered(made, "Query", "Items", pk="environment")
    return {"dynamodb": _calls(sum(map(list_page.size, records)), MEGABYTE)}


def _bound_of_sweep(made: Fleet) -> Bound:
    """The records, a message for each that is woken and a metric for each web role."""
    sent = _asked(made, "SendMessageBatch", "Entries")
    metrics = _asked(made, "GetMetricData", "MetricDataQueries")
    return {
        **_bound_of_records(made),
        "sqs": _calls(len(sent), PER_CALL["SendMessageBatch"]),
        "cloudwatch": _calls(len(metrics), PER_CALL["GetMetricData"]),
    }


def _bound_of_audit(made: Fleet) -> Bound:
    """Every list once, each page as full as it may be; tags are those that the tagging API shows.

    What has none of ours (two STG services) is asked for them. In the table it is the records, a
    partition of claims per load balancer and three more, the dismissals, and what the audit remembers: read
    and written. Of the data it is one list each.
    """
    balancers = len(made.qa.blueprint.load_balancers)
    found = {operation: len(_answered(made, operation, key)) for operation, key in LISTS.items()}
    pages = {operation: _calls(number, PER_CALL[operation]) for operation, number in found.items()}
    return {
        "dynamodb": _bound_of_records(made)["dynamodb"] + balancers + 3 + 1 + 2,
        "elbv2": pages["DescribeTargetGroups"] + balancers,  # DescribeListeners takes one load balancer
        "ecs": pages["ListServices"] + pages["DescribeServices"],
        "codepipeline": pages["ListPipelines"],
        "ecr": pages["ListImages"],
        "resourcegroupstaggingapi": pages["GetResources"],
        "lambda": 2,
    }


def _calls(number: int, per_call: int) -> int:
    return -(-number // per_call)


def _answered(made: Fleet, operation: str, key: str, pk: str = "") -> list[Any]:
    """What calls of this name gave, all together; of a Query only those of this partition."""
    answers = [
        call.answer or {} for call in made.qa.aws.calls_to(operation) if not pk or _partition(call) == pk
    ]
    return [one for answer in answers for one in answer[key]]


def _asked(made: Fleet, operation: str, key: str) -> list[Any]:
    """What calls of this name were given, all together."""
    return [one for call in made.qa.aws.calls_to(operation) for one in call.params[key]]


def _partition(call: Event) -> str:
    return str(call.params["ExpressionAttributeValues"][":pk"])


BOUNDS = {SWEEP: _bound_of_sweep, AUDIT: _bound_of_audit, LIST: _bound_of_records}

if __name__ == "__main__":
    sys.exit(report.main(measure))
