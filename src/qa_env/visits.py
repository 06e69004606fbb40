"""When somebody last came: the load balancers count requests per target group anyway (`RequestCount`).

Health checks are not among them, and neither are requests that the curtain answered: its target group is
another one. CloudWatch has a period's sum a few minutes after its end, so `visited` is exact to some minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from qa_env.model import Environment, Slug, State, key
from qa_env.store import Store

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

EVERY_MINUTES = 15
PERIOD = 300  # seconds
LOOK_BACK = timedelta(minutes=3 * EVERY_MINUTES)
QUERIES_PER_CALL = 500  # the service model's limit of MetricDataQueries


@dataclass(frozen=True)
class Visits:
    """Reads the load balancers' counts and writes down what is news."""

    client: CloudWatchClient
    store: Store

    def look(self, environments: Iterable[Environment], now: float) -> list[Slug]:
        """Write when each of these was last visited; returns those of which that was news."""
        asked = [(env, query) for env in environments for query in _queries(env)]
        newest: dict[Slug, int] = {}
        for start in range(0, len(asked), QUERIES_PER_CALL):
            part = asked[start : start + QUERIES_PER_CALL]
            for number, at in self._answers([query for _, query in part], now):
                env = part[number][0]
                seen = min(int((at.timestamp() + PERIOD) * 1000), int(now * 1000))
                if seen > max(env.visited, newest.get(env.slug, 0)):
                    newest[env.slug] = seen
        for slug, seen in newest.items():
            self.store.visit(slug, seen)
        return sorted(newest)

    def _answers(self, queries: list[dict[str, Any]], now: float) -> Iterator[tuple[int, datetime]]:
        """(number of the query, beginning of its newest period with a request)."""
        numbered: Any = [{"Id": f"m{number}", "MetricStat": query} for number, query in enumerate(queries)]
        end = datetime.fromtimestamp(now, UTC)
        pages = self.client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=numbered,
            StartTime=end - LOOK_BACK,
            EndTime=end,
            ScanBy="TimestampDescending",
        )
        for page in pages:
            for result in page["MetricDataResults"]:
                times = [at for at, sum_ in zip(result["Timestamps"], result["Values"], strict=True) if sum_]
                if times:
                    yield int(result["Id"].removeprefix("m")), max(times)


def _queries(env: Environment) -> Iterator[dict[str, Any]]:
    """One metric per web role that is there to be visited, whatever the environment's other parts do."""
    for name, condition in env.conditions.items():
        kind, _, role = name.partition("/")
        if kind == "target_group" and "arn" in condition.outputs and _is_open(env, role):
            for load_balancer in env.load_balancers(role):
                yield _metric(load_balancer, condition.outputs["arn"])


def _is_open(env: Environment, role: str) -> bool:
    """Is its curtain down? Nobody gets past one that hangs, and every metric asked for has a price."""
    curtain = env.conditions.get(key("curtain", role))
    return curtain is not None and curtain.state is State.READY and not any(curtain.outputs.values())


def _metric(load_balancer: str, target_group: str) -> dict[str, Any]:
    """CloudWatch names both by the end of their ARNs."""
    dimensions = {
        "LoadBalancer": load_balancer.split(":loadbalancer/", 1)[-1],
        "TargetGroup": target_group.rsplit(":", 1)[-1],
    }
    return {
        "Metric": {
            "Namespace": "AWS/ApplicationELB",
            "MetricName": "RequestCount",
            "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
        },
        "Period": PERIOD,
        "Stat": "Sum",
    }
