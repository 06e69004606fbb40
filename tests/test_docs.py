"""What the documents say of the code is there: keys, parameters, targets, files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from samtranslator.yaml_helper import yaml_parse

from qa_env import gauges
from qa_env.blueprint import Blueprint
from tests.making import blueprint

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.ja.md")
REQUIRED = {"README.md": "required", "README.ja.md": "必須"}
EMPTY = {"README.md": "empty", "README.ja.md": "空"}
FOREIGN = {"build", "node_modules"}
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part in FOREIGN for part in path.relative_to(ROOT).parts)
)
CODE = sorted(
    path
    for pattern in ("src/**/*.py", "local/**/*.py", "scripts/*", "src/*.txt", "blueprints/example.yaml")
    for path in ROOT.glob(pattern)
    if path.is_file()
)
MADE = {"docs/blueprint.schema.json"}  # by `make schema`, on demand


@cache
def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def prose(name: str) -> str:
    """The document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text(name), flags=re.MULTILINE | re.DOTALL)


def rows(name: str) -> dict[str, list[str]]:
    """Table rows whose first cell is one piece of code: that → the other cells."""
    found = re.findall(r"^\| `([^`]+)` \|(.*)\|$", text(name), re.MULTILINE)
    return {key: [cell.strip() for cell in rest.split(" | ")] for key, rest in found}


def keys(schema: Mapping[str, Any], models: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, str]]:
    """Every key of a model and of those below it, with its default as docs/blueprint.md writes it."""
    for name, value in schema["properties"].items():
        yield from _key(f"{at}{name}", value, name in schema.get("required", ()), models)


def _key(path: str, value: Mapping[str, Any], required: bool, models: Mapping[str, Any]) -> Iterator[Any]:
    one_of = [value, *value.get("anyOf", ())]
    within = {
        "": (one["$ref"] for one in one_of if "$ref" in one),
        "[]": (one["items"]["$ref"] for one in one_of if "$ref" in one.get("items", {})),
        ".<role>": (ref for one in one_of if (ref := _values(one).get("$ref"))),
    }
    inner = [(suffix, ref) for suffix, refs in within.items() for ref in refs]
    if not inner or inner[0][0]:
        yield path, "**required**" if required else _shown(value.get("default"))
    for suffix, ref in inner:
        yield from keys(models[ref.rsplit("/", 1)[-1]], models, f"{path}{suffix}.")


def _values(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the values of a mapping must be, whatever its keys must be."""
    patterns = list(schema.get("patternProperties", {}).values())
    inner = patterns[0] if patterns else schema.get("additionalProperties")
    return inner if isinstance(inner, dict) else {}


def _shown(default: Any) -> str:
    if default in (None, {}, []):
        return "–"
    return f"`{default if default and isinstance(default, str) else json.dumps(default)}`"


def test_every_blueprint_key_is_documented_with_its_default() -> None:
    schema = Blueprint.model_json_schema()
    expected = dict(keys(schema, schema["$defs"]))

    documented = {key: cells[1] for key, cells in rows("docs/blueprint.md").items()}

    assert "roles.<role>.health_check.path" in expected
    assert "load_balancers[].arn" in expected
    assert documented == expected


@pytest.mark.parametrize("readme", READMES)
def test_every_template_parameter_is_documented_with_its_default(readme: str) -> None:
    parameters = yaml_parse(text("template.yaml"))["Parameters"]
    expected = {
        name: REQUIRED[readme] if "Default" not in one else f"`{one['Default']}`".replace("``", EMPTY[readme])
        for name, one in parameters.items()
    }

    documented = {name: cells[0] for name, cells in rows(readme).items() if name in parameters}

    assert documented == expected


def test_every_alarm_and_metric_is_documented() -> None:
    """A section for each alarm with where to look and what to do; the dashboard's metrics are named."""
    resources = yaml_parse(text("template.yaml"))["Resources"]
    alarms = {name for name, one in resources.items() if one["Type"] == "AWS::CloudWatch::Alarm"}
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text("docs/alarms.md"), re.M | re.S))
    assert set(sections) == alarms
    for name, section in sections.items():
        assert re.search(r"^\*\*Look\*\*: .*^\*\*Do\*\*: ", section, re.M | re.S), name
        assert re.search(r"^    (look|qa-env|aws|make) ", section, re.M), f"nothing to type: {name}"
        assert f"(docs/alarms.md#{name.lower()})" in str(resources[name]["Properties"]["AlarmDescription"])
    filters = {
        one["Properties"]["MetricTransformations"][0]["MetricName"]
        for one in resources.values()
        if one["Type"] == "AWS::Logs::MetricFilter"
    }
    gauged = {gauge.name for gauge in gauges.of([], [blueprint()], 0)}
    assert set(rows("docs/operations.md")) >= filters | gauged


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_that_is_named_exists(document: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE))

    named = set(re.findall(r"(?:`|^ {4})make (?:[A-Z_]+=\S+ )*([a-z]+)", text(document), re.MULTILINE))

    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_leads_somewhere(document: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", prose(document))

    broken = [link for link in links if "://" not in link and not _leads_somewhere(document, unquote(link))]

    assert broken == []


def _leads_somewhere(document: str, link: str) -> bool:
    file, _, anchor = link.partition("#")
    target = ((ROOT / document).parent / file).resolve() if file else ROOT / document
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or anchor in {_anchor(title) for _, title in headings(str(target.relative_to(ROOT)))}


def _anchor(title: str) -> str:
    """As GitHub makes it from a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def headings(name: str) -> list[tuple[int, str]]:
    return [(len(marks), title) for marks, title in re.findall(r"^(#+) (.+)$", prose(name), re.MULTILINE)]


def test_both_readmes_have_the_same_structure() -> None:
    english, japanese = READMES

    assert [level for level, _ in headings(english)] == [level for level, _ in headings(japanese)]
    assert list(rows(english)) == list(rows(japanese))
    assert links_from(english)[1:] == links_from(japanese)[1:]  # the first leads to the other language


def links_from(name: str) -> list[str]:
    """Links to other files; anchors differ by language."""
    return re.findall(r"\]\((?!#)([^)]+)\)", text(name))


def test_every_decision_is_in_the_index_under_its_own_title() -> None:
    notes = {path.name: path.read_text("utf-8") for path in (ROOT / "docs/decisions").glob("0*.md")}

    index = text("docs/decisions/README.md")
    listed = re.findall(r"^\| \[(\d{4})\]\(([^)]+)\) \| (.+) \|$", index, re.MULTILINE)

    assert sorted(file for _, file, _ in listed) == sorted(notes)
    for number, file, title in listed:
        assert notes[file].startswith(f"# {number} {title}\n")


def test_every_document_that_the_code_names_exists() -> None:
    named = {
        (str(path.relative_to(ROOT)), document)
        for path in CODE
        for document in re.findall(r"docs/[\w/.-]*\w", path.read_text("utf-8"))
    }

    assert named
    assert [one for one in sorted(named) if one[1] not in MADE and not (ROOT / one[1]).exists()] == []
