"""How long a failed task waits for its next attempt."""

from __future__ import annotations

from typing import Final

FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 600.0
JITTER: Final = 0.1
"""The wait is spread by this part of itself to either side: tasks that failed together do not return together."""


def backoff(failed_attempts: int, *, draw: float, retry_after: float | None = None) -> float:
    """Return the seconds before the next attempt: 1, 2, 4, ... 600, spread by a tenth.

    ``failed_attempts`` is 1 after the first failure. ``draw`` is a random number in [0, 1). ``retry_after`` comes from
    the error itself and is taken as it is, except that it is never negative.
    """
    if retry_after is not None:
        return max(0.0, retry_after)
    doublings = min(max(failed_attempts - 1, 0), 20)
    wait = FIRST_WAIT * 2.0**doublings * (1 + JITTER * (2 * draw - 1))
    return min(wait, LONGEST_WAIT)
