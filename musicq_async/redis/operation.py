"""What the server is asked for: `Operation`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Spread = Callable[[Any, Sequence[Any]], Sequence[Any]]


def each(answer: Any, _items: Sequence[Any]) -> Sequence[Any]:
    """Spread an answer that has a result for each item."""
    results: Sequence[Any] = answer
    return results


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation of a script, done for many items in one call."""

    name: str
    script: bytes
    """Hash of the script."""
    lane: str
    """Operations of one lane share a connection."""
    spread: Spread = each
    """Gives every item its part of the answer."""
