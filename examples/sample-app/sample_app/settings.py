"""What the environment variables say, read in one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Who we are and where our data is."""

    branch: str
    commit: str
    mysql_host: str
    mysql_port: int
    mysql_user: str
    mysql_password: str
    schema: str
    redis_url: str
    redis_namespace: str
    redis_database: int | None
    host: str
    port: int
    threads: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Everything that must be there is read with [], so that its absence is named at once."""
        database = environment.get("REDIS_DB", "")
        return cls(
            branch=environment.get("BRANCH", "?"),
            commit=environment.get("COMMIT", "?"),
            mysql_host=environment["MYSQL_HOST"],
            mysql_port=int(environment.get("MYSQL_PORT", "3306")),
            mysql_user=environment["MYSQL_USER"],
            mysql_password=environment["MYSQL_PASSWORD"],
            schema=environment["DB_NAME"],
            redis_url=environment["REDIS_URL"],
            redis_namespace=environment.get("REDIS_NAMESPACE", ""),
            redis_database=int(database) if database else None,
            host=environment.get("HOST", "0.0.0.0"),  # noqa: S104 - a container's own address
            port=int(environment.get("PORT", "8080")),
            threads=int(environment.get("RAILS_MAX_THREADS", "5")),
        )
