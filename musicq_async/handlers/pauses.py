"""What a task does when the site asks for peace: it comes back later, with no attempt spent."""

from __future__ import annotations

import functools
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

from musicq_async.engine.context import TaskContext
from musicq_async.errors import RiskControl, WorkGone

SPREAD: Final = 0.1
"""Tasks come back spread over this part of the pause, not all in one moment."""
LEAST: Final = 1.0

Work = Callable[[dict[str, Any], TaskContext], Awaitable[Any]]


def patient(work: Work, *, draw: Callable[[], float] = random.random) -> Work:
    """Let a handler be snoozed where the site's risk control pauses the account, or a work is still in review.

    The person is told by the circuit breaker, once a pause. Every other error goes on to the retry decision, which
    obeys its ``retry_after``.
    """

    @functools.wraps(work)
    async def patiently(params: dict[str, Any], context: TaskContext) -> Any:
        try:
            return await work(params, context)
        except RiskControl as error:
            seconds = max(error.retry_after or 0.0, LEAST)
        except WorkGone as error:
            if error.retry_after is None:
                raise
            seconds = error.retry_after
        return context.snooze(seconds * (1 + SPREAD * draw()))

    return patiently
