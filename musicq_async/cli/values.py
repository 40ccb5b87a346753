"""What options hold, read from text: durations, moments, JSON objects."""

from __future__ import annotations

import json
import re
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, Final

import click

UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
"""Seconds of each unit."""
_PIECE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d|w)\s*")
_LATEST: Final = 100_000_000_000
"""Epoch seconds (the year 5138) above which a number must have been milliseconds."""


def duration(text: str) -> float:
    """Read ``90``, ``90s``, ``1h30m``, ``2d`` as seconds. Raises `ValueError`."""
    text = text.strip().lower()
    if re.fullmatch(r"\d+(?:\.\d+)?", text):
        return float(text)
    pieces = _PIECE.findall(text)
    if not pieces or _PIECE.sub("", text):
        raise ValueError(f"{text!r} is no duration; write seconds, or 90s, 15m, 1h30m, 2d")
    return sum(float(number) * UNITS[unit] for number, unit in pieces)


def clock_time(text: str) -> float:
    """Read a place in a recording, ``83.5``, ``1:23`` or ``1:02:03.5``, as seconds. Raises `click.UsageError`."""
    if not re.fullmatch(r"(?:(?:\d{1,3}:)?\d{1,4}:)?\d{1,6}(?:\.\d{1,3})?", text.strip(), re.ASCII):
        raise click.UsageError(f"{text!r} is no place in a recording; write 3:41 or 1:02:03")
    seconds = 0.0
    for part in text.strip().split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def moment(text: str, *, now: float, zone: tzinfo | None) -> int:
    """Read epoch seconds, an ISO date and time (in ``zone``, if it names none), or ``+`` a duration from now.

    ``zone`` ``None`` is the machine's. Raises `ValueError`.
    """
    text = text.strip()
    if text.startswith("+"):
        return round(now + duration(text[1:]))
    if re.fullmatch(r"\d{5,}", text):
        if int(text) > _LATEST:
            raise ValueError(f"{text!r} is too large for epoch seconds; are these milliseconds?")
        return int(text)
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time; write 2026-12-31T20:00, epoch seconds, or +10m") from None
    if read.tzinfo is None and zone is not None:
        read = read.replace(tzinfo=zone)
    return int(read.timestamp())


class Duration(click.ParamType[float]):
    """An option in seconds."""

    name = "duration"

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return seconds, as an int where only whole ones make sense."""
        if not isinstance(value, str):
            return value
        try:
            seconds = duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not self._whole:
            return seconds
        if seconds != int(seconds):
            self.fail(f"{value!r} must be whole seconds", param, ctx)
        return int(seconds)


class JsonObject(click.ParamType[dict[str, Any]]):
    """An option that holds a JSON object; ``@FILE`` reads it from a file."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the dict."""
        if not isinstance(value, str):
            return value
        try:
            text = Path(value[1:]).read_text("utf-8") if value.startswith("@") else value
            read = json.loads(text, parse_constant=_refuse_constant)
        except OSError as error:
            self.fail(f"cannot read {value[1:]}: {error.strerror}", param, ctx)
        except RecursionError:
            self.fail("nested too deep", param, ctx)
        except ValueError as error:
            self.fail(f"not valid JSON: {error}", param, ctx)
        if not isinstance(read, dict):
            self.fail('must be a JSON object, like {"message": "hello"}', param, ctx)
        return read


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
