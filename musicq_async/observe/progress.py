"""Progress for a person who waits: bars on a terminal, a line for each finished piece of work anywhere else."""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from musicq_async.model.event import Cancelled, Completed, Event, Failed, Progressed, Started
from musicq_async.observe.secrets import printable
from musicq_async.observe.wording import duration

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Display(Protocol):
    """Takes events and shows them; a context manager."""

    def __call__(self, event: Event) -> None:
        """Take one event."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def display(stream: TextIO, *, unit: str = "bytes") -> Display:
    """Return bars if ``stream`` is a terminal that can draw them, else plain lines.

    ``unit`` says what ``done`` and ``total`` count: ``bytes``, or anything that is shown as a percentage.
    """
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return Bars(stream, unit=unit)
    return Lines(stream)


class Names:
    """What each task is called: the message it reported last, else its id."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def of(self, event: Started | Progressed | Completed | Failed | Cancelled) -> str:
        """Return the name, made safe for a terminal."""
        if isinstance(event, Progressed) and event.message:
            self._names[event.task_id] = printable(event.message)
        return self._names.get(event.task_id) or printable(event.task_id)


class Lines:
    """One line for each piece of work that ended."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._names = Names()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def __call__(self, event: Event) -> None:
        """Write a line if the event is an end."""
        match event:
            case Progressed():
                self._names.of(event)
            case Completed():
                self._write(f"done: {self._names.of(event)} in {duration(event.seconds)}")
            case Failed():
                self._write(f"failed: {self._names.of(event)}: {printable(event.error)}")
            case Cancelled():
                self._write(f"cancelled: {self._names.of(event)}")
            case _:
                pass

    def _write(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()


class Bars:
    """A bar for each piece of work that runs; finished ones make way, those that failed leave a line."""

    def __init__(self, stream: TextIO, *, unit: str) -> None:
        self._progress = _progress(stream, unit)
        self._bars: dict[str, TaskID] = {}
        self._names = Names()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Move the bar of the task."""
        match event:
            case Started() | Progressed():
                bar = self._bar(event)
                if isinstance(event, Progressed):
                    name = self._names.of(event)
                    self._progress.update(bar, completed=event.done, total=event.total, description=name)
            case Completed() | Cancelled():
                self._close(event.task_id)
            case Failed():
                self._close(event.task_id)
                line = f"failed: {self._names.of(event)}: {printable(event.error)}"
                self._progress.console.print(line, markup=False, highlight=False)
            case _:
                pass

    def _bar(self, event: Started | Progressed) -> TaskID:
        if event.task_id not in self._bars:
            self._bars[event.task_id] = self._progress.add_task(self._names.of(event), total=None)
        return self._bars[event.task_id]

    def _close(self, task_id: str) -> None:
        bar = self._bars.pop(task_id, None)
        if bar is not None:
            self._progress.remove_task(bar)


def _progress(stream: TextIO, unit: str) -> Progress:
    from rich.console import Console  # noqa: PLC0415 - 50 ms, and only here
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.table import Column  # noqa: PLC0415

    name = TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True))
    amounts = (DownloadColumn(), TransferSpeedColumn()) if unit == "bytes" else (TaskProgressColumn(),)
    return Progress(name, BarColumn(), *amounts, TimeRemainingColumn(), console=Console(file=stream), expand=True)
