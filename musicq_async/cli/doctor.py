"""``doctor``: what is wrong here, and how to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from musicq_async.cli.interrupts import run_async
from musicq_async.cli.opening import address_options, json_option, open_quietly, read_settings
from musicq_async.cli.output import print_json, styled
from musicq_async.cli.service import load_handlers

if TYPE_CHECKING:
    from musicq_async.cli.checkup import Finding
    from musicq_async.settings import Settings


@click.command()
@json_option
@address_options
@click.option("--handlers", metavar="MODULE:NAME", help="Your own Handlers, as for run.")
def doctor(*, as_json: bool, **given: str | None) -> int:
    """Check this installation, the database, tasks and schedules; say how to mend what is wrong."""
    settings = read_settings(**given, concurrency=0, scheduler=False)
    return run_async(lambda: _examined(settings, as_json=as_json))


async def _examined(settings: Settings, *, as_json: bool) -> int:
    import anyio

    from musicq_async.cli.checkup import checkup

    findings = [*await anyio.to_thread.run_sync(checkup, settings), *await _of_the_application(settings)]
    if as_json:
        print_json(findings)
    else:
        for each in findings:
            _print(each)
    return int(any(not each["ok"] and not each["optional"] for each in findings))


async def _of_the_application(settings: Settings) -> list[Finding]:
    """Ask the application itself; where it cannot be opened, that is the finding."""
    from musicq_async.cli.checkup import finding
    from musicq_async.errors import MusicqError, SettingsError

    handlers = None
    try:
        if settings.handlers:
            handlers = load_handlers(settings.handlers)
    except SettingsError as error:
        return [finding("your handlers", ok=False, message=str(error), cure="set handlers to MODULE:NAME")]
    try:
        async with open_quietly(settings, handlers=handlers) as app:
            return [_complete(each) for each in await app.doctor() if each["name"] != "music folder"]
    except MusicqError as error:
        cure = "check database_url and queue_url, and that the server runs"
        return [finding("database", ok=False, message=str(error), cure=cure)]


def _complete(told: dict[str, Any]) -> Finding:
    from musicq_async.cli.checkup import finding

    return finding(
        told["name"],
        ok=told["ok"],
        message=told["message"],
        cure=told.get("cure"),
        optional=told.get("optional", False),
    )


def _print(found: Finding) -> None:
    from musicq_async.observe.secrets import printable

    mark, color = ("ok", "green") if found["ok"] else ("note", "yellow") if found["optional"] else ("BAD", "red")
    click.echo(f"{styled(f'{mark:<4}', fg=color)} {printable(found['name'])}: {printable(found['message'])}")
    if not found["ok"] and found["cure"]:
        click.echo(f"     {printable(found['cure'])}")
