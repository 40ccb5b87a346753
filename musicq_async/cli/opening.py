"""How a command gets its settings and its application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from musicq_async.cli.interrupts import run_async

if TYPE_CHECKING:
    from musicq_async.app import MusicQ
    from musicq_async.settings import LogSettings, Settings

Function = TypeVar("Function", bound=Callable[..., Any])


def address_options(function: Function) -> Function:
    """Add ``--database-url`` and ``--queue-url``."""
    queue = click.option("--queue-url", metavar="URL", help="Where tasks are kept; the database by default.")
    database = click.option(
        "--database-url",
        metavar="URL",
        help="Where schedules, and by default tasks, are kept. A SQLite file by default.",
    )
    return database(queue(function))


def json_option(function: Function) -> Function:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def read_settings(**given: Any) -> Settings:
    """Read the settings, and register what is secret in them, before anything may print them."""
    from musicq_async.observe.secrets import register_settings
    from musicq_async.settings import Settings

    settings = Settings(**given)
    register_settings(settings)
    return settings


def quiet(log: LogSettings) -> LogSettings:
    """Return the log settings of a command that is not the service: warnings on stderr, no file.

    A level that was chosen stays.
    """
    import msgspec

    level = log.level if "level" in log.changed() else "WARNING"
    return msgspec.structs.replace(log, level=level, file=log.file or "")


def with_app(body: Callable[[MusicQ], Awaitable[int | None]], addresses: dict[str, Any]) -> int:
    """Open the application without workers and scheduler, run ``body``, return the exit code."""
    settings = read_settings(**addresses, concurrency=0, scheduler=False)

    async def opened() -> int:
        async with open_quietly(settings) as app:
            return await body(app) or 0

    return run_async(opened)


@asynccontextmanager
async def open_quietly(settings: Settings, **parts: Any) -> AsyncIterator[MusicQ]:
    """Open the application with only warnings on stderr."""
    from musicq_async.app import open_musicq
    from musicq_async.observe.log import configure_logging

    with configure_logging(quiet(settings.log)):
        async with open_musicq(settings, **parts) as app:
            yield app
