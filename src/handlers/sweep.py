"""The tick: wake what is not settled."""

from __future__ import annotations

import time
from typing import Any

from aws_lambda_powertools import Logger

from qa_env import app
from qa_env.watch import Watch

logger = Logger()


def handler(event: dict[str, Any], context: Any, *, watch: Watch | None = None) -> dict[str, Any]:
    """Answers with the slugs that were woken."""
    woken = (watch or app.watch()).sweep(int(time.time() // 60))
    logger.info("swept", woken=len(woken))
    return {"woken": woken}
