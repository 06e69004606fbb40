"""Every word that people read exists in both languages, and none is there for nothing."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from qa_env.model import Phase, State, Wish
from qa_env.page import confirm, detail, parts
from qa_env.wording import LANGUAGES, Words, preferred

SOURCE = Path(__file__).parents[1] / "src"
KEY = re.compile(r"(age|curtain|history|page|phase|report|slack|state|wish)(\.[a-z0-9_]+)+")
BEGINNING = re.compile(r"(age|curtain|history|page|phase|report|slack|state|wish)(\.[a-z0-9_]+)*\.")
EN, JA = LANGUAGES["en"], LANGUAGES["ja"]


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def texts_in_source() -> Iterator[tuple[str, bool]]:
    """(text, is it only the beginning of a key?) of every literal outside the wording."""
    for path in sorted(SOURCE.rglob("*.py")):
        if path.parent.name in ("wording", "doctor", "cli"):  # a terminal is spoken to in English only
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr) and node.values and isinstance(node.values[0], ast.Constant):
                yield str(node.values[0].value), True
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value, False


def used() -> tuple[set[str], set[str]]:
    """(keys, beginnings of keys) that the source names."""
    found = list(texts_in_source())
    keys = {text for text, begins in found if not begins and KEY.fullmatch(text)}
    return keys, {text for text, begins in found if begins and BEGINNING.fullmatch(text)}


def test_both_languages_say_the_same_things() -> None:
    assert set(EN) == set(JA)
    assert list(EN) == list(JA)  # side by side, for who translates


@pytest.mark.parametrize("key", EN)
def test_with_the_same_placeholders(key: str) -> None:
    assert placeholders(EN[key]) == placeholders(JA[key])
    assert "" not in placeholders(EN[key])


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_empty_or_untidy(language: str) -> None:
    """Only what joins others begins or ends with a blank."""
    joins = {"page.list.comma", "page.list.found"}
    for key, text in LANGUAGES[language].items():
        assert text.strip(), key
        assert key in joins or text == text.strip(), key


def test_japanese_is_japanese() -> None:
    """What is the same in both is a name or has no words."""
    same = {key for key, text in JA.items() if text == EN[key]}
    names = {"URL", "{running} / {desired}", "Redis {name}"}
    assert {JA[key] for key in same} <= names


def test_every_key_that_is_used_exists() -> None:
    keys, beginnings = used()
    assert keys
    assert keys - set(EN) == set()
    assert {one for one in beginnings if not any(key.startswith(one) for key in EN)} == set()


def test_every_key_is_used() -> None:
    keys, beginnings = used()
    assert {key for key in EN if key not in keys and not key.startswith(tuple(beginnings))} == set()


def test_keys_that_are_put_together_exist() -> None:
    """Each phase, wish, state, kind of event and status of a stage has its words."""
    needed = {f"phase.{phase}" for phase in Phase}
    needed |= {f"curtain.{state}{more}" for state in (*Phase, "resetting") for more in ("", ".text")}
    needed |= {f"wish.{wish}{more}" for wish in Wish for more in ("", ".title", ".text", ".send", ".done")}
    needed |= {f"state.{state}" for state in State}
    needed |= {f"page.status.{status}" for status in {*parts.STATUS.values(), "waiting"}}
    assert needed - set(EN) == set()
    assert set(detail.STATES) == set(State)
    assert set(confirm.TITLES) == set(confirm.TEXTS) == set(confirm.SENDS) == set(detail.DONE) == set(Wish)


def test_kinds_of_events_are_those_that_are_noted() -> None:
    """`note(…, kind="…")` and what the controller puts together."""
    noted: set[str] = set()
    for path in (SOURCE / "qa_env" / "controller.py", SOURCE / "qa_env" / "watch.py"):
        noted |= set(re.findall(r'kind="([a-z]+)"', path.read_text("utf-8")))
    assert noted
    assert noted | {"wanted", "unwanted"} | set(Wish) == set(detail.KINDS)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("ja", "ja"),
        ("ja-JP,en;q=0.8", "ja"),
        ("en-GB,ja;q=0.9", "en"),
        ("fr,de;q=0.9,ja;q=0.1", "ja"),
        ("fr", "en"),
        ("", "en"),
        ("*", "en"),
        ("ja;q=0", "en"),
        ("ja;q=x,en;q=0.1", "en"),
        ("en;q=0.5, ja;q=0.6", "ja"),
        ("JA", "ja"),
        (";;;,,,q=", "en"),
        ("x," * 10_000 + "ja", "en"),
    ],
)
def test_the_language_that_is_preferred(header: str, language: str) -> None:
    assert preferred(header) == Words(language)
