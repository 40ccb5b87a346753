"""Tolerant reading of JSON objects in which any field may be missing, null or of another type."""

from __future__ import annotations

import math
from typing import Any


class Reader:
    """One JSON object; every method takes the spellings that a field may have and answers with the first that fits.

    Anything that is not an object reads as an empty one.
    """

    __slots__ = ("fields",)

    def __init__(self, value: Any) -> None:
        self.fields: dict[str, Any] = value if isinstance(value, dict) else {}

    def __bool__(self) -> bool:
        return bool(self.fields)

    def value(self, *names: str) -> Any:
        """Return the first field that is there and not null."""
        return next((self.fields[name] for name in names if self.fields.get(name) is not None), None)

    def text(self, *names: str) -> str:
        """Return a text; a number is written out, anything else is empty. Never holds a lone surrogate."""
        value = self.value(*names)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""

    def integer(self, *names: str) -> int | None:
        """Return a 64-bit whole number, also from a text or a float; ``None`` if there is none."""
        value = self.value(*names)
        try:
            # By way of a float only where it must be: a float cannot hold every id.
            number = int(value[:20]) if isinstance(value, str) else int(value)
        except (TypeError, ValueError, OverflowError):
            return None
        return number if -(1 << 63) <= number < 1 << 63 else None

    def count(self, *names: str) -> int:
        """Return a whole number that is at least 0; 0 if there is none."""
        return max(self.integer(*names) or 0, 0)

    def number(self, *names: str) -> float | None:
        """Return a finite number, also from a text; ``None`` if there is none."""
        value = self.value(*names)
        if isinstance(value, str) and len(value) > 40:
            return None
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None

    def flag(self, *names: str) -> bool:
        """Return whether a field is true, 1 or "1"."""
        value = self.value(*names)
        return value == 1 or value in ("1", "true")

    def inner(self, *names: str) -> Reader:
        """Return an object inside."""
        return Reader(self.value(*names))

    def each(self, *names: str) -> list[Reader]:
        """Return the objects of a list inside; whatever else the list holds is left out."""
        value = self.value(*names)
        return [Reader(item) for item in value if isinstance(item, dict)] if isinstance(value, list) else []

    def texts(self, *names: str) -> list[str]:
        """Return the texts of a list inside."""
        value = self.value(*names)
        return [item for item in value if isinstance(item, str) and item] if isinstance(value, list) else []
