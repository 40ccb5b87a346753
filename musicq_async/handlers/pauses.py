"""What a task does when the site asks for peace: it comes back later, with no attempt spent."""

from __future__ import annotations

import functools
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

from musicq_async.engine.context import TaskContext
from musicq_async.errors import LoginRequired, RiskControl, WorkGone
from musicq_async.handlers.library import Library

SPREAD: Final = 0.1
"""Tasks come back spread over this part of the pause, not all in one moment."""
LEAST: Final = 1.0

Work = Callable[[dict[str, Any], TaskContext], Awaitable[Any]]


def patient(library: Library) -> Callable[[Work], Work]:
    """Let a handler be snoozed where the site's risk control pauses the account, or a work is still in review.

    The person is told by the circuit breaker, once a pause. A session that has died is renewed, if it can be, and the
    work done again. Every other error goes on to the retry decision, which obeys its ``retry_after``.
    """
    return functools.partial(_patient, library)


def _patient(library: Library, work: Work) -> Work:
    async def with_session(params: dict[str, Any], context: TaskContext) -> Any:
        try:
            return await work(params, context)
        except LoginRequired:
            client = await library.client()
            if not await library.session.revived(client, now=library.clock.monotonic()):
                raise
        return await work(params, context)

    @functools.wraps(work)
    async def patiently(params: dict[str, Any], context: TaskContext) -> Any:
        try:
            return await with_session(params, context)
        except RiskControl as error:
            seconds = max(error.retry_after or 0.0, LEAST)
        except WorkGone as error:
            if error.retry_after is None:
                raise
            seconds = error.retry_after
        return context.snooze(seconds * (1 + SPREAD * random.random()))

    return patiently
