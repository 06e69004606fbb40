"""Every benchmark, one after the other: its table, then whether what it measured is within reach.

    make bench              (PYTHONPATH=src:. python -m bench [NAME …])

Each runs in a process of its own, because imports and clients are part of what some measure. The figures go
to build/bench.json as well. It takes about half an hour, and nothing else should run on the machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench import report

ALL = (
    *("first_pass", "calls", "stack", "scale", "list_page", "load"),
    *("receiver", "cold", "artefact", "cost", "redis_removal", "mysql_drop"),
)
FIGURES = Path("build/bench.json")


def main(names: list[str]) -> int:
    """Run these or all; 1 if one broke, whatever it measured."""
    if unknown := set(names) - set(ALL):
        print(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(ALL)}", file=sys.stderr)
        return 2
    found: dict[str, Any] = {}
    broken = []
    for name in names or ALL:
        command = [sys.executable, "-m", f"bench.{name}", "--json"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            print(f"{name} broke:\n{run.stderr}", file=sys.stderr)
            broken.append(name)
            continue
        found[name] = json.loads(run.stdout)
        print(f"--- {name} ---\n\n{report.from_json(found[name]).as_text()}\n", flush=True)
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    goals = [goal for one in found.values() for goal in one["goals"]]
    print(f"{report.machine()}: {sum(goal['met'] for goal in goals)} of {len(goals)} within reach")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
