"""The schema and the Redis keys that both roles share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pymysql
import redis
from pymysql.cursors import Cursor

from sample_app.settings import Settings


@contextmanager
def database(settings: Settings) -> Iterator[Cursor]:
    """A cursor on our schema; commits at the end."""
    connection = pymysql.connect(
        host=settings.mysql_host,
        port=settings.mysql_port,
        user=settings.mysql_user,
        password=settings.mysql_password,
        database=settings.schema,
        connect_timeout=5,
        autocommit=True,
    )
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


class Keys:
    """Redis, restricted to our namespace (a prefix) or our numbered database."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = f"{settings.redis_namespace}:" if settings.redis_namespace else ""
        chosen = {} if settings.redis_database is None else {"db": settings.redis_database}
        self._redis = redis.Redis.from_url(settings.redis_url, decode_responses=True, **chosen)

    def push_job(self, job: str) -> None:
        """Give the worker something to do."""
        self._redis.rpush(f"{self._prefix}jobs", job)

    def pop_job(self, patience: int) -> str | None:
        """The next job, or None after some seconds without one."""
        found = self._redis.blpop([f"{self._prefix}jobs"], timeout=patience)
        return found[1] if found else None

    def count(self, name: str) -> int:
        """One more; returns how many there are now."""
        return int(self._redis.incr(f"{self._prefix}{name}"))

    def value(self, name: str) -> int:
        """How many there are."""
        return int(self._redis.get(f"{self._prefix}{name}") or 0)

    def names(self) -> list[str]:
        """All our keys, as Redis knows them."""
        pattern = (
            self._prefix.replace("\\", "\\\\").replace("*", "\\*").replace("?", "\\?").replace("[", "\\[")
        )
        return sorted(self._redis.scan_iter(match=f"{pattern}*"))
