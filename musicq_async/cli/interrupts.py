"""Ctrl-C and SIGTERM: quiet at every moment, graceful where something is open, at once the second time."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130
HURRY: Final = 0.3
"""Seconds that a second signal leaves for putting tasks back."""


class Interrupts:
    """What a signal does now. The handlers are Python's own: they run while a task blocks the event loop, too."""

    def __init__(self) -> None:
        self.received: list[int] = []
        """Numbers of the signals so far."""
        self._asks: list[tuple[Callable[[], None], float | None]] = []

    def install(self) -> None:
        """Take over SIGINT, SIGTERM and, on Windows, Ctrl-Break. Only the main thread may."""
        for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
            number = getattr(signal, name, None)
            if number is not None:
                signal.signal(number, self._handle)

    @contextmanager
    def asking(self, ask: Callable[[], None], *, patience: float | None = None) -> Iterator[None]:
        """While this is open, the first signal calls ``ask``; outside, a signal ends the process: nothing is open.

        After ``patience`` seconds the process ends although it was asked: something blocks the event loop.
        """
        entry = (ask, patience)
        self._asks.append(entry)
        try:
            yield
        finally:
            self._asks.remove(entry)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received.append(number)
        if not self._asks:
            os._exit(INTERRUPTED)
        if len(self.received) == 1:
            ask, patience = self._asks[-1]
            if patience is not None:
                _end_after(patience)
            ask()
            return
        _end_after(HURRY)
        for ask, _ in self._asks:
            ask()


def _end_after(seconds: float) -> None:
    timer = threading.Timer(seconds, _end_now)
    timer.daemon = True
    timer.start()


def _end_now() -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        os.write(sys.stderr.fileno(), b"\x1b[?25h")  # progress bars hide the cursor
    os._exit(INTERRUPTED)


interrupts: Final = Interrupts()


def run_async(body: Callable[[], Awaitable[int]], *, fast: bool = False) -> int:
    """Run a command's asynchronous body; return its exit code, or 130 if a signal ended it.

    The first signal cancels the body, which cleans up. ``fast`` uses uvloop where it is installed.
    """
    import asyncio

    import anyio

    async def root() -> int:
        loop = asyncio.get_running_loop()
        with anyio.CancelScope() as scope, interrupts.asking(lambda: _on(loop, scope.cancel)):
            return await body()
        return INTERRUPTED

    return anyio.run(root, backend_options={"use_uvloop": fast and _has_uvloop()})


def on_this_loop(call: Callable[[], object]) -> Callable[[], None]:
    """Return a function that a signal handler may use to have ``call`` called on the running event loop."""
    import asyncio

    loop = asyncio.get_running_loop()
    return lambda: _on(loop, call)


def _on(loop: object, call: Callable[[], object]) -> None:
    schedule = loop.call_soon_threadsafe  # type: ignore[attr-defined]
    schedule(call)


def _has_uvloop() -> bool:
    from importlib.util import find_spec

    return find_spec("uvloop") is not None
