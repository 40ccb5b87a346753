"""``db``: the schema, and copies of what the database holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from musicq_async.cli.opening import address_options, json_option, with_app
from musicq_async.cli.output import print_json

if TYPE_CHECKING:
    from musicq_async.app import MusicQ


@click.group("db", no_args_is_help=False)
def database() -> None:
    """Look after the database."""


@database.command()
@address_options
def upgrade(**addresses: str | None) -> int:
    """Create the tables, or bring those of an earlier version up to date. The service does so by itself."""

    async def body(app: MusicQ) -> None:
        from musicq_async.observe.secrets import without_password

        click.echo(f"{without_password(app.settings.database_url)} is up to date")

    return with_app(body, addresses)


@database.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@address_options
def backup(file: Path, **addresses: str | None) -> int:
    """Copy the SQLite database to FILE, also while it is used."""

    async def body(app: MusicQ) -> None:
        await app.backup(file)
        click.echo(f"{file} is a copy of the database; name it in database_url to use it")

    return with_app(body, addresses)


@database.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
@address_options
def export_all(file: Path, *, as_json: bool, **addresses: str | None) -> int:
    """Write tasks, schedules, shared values and the archive to FILE. It may hold a cookie: keep it to yourself."""

    async def body(app: MusicQ) -> None:
        _print_counts(await app.export(file), "exported", as_json=as_json)

    return with_app(body, addresses)


@database.command("import")
@click.argument("file", type=click.Path(dir_okay=False, exists=True, path_type=Path))
@json_option
@address_options
def import_all(file: Path, *, as_json: bool, **addresses: str | None) -> int:
    """Read FILE, which export wrote, into this database and queue; what is there already stays as it is."""

    async def body(app: MusicQ) -> None:
        _print_counts(await app.restore(file), "imported", as_json=as_json)

    return with_app(body, addresses)


def _print_counts(counts: dict[str, int], what: str, *, as_json: bool) -> None:
    if as_json:
        print_json({what: counts})
    else:
        click.echo(f"{what} " + (", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "nothing"))
