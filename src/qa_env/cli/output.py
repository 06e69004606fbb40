"""All that a command says: lines and tables for people, JSON for programs.

Branch names, commit messages and logs are anybody's text: control characters and whatever else is invisible
are shown escaped, so that none of it speaks to the terminal.
"""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TextIO

from qa_env.model import Phase

GAP = 2
NARROWEST = 8  # columns that a cell keeps, however narrow the terminal
COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}
PHASES: Mapping[str, str] = {
    Phase.QUEUED: "blue",
    Phase.BUILDING: "blue",
    Phase.DEPLOYING: "blue",
    Phase.READY: "green",
    Phase.ASLEEP: "dim",
    Phase.FAILED: "red",
    Phase.BLOCKED: "red",
    Phase.DELETING: "yellow",
}


class Painted(NamedTuple):
    """A text in a colour; the colour is left out where nobody would see one."""

    text: str
    colour: str


Cell = str | Painted


def state(phase: str) -> Painted:
    """An environment's state in its colour."""
    return Painted(phase, PHASES.get(phase, ""))


def escaped(text: str) -> str:
    """The text with everything escaped that a terminal would not simply show."""
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


@dataclass(frozen=True)
class Output:
    """Where a command speaks. `width` is that of the terminal, None where there is none: nothing is cut."""

    stream: TextIO = field(default_factory=lambda: sys.stdout)
    errors: TextIO = field(default_factory=lambda: sys.stderr)
    json: bool = False
    colour: bool = False
    width: int | None = None

    def line(self, *parts: Cell) -> None:
        """One line for people; parts are joined as they are."""
        print("".join(map(self._shown, parts)), file=self.stream, flush=True)

    def note(self, text: str) -> None:
        """One line for people that is no result: it goes to standard error."""
        print(escaped(text), file=self.errors, flush=True)

    def document(self, value: Any) -> None:
        """The one JSON document of a command."""
        self._dump(value, indent=2)

    def record(self, value: Any) -> None:
        """One of a stream of JSON documents, on a line of its own."""
        self._dump(value)

    def facts(self, facts: Sequence[tuple[str, Cell]]) -> None:
        """Names and values below each other; what has no value is left out."""
        kept = [(name, value) for name, value in facts if _text(value)]
        longest = max((columns(name) for name, _ in kept), default=0)
        for name, value in kept:
            self.line(Painted(_padded(name, longest + GAP), "dim"), value)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Columns that fit the terminal: the widest are cut first. The last one is not padded."""
        texts = [list(heads), *([escaped(_text(cell)) for cell in row] for row in rows)]
        widths = self._widths([max(map(columns, column)) for column in zip(*texts, strict=True)])
        self._row([Painted(head, "bold") for head in heads], widths)
        for row in rows:
            self._row(row, widths)

    def _row(self, cells: Sequence[Cell], widths: Sequence[int]) -> None:
        *before, last = [
            (_cut(escaped(_text(cell)), width), width, _colour(cell))
            for cell, width in zip(cells, widths, strict=True)
        ]
        parts = [self._painted(_padded(text, width + GAP), colour) for text, width, colour in before]
        parts.append(self._painted(last[0], last[2]))
        print("".join(parts).rstrip(), file=self.stream, flush=True)

    def _widths(self, wanted: list[int]) -> list[int]:
        """Take from the widest column until the row fits."""
        widths = list(wanted)
        room = (self.width or sum(widths) + GAP * len(widths)) - GAP * (len(widths) - 1)
        while sum(widths) > room and max(widths) > NARROWEST:
            widths[widths.index(max(widths))] -= 1
        return widths

    def _dump(self, value: Any, indent: int | None = None) -> None:
        """Everything but ASCII is escaped; JSON leaves only DEL as it is."""
        text = json.dumps(value, indent=indent).replace("\x7f", "\\u007f")
        print(text, file=self.stream, flush=True)

    def _shown(self, cell: Cell) -> str:
        return self._painted(escaped(_text(cell)), _colour(cell))

    def _painted(self, text: str, colour: str) -> str:
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if self.colour and colour else text


def to_terminal(as_json: bool, no_colour: bool) -> Output:
    """The process's own output: colours and cutting only where a person looks."""
    is_terminal = sys.stdout.isatty()
    return Output(
        json=as_json,
        colour=is_terminal and not no_colour,
        width=shutil.get_terminal_size().columns if is_terminal else None,
    )


def columns(text: str) -> int:
    """How many columns a terminal needs for it: East Asian characters take two."""
    return sum(_columns(one) for one in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _cut(text: str, width: int) -> str:
    if columns(text) <= width:
        return text
    kept, room = "", width - 1
    for one in text:
        room -= _columns(one)
        if room < 0:
            break
        kept += one
    return kept + "…"


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def _text(cell: Cell) -> str:
    return cell.text if isinstance(cell, Painted) else cell


def _colour(cell: Cell) -> str:
    return cell.colour if isinstance(cell, Painted) else ""
