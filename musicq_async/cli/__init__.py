"""The command line: one file for each group of commands, and here the way from arguments to an exit code."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence

import click

from musicq_async import __version__
from musicq_async.cli.account import login, logout, whoami
from musicq_async.cli.database import database
from musicq_async.cli.demo import demo
from musicq_async.cli.doctor import doctor
from musicq_async.cli.download import download
from musicq_async.cli.interrupts import INTERRUPTED, interrupts
from musicq_async.cli.library import library
from musicq_async.cli.music import convert, name
from musicq_async.cli.nodes import nodes, pause, resume
from musicq_async.cli.schedules import schedule
from musicq_async.cli.service import completion, run
from musicq_async.cli.tasks import cancel, push, retry, task, tasks

NOT_FOUND = 3
TRACEBACK = "MUSICQ_TRACEBACK"
"""Variable that shows where an error came from."""


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Without a command, the service runs. Settings come from options, MUSICQ_ variables, ./musicq.toml and the "
    "user's musicq.toml. For shell completion see 'musicq completion --help'.",
)
@click.version_option(__version__, "-V", "--version", message="musicq %(version)s")
@click.pass_context
def program(context: click.Context) -> int | None:
    """Run a task queue, a scheduler and a Bilibili music downloader."""
    if context.invoked_subcommand is None:
        code: int = context.invoke(run)
        return code
    return None


_COMMANDS = (
    run, push, tasks, task, cancel, retry, schedule, download, convert, name, library, login, logout, whoami, demo,
    doctor, nodes, pause, resume,
)  # fmt: skip
for _command in _COMMANDS:
    program.add_command(_command)
program.add_command(database)
program.add_command(completion)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. A thread that does not end is not waited for."""
    interrupts.install()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a title must not fail on an old console
    code = exit_code(arguments)
    if any(thread is not threading.main_thread() and not thread.daemon for thread in threading.enumerate()):
        _leave(code)
    return code


def exit_code(arguments: Sequence[str] | None = None) -> int:
    """Run one command and turn whatever it raises into one line on stderr and an exit code."""
    try:
        returned = program.main(args=arguments, prog_name="musicq", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - this is where every error ends
        return _answered(error)
    return returned if isinstance(returned, int) else 0


def _answered(raised: BaseException) -> int:
    error = next(_leaves(raised))
    if os.environ.get(TRACEBACK):
        _show_traceback(raised)
    match error:
        case SystemExit(code=code):
            return code if isinstance(code, int) else int(code is not None)
        case KeyboardInterrupt() | click.Abort():
            return INTERRUPTED
        case BrokenPipeError():
            return _without_reader()
        case click.ClickException():
            return _complain(f"{error.format_message()}{_hint(error)}", error.exit_code)
        case _:
            return _complain(*_explained(error))


def _explained(error: BaseException) -> tuple[str, int]:
    from musicq_async.errors import MusicqError, ScheduleNotFound, TaskNotFound, UsageError

    match error:
        case TaskNotFound() | ScheduleNotFound():
            return str(error), NOT_FOUND
        case UsageError():
            return str(error), 2
        case MusicqError():
            return str(error) or type(error).__name__, 1
        case OSError():
            return f"{error.strerror or type(error).__name__}: {error.filename or error}", 1
        case _:
            return f"{type(error).__name__}: {error} (set {TRACEBACK}=1 to see where it came from)", 1


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Return the errors inside groups, those that mean something to a person first."""
    from musicq_async.errors import MusicqError

    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    leaves = [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    yield from sorted(leaves, key=lambda leaf: not isinstance(leaf, MusicqError))


def _hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see '{context.command_path} --help')" if context is not None else ""


def _complain(message: str, code: int) -> int:
    from musicq_async.observe.secrets import printable

    click.echo(f"musicq: {printable(' '.join(message.split()))}", err=True)
    return code


def _show_traceback(error: BaseException) -> None:
    import traceback

    from musicq_async.observe.secrets import redact

    click.echo(redact("".join(traceback.format_exception(error))), err=True, nl=False)


def _without_reader() -> int:
    """Whoever read our output has left (``musicq tasks | head``): leave too, without the complaint at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _leave(code: int) -> None:
    """End now: a plain handler's thread would hold up the interpreter for as long as it runs."""
    import logging

    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 1
    os._exit(code)
