"""The only code that reaches data, and all it can do: ensure, delete or list what carries our prefix.

It runs in a function of its own inside the VPC, which may do nothing in AWS but read the secrets it is
given references to. Requests and answers are plain JSON. `NotReady` and `Blocked` are answered as data;
anything else escapes and is an error of the function. Nothing that it answers or raises repeats a secret. The
stores are imported when first asked for: redis-py alone costs 100 ms of a cold start (reliability 2a).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qa_env.datastores import guard
from qa_env.errors import Blocked, NotReady

Request = Mapping[str, Any]
Answer = dict[str, Any]
Remaining = Callable[[], float]
"""Seconds until the function is ended from outside."""


@dataclass(frozen=True)
class Datastores:
    """Reads the secrets of each request by their references, so that a rotated one is seen at once.

    `secret` is how to get to the store, `login`, if there is one, the account that the request is about.
    """

    read_secret: Callable[[str], str]

    def handle(self, request: Request, remaining_seconds: Remaining) -> Answer:
        """Do what is asked; say what came of it, or why not."""
        perform, secrets = _store(request["store"]), list[str]()
        try:
            secrets.append(self.read_secret(request["secret"]))
            if request.get("login"):
                secrets.append(self.read_secret(request["login"]))
            return perform(request, secrets[0], remaining_seconds, *secrets[1:])
        except NotReady as error:
            return {"error": "not_ready", "message": _hidden(str(error), secrets)}
        except Blocked as error:
            return {"error": "blocked", "message": _hidden(str(error), secrets)}
        except Exception as error:
            told = "".join(traceback.format_exception(error))
            if _hidden(told, secrets) == told:
                raise
            raise RuntimeError(f"{type(error).__name__}: {_hidden(str(error), secrets)}") from None


def _hidden(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = guard.hidden(text, secret)
    return text


def _store(name: str) -> Callable[..., Answer]:
    match name:
        case "mysql":
            from qa_env.datastores import mysql

            return mysql.perform
        case "redis":
            from qa_env.datastores import redis

            return redis.perform
    raise ValueError(f"unknown store {name!r}")
