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
    events = client.meta.events
    events.register("before-call", _begin, unique_id="qa-env-calls-begin")
    events.register("after-call", _end, unique_id="qa-env-calls")
    events.register("after-call-error", _fail, unique_id="qa-env-calls-error")
    return client


def _begin(model: Any, context: dict[str, Any], **_: Any) -> None:
    context[BEGAN] = time.time(), model


def _end(parsed: Any, context: dict[str, Any], **_: Any) -> None:
    meta = parsed.get("ResponseMetadata", {}) if isinstance(parsed, dict) else {}
    error = parsed.get("Error", {}).get("Code", "") if isinstance(parsed, dict) else ""
    _tell(context, error, {"request": meta.get("RequestId", ""), "retries": meta.get("RetryAttempts", 0)})


def _fail(exception: Exception, context: dict[str, Any], **_: Any) -> None:
    """Nobody answered, not even a read; what the error says may hold anything."""
    _tell(context, type(exception).__name__, {})


def _tell(context: dict[str, Any], error: str, keys: dict[str, Any]) -> None:
    began, model = context[BEGAN]
    service = model.service_model.service_name
    level = logging.DEBUG if model.name.startswith(READS) and keys else logging.INFO
    logger.log(level, "%s:%s %s", service, model.name, error or "done", extra=keys)
    about = {"operation": model.name, "request_id": keys.get("request"), "retries": keys.get("retries")}
    trace.record(service, began, namespace="aws", aws=about, error=bool(error))
