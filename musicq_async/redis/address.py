"""Which Redis a URL means: `Address`, read from the URL and shown without its secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio.connection import AbstractConnection, Connection, parse_url

from musicq_async.errors import SettingsError

_FORMS: Final = (
    "redis://USER:PASSWORD@HOST:PORT/NUMBER, rediss://... with TLS, or unix:///PATH?db=NUMBER (user and password may "
    "be left out)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A Redis that can be opened. Its text form holds neither password nor options."""

    shown: str
    kind: type[AbstractConnection] = field(repr=False)
    options: dict[str, Any] = field(repr=False)
    """What the driver's connection takes."""

    def __str__(self) -> str:
        return self.shown


def read_address(url: str) -> Address:
    """Read a Redis URL. Raises `SettingsError` without showing the URL."""
    try:
        parts = urlsplit(url)
        options: dict[str, Any] = dict(parse_url(url))
        number = int(options.get("db") or 0)
        port = parts.port
    except ValueError:
        raise SettingsError(f"queue_url is no address of a Redis; write {_FORMS}") from None
    path = parts.path.strip("/")
    is_socket = parts.scheme == "unix"
    if number < 0 or (is_socket and not path) or (not is_socket and path and not path.isdecimal()):
        raise SettingsError(f"queue_url names no database of a Redis, 0 or above; write {_FORMS}")
    options.pop("connection_class", None)
    if is_socket:
        shown = f"the Redis at the socket {options['path']}, database {number}"
    else:
        shown = f"{parts.scheme}://{parts.hostname or 'localhost'}:{port or 6379}/{number}"
    return Address(shown=shown, kind=_kind_of(parts.scheme), options=options)


def _kind_of(scheme: str) -> type[AbstractConnection]:
    kind: type[AbstractConnection] = parse_url(f"{scheme}:///").get("connection_class", Connection)
    return kind
