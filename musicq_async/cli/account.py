"""Commands about the Bilibili account: login, logout, whoami. No cookie is ever shown."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from musicq_async.cli.interrupts import run_async
from musicq_async.cli.opening import address_options, json_option, quiet, read_settings, with_app
from musicq_async.cli.output import print_fields, print_json
from musicq_async.cli.qr import picture

if TYPE_CHECKING:
    from musicq_async.app import MusicQ
    from musicq_async.bilibili.client import BilibiliClient
    from musicq_async.bilibili.credentials import Credentials
    from musicq_async.bilibili.login import QrState
    from musicq_async.bilibili.models import Account
    from musicq_async.settings import Settings

ASK: Final = "\0ask"
"""Stands for ``--cookie`` without a value."""
STATES: Final[dict[str, str]] = {
    "waiting": "Scan the code with the Bilibili app; it is good for three minutes.",
    "scanned": "Scanned. Confirm the login on the phone.",
}


@click.command()
@click.option(
    "--cookie",
    is_flag=False,
    flag_value=ASK,
    metavar="[-]",
    help="Use a cookie from a browser in place of the QR code: asked for on a terminal, read from stdin elsewhere.",
)
@click.option("--store", is_flag=True, help="Keep the session in the database, for every worker on it.")
@address_options
def login(*, cookie: str | None, store: bool, **addresses: str | None) -> int:
    """Log in to Bilibili with the phone: shows a QR code and keeps the session in a file that only you can read.

    A session that the program has for itself lasts longer than one that it shares with a browser.
    """
    settings = read_settings(**addresses, concurrency=0, scheduler=False)
    pasted = None if cookie is None else _pasted(cookie)

    async def body() -> int:
        async with _client(settings) as client:
            session = await _by_phone(client) if pasted is None else _read(pasted)
            account = await _account(settings, session)
        where = await _keep(settings, session, store=store)
        click.echo(f"logged in as {_named(account)}; the session is kept in {where}")
        _warn_of_setting(settings, "wins over the file" if not store else "")
        return 0

    return run_async(body)


@click.command()
@address_options
def logout(**addresses: str | None) -> int:
    """Forget the session, in the file and in the database."""
    settings = read_settings(**addresses)

    async def body(app: MusicQ) -> int:
        from musicq_async.handlers.library import COOKIE_KEY

        stored = await app.queue.delete_public(COOKIE_KEY)
        click.echo("logged out" if stored or in_file else "there was no session")
        _warn_of_setting(settings, "is still used")
        return 0

    in_file = run_async(lambda: _forget_file(settings))
    return with_app(body, addresses)


@click.command()
@json_option
@address_options
def whoami(*, as_json: bool, **addresses: str | None) -> int:
    """Show whose session is used, and what it may have; exit code 1 for a guest."""

    async def body(app: MusicQ) -> int:
        client = await app.library.client()
        session = await client.credentials()
        account = await client.whoami()
        if as_json:
            print_json(_facts(account))
        elif account.logged_in:
            print_fields({"name": account.name, "uid": account.mid, "member": account.member})
        elif session.logged_in:
            click.echo("the session has expired; log in again with 'musicq login'")
        else:
            click.echo("a guest; 'musicq login' logs in")
        return 0 if account.logged_in else 1

    return with_app(body, addresses)


def _facts(account: Account) -> dict[str, Any]:
    there = account.logged_in
    return {
        "logged_in": there,
        "uid": account.mid if there else None,
        "name": account.name if there else None,
        "member": account.member,
    }


def _pasted(cookie: str) -> str:
    """Return the cookie, from wherever it is given."""
    from musicq_async.observe.secrets import register_secret

    if cookie not in {ASK, "-"}:
        register_secret(cookie)
        click.echo(
            "musicq: a cookie on the command line can be read by everybody on this machine; "
            "use --cookie alone, and paste it when asked",
            err=True,
        )
        return cookie
    if cookie == ASK and sys.stdin.isatty():
        text: str = click.prompt("Cookie header, or the value of SESSDATA", hide_input=True, err=True)
    else:
        text = sys.stdin.read()
    register_secret(text.strip())
    return text


def _read(pasted: str) -> Credentials:
    from musicq_async.bilibili.credentials import parse_cookie
    from musicq_async.errors import InvalidParams

    session = parse_cookie(pasted)
    if not session.logged_in:
        raise InvalidParams("there is no SESSDATA in the cookie; copy the whole Cookie header of a logged-in browser")
    return session


@asynccontextmanager
async def _client(settings: Settings, session: Credentials | None = None) -> AsyncIterator[BilibiliClient]:
    """Open a client for one session alone, whatever the settings and the store say."""
    import msgspec

    from musicq_async.bilibili.client import BilibiliClient
    from musicq_async.clock import SystemClock
    from musicq_async.memory.store import MemoryStore
    from musicq_async.observe.log import configure_logging

    async def cookie() -> str | None:
        return None if session is None else session.text

    bare = msgspec.structs.replace(settings.bilibili, cookie="")
    with configure_logging(quiet(settings.log)):
        async with BilibiliClient(
            bare, settings.http, clock=SystemClock(), cookie=cookie, store=MemoryStore()
        ) as client:
            yield client


async def _by_phone(client: BilibiliClient) -> Credentials:
    code = await client.login.begin()
    click.echo(picture(code.url))

    def told(state: QrState) -> None:
        if state in STATES:
            click.echo(STATES[state])

    return await client.login.wait(code, told=told)


async def _account(settings: Settings, session: Credentials) -> Account:
    """Ask the site whose session it is. Raises `LoginRequired` for one that it does not know."""
    from musicq_async.errors import LoginRequired
    from musicq_async.observe.secrets import register_secret

    for secret in session.secrets():
        register_secret(secret)
    async with _client(settings, session) as client:
        account = await client.whoami()
    if not account.logged_in:
        raise LoginRequired("the site does not know this session: it has expired, or was not copied whole")
    return account


async def _keep(settings: Settings, session: Credentials, *, store: bool) -> str:
    """Save the session, and say where."""
    from musicq_async.bilibili.cookie_file import CookieFile
    from musicq_async.cli.opening import open_quietly
    from musicq_async.handlers.library import COOKIE_KEY
    from musicq_async.settings import session_path

    if not store:
        path = session_path(settings.bilibili)
        await CookieFile(path).save(session)
        return str(path)
    async with open_quietly(settings) as app:
        await app.queue.set_public(COOKIE_KEY, session.text)
    return "the database"


async def _forget_file(settings: Settings) -> int:
    from musicq_async.bilibili.cookie_file import CookieFile
    from musicq_async.settings import session_path

    return int(await CookieFile(session_path(settings.bilibili)).delete())


def _named(account: Account) -> str:
    from musicq_async.observe.secrets import printable

    return f"{printable(account.name)} ({'member' if account.member else 'no member'}, uid {account.mid})"


def _warn_of_setting(settings: Settings, what: str) -> None:
    if settings.bilibili.cookie and what:
        click.echo(f"musicq: the setting bilibili.cookie (MUSICQ_BILIBILI__COOKIE) {what}; remove it", err=True)
