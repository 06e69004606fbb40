"""The tick: wake what is not settled, count, and every quarter of an hour ask who was visited."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers
from aws_lambda_powertools.metrics import MetricUnit, single_metric

from qa_env import blueprint, gauges, runtime
from qa_env.blueprint import Blueprint
from qa_env.gauges import Gauge
from qa_env.model import Environment
from qa_env.visits import EVERY_MINUTES, Visits
from qa_env.watch import Watch

logger = Logger()
copy_config_to_registered_loggers(logger, include={"qa_env"})


def handler(
    event: dict[str, Any],
    context: Any,
    *,
    watch: Watch | None = None,
    visits: Visits | None = None,
    blueprints: Collection[Blueprint] | None = None,
) -> dict[str, Any]:
    """Answers with the slugs that were woken."""
    now = time.time()
    minute = int(now // 60)
    watch = watch or runtime.watch()
    environments = list(watch.store.all())
    woken = watch.sweep(minute, environments)
    logger.info("swept", woken=len(woken))
    known = blueprint.built_in().values() if blueprints is None else blueprints
    _measure(gauges.of(environments, known, now))
    if minute % EVERY_MINUTES == 0:
        _look_for_visits(visits, environments, now)
    return {"woken": woken}


def _measure(measured: Iterable[Gauge]) -> None:
    """As lines of the log that CloudWatch makes metrics of: no call, no permission."""
    for gauge in measured:
        with single_metric(gauge.name, MetricUnit.Count, gauge.value) as metric:
            if gauge.phase:
                metric.add_dimension("phase", gauge.phase)


def _look_for_visits(visits: Visits | None, environments: Collection[Environment], now: float) -> None:
    """That nobody can say who was visited is no reason not to sweep."""
    try:
        seen = (visits or Visits(runtime.client("cloudwatch"), runtime.store())).look(environments, now)
    except Exception:
        logger.exception("the load balancers' counts cannot be read")
    else:
        logger.info("looked for visits", seen=len(seen))
