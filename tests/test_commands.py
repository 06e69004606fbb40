"""Every command line in the documents is one that works, as far as that can be known without AWS.

`make` targets are run by `.ci/run` and by tests, Python modules in this file. Of what needs AWS (`aws`,
`qa-env`) command, operation and options are compared with what the programs know.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

from qa_env.cli import main
from tests.test_docs import DOCUMENTS, ROOT, text

RUN = {
    "setup": "needed by every other target",
    "test": ".ci/run",
    "check": ".ci/run",
    "demo": "tests/e2e/test_demo.py",
    "run": "tests/e2e/test_variants.py",
    "event": "tests/e2e/test_stack.py",
    "schema": "tests/test_blueprint.py",
    "redrive": "tests/cli/test_redrive.py",
    "crash": "tests/test_crash.py",
    "chaos": "tests/test_chaos.py",
    "screenshots": "tests/e2e/test_browser.py",
}
"""Target → where what it does is run."""
MEASURES = {"bench"}
NEEDS_AWS = {"deploy", "build"}
OTHERS = {"cp", "cd", "git", "gh", "curl", "jq", "until", "bundle"}
"""Programs whose lines are examples of what a reader knows."""
PLACEHOLDER = re.compile(r"<[A-Za-z]+>|…|\$\([^)]*\)|\"\$\w+\"")
CLI_ONLY = {"query", "output", "cli-read-timeout", "cli-binary-format", "region", "profile", "no-cli-pager"}
CLOUDFORMATION_DEPLOY = {"stack-name", "template-file", "capabilities", "parameter-overrides", "s3-bucket"}


def lines(name: str) -> Iterator[str]:
    """Lines that are typed: in indented blocks, and in fenced ones that say `sh` or `console`."""
    fenced = re.sub(r"^```(?!sh|console)\w+\n.*?^```$", "", text(name), flags=re.M | re.S)
    found = re.findall(r"^    (\S.*(?:\\\n.*)*)$", fenced, re.M)
    for kind, block in re.findall(r"^```(sh|console)\n(.*?)^```$", fenced, re.M | re.S):
        typed = r"^\$ " if kind == "console" else r"^"  # what follows on the console is an answer
        found += re.findall(typed + r"(\S.*(?:\\\n.*)*)$", block, re.M)
    for line in found:
        yield re.sub(r"\s*\\\n\s*", " ", line)


def commands(name: str) -> Iterator[list[str]]:
    """Each of them in words, without comment and variables in front."""
    for line in lines(name):
        for part in re.split(r"\s&&\s|\s\|\s", re.sub(r"\s#.*$", "", line)):
            try:
                words = shlex.split(PLACEHOLDER.sub("x", part))
            except ValueError:  # a line of a query or of code
                continue
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words and words[0] in KNOWN:
                yield words


def check_make(words: list[str]) -> None:
    targets = [word for word in words[1:] if "=" not in word]
    there = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.M))
    assert set(targets) <= there
    assert set(targets) <= {*RUN, *MEASURES, *NEEDS_AWS}


def check_aws(words: list[str]) -> None:
    service, operation = words[1], words[2]
    options = {word[2:].partition("=")[0] for word in words[3:] if word.startswith("--")} - CLI_ONLY
    if (service, operation) == ("cloudformation", "deploy"):
        assert options <= CLOUDFORMATION_DEPLOY
        return
    model = service_model(service)
    (name,) = [one for one in model.operation_names if xform_name(one, "-") == operation]
    members = model.operation_model(name).input_shape.members
    known = {xform_name(member, "-") for member in members}
    known |= {f"no-{xform_name(m, '-')}" for m, shape in members.items() if shape.type_name == "boolean"}
    assert options <= known, f"{operation} knows no {options - known}"


@cache
def service_model(service: str) -> botocore.model.ServiceModel:
    return botocore.session.get_session().get_service_model(service)


def check_look(words: list[str]) -> None:
    """`look FUNCTION PATTERN`, the shell function that docs/alarms.md defines."""
    (definition,) = re.findall(r"^    look\(\) \{ (aws .*); \}$", text("docs/alarms.md"), re.M)
    check_aws(shlex.split(definition))
    _, function, _ = words
    assert f"${{Installation}}-{function}\n" in text("template.yaml")


def check_qa_env(words: list[str]) -> None:
    main.read(words[1:])


def check_python(words: list[str]) -> None:
    assert words[1] == "-m"
    arguments = [re.sub(r"^blueprints/.*", "blueprints/example.yaml", word) for word in words[2:]]
    ran = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


KNOWN = {
    "make": check_make,
    "aws": check_aws,
    "look": check_look,
    "qa-env": check_qa_env,
    ".venv/bin/qa-env": check_qa_env,
    ".venv/bin/python": check_python,
}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_line_works_as_far_as_can_be_known(document: str) -> None:
    for words in commands(document):
        KNOWN[words[0]](words)


def test_no_line_is_of_a_program_that_nobody_looks_at() -> None:
    """A block of commands is made of those that are checked here and of a reader's own."""
    strange = {
        f"{document}: {line}"
        for document in DOCUMENTS
        for line in lines(document)
        if re.match(r"[a-z./-]+( |$)", line)
        and line.split()[0] not in {*KNOWN, *OTHERS, "fields", ".venv-sam/bin/sam"}
        and not line.split()[0].startswith(("PYTHONPATH=",))
    }
    assert strange == set()


def test_where_a_target_is_run_is_a_place_that_exists() -> None:
    for target, place in RUN.items():
        assert (ROOT / place).exists() or target == "setup", place


def test_a_mistake_is_found() -> None:
    """Otherwise all of the above would mean little."""
    for wrong in (["make", "nothing"], ["aws", "sqs", "send-message", "--queue", "x"]):
        with pytest.raises(AssertionError):
            KNOWN[wrong[0]](wrong)
    with pytest.raises(SystemExit):
        KNOWN["qa-env"](["qa-env", "list", "--nothing"])
    assert Path(ROOT / "README.md").exists()
