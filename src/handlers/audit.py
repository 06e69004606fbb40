"""The audit: every ten minutes with GitHub, once an hour with AWS and the data as well; or when invoked.

Invoked by hand it takes `{"dry_run": true}`, which only says what it would do, and `{"share": 1}`, which
replaces the blueprints' brake this once.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers

from qa_env import app
from qa_env.audit import Audit

logger = Logger()
copy_config_to_registered_loggers(logger, include={"qa_env"})

EVERY_MINUTES = 10


def handler(event: dict[str, Any], context: Any, *, audit: Audit | None = None) -> dict[str, Any]:
    """Answers with what was done, or would have been."""
    share = event.get("share")
    by_hand = "dry_run" in event or share is not None
    report = (audit or app.audit()).run(
        world=by_hand or int(time.time() // 60) % 60 < EVERY_MINUTES,
        dry_run=bool(event.get("dry_run")),
        share=None if share is None else float(share),
    )
    done = asdict(report)
    logger.info("audited", extra={"report": done})
    return done
