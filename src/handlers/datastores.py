"""The only function that reaches data: invoked by the controller, never by an event."""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools import Logger

from qa_env import runtime
from qa_env.datastores import Datastores

logger = Logger(service="datastores")


def handler(event: dict[str, Any], context: Any, *, datastores: Datastores | None = None) -> dict[str, Any]:
    """Carry out one request and answer it."""
    answer = (datastores or _datastores()).handle(
        event, lambda: context.get_remaining_time_in_millis() / 1000
    )
    about = ("store", "action", "prefix", "name", "namespace", "database", "cursor")
    keys = {f"request_{name}": event[name] for name in about if name in event}
    if "error" in answer:
        logger.warning("refusing a request: %s", answer["message"], error=answer["error"], **keys)
    else:
        logger.info("carried out a request", answer=answer, **keys)
    return answer


@cache
def _datastores() -> Datastores:
    return Datastores(runtime.secret_reader())
