"""The worker role: takes jobs from the list that the web role fills."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pymysql
import redis

from sample_app.data import Keys, database
from sample_app.settings import Settings


def work(settings: Settings, keys: Keys) -> None:
    """One job, if there is one within a second."""
    if keys.pop_job(patience=1) is None:
        return
    with database(settings) as cursor:
        cursor.execute("INSERT INTO visits (role) VALUES ('worker')")
    keys.count("jobs_done")


def main() -> None:
    """Work until SIGTERM; a server that is away for a moment is no reason to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if (Path(__file__).resolve().parent.parent / "FAIL_START").exists():
        sys.exit("worker: FAIL_START is in the repository, so this start fails")
    settings = Settings.from_environment()
    keys = Keys(settings)
    keys.count("worker_starts")
    print(f"worker: {settings.branch} at {settings.commit}", flush=True)
    while True:
        try:
            work(settings, keys)
        except (pymysql.MySQLError, redis.RedisError) as error:
            print(f"worker: {error}; trying again", flush=True)
            time.sleep(1)


if __name__ == "__main__":
    main()
