"""An installation, its stack, and a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qa_env.cli import installation
from qa_env.model import Phase, Slug
from tests.cli.terminal import Terminal, deploy_stack
from tests.installation import A, Installation, installed


@pytest.fixture(autouse=True)
def _nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No stack of `make run`, no blueprints, no settings of who runs the tests."""
    monkeypatch.setattr(installation, "LOCAL_STACK", tmp_path / "stack.json")
    monkeypatch.chdir(tmp_path)
    for name in ("QA_ENV_STACK", "BLUEPRINTS", "NO_COLOR", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def qa() -> Iterator[Installation]:
    with installed() as made:
        deploy_stack(made)
        yield made


@pytest.fixture
def foo(qa: Installation) -> Installation:
    """qa/foo is ready at commit A."""
    qa.push("qa/foo", A)
    qa.settle()
    assert qa.env(Slug("qa-foo")).phase is Phase.READY
    return qa


@pytest.fixture
def terminal(qa: Installation, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(qa, capsys)
