"""What commands print: JSON documents, tables, moments. Logs and complaints go to stderr, never here."""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import click

GAP: Final = "  "
STATE_COLORS: Final = {
    "completed": "green",
    "failed": "red",
    "running": "cyan",
    "cancelled": "yellow",
    "ok": "green",
    "skipped": "yellow",
}


def print_json(document: Any) -> None:
    """Print one JSON document as UTF-8; bytes of file names that are not text stay readable as escapes."""
    text = json.dumps(document, ensure_ascii=False, indent=2 if is_terminal() else None)
    click.echo(text.encode("utf-8", "backslashreplace"))


def print_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print aligned columns on a terminal, and tab-separated lines without a head anywhere else."""
    cells = [[cell(value) for value in row] for row in rows]
    if not is_terminal():
        for row in cells:
            click.echo("\t".join(row))
        return
    widths = [max(map(width, column)) for column in zip(head, *cells, strict=True)]
    widths[-1] = max(8, min(widths[-1], shutil.get_terminal_size().columns - sum(widths[:-1]) - len(GAP) * len(widths)))
    click.echo(styled(_aligned(head, widths), bold=True))
    for row in cells:
        click.echo(_aligned(row, widths, color=True))


def print_fields(pairs: dict[str, Any]) -> None:
    """Print ``name: value`` lines, those without a value left out."""
    shown = {name: cell(value) for name, value in pairs.items() if value not in (None, "", [], {})}
    longest = max(map(len, shown), default=0)
    for name, value in shown.items():
        click.echo(f"{name + ':':<{longest + 1}} {value}")


def cell(value: Any) -> str:
    """Write a value in one line, safe for a terminal."""
    from musicq_async.observe.secrets import printable

    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def local_time(epoch: float | None) -> str | None:
    """Write epoch seconds in this machine's time."""
    return None if epoch is None else datetime.fromtimestamp(epoch).astimezone().isoformat(" ", "seconds")[:19]


def styled(text: str, **style: Any) -> str:
    """Colour text, where colour is wanted."""
    return click.style(text, **style) if wants_color() else text


def is_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def wants_color() -> bool:
    """Whether stdout takes colour: a terminal, and ``NO_COLOR`` not set."""
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width(text: str) -> int:
    """Return how many columns a text takes on a terminal."""
    return sum(_columns(character) for character in text)


def shortened(text: str, columns: int) -> str:
    """Cut a text to so many columns."""
    if width(text) <= columns:
        return text
    kept, used = "", 1
    for character in text:
        used += _columns(character)
        if used > columns:
            break
        kept += character
    return f"{kept}…"


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _aligned(row: Sequence[str], widths: Sequence[int], *, color: bool = False) -> str:
    parts = []
    for text, columns in zip(row, widths, strict=True):
        short = shortened(text, columns)
        shown = styled(short, fg=STATE_COLORS[text]) if color and text in STATE_COLORS else short
        parts.append(shown + " " * (columns - width(short)))
    return GAP.join(parts).rstrip()
