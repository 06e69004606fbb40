"""`qa-env blueprint`: what `python -m qa_env.blueprint` says, without AWS."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qa_env import blueprint
from qa_env.blueprint import Blueprint
from qa_env.cli.main import main
from tests.making import ROOT

EXAMPLE = str(ROOT / "blueprints" / "example.yaml")


@pytest.fixture
def wrong(tmp_path: Path) -> str:
    file = tmp_path / "wrong.yaml"
    file.write_text(Path(EXAMPLE).read_text("utf-8").replace("cluster:", "clusters:", 1), "utf-8")
    return str(file)


def test_a_sound_blueprint_is_fine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["blueprint", "check", EXAMPLE]) == 0
    assert capsys.readouterr().out == f"{EXAMPLE}: fine\n"


def test_every_mistake_is_said_as_the_module_says_it(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert blueprint.main(["check", wrong]) == 1
    expected = capsys.readouterr().err
    assert "did you mean cluster?" in expected
    assert main(["blueprint", "check", wrong]) == 1
    assert capsys.readouterr().out == expected


def test_json_has_the_mistakes(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["blueprint", "check", EXAMPLE, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"files": [EXAMPLE], "mistakes": []}
    assert main(["blueprint", "check", wrong, "--json"]) == 1
    (mistake,) = json.loads(capsys.readouterr().out)["mistakes"]
    assert "did you mean cluster?" in mistake


def test_a_file_that_is_not_there_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["blueprint", "check", "nowhere.yaml"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "nowhere.yaml" in said.err


def test_the_schema_is_the_blueprint_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["blueprint", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == Blueprint.model_json_schema()
