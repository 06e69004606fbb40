"""The tick: wake what is not settled; every quarter of an hour also ask who was visited."""

from __future__ import annotations

import time
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers

from qa_env import app
from qa_env.visits import EVERY_MINUTES, Visits
from qa_env.watch import Watch

logger = Logger()
copy_config_to_registered_loggers(logger, include={"qa_env"})


def handler(
    event: dict[str, Any], context: Any, *, watch: Watch | None = None, visits: Visits | None = None
) -> dict[str, Any]:
    """Answers with the slugs that were woken."""
    now = time.time()
    minute = int(now // 60)
    woken = (watch or app.watch()).sweep(minute)
    logger.info("swept", woken=len(woken))
    if minute % EVERY_MINUTES == 0:
        _look_for_visits(visits, now)
    return {"woken": woken}


def _look_for_visits(visits: Visits | None, now: float) -> None:
    """That nobody can say who was visited is no reason not to sweep."""
    try:
        seen = (visits or app.visits()).look(now)
    except Exception:
        logger.exception("the load balancers' counts cannot be read")
    else:
        logger.info("looked for visits", seen=len(seen))
