"""How a log record is written: one line of text, or one JSON document. Nothing secret passes."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Final

import msgspec

from musicq_async.observe.secrets import printable, redact

COLORS: Final = {"DEBUG": "2", "SUCCESS": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31", "TRACE": "2"}
"""ANSI colour of each level; the rest have none."""

ExceptionParts = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One log record, as far as it is written."""

    time: datetime
    level: str
    logger: str
    message: str
    fields: Mapping[str, Any] = {}
    exception: ExceptionParts | None = None


def as_text(line: Line, *, color: bool = False) -> str:
    """Write time, level, message and bound fields on one line; a traceback follows on lines of its own."""
    level = f"{line.level:<8}"
    if color and line.level in COLORS:
        level = f"\x1b[{COLORS[line.level]}m{level}\x1b[0m"
    time = line.time.isoformat(" ", "milliseconds")[:23]
    fields = "".join(f" {name}={_field(value)}" for name, value in line.fields.items())
    return f"{time} {level} {printable(line.message)}{fields}\n{_traceback(line)}"


def as_json(line: Line) -> str:
    """Write the record as one JSON document on one line."""
    document = {
        "time": line.time.isoformat(timespec="milliseconds"),
        "level": line.level,
        "logger": line.logger,
        "message": redact(line.message),
    }
    document |= {name: _json_field(value) for name, value in line.fields.items() if name not in document}
    if text := _traceback(line):
        document["exception"] = text
    try:
        encoded = msgspec.json.encode(document)
    except UnicodeEncodeError:  # lone surrogates, from a file name that is not UTF-8
        safe = {name: str(value).encode("ascii", "backslashreplace").decode() for name, value in document.items()}
        encoded = msgspec.json.encode(safe)
    return f"{encoded.decode()}\n"


def _field(value: Any) -> str:
    text = printable(_shown(value))
    return f'"{text}"' if not text or " " in text else text


def _json_field(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float) else redact(_shown(value))


def _shown(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - whatever a foreign __str__ raises
        return type(value).__name__


def _traceback(line: Line) -> str:
    if line.exception is None or line.exception[1] is None:
        return ""
    return redact("".join(traceback.format_exception(line.exception[1])))
