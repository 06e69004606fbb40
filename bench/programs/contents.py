"""Imports all that an artefact's function may ever import, and says what of the artefact that was.

contents.py ARTEFACT MODULE…
"""

import importlib
import json
import sys
from contextlib import suppress
from pathlib import Path

from botocore.session import Session

artefact, names = Path(sys.argv[1]), sys.argv[2:]


def name_of(path):
    return ".".join(path.relative_to(artefact).parts).split(".py")[0].split(".cpython-")[0].split(".abi3")[0]


for path in artefact.rglob("*.py"):
    if path.relative_to(artefact).parts[0] in ("handlers", "qa_env"):
        importlib.import_module(name_of(path).removesuffix(".__init__"))
for name in names:
    with suppress(ModuleNotFoundError):
        importlib.import_module(name.rpartition(".")[0] or name)
        importlib.import_module(name)
for path in (artefact / "botocore" / "data").iterdir():
    if path.is_dir():
        Session().create_client(path.name)
there = {
    name_of(path).removesuffix(".__init__") for path in artefact.rglob("*") if path.suffix in (".py", ".so")
}
imported = there & set(sys.modules)
tops = {name.partition(".")[0] for name in there} - {name.partition(".")[0] for name in imported}
print(json.dumps({"modules": len(there), "imported": len(imported), "unused": sorted(tops)}))
