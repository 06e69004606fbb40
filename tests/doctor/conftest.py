"""The world that each test of this suite breaks in one place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.doctor.sound import Sound, sound


@pytest.fixture
def world() -> Iterator[Sound]:
    with sound() as made:
        yield made
