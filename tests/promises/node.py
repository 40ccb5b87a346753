"""A node for fault tests, and the program that starts them: `python -m promises.node` forks one for each line it reads.

A line is the options of `NodeOptions` as JSON; the answer is the new process's id. Forking from a process that has
imported everything makes a node start in a few hundredths of a second. A node uses the public API only. It writes down
what happens (`promises.history`) and ends when it is killed, or at the crash point that it was given.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import anyio
from promises import crash
from promises.history import History

import musicq_async
import musicq_async.sql
from musicq_async.clock import SystemClock
from musicq_async.model.event import Completed, Warned

POISONED = 9


@dataclass(frozen=True)
class NodeOptions:
    history: str
    settings: dict[str, Any]
    name: str = "node"
    work: tuple[float, float] = (0.0, 0.0)
    """Seconds that a task takes, from and to."""
    seed: int = 0
    crash: str = ""
    """Where to die; see `promises.crash`."""
    ahead: float = 0.0
    """Seconds that this node's clock is ahead: as if it had been started so much later."""
    push: list[str] = field(default_factory=list)
    """Ids of tasks of the type ``work`` to push, one awaited after the other, while it works."""
    push_type: str = "work"
    timed: bool = False
    """Whether to write down what each claim took."""


class AheadClock(SystemClock):
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def time(self) -> float:
        return super().time() + self._seconds

    def time_ms(self) -> int:
        return super().time_ms() + round(self._seconds * 1000)

    async def wait_until(self, at: float, notified: Any) -> None:
        await super().wait_until(at - self._seconds, notified)


class Log(logging.Handler):
    """Writes warnings down at once, also while the event loop is blocked."""

    def __init__(self, history: History) -> None:
        super().__init__(logging.WARNING)
        self._history = history

    def emit(self, record: logging.LogRecord) -> None:
        self._history.write("warned", text=record.getMessage())


def handlers_of(history: History, options: NodeOptions) -> musicq_async.Handlers:
    handlers = musicq_async.Handlers()
    draw = random.Random(f"{options.seed} {os.getpid()}")

    @handlers.register("work")
    async def work(params, context):
        history.write("start", context.task_id, attempt=context.attempt)
        await anyio.sleep(draw.uniform(*options.work))
        crash.at("before effect")
        history.write("effect", context.task_id)
        crash.at("after effect")
        return options.name

    @handlers.register("fragile", max_retries=3)
    async def fragile(params, context):
        history.write("start", context.task_id, attempt=context.attempt)
        if context.attempt == 1:
            raise ValueError("the first time it fails")
        history.write("effect", context.task_id)
        return options.name

    @handlers.register("poison")
    async def poison(params, context):
        history.write("start", context.task_id)
        os._exit(POISONED)

    @handlers.register("block")
    async def block(params, context):
        history.write("start", context.task_id)
        time.sleep(params["seconds"])
        history.write("effect", context.task_id)
        return options.name

    return handlers


async def push(queue: Any, history: History, ids: list[str], task_type: str = "work") -> None:
    """Push until each is known to be there; what was asked and answered is written down."""
    for task_id in ids:
        history.write("push", task_id)
        while True:
            try:
                await queue.push_task({"type": task_type, "task_id": task_id})
            except musicq_async.DuplicateTask:
                pass
            except musicq_async.BackendUnavailable:
                history.write("unknown", task_id)
                await anyio.sleep(0.05)
                continue
            break
        history.write("pushed", task_id)


async def live(options: NodeOptions) -> None:
    history = History(options.history, seed=options.seed)
    logging.getLogger().addHandler(Log(history))
    crash.arm(options.crash)
    if options.timed:
        crash.time_claims(history)
    settings = musicq_async.Settings(**options.settings)
    async with musicq_async.open_musicq(
        settings, handlers=handlers_of(history, options), clock=AheadClock(options.ahead)
    ) as app:

        @app.events.on(Completed)
        def completed(event: Completed) -> None:
            history.write("done", event.task_id)

        @app.events.on(Warned)
        def warned(event: Warned) -> None:
            history.write("warned", text=event.message)

        history.write("up")
        await push(app.queue, history, options.push, options.push_type)
        await app.run()


def serve() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                anyio.run(live, NodeOptions(**json.loads(line)))
            except BaseException as error:
                History(json.loads(line)["history"]).write("broke", text=repr(error))
                os._exit(1)
            os._exit(0)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    serve()
