"""The datastores function as the loop invokes it, in this process: a warm sandbox with a timeout."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "CRITICAL")

from handlers import datastores
from qa_env.datastores import Datastores

TIMEOUT = 60  # seconds, as in template.yaml
REFERENCE = "secretsmanager:store"


@dataclass(frozen=True)
class Context:
    """As much of Lambda's context as the function uses."""

    seconds: float
    began: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self) -> int:
        """What is left of the timeout."""
        return int((self.seconds - time.monotonic() + self.began) * 1000)


def ask(secret: str, seconds: float = TIMEOUT, **request: object) -> Mapping[str, str]:
    """One request's answer; whatever was refused ends the benchmark."""
    store = Datastores({REFERENCE: secret}.__getitem__)
    event = {**request, "secret": REFERENCE, "prefix": "qa"}
    answer = datastores.handler(event, Context(seconds), datastores=store)
    if "error" in answer:
        raise RuntimeError(answer["message"])
    return answer
