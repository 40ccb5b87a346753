"""A backend that is away: how long to wait before the next try, and who is told, once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

from musicq_async.errors import MusicqError
from musicq_async.model.event import Warned
from musicq_async.ports import EventSink

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 2.0
"""Seconds: work goes on this soon after the backend is back."""


class Outage:
    """One backend, as one user of it finds it.

    It may do some of what is asked and not the rest: a full disk is read. It is over when all that failed has worked.
    """

    def __init__(self, *, sink: EventSink, what: str, redact: Callable[[str], str] = str) -> None:
        self._sink = sink
        self._what = what
        self._redact = redact
        self._failures = 0
        self._failing: set[Hashable] = set()
        self.is_on = False
        """Whether something failed that has not worked since."""

    def failed(self, error: BaseException, doing: Hashable = None) -> float:
        """Note that a call failed while ``doing`` something, tell of the first one, and return the seconds to wait."""
        self._failures += 1
        self._failing.add(doing)
        self.is_on = True
        if self._failures == 1:
            text = str(error) if isinstance(error, MusicqError) else repr(error)
            self._sink.emit(Warned(message=f"{self._what} fails, trying again until it works: {self._redact(text)}"))
        return self.wait

    @property
    def wait(self) -> float:
        """Seconds before the next try."""
        return min(FIRST_WAIT * 2.0 ** min(self._failures - 1, 10), LONGEST_WAIT) if self._failures else 0.0

    def over(self, doing: Hashable = None) -> bool:
        """Note that ``doing`` something worked, or is given up; return whether nothing fails any more."""
        self._failing.discard(doing)
        if not self._failing:
            self._failures = 0
            self.is_on = False
        return not self.is_on
