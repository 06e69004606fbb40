"""What every benchmark prints: a table, and each figure beside the bound or peer of the same run.

A benchmark is a module of this package with `measure() -> Result` and, at its end,

    if __name__ == "__main__":
        sys.exit(report.main(measure))

`python -m bench.<name> [--json]` runs one of them, `make bench` all (`bench/__main__.py`, which lists them).
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """One figure as a ratio: `measured` over `bound`, both in `unit`, and how large it may be."""

    figure: str
    measured: float
    bound: float
    unit: str
    reach: float

    @property
    def ratio(self) -> float:
        """What is judged; a bound of nothing is met by nothing only."""
        if self.bound == 0:
            return 1.0 if self.measured == 0 else float("inf")
        return self.measured / self.bound

    @property
    def met(self) -> bool:
        """Is the ratio within reach?"""
        return self.ratio <= self.reach


@dataclass(frozen=True)
class Result:
    """One item's table. Rows have the columns as keys; numbers are printed as short as they can be."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """For `--json`; a goal comes with its ratio and whether it is met."""
        goals = [asdict(goal) | {"ratio": goal.ratio, "met": goal.met} for goal in self.goals]
        return asdict(self) | {"goals": goals, "machine": machine()}

    def as_text(self) -> str:
        """Table, goals and notes, as a terminal shows them."""
        lines = [self.title, "", *_table(self.columns, self.rows)]
        if self.goals:
            lines += ["", *(_sentence(goal) for goal in self.goals)]
        if self.notes:
            lines += ["", *self.notes]
        return "\n".join(lines)


def from_json(said: Mapping[str, Any]) -> Result:
    """What `as_json` was made of."""
    names = {one.name for one in fields(Goal)}
    goals = [Goal(**{name: value for name, value in goal.items() if name in names}) for goal in said["goals"]]
    return Result(said["title"], said["columns"], said["rows"], goals, said["notes"])


def machine() -> str:
    """What the figures were measured on."""
    return f"{platform.platform()}, Python {platform.python_version()}"


def main(measure: Callable[[], Result]) -> int:
    """Measure and print. Never judges by its exit code: a slow machine is no mistake."""
    result = measure()
    print(json.dumps(result.as_json(), indent=2) if "--json" in sys.argv[1:] else result.as_text())
    return 0


def _table(columns: Sequence[str], rows: Sequence[Row]) -> list[str]:
    cells = [[*columns], *([_cell(row.get(column, "")) for column in columns] for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    return [
        "  ".join(_aligned(cell, width) for cell, width in zip(row, widths, strict=True)) for row in cells
    ]


def _aligned(cell: str, width: int) -> str:
    return cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _sentence(goal: Goal) -> str:
    said = "reached" if goal.met else "MISSED"
    return (
        f"{said}: {goal.figure}: {_cell(goal.measured)} {goal.unit} against {_cell(goal.bound)} {goal.unit}, "
        f"{goal.ratio:.2f}× (to reach: {goal.reach:g}×)"
    )
