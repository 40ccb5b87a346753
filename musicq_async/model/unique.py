"""When a unique key is held: the pure rule behind ``unique_key`` and ``unique_mode``.

=============  ========================================  ==========================================
mode           the key is held                           a push of a held key
=============  ========================================  ==========================================
``queued``     while its task is scheduled or pending    returns the id that is there
``unfinished`` until its task has finished               returns the id that is there
seconds        for so long after its task was pushed     returns the id that is there
``replace``    while its task is scheduled or pending    gives that task its params; its time and place stay
``debounce``   while its task is scheduled or pending    gives that task its params and its time: the delay starts again
=============  ========================================  ==========================================

The mode of the push decides, not that of the task that is there.
"""

from __future__ import annotations

from typing import Final

from musicq_async.errors import InvalidTask
from musicq_async.model.task import FINISHED, TaskState

MODES: Final = ("queued", "unfinished", "replace", "debounce")
LONGEST_WINDOW: Final = 366 * 86_400.0
"""Seconds."""

REPLACING: Final = frozenset({"replace", "debounce"})
"""Modes whose push changes the task that is there."""
QUEUED: Final = frozenset({TaskState.SCHEDULED, TaskState.PENDING})


def checked_mode(mode: object) -> str:
    """Return a ``unique_mode`` as it is stored. Raises `InvalidTask`."""
    if isinstance(mode, str) and mode in MODES:
        return mode
    if isinstance(mode, int | float) and not isinstance(mode, bool) and 0 < mode <= LONGEST_WINDOW:
        return repr(float(mode))
    raise InvalidTask(f"Task field 'unique_mode' must be one of {', '.join(MODES)} or seconds above 0, not {mode!r}.")


def window_ms(mode: str) -> int:
    """Return for how many milliseconds after its push a task holds its key whatever became of it."""
    return 0 if mode in MODES else round(float(mode) * 1000)


def is_held(mode: str, *, state: TaskState | None, pushed_ms: int, now_ms: int) -> bool:
    """Decide whether a push with this mode finds its key held by a task in ``state`` (``None``: it is gone)."""
    if mode == "unfinished":
        return state is not None and state not in FINISHED
    if mode in MODES:
        return state in QUEUED
    return now_ms < pushed_ms + window_ms(mode)
