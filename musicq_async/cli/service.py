"""The service itself, and shell completion."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from musicq_async.cli.interrupts import INTERRUPTED, interrupts, on_this_loop, run_async
from musicq_async.cli.opening import address_options, read_settings

if TYPE_CHECKING:
    from contextlib import AsyncExitStack
    from logging import Logger

    from musicq_async.app import MusicQ
    from musicq_async.engine.registry import Handlers
    from musicq_async.settings import Settings


FIRST_WAIT: Final = 1
LONGEST_WAIT: Final = 15
"""Seconds between two tries to reach a server that is away at start."""
STUCK: Final = 5.0
"""Seconds beyond the grace after which the process ends although a handler blocks its event loop."""


@click.command()
@address_options
@click.option("--concurrency", type=click.IntRange(0, 10_000), metavar="N", help="Tasks at once; 0 runs no workers.")
@click.option("--handlers", metavar="MODULE:NAME", help="Your own Handlers.")
@click.option("--no-scheduler", is_flag=True, help="Fire no schedules.")
@click.option("--drain", is_flag=True, help="End when nothing is left to do.")
def run(*, drain: bool, no_scheduler: bool, **given: Any) -> int:
    """Run the service: migrate the database, fire schedules, run tasks.

    Ctrl-C or SIGTERM stops it: running tasks get ten seconds, then they are put back. A second one stops it at once.
    SIGTERM is how a service is stopped, so it ends with exit code 0; Ctrl-C ends with 130.
    """
    settings = read_settings(**given, scheduler=False if no_scheduler else None)
    handlers = load_handlers(settings.handlers) if settings.handlers else None
    code = run_async(lambda: _serve(settings, handlers, drain=drain), fast=True)
    return 0 if interrupts.received == [signal.SIGTERM] and not drain else code


async def _serve(settings: Settings, handlers: Handlers | None, *, drain: bool) -> int:
    import logging
    from contextlib import AsyncExitStack

    from musicq_async.observe.log import configure_logging, log_events

    with configure_logging(settings.log):
        log = logging.getLogger("musicq_async.cli")
        async with AsyncExitStack() as stack:
            app = await _open_when_there(stack, settings, handlers, log, waits=not drain)
            log_events(app.events)
            if drain:
                log.info("%s", _greeting(app))
                left = await app.run_until_idle()
                log.info("%s", _left(left))
                return 0
            with interrupts.asking(on_this_loop(app.stop), patience=settings.shutdown_grace + STUCK):
                log.info("%s", _greeting(app))  # whoever reads it may ask for the end already
                await app.run()
            log.info("stopping")
        log.info("stopped")
    return INTERRUPTED


async def _open_when_there(
    stack: AsyncExitStack, settings: Settings, handlers: Handlers | None, log: Logger, *, waits: bool
) -> MusicQ:
    """Open the application. A service waits for a server that is away: it may have been started a moment earlier."""
    from musicq_async.app import open_musicq
    from musicq_async.clock import SystemClock
    from musicq_async.errors import BackendUnavailable

    urls = (settings.database_url, settings.queue_url)
    on_servers = waits and not all(url.startswith(("sqlite", "memory:")) for url in urls)
    wait = FIRST_WAIT
    while True:
        try:
            return await stack.enter_async_context(open_musicq(settings, handlers=handlers))
        except BackendUnavailable as error:
            if not on_servers:
                raise
            log.warning("%s; trying again in %d s", error, wait)
        await SystemClock().sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


def _greeting(app: MusicQ) -> str:
    from musicq_async import __version__
    from musicq_async.observe.secrets import without_password

    settings = app.settings
    queue = "" if settings.queue_url == settings.database_url else f", queue {without_password(settings.queue_url)}"
    return (
        f"musicq {__version__}: database {without_password(settings.database_url)}{queue}, "
        f"{settings.concurrency} workers, "
        f"{'with' if settings.scheduler else 'without'} scheduler, music in {settings.music_dir}"
    )


def _left(count: int) -> str:
    if not count:
        return "nothing is left to do"
    return f"{count} unfinished: due later, paused, or handled by nobody here; see musicq tasks and musicq doctor"


def load_handlers(where: str) -> Handlers:
    """Import ``MODULE:NAME``, from the current folder too. Raises `SettingsError`."""
    import importlib

    from musicq_async.engine.registry import Handlers
    from musicq_async.errors import SettingsError

    module, _, name = where.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = importlib.import_module(module)
        for part in (name or "handlers").split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        raise SettingsError(f"handlers: {where!r} cannot be imported: no module named {error.name!r}") from error
    except AttributeError as error:
        raise SettingsError(f"handlers: {where!r} cannot be imported: {error}") from error
    except Exception as error:
        raise SettingsError(f"handlers: importing {where!r} failed: {type(error).__name__}: {error}") from error
    if not isinstance(found, Handlers):
        raise SettingsError(f"handlers: {where!r} is {type(found).__name__}, not musicq_async.Handlers")
    return found


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    r"""Print the completion script of a shell.

    \b
    bash:  eval "$(musicq completion bash)"       in ~/.bashrc
    zsh:   eval "$(musicq completion zsh)"        in ~/.zshrc
    fish:  musicq completion fish | source        in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "musicq", "_MUSICQ_COMPLETE").source())
