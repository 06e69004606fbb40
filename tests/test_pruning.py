"""An artefact keeps of its packages what its function may ever import, and no more."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import build, pruning
from scripts.build import Runtime
from tests.test_build import BLUEPRINT

COMPUTED = {
    "aws_lambda_powertools/shared/lazy_import.py": "the X-Ray SDK, which nothing here uses",
    "aws_lambda_powertools/utilities/parser/__init__.py": "envelopes, which nothing here uses",
    "aws_lambda_powertools/utilities/parser/models/__init__.py": "siblings, whose names stand in its table",
    "boto3/utils.py": "what boto3's session names as a text",
    "botocore/plugin.py": "what a configuration file names, and a function has none",
    "botocore/vendored/six.py": "the standard library's, by their names of today",
    "dateutil/__init__.py": "siblings, whose names stand in its list",
    "pydantic/__init__.py": "siblings, whose names stand in its table",
    "pydantic/_internal/_validators.py": "what a text to be validated names: no model here has such a field",
    "six.py": "the standard library's, by their names of today",
    "yaml/constructor.py": "what a document names: SafeLoader has no such tag",
}
"""Where a kept module imports a name that does not stand there as a text, and what that can be."""
IMPORTERS = {"import_module", "__import__"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A function and a package of all kinds of imports."""
    files = {
        "handlers/work.py": "import pack\n",
        "pack/__init__.py": "from pack import first\nLATE = {'x': '.table', 'y': 'pack.lazy.call'}\n",
        "pack/first.py": "def late():\n    from .deep import second\n",
        "pack/deep/__init__.py": "",
        "pack/deep/second.py": "if TYPE_CHECKING:\n    from pack import typed\n",
        "pack/table.py": "",
        "pack/lazy.py": "NAMES = ['sibling']\nimportlib.import_module(f'.{NAMES[0]}', 'pack')\n",
        "pack/sibling.py": "",
        "pack/typed.py": "",
        "pack/native_needs.py": "",
        "pack/unused.py": "",
        "pack/names.txt": "",
        "pack/feature/__init__.py": "",
        "pack/feature/page.html": "",
        "other.py": "",
        "other-1.0.dist-info/LICENSE": "",
        "repositories.json": "{}",
        "blueprints/shop.yaml": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    (tmp_path / "pack" / "library.so").write_bytes(b"\x7fELF...pack.native_needspack.errors")
    return tmp_path


def left(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_what_nothing_can_import_goes_and_its_data_with_it(root: Path) -> None:
    before = left(root)
    pruning.prune(root, "handlers.work")
    gone = {
        "pack/typed.py",
        "pack/unused.py",
        "pack/feature/__init__.py",
        "pack/feature/page.html",
        "other.py",
    }
    assert before - left(root) == gone
    assert not (root / "pack" / "feature").exists()


def test_what_nothing_here_calls_goes_though_something_imports_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "UNUSED", ("pack.deep",))
    pruning.prune(root, "handlers.work")
    assert "pack/first.py" in left(root)
    assert not {name for name in left(root) if name.startswith("pack/deep")}


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Between them the functions have all packages."""
    directory = tmp_path_factory.mktemp("pruned")
    blueprints = directory / "blueprints"
    blueprints.mkdir()
    (blueprints / "shop.yaml").write_text(BLUEPRINT, "utf-8")
    for name in ("Reconcile", "Datastores"):
        build.assemble(f"{name}Function", directory / name, blueprints, Runtime.here())
    return [directory / "Reconcile", directory / "Datastores"]


def test_each_import_of_a_computed_name_is_known(artefacts: list[Path]) -> None:
    """The search cannot follow these: a new one wants somebody to look at what it imports."""
    found = {
        path.relative_to(root).as_posix()
        for root in artefacts
        for path in root.rglob("*.py")
        if any(_computed(path))
    }
    assert found == set(COMPUTED)


def _computed(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Call(func, [argument, *_]) if not isinstance(argument, ast.Constant):
                if ast.unparse(func).rpartition(".")[2] in IMPORTERS:
                    yield node


def test_what_is_left_out_on_purpose_is_still_there_to_be_left_out(artefacts: list[Path]) -> None:
    """A name that a package no longer has would be forgotten here."""
    pins = (build.SOURCE / "requirements.txt").read_text("utf-8").splitlines()
    wanted = [pin.strip() for pin in pins if "==" in pin and not pin.startswith("#")]
    packages = build.dependencies(wanted, Runtime.here())
    for name in pruning.UNUSED:
        assert packages.joinpath(*name.split(".")).is_dir(), name
        assert not any(root.joinpath(*name.split(".")).exists() for root in artefacts), name
