"""How patient a download is, and how fast its bytes may and must come."""

from __future__ import annotations

from dataclasses import dataclass

from musicq_async.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRules:
    """The limits of patience. Seconds, bytes, and counts."""

    cool_down: float = 1.0
    """Seconds that a source rests after a failure that may pass, times its failures in a row."""
    tries: int = 6
    """Failures in a row, bringing nothing, after which a source is given up."""
    patience: float = 15.0
    """Seconds that the download waits for its last source; asked to wait longer, it ends and says how long."""
    slow_rate: int = 20 * 1024
    """Bytes a second below which a source is left for another, if there is one."""
    slow_window: float = 30.0
    refreshes: int = 3
    expiry_margin: float = 60.0
    """Seconds before its expiry that an address is no longer asked."""
    report_interval: float = 0.2
    """Seconds between two reports of progress."""
    spare: int = 16 << 20
    """Bytes that the disk must have beyond the file."""


class Pace:
    """How fast the bytes come: holds them back to the limit, and notices a source that crawls."""

    def __init__(self, clock: Clock, limit: int, rules: TransferRules) -> None:
        self._limit = limit
        self._rules = rules
        self._floor = min(rules.slow_rate, limit // 2) if limit else rules.slow_rate
        self._began = self._window_began = clock.monotonic()
        self._bytes = self._window_bytes = 0
        self.slow = False

    def pause(self, size: int, now: float) -> float:
        """Count bytes; return the seconds to wait before more are read."""
        self._bytes += size
        self._window_bytes += size
        if now - self._window_began >= self._rules.slow_window:
            self.slow = self._window_bytes < self._floor * (now - self._window_began)
            self._window_began, self._window_bytes = now, 0
        return self._began + self._bytes / self._limit - now if self._limit else 0.0
