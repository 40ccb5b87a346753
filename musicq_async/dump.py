"""Everything that a program knows as one file, and back: how it moves from one database, or queue, to another.

The file is JSON, one document a line, the first one says what it is. It holds tasks, schedules with their fired slots,
shared values and the download archive. What is there already is left alone, so that an import may be repeated.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

import anyio
import anyio.to_thread
import msgspec

from musicq_async.errors import BackendError, MusicqError, UsageError
from musicq_async.model.task import Task
from musicq_async.ports import Rows, TaskFilter, TaskQueue

FORMAT: Final = 1
PAGE: Final = 500
OF_DATABASE: Final = ("schedule", "fire", "download")
OF_QUEUE: Final = ("value", "unique")
HEAD: Final = "musicq_export"
Pause = Callable[[str], Awaitable[None]]
"""Pauses a type, for workers of this process at once: tasks that come after it must not begin."""


async def export(path: Path, *, queue: TaskQueue, beside: Rows, tables: Rows, now_ms: int) -> dict[str, int]:
    """Write everything to a new file that only its owner may read; return how many of each kind.

    ``beside`` is what the queue's place keeps beside its tasks, ``tables`` what the database does. Of a program that
    runs meanwhile, each row is as it stood when it was read: stop it first to move it. Raises `UsageError` where the
    file exists, `BackendError` where it cannot be written. Cancelled, it leaves no file.
    """
    counts: dict[str, int] = {}
    draft = path.with_name(f"{path.name}.part")
    if await anyio.Path(path).exists():
        raise UsageError(f"{path} exists already; name another file, or remove it first")
    with _renamed(path):
        file = await anyio.to_thread.run_sync(_create, draft)
        try:
            await _write(file, [{HEAD: FORMAT, "exported_ms": now_ms}])
            async for kind, page in _everything(queue, beside, tables):
                counts[kind] = counts.get(kind, 0) + len(page)
                await _write(file, [{"kind": kind, "row": row} for row in page])
            await anyio.to_thread.run_sync(_keep, file, draft, path)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_clear, file, draft)
    return counts


async def _everything(queue: TaskQueue, beside: Rows, tables: Rows) -> AsyncIterator[tuple[str, list[Any]]]:
    for place, kinds in ((tables, OF_DATABASE), (beside, OF_QUEUE)):
        for kind in kinds:
            async for page in place.pages(kind):
                yield kind, page
    yield "paused", sorted(await queue.paused())
    after: str | None = None
    while tasks := await queue.find(TaskFilter(limit=PAGE, after=after)):
        yield "task", tasks
        after = tasks[-1].task_id


async def restore(path: Path, *, queue: TaskQueue, pause: Pause, beside: Rows, tables: Rows) -> dict[str, int]:
    """Read what `export` wrote; return how many of each kind were new.

    A task that was running is pending. Raises `UsageError` naming the line that is wrong; the lines before it stay.
    """
    counts: dict[str, int] = {}
    with _renamed(path):
        file = await anyio.to_thread.run_sync(path.open, "rb")
        try:
            number = 1
            _check_head(await anyio.to_thread.run_sync(file.readline), path)
            while lines := await anyio.to_thread.run_sync(_some, file):
                documents = [_document(line, number + place, path) for place, line in enumerate(lines, start=1)]
                number += len(lines)
                for kind, rows in _runs(documents):
                    new = await _stored(kind, rows, queue=queue, pause=pause, beside=beside, tables=tables)
                    counts[kind] = counts.get(kind, 0) + new
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(file.close)
    return counts


def _runs(documents: list[tuple[str, Any]]) -> list[tuple[str, list[Any]]]:
    """Put neighbours of one kind together."""
    runs: list[tuple[str, list[Any]]] = []
    for kind, row in documents:
        if not runs or runs[-1][0] != kind:
            runs.append((kind, []))
        runs[-1][1].append(row)
    return runs


async def _stored(kind: str, rows: list[Any], *, queue: TaskQueue, pause: Pause, beside: Rows, tables: Rows) -> int:
    if kind == "task":
        return await queue.restore(rows)
    if kind == "paused":
        for name in rows:
            await pause(name)
        return len(rows)
    return await (beside if kind in OF_QUEUE else tables).add(kind, rows)


def _check_head(line: bytes, path: Path) -> None:
    with contextlib.suppress(msgspec.DecodeError, AttributeError):
        version = msgspec.json.decode(line).get(HEAD)
        if version == FORMAT:
            return
        if isinstance(version, int):
            raise UsageError(f"{path} is of the newer format {version}; import it with the version that wrote it")
    raise UsageError(f"{path} is no file of 'musicq db export'")


def _document(line: bytes, number: int, path: Path) -> tuple[str, Any]:
    try:
        document = msgspec.json.decode(line, type=_Line)
        return document.kind, msgspec.convert(document.row, _ROWS[document.kind])
    except (msgspec.DecodeError, KeyError) as error:
        reason = f"the kind {error} is unknown" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{path}, line {number}: {reason}; the lines before it are imported") from None


class _Line(msgspec.Struct):
    kind: str
    row: Any


_ROWS: Final[dict[str, Any]] = {"task": Task, "paused": str, **dict.fromkeys(OF_DATABASE + OF_QUEUE, dict[str, Any])}


def _create(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb")


async def _write(file: IO[bytes], documents: list[Any]) -> None:
    await anyio.to_thread.run_sync(file.write, b"".join(msgspec.json.encode(each) + b"\n" for each in documents))


def _some(file: IO[bytes]) -> list[bytes]:
    return [line for _, line in zip(range(PAGE), file, strict=False)]


def _keep(file: IO[bytes], draft: Path, path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
    draft.replace(path)


def _clear(file: IO[bytes], draft: Path) -> None:
    file.close()
    draft.unlink(missing_ok=True)


@contextlib.contextmanager
def _renamed(path: Path) -> Iterator[None]:
    try:
        yield
    except MusicqError:
        raise
    except OSError as error:
        raise BackendError(f"{path}: {error.strerror or error}") from error
