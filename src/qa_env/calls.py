"""A line in the log and a subsegment for every call to AWS: what leads from a branch to the last thing done.

Changes are logged as information, reads for debugging. With the logger's keys (environment, delivery, trace)
they make one story of what several functions did.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from qa_env import trace

logger = logging.getLogger(__name__)

READS = ("Describe", "List", "Get", "BatchGet", "Query")
BEGAN = "qa-env-began"


def logged(client: Any) -> Any:
    """The boto3 client; what it does is logged from now on, never with what it was given or told."""
    client.meta.events.register("before-call", _begin, unique_id="qa-env-calls-begin")
    client.meta.events.register("after-call", _log, unique_id="qa-env-calls")
    return client


def _begin(context: dict[str, Any], **_: Any) -> None:
    context[BEGAN] = time.time()


def _log(parsed: Any, model: Any, context: dict[str, Any], **_: Any) -> None:
    meta = parsed.get("ResponseMetadata", {}) if isinstance(parsed, dict) else {}
    error = parsed.get("Error", {}).get("Code", "") if isinstance(parsed, dict) else ""
    keys = {"request": meta.get("RequestId", ""), "retries": meta.get("RetryAttempts", 0)}
    level = logging.DEBUG if model.name.startswith(READS) else logging.INFO
    name = f"{model.service_model.service_name}:{model.name}"
    logger.log(level, "%s %s", name, error or "done", extra=keys)
    about = {"operation": model.name, "request_id": keys["request"], "retries": keys["retries"]}
    began = context.get(BEGAN, time.time())
    trace.record(model.service_model.service_name, began, namespace="aws", aws=about, error=bool(error))
