"""A line in the log for every call to AWS: what leads from a branch to the last thing that was done for it.

Changes are logged as information, reads for debugging. With the logger's keys (environment, delivery, trace)
they make one story of what several functions did.
"""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)

READS = ("Describe", "List", "Get", "BatchGet", "Query")


def logged(client: Any) -> Any:
    """The boto3 client; what it does is logged from now on, never with what it was given or told."""
    client.meta.events.register("after-call", _log, unique_id="qa-env-calls")
    return client


def _log(parsed: Any, model: Any, **_: Any) -> None:
    meta = parsed.get("ResponseMetadata", {}) if isinstance(parsed, dict) else {}
    error = parsed.get("Error", {}).get("Code", "") if isinstance(parsed, dict) else ""
    keys = {"request": meta.get("RequestId", ""), "retries": meta.get("RetryAttempts", 0)}
    level = logging.DEBUG if model.name.startswith(READS) else logging.INFO
    name = f"{model.service_model.service_name}:{model.name}"
    logger.log(level, "%s %s", name, error or "done", extra=keys)
