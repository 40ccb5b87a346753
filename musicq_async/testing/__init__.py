"""What tests and ``demo`` run on: a stand-in Bilibili on loopback, a clock that is moved by hand, recorded events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from musicq_async.testing.bilibili import StandInBilibili
    from musicq_async.testing.bilibili_http import Fault
    from musicq_async.testing.clock import FakeClock
    from musicq_async.testing.events import RecordedEvents

__all__ = ["FakeClock", "Fault", "RecordedEvents", "StandInBilibili"]

_HOME = {
    "FakeClock": "musicq_async.testing.clock",
    "RecordedEvents": "musicq_async.testing.events",
    "StandInBilibili": "musicq_async.testing.bilibili",
    "Fault": "musicq_async.testing.bilibili_http",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - each name is loaded on first use

    return getattr(importlib.import_module(_HOME[name]), name)
