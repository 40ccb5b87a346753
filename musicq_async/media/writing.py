"""The event loop's hold on a part: opening it, and writing to it in a thread while the next bytes come in."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import anyio
import anyio.from_thread
import anyio.to_thread

from musicq_async.media.files import SafeFolder, checked_name, open_folder
from musicq_async.media.partial import PartFile
from musicq_async.media.work import first_error

_BACKLOG: Final = 8 << 20
"""Bytes received and not yet written over which the loop waits for the disk."""
_TOGETHER: Final = 32
"""Chunks that go into one write when the disk is behind."""


class BodyWriter:
    """Takes chunks without waiting, and appends them to a part in their order.

    One thread for the whole body measured 1,040 MB/s where a call of ``to_thread`` for each mebibyte made 580.
    """

    def __init__(self, part: PartFile) -> None:
        self._part = part
        self._chunks: SimpleQueue[bytes | None] = SimpleQueue()
        self._taken = 0
        self._written = 0
        self._room: anyio.Event | None = None
        self._start = part.size

    @property
    def reached(self) -> int:
        """Size of the part once everything taken is written."""
        return self._start + self._taken

    def put(self, chunk: bytes) -> None:
        """Take a chunk; call `room` afterwards."""
        self._taken += len(chunk)
        self._chunks.put(chunk)

    async def room(self) -> None:
        """Wait while the disk is far behind."""
        if self._taken - self._written <= _BACKLOG:
            return
        room = self._room = anyio.Event()
        if self._taken - self._written > _BACKLOG // 2:  # still, now that the thread can see who waits
            await room.wait()

    async def run(self) -> None:
        """Write until the end; everything taken before it is written even when the caller is cancelled."""
        with anyio.CancelScope(shield=True):  # it ends by itself, as soon as the block is left
            await anyio.to_thread.run_sync(self._work, limiter=anyio.CapacityLimiter(1))

    def end(self) -> None:
        """Let the thread finish what it was given, and go."""
        self._chunks.put(None)

    def _work(self) -> None:
        last = False
        while not last:
            chunk = self._chunks.get()
            chunks: list[bytes] = []
            while chunk is not None:
                chunks.append(chunk)
                if len(chunks) == _TOGETHER or self._chunks.empty():
                    break
                chunk = self._chunks.get()
            last = chunk is None
            if chunks:
                self._part.write(chunks)
                self._written += sum(map(len, chunks))
                self._wake()

    def _wake(self) -> None:
        room = self._room
        if room is not None and self._taken - self._written <= _BACKLOG // 2:
            self._room = None
            anyio.from_thread.run_sync(room.set)


@asynccontextmanager
async def writing(part: PartFile) -> AsyncIterator[BodyWriter]:
    """Write to a part in a thread; on leaving, everything taken has been written, also on errors and cancellation.

    Raises `OutOfSpace` when the disk is full, which also ends the block.
    """
    writer = BodyWriter(part)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.run)
            try:
                yield writer
            finally:
                writer.end()
    except ExceptionGroup as group:
        raise first_error(group) from group.exceptions[0].__cause__


async def open_part(target: Path, within: SafeFolder | None) -> PartFile:
    """Lock the ``.part``. When this is cancelled, whoever comes second, thread or task, closes it again."""
    handover = threading.Lock()
    opened: list[PartFile] = []
    gone = False

    def work() -> None:
        part = _lock_part(target, within)
        with handover:
            if not gone:
                opened.append(part)
                return
        part.close()

    try:
        await anyio.to_thread.run_sync(work)
    except BaseException:
        with handover:
            gone = True
        with anyio.CancelScope(shield=True):
            for part in opened:
                await anyio.to_thread.run_sync(part.close)
        raise
    return opened[0]


def _lock_part(target: Path, within: SafeFolder | None) -> PartFile:
    if within is not None:
        *folders, name = within.parts(target)
        folder = within.open_folder(*folders)
    else:
        path = Path(os.path.abspath(target))  # noqa: PTH100 - Path.absolute keeps '..'
        folder, name = open_folder(path.parent), path.name
    try:
        return PartFile.open(folder, checked_name(name), owns_folder=True)
    except BaseException:
        folder.close()
        raise
