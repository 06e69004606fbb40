"""Fixtures that several suites share. Each worker of a parallel run has servers of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from local.servers import MariaDB, Redis


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A real MariaDB server."""
    directory = tmp_path_factory.mktemp("mariadb")
    with MariaDB(directory) as server:
        yield server
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A real Redis server."""
    directory = tmp_path_factory.mktemp("redis")
    with Redis(directory) as server:
        yield server
    shutil.rmtree(directory)
