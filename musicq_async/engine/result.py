"""What is kept of a run: its result as JSON, or its error as text."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from musicq_async.errors import MusicqError
from musicq_async.model.outcome import Failure
from musicq_async.model.task import ErrorRecord

LONGEST_MESSAGE: Final = 2_000
LONGEST_TRACEBACK: Final = 8_000
DEEPEST: Final = 64
"""Levels of nesting that a result may have, as a task's params may."""
LARGEST_NUMBER: Final = (1 << 63) - 1
_OUR_FOLDER: Final = __file__.rpartition("result.py")[0]


class NotJson(Exception):
    """A result cannot be kept. The message says where and why."""


def json_copy(value: Any, *, depth: int = 0, place: str = "result") -> Any:
    """Return a copy of ``value`` made of JSON values only; tuples become lists. Raises `NotJson`."""
    if value is None or value is True or value is False:
        return value
    kind = type(value)
    if issubclass(kind, str):
        return _text(value, place)
    if issubclass(kind, int):
        return _whole(value, place)
    if issubclass(kind, float):
        if not math.isfinite(value):
            raise NotJson(f"{place} is {value}")
        return float(value)
    if depth >= DEEPEST:
        raise NotJson(f"{place} is nested deeper than {DEEPEST} levels")
    if issubclass(kind, dict):
        return {
            _key(key, place): json_copy(each, depth=depth + 1, place=f"{place}.{key}") for key, each in value.items()
        }
    if issubclass(kind, list | tuple):
        return [json_copy(each, depth=depth + 1, place=f"{place}[{index}]") for index, each in enumerate(value)]
    raise NotJson(f"{place} is of type {kind.__name__}")


def _text(value: str, place: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise NotJson(f"{place} holds a lone surrogate") from error
    return str(value)


def _whole(value: int, place: str) -> int:
    if not -LARGEST_NUMBER - 1 <= value <= LARGEST_NUMBER:
        raise NotJson(f"{place} is a whole number of more than 64 bits")
    return int(value)


def _key(key: Any, place: str) -> str:
    if not isinstance(key, str):
        raise NotJson(f"{place} has a key of type {type(key).__name__}")
    return _text(key, f"a key of {place}")


def failure(error: BaseException, *, now_ms: int, attempt: int, redact: Callable[[str], str]) -> Failure:
    """Put into words what a handler raised. Only our own errors can say that trying again is of no use."""
    ours = isinstance(error, MusicqError)
    return Failure(
        error=ErrorRecord(
            time=now_ms,
            attempt=attempt,
            type=type(error).__name__[:100],
            message=_printable(redact(_message(error)))[:LONGEST_MESSAGE],
            traceback=_printable(redact(_traceback(error)))[-LONGEST_TRACEBACK:],
        ),
        retryable=bool(error.retryable) if isinstance(error, MusicqError) else True,
        retry_after=_retry_after(error) if ours else None,
    )


def _retry_after(error: BaseException) -> float | None:
    """Believe an error's own wait only if it is a number that makes sense."""
    wait = getattr(error, "retry_after", None)
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not math.isfinite(wait):
        return None
    return min(max(float(wait), 0.0), 86_400.0)


def _message(error: BaseException) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001 - any class may have a broken __str__
        return "(the error's text cannot be had)"


def _traceback(error: BaseException) -> str:
    """Return the traceback from the handler's first line on, without the values of variables."""
    lines = traceback.TracebackException(
        type(error), error, _from_handler(error.__traceback__), limit=-30, compact=True
    ).format(chain=True)
    try:
        return "".join(lines)
    except Exception:  # noqa: BLE001 - as above
        return ""


def _from_handler(where: TracebackType | None) -> TracebackType | None:
    """Skip the frames of this package's engine that lead to the handler."""
    start = where
    while where is not None and where.tb_frame.f_code.co_filename.startswith(_OUR_FOLDER):
        where = where.tb_next
    return where or start


def _printable(text: str) -> str:
    """Leave out what a database cannot keep: lone surrogates and NUL."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
