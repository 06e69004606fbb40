"""Private MariaDB and Redis servers on free ports of 127.0.0.1, for the tests and for `make run`.

They die with the thread that started them (`local.process`): the next start has nothing to clean up.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import pymysql
import redis
from pymysql.cursors import Cursor
from redis.backoff import NoBackoff
from redis.retry import Retry

from local import process
from local.process import free_port

HOST = "127.0.0.1"
START_SECONDS = 30


class ServerError(RuntimeError):
    """A server that is not installed or does not start; says what to do."""


class MariaDB:
    """A MariaDB server whose data lives, and stays, in `directory`. `user` may do everything."""

    user = "admin"

    def __init__(self, directory: Path, options: Sequence[str] = ()) -> None:
        self.directory = directory
        self.options = options
        self.host = HOST
        self.port = 0
        self.password = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As Rails and most others write it."""
        return f"mysql2://{self.user}:{self.password}@{self.host}:{self.port}"

    @property
    def secret(self) -> str:
        """What the blueprint's `database.secret` would hold."""
        login = {"username": self.user, "password": self.password}
        return json.dumps({"host": self.host, "port": self.port, **login})

    def start(self) -> Self:
        """Install the system tables where they are missing, then serve."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.directory / "tmp").mkdir(exist_ok=True)
        self._install()
        accounts = self.directory / "accounts.sql"
        _write_private(accounts, self._accounts())
        self._process, self.port = _start(
            lambda port: self._command(port, accounts), self._answers, self.directory / "mariadb.log"
        )
        accounts.unlink()
        return self

    def stop(self) -> None:
        """End the server; its data stays."""
        if self._process:
            process.stop(self._process)
        self._process = None

    def connect(self) -> pymysql.Connection[Cursor]:
        """A connection of the almighty user, for tests and seeds."""
        return pymysql.connect(
            host=self.host, port=self.port, user=self.user, password=self.password, autocommit=True
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _install(self) -> None:
        data = self.directory / "data"
        if data.exists():
            return
        new = self.directory / "data.new"  # renamed when complete, so a crash leaves no half of it
        shutil.rmtree(new, ignore_errors=True)
        command = [
            *(_binary("mariadb-install-db", "mariadb-server"), "--no-defaults", *_as_root()),
            *(f"--datadir={new}", "--auth-root-authentication-method=normal", "--skip-test-db"),
            self._tmpdir,
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise ServerError(f"mariadb-install-db failed:\n{done.stdout}")
        new.rename(data)

    @property
    def _tmpdir(self) -> str:
        """A server that starts deletes what others keep in a temporary directory that they share."""
        return f"--tmpdir={self.directory / 'tmp'}"

    def _accounts(self) -> str:
        account = f"'{self.user}'@'{HOST}'"
        return (
            f"CREATE OR REPLACE USER {account} IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO {account} WITH GRANT OPTION;\n"
            f"DROP USER IF EXISTS 'root'@'{HOST}', 'root'@'::1';\n"
        )

    def _command(self, port: int, accounts: Path) -> list[str]:
        """Root may run it only with --user; relative names keep the socket's path short (108 characters)."""
        return [
            *(_binary("mariadbd", "mariadb-server"), "--no-defaults", *_as_root()),
            *(f"--datadir={self.directory / 'data'}", "--socket=socket", "--pid-file=pid"),
            *(f"--bind-address={HOST}", f"--port={port}", f"--init-file={accounts}"),
            *("--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0", "--innodb-fast-shutdown=2"),
            *("--innodb-buffer-pool-size=32M", self._tmpdir, *self.options),
        ]

    def _answers(self, port: int) -> bool:
        self.port = port
        try:
            self.connect().close()
        except pymysql.err.OperationalError:
            return False
        return True


class Redis:
    """A Redis server that keeps everything in memory and forgets it when stopped."""

    def __init__(self, directory: Path, databases: int = 16, options: Sequence[str] = ()) -> None:
        self.directory = directory
        self.databases = databases
        self.options = options
        self.host = HOST
        self.port = 0
        self.password = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Without a database number."""
        return f"redis://:{self.password}@{self.host}:{self.port}"

    @property
    def secret(self) -> str:
        """What the blueprint's `redis.secret` would hold."""
        return json.dumps({"url": self.url})

    def start(self) -> Self:
        """Serve on a free port."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        configuration = self.directory / "redis.conf"
        _write_private(configuration, f'requirepass {self.password}\nsave ""\nappendonly no\n')
        self._process, self.port = _start(
            lambda port: self._command(port, configuration), self._answers, self.directory / "redis.log"
        )
        configuration.unlink()
        return self

    def stop(self) -> None:
        """End the server."""
        if self._process:
            process.stop(self._process)
        self._process = None

    def connect(self, database: int = 0) -> redis.Redis:
        """A client of one numbered database, for tests and seeds."""
        return redis.Redis(
            host=self.host,
            port=self.port,
            password=self.password,
            db=database,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _command(self, port: int, configuration: Path) -> list[str]:
        return [
            *(_binary("redis-server", "redis-server"), str(configuration)),
            *("--bind", HOST, "--port", str(port), "--dir", str(self.directory)),
            *("--databases", str(self.databases), *self.options),
        ]

    def _answers(self, port: int) -> bool:
        self.port = port
        try:
            with self.connect() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


def _start(
    command: Callable[[int], list[str]], answers: Callable[[int], bool], log: Path
) -> tuple[subprocess.Popen[bytes], int]:
    """Start until it answers. What ends at once is tried again: somebody may have taken the free port."""
    for _ in range(3):
        port = free_port()
        server = process.start(command(port), log=log)
        deadline = time.monotonic() + START_SECONDS
        while server.poll() is None:
            if answers(port):
                return server, port
            if time.monotonic() > deadline:
                process.stop(server)
                raise _failed(f"{command(0)[0]} does not answer after {START_SECONDS} s", log)
            time.sleep(0.02)
    raise _failed(f"{command(0)[0]} does not start", log)


def _failed(what: str, log: Path) -> ServerError:
    return ServerError(f"{what}; {log} ends with:\n{_tail(log.read_text())}")


def _binary(name: str, package: str) -> str:
    """Debian keeps servers in /usr/sbin, which is not on everybody's PATH."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin")
    if path is None:
        raise ServerError(f"{name} is not installed; run: apt-get install {package}")
    return path


def _as_root() -> tuple[str, ...]:
    return ("--user=root",) if os.geteuid() == 0 else ()


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-15:])
