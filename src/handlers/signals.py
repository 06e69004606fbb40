"""CodePipeline, CodeBuild and ECS events → wake-ups."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger

from qa_env import runtime, signals, trace
from qa_env.watch import Watch

logger = Logger()


def handler(event: dict[str, Any], context: Any, *, watch: Watch | None = None) -> dict[str, Any]:
    """Answers with the slug that was woken, None if the event is about none of ours."""
    slug = signals.slug_of(event)
    if slug is None:
        return {"woken": None}
    with trace.about("event", environment=slug):
        is_ours = (watch or runtime.watch()).signal(slug, str(event.get("detail-type", "an event")))
    if not is_ours:
        return {"woken": None}
    logger.info("woken by an event", environment=slug, detail_type=event.get("detail-type"))
    return {"woken": slug}
