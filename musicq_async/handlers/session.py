"""The account's session: where it is kept, and how it is renewed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

import anyio

from musicq_async.errors import InvalidParams, LoginRequired, MusicqError, SettingsError
from musicq_async.observe.secrets import register_secret
from musicq_async.ports import PublicStore
from musicq_async.settings import BilibiliSettings, session_path

if TYPE_CHECKING:
    from musicq_async.bilibili.client import BilibiliClient
    from musicq_async.bilibili.credentials import Credentials

COOKIE_KEY: Final = "bilibili_cookie"
LOOK_AGAIN: Final = 600.0
"""Seconds after which a session that was refused is looked at again."""
Place = Literal["store", "setting", "file", "nowhere"]
Renewal = Literal["guest", "fresh", "renewed", "not renewable"]


class Session:
    """Finds the session in the public store, else in the settings, else in the file that ``login`` writes.

    Whatever is found is registered as a secret before anybody sees it.
    """

    def __init__(self, settings: BilibiliSettings, store: PublicStore) -> None:
        self._settings = settings
        self._store = store
        self._registered: str | None = None
        self._reviving = anyio.Lock()
        self._looked_at: float | None = None
        self._is_revived = False

    async def text(self) -> str | None:
        """Return the session as a browser shows it, ``None`` for a guest. A secret."""
        return (await self._found())[1]

    async def renewed(self, client: BilibiliClient, *, force: bool = False) -> Renewal:
        """Renew the session if the site asks for it (or ``force``); the new one is saved before the old one ends.

        A session that stands in the settings, or came without a refresh token, can only be looked at. Raises
        `LoginRequired` for one that is dead.
        """
        place, _ = await self._found()
        session = await client.credentials()
        if not session.logged_in:
            return "guest"
        if place == "setting" or not session.refresh_token:
            if not (await client.whoami()).logged_in:
                raise LoginRequired("the session has expired; log in again with 'musicq login'")
            return "not renewable"

        async def save(fresh: Credentials) -> None:
            await self._save(fresh, place)

        fresh = await client.login.refresh(session, save=save, force=force)
        return "fresh" if fresh == session else "renewed"

    async def revived(self, client: BilibiliClient, *, now: float) -> bool:
        """Renew a session that has died, and return whether there is a new one; looked at once in ten minutes.

        ``now`` is on the clock's monotonic scale. Errors of the site count as no.
        """
        async with self._reviving:
            if self._looked_at is not None and now - self._looked_at < LOOK_AGAIN:
                return self._is_revived
            self._looked_at, self._is_revived = now, False
            try:
                session = await client.credentials()
                if session.logged_in and session.refresh_token and not (await client.whoami()).logged_in:
                    self._is_revived = await self.renewed(client, force=True) == "renewed"
            except MusicqError:
                return False
            return self._is_revived

    async def _found(self) -> tuple[Place, str | None]:
        place: Place = "store"
        value = await self._store.get_public(COOKIE_KEY)
        if isinstance(value, Mapping):
            value = "; ".join(f"{name}={text}" for name, text in value.items())
        if not isinstance(value, str) or not value:
            place, value = "setting", self._settings.cookie
        if not value:
            place, value = "file", await self._in_file()
        if value and value != self._registered:
            register_secret(value)
            _check(value, place)
            self._registered = value
        return (place, value) if value else ("nowhere", None)

    async def _in_file(self) -> str | None:
        from musicq_async.bilibili.cookie_file import CookieFile  # noqa: PLC0415 - like the client

        found = await CookieFile(session_path(self._settings)).load()
        return None if found is None else found.text

    async def _save(self, fresh: Credentials, place: Place) -> None:
        from musicq_async.bilibili.cookie_file import CookieFile  # noqa: PLC0415

        for secret in fresh.secrets():
            register_secret(secret)
        if place == "store":
            await self._store.set_public(COOKIE_KEY, fresh.text)
        else:
            await CookieFile(session_path(self._settings)).save(fresh)


def _check(cookie: str, place: Place) -> None:
    """Refuse what can be no cookie, and say where it stands; a file has been checked as it was read."""
    from musicq_async.bilibili.credentials import parse_cookie  # noqa: PLC0415 - like the client

    try:
        parse_cookie(cookie)
    except InvalidParams as error:
        where = "bilibili.cookie" if place == "setting" else f"the public store's {COOKIE_KEY}"
        raise SettingsError(f"{where}: {error}") from None
