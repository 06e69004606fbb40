"""`qa-env doctor`: what would not work, before a developer finds out. docs/doctor.md lists the checks."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from qa_env import blueprint as blueprints
from qa_env.blueprint import Blueprint, BlueprintError
from qa_env.cli.ended import Ended, Exit
from qa_env.cli.installation import Installation
from qa_env.cli.output import Output, Painted
from qa_env.doctor import checks, deployed
from qa_env.doctor.checks import Result
from qa_env.doctor.finding import Finding, Level, Unchecked, ok, problem
from qa_env.doctor.world import Stack, World

HELP = "find out what would not work before a developer does"
COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red", Level.UNKNOWN: "blue"}
CHECK_WIDTH = max(map(len, checks.NAMES))
WORD_WIDTH = max(map(len, Level))


def configure(parser: argparse.ArgumentParser) -> None:
    """Which blueprints, and which check."""
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="blueprints (default: those of --blueprints)"
    )
    parser.add_argument("--offline", action="store_true", help="only what needs neither AWS nor GitHub")
    parser.add_argument("--only", choices=checks.NAMES, metavar="NAME", help="one check, by its name")
    parser.epilog = (
        "example: qa-env doctor --only mysql-grants blueprints/shop.yaml\n\n"
        "exit codes: 0 no problem; 1 problems; 2 wrong use; 4 AWS cannot be reached.\n"
        f"checks: {', '.join(checks.NAMES)}"
    )


def run(given: argparse.Namespace, installation: Installation, out: Output) -> int:
    """Say each finding as it is made; 1 if there is a problem."""
    read, mistakes = _read(given.files or _files(installation))
    if not given.files and not mistakes:
        mistakes = _shared(installation)
    results: list[Result] = []
    for one in _results(given, installation, read, mistakes):
        results.append(one)
        if not out.json:
            _say(out, one)
    counts = {level: sum(one.finding.level == level for one in results) for level in Level}
    if out.json:
        out.document({"findings": [_document(one) for one in results], "counts": _by_name(counts)})
    else:
        out.line(", ".join(f"{count} {level}" for level, count in counts.items()))
    return Exit.NOT_SO if counts[Level.PROBLEM] else Exit.DONE


def _results(
    given: argparse.Namespace,
    installation: Installation,
    read: Mapping[str, Blueprint],
    mistakes: Iterable[str],
) -> Iterator[Result]:
    only = given.only or ""
    if only in ("", checks.BLUEPRINT):
        fix = "docs/blueprint.md has every key; until then the checks of this blueprint are left out"
        yield from (_of_file("", problem(text, fix)) for text in mistakes)
        yield from (_of_file(one.repository, ok(f"{file} is valid")) for file, one in read.items())
    if given.offline or only == checks.BLUEPRINT:
        return
    world = World(
        installation.client,
        partial(_stack, installation),
        partial(_store, installation),
        clock=installation.clock,
        pause=installation.pause,
    )
    deployed.reachable(world)
    yield from checks.examine(world, read.values(), only)


def _of_file(repository: str, finding: Finding) -> Result:
    return Result(checks.BLUEPRINT, repository, finding)


def _files(installation: Installation) -> list[Path]:
    """The blueprints that `make build` would take."""
    directory = installation.blueprint_directory
    if directory is None or not directory.is_dir():
        raise Ended(
            Exit.USAGE, f"{directory or 'blueprints/'} is no directory: give files, or --blueprints DIR"
        )
    found = sorted(path for path in directory.glob("*.yaml") if not path.name.startswith("example"))
    if not found:
        raise Ended(Exit.USAGE, f"no blueprint in {directory}: copy blueprints/example.yaml")
    return found


def _read(files: Iterable[Path]) -> tuple[dict[str, Blueprint], list[str]]:
    """The valid blueprints by file, and the mistakes of the others."""
    read: dict[str, Blueprint] = {}
    mistakes: list[str] = []
    for path in files:
        try:
            read[str(path)] = blueprints.read_file(path, str(path))
        except BlueprintError as error:
            mistakes += str(error).splitlines()
        except OSError as error:
            raise Ended(Exit.USAGE, f"{path} cannot be read: {error.strerror}") from error
    return read, mistakes


def _shared(installation: Installation) -> list[str]:
    """What is wrong with blueprints that are valid each for itself."""
    try:
        blueprints.load(installation.blueprint_directory or Path())
    except BlueprintError as error:
        return [str(error)]
    return []


def _stack(installation: Installation) -> Stack:
    """The stack with what it is made of; before the first deployment there is none."""
    try:
        parameters, outputs = installation.parameters, installation.outputs
    except Ended as error:
        raise Unchecked(str(error), "deploy it: make deploy; or name it by --stack") from error
    pages = installation.client("cloudformation").get_paginator("list_stack_resources")
    resources: dict[str, list[str]] = {}
    for page in pages.paginate(StackName=installation.described["StackName"]):
        for one in page["StackResourceSummaries"]:
            resources.setdefault(one["ResourceType"], []).append(one.get("PhysicalResourceId", ""))
    return Stack(
        installation.described["StackName"],
        parameters,
        outputs,
        {kind: tuple(names) for kind, names in resources.items()},
    )


def _store(installation: Installation) -> Any:
    try:
        return installation.store
    except Ended as error:
        raise Unchecked(str(error), "deploy it: make deploy; or name it by --stack") from error


def _say(out: Output, result: Result) -> None:
    finding = result.finding
    word = Painted(f"{finding.level:{WORD_WIDTH}}", COLOURS[finding.level])
    about = f"{result.about}: " if result.about else ""
    out.line(word, "  ", Painted(f"{result.check:{CHECK_WIDTH}}", "dim"), "  ", f"{about}{finding.text}")
    if finding.fix:
        out.line(" " * (WORD_WIDTH + CHECK_WIDTH + 4), Painted("→ ", "dim"), finding.fix)


def _document(result: Result) -> dict[str, str]:
    return {
        "check": result.check,
        "repository": result.about,
        "level": result.finding.level,
        "message": result.finding.text,
        "fix": result.finding.fix,
    }


def _by_name(counts: Mapping[Level, int]) -> dict[str, int]:
    return {str(level): count for level, count in counts.items()}
