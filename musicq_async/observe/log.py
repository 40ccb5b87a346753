"""Log lines, written by loguru to stderr and a rotating file. The only module that imports loguru.

Every record of the process goes through one sink, which redacts it and writes it to stderr; the text that it made is
then logged once more, raw, for the file: so neither loguru's formats nor its own error reports ever see a secret.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TextIO

from loguru import logger

from musicq_async.errors import SettingsError
from musicq_async.model.event import Event, Fired, Queued, Started, Warned
from musicq_async.observe.fanout import Events
from musicq_async.observe.lines import Line, as_json, as_text
from musicq_async.observe.secrets import printable, redact, register_secret
from musicq_async.observe.wording import ENDINGS, fields, worded
from musicq_async.settings import LogSettings, user_data_path

if TYPE_CHECKING:
    from loguru import Message, Record

logger.disable("musicq_async")

Context = Callable[[], Mapping[str, Any]]

PACKAGE: Final = "musicq_async"
WRITTEN: Final = "musicq_written"
"""Marks the records that are ready for the file."""
CHATTY: Final = (
    "aiomysql",
    "aiosqlite",
    "alembic",
    "asyncio",
    "asyncpg",
    "hpack",
    "httpcore",
    "httpx",
    "libav",
    "redis",
    "sqlalchemy",
    "urllib3",
)
"""Foreign loggers that are heard from WARNING on, whatever the level: below, they print addresses and headers."""


class Logging:
    """What `configure_logging` set up; `close` undoes it."""

    def __init__(self, undo: ExitStack, file: Path | None) -> None:
        self._undo = undo
        self.file = file
        """The rotating file, if one is written."""

    def close(self) -> None:
        """Write what waits and put everything back as it was. May be called twice."""
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_current: Logging | None = None
_default: int | None = 0
"""Number of the sink that loguru has where nobody configured it."""


def configure_logging(
    settings: LogSettings | None = None,
    *,
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
    context: Context | None = None,
) -> Logging:
    """Write this process's log to stderr and to a rotating file, with every registered secret taken out.

    Loguru's default sink makes way, the standard ``logging`` is routed in, uncaught errors of threads too. ``stream``
    stands in for stderr; ``context`` is asked, where a record is made, for fields to add to it. Calling it again
    replaces what the last call set up. Raises `SettingsError` for a rotation or retention that loguru does not know.
    A file that cannot be written is named on stderr and done without.
    """
    global _current  # noqa: PLW0603 - the log is the process's, and there is one
    for secret in secrets:
        register_secret(secret)
    if _current is not None:
        _current.close()
    settings = settings or LogSettings()
    with ExitStack() as undo:
        _make_way(undo)
        file = _add_file(undo, settings)
        sink = _Sink(settings, stream=stream, context=context, file=file is not None)
        _add(undo, sink.write, level=settings.level, format="{message}")
        _route_standard_logging(undo, settings.level)
        _catch_uncaught(undo)
        logger.enable(PACKAGE)
        undo.callback(logger.disable, PACKAGE)
        _current = Logging(undo.pop_all(), file)
    return _current


def log_events(events: Events) -> Callable[[], None]:
    """Write one line for each event; return the function that stops it.

    The lines carry ``task_id``, ``task_type`` and ``attempt``. They go to loguru, and are written once
    `configure_logging` was called, or to sinks of your own after ``loguru.logger.enable("musicq_async")``.
    """
    return events.subscribe(_EventLog())


class _EventLog:
    """Knows the attempt of each running task, which not every event carries."""

    def __init__(self) -> None:
        self._attempts: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        level, message = worded(event)
        logger.bind(**fields(event, self._attempt(event))).log(level, printable(message))

    def _attempt(self, event: Event) -> int | None:
        if isinstance(event, Queued | Fired | Warned):
            return None
        if isinstance(event, Started):
            self._attempts[event.task_id] = event.attempt
        known = self._attempts.get(event.task_id)
        if isinstance(event, ENDINGS):
            self._attempts.pop(event.task_id, None)
        attempt: int | None = getattr(event, "attempt", known)
        return attempt


class _Sink:
    """Renders each record once; writes it to stderr and hands it to the file."""

    def __init__(self, settings: LogSettings, *, stream: TextIO | None, context: Context | None, file: bool) -> None:
        self._stream = stream
        self._context = context
        self._json = settings.json
        self._file = file

    def write(self, message: Message) -> None:
        line = self._line(message.record)
        stream = self._stream or sys.stderr  # looked up late: progress bars put themselves in between
        if stream is not None:
            with suppress(OSError, ValueError):  # a closed terminal is no reason to stop working
                stream.write(as_json(line) if self._json else as_text(line, color=_has_color(stream)))
                stream.flush()
        if self._file:
            logger.patch(_only_marked).opt(raw=True).log(line.level, as_text(line))

    def _line(self, record: Record) -> Line:
        bound = dict(record["extra"])
        if self._context is not None:
            with suppress(Exception):  # the caller's function; a log line never fails
                bound = {**self._context(), **bound}
        exception = record["exception"]
        return Line(
            time=record["time"],
            level=record["level"].name,
            logger=record["name"] or "",
            message=record["message"],
            fields=bound,
            exception=None if exception is None else (exception.type, exception.value, exception.traceback),
        )


class InterceptHandler(logging.Handler):
    """Passes records of the standard ``logging`` on to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on, under its own name and level."""
        try:
            message = record.getMessage()
        except Exception as error:  # noqa: BLE001 - wrong arguments in a foreign log call must not hurt us
            message = f"{record.msg} ({type(error).__name__} in its arguments)"

        def as_it_was(passed: Record) -> None:
            passed["name"] = record.name

        level = record.levelname if record.levelname in _LEVELS else max(record.levelno, 0)
        logger.patch(as_it_was).opt(exception=record.exc_info).log(level, message)


_LEVELS: Final = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})


def _only_marked(record: Record) -> None:
    record["extra"] = {WRITTEN: True}
    record["exception"] = None


def _is_written(record: Record) -> bool:
    return WRITTEN in record["extra"]


def _is_new(record: Record) -> bool:
    return WRITTEN not in record["extra"]


def _add(undo: ExitStack, sink: Callable[[Message], None], *, level: str, format: str) -> None:  # noqa: A002 - loguru's
    number = logger.add(
        sink, level=level, format=format, filter=_is_new, colorize=False, backtrace=False, diagnose=False, catch=False
    )
    undo.callback(_remove, number)


def _add_file(undo: ExitStack, settings: LogSettings) -> Path | None:
    if settings.file == "":
        return None
    path = Path(settings.file).expanduser() if settings.file else user_data_path("musicq.log")
    try:
        number = logger.add(
            path,
            level=0,
            format="{message}",
            filter=_is_written,
            rotation=settings.rotation,
            retention=settings.retention,
            enqueue=True,
            encoding="utf-8",
            errors="backslashreplace",
            watch=sys.platform != "win32",  # another runner may have rotated the file
            colorize=False,
            backtrace=False,
            diagnose=False,
        )
    except OSError as error:
        _say(f"the log file {path} cannot be written ({error.strerror or type(error).__name__}): going on without")
        return None
    except ValueError as error:
        raise SettingsError(f"log.rotation or log.retention: {redact(str(error))}") from error
    undo.callback(_remove, number)
    return path


def _say(message: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"musicq: {printable(message)}\n")


def _remove(number: int) -> None:
    with suppress(ValueError):  # somebody called logger.remove()
        logger.remove(number)


def _make_way(undo: ExitStack) -> None:
    """Take out the sink that loguru starts with, which prints the values of variables; a tamer one follows us."""
    global _default  # noqa: PLW0603 - loguru's state, not ours
    if _default is not None:
        with suppress(ValueError):
            logger.remove(_default)
            undo.callback(_default_again)
        _default = None


def _default_again() -> None:
    global _default  # noqa: PLW0603
    _default = logger.add(lambda message: print(message, end="", file=sys.stderr), diagnose=False)  # noqa: T201


def _route_standard_logging(undo: ExitStack, level: str) -> None:
    root = logging.getLogger()
    number = logger.level(level).no
    handler = InterceptHandler()
    _set_level(undo, root, number)
    for name in CHATTY:
        _set_level(undo, logging.getLogger(name), max(number, logging.WARNING))
    _set_level(undo, logging.getLogger(PACKAGE), number)
    root.addHandler(handler)
    undo.callback(root.removeHandler, handler)
    logging.captureWarnings(capture=True)
    undo.callback(logging.captureWarnings, capture=False)


def _set_level(undo: ExitStack, known: logging.Logger, level: int) -> None:
    undo.callback(known.setLevel, known.level)
    known.setLevel(level)


def _catch_uncaught(undo: ExitStack) -> None:
    """Log what Python would print by itself, secrets and all: errors that end a thread, or come up in a finalizer."""

    def of_thread(uncaught: threading.ExceptHookArgs) -> None:
        name = uncaught.thread.name if uncaught.thread else "a thread"
        _uncaught(f"{name} ended by an error", uncaught.exc_type, uncaught.exc_value, uncaught.exc_traceback)

    def of_finalizer(uncaught: sys.UnraisableHookArgs) -> None:
        _uncaught("an error was ignored", uncaught.exc_type, uncaught.exc_value, uncaught.exc_traceback)

    undo.callback(setattr, threading, "excepthook", threading.excepthook)
    undo.callback(setattr, sys, "unraisablehook", sys.unraisablehook)
    threading.excepthook = of_thread
    sys.unraisablehook = of_finalizer


def _uncaught(
    what: str, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
) -> None:
    if kind is None or not issubclass(kind, SystemExit):
        logger.opt(exception=error.with_traceback(trace) if error else None).warning(what)


def _has_color(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
        return False
    return sys.platform != "win32" or "WT_SESSION" in os.environ
