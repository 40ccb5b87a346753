"""JSON as the durable backends keep it."""

from __future__ import annotations

import json
import math
from typing import Any, Final

import msgspec

from musicq_async.errors import UsageError

LARGEST_TEXT: Final = 6 * 1024 * 1024
"""Bytes of one JSON value; MySQL's packet holds 16 MiB, and escaping may double a text."""

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder()


def json_text(value: Any, field: str) -> str:
    """Write a value as JSON. Raises `UsageError` where it is none, or too large."""
    try:
        data = _encoder.encode(value)
    except UnicodeEncodeError:
        data = json.dumps(msgspec.to_builtins(value)).encode()  # half a surrogate pair: kept as an escape
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(f"{field} cannot be written as JSON: {error}") from error
    if len(data) > LARGEST_TEXT:
        raise UsageError(f"{field} takes {len(data)} bytes as JSON, over the limit of {LARGEST_TEXT}")
    return data.decode()


def json_value(text: str) -> Any:
    """Read JSON, also what Python's own writer makes beyond the standard (NaN)."""
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError:
        return json.loads(text)


def finite_json_text(value: Any, field: str) -> str:
    """Write a value as JSON. Raises `UsageError` where it is none, too large, or holds NaN or an infinity."""
    text = json_text(value, field)
    if "null" in text and not _is_finite(value):  # which is what such a number would be written as
        raise UsageError(f"{field} holds NaN or an infinite number, which JSON has not")
    return text


def _is_finite(value: Any) -> bool:
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, float):
            if not math.isfinite(each):
                return False
        elif isinstance(each, dict):
            left += each.values()
        elif isinstance(each, list | tuple | set | frozenset):
            left += each
    return True
