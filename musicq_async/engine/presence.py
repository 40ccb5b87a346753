"""This process's row among the nodes: `Presence` keeps it fresh while the process lives."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any, Final

import anyio
import msgspec
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from musicq_async.engine.outage import Outage
from musicq_async.ports import Clock, EventSink, Node, NodeStore

BEAT: Final = 5.0
"""Seconds between two beats."""
ALIVE: Final = 3 * BEAT
"""Seconds after its last beat for which a node counts as alive."""
FORGOTTEN_MS: Final = 3_600_000
"""For how long the row of a dead node is shown."""


class Presence:
    """Writes a node's row now and then, and deletes it at the end. ``running`` tells how many tasks run.

    ``met`` is told at each beat which nodes are alive, this one among them.
    """

    def __init__(
        self,
        store: NodeStore,
        node: str,
        *,
        clock: Clock,
        sink: EventSink,
        running: Callable[[], int],
        met: Callable[[list[Node]], None] | None = None,
        redact: Callable[[str], str] = str,
        **facts: Any,
    ) -> None:
        self._store = store
        self._clock = clock
        self._running = running
        self._met = met
        self._outage = Outage(sink=sink, what="telling that this node lives", redact=redact)
        now_ms = clock.time_ms()
        self._node = Node(
            node=node, started_ms=now_ms, heartbeat_ms=now_ms, host=socket.gethostname(), pid=os.getpid(), **facts
        )

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Beat until cancelled."""
        task_status.started()
        try:
            while True:
                await self._tried_beat()
                await self._clock.sleep(BEAT)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1.0):
                await self._leave()

    async def _tried_beat(self) -> None:
        now_ms = self._clock.time_ms()
        try:
            await self._store.beat(msgspec.structs.replace(self._node, heartbeat_ms=now_ms, running=self._running()))
            await self._store.forget(now_ms - FORGOTTEN_MS)
            if self._met is not None:
                self._met([node for node in await self._store.nodes() if is_alive(node, now_ms=now_ms)])
        except Exception as error:  # noqa: BLE001 - the next beat tries again, whatever it was
            self._outage.failed(error)
        else:
            self._outage.over()

    async def _leave(self) -> None:
        try:
            await self._store.leave(self._node.node)
        except Exception:  # noqa: BLE001 - the row grows old by itself
            return


def shown(node: Node, *, now_ms: int) -> dict[str, Any]:
    """Return a node as the dict that users see; ``alive`` says whether it beat lately."""
    row: dict[str, Any] = msgspec.to_builtins(node)
    return row | {"alive": is_alive(node, now_ms=now_ms)}


def is_alive(node: Node, *, now_ms: int) -> bool:
    """Whether a node beat lately."""
    return now_ms - node.heartbeat_ms <= ALIVE * 1000
