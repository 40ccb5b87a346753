"""Which database a URL means: `Address`, read from the URL and shown without its secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from musicq_async.errors import SettingsError

Kind = Literal["sqlite", "mysql", "postgresql"]

_KINDS: Final[dict[str, Kind]] = {
    "sqlite": "sqlite",
    "mysql": "mysql",
    "mariadb": "mysql",
    "postgresql": "postgresql",
    "postgres": "postgresql",
}
_DRIVERS: Final[dict[Kind, str]] = {
    "sqlite": "sqlite+pysqlite",
    "mysql": "mysql+aiomysql",
    "postgresql": "postgresql+asyncpg",
}
_FORMS: Final = (
    "sqlite+aiosqlite:///PATH, mysql+aiomysql://USER:PASSWORD@HOST/DATABASE or "
    "postgresql+asyncpg://USER:PASSWORD@HOST/DATABASE"
)
_LEVELS: Final = ("OFF", "NORMAL", "FULL", "EXTRA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A database that can be opened. Its text form holds neither password nor options."""

    kind: Kind
    url: URL = field(repr=False)
    """With the driver that this package uses."""
    synchronous: str = "NORMAL"
    """SQLite only: NORMAL survives the death of the process, FULL a power cut as well, for every commit."""

    @property
    def path(self) -> str | None:
        """The file of a SQLite database, else ``None``: a server's database, or one in memory."""
        name = self.url.database
        return name if self.kind == "sqlite" and name and name != ":memory:" else None

    def __str__(self) -> str:
        if self.kind == "sqlite":
            return f"the SQLite file {self.path}" if self.path else "the SQLite database in memory"
        port = f":{self.url.port}" if self.url.port else ""
        return f"{self.kind}://{self.url.host or 'localhost'}{port}/{self.url.database or ''}"


def read_address(url: str) -> Address:
    """Read a database URL. The driver part may be left out. Raises `SettingsError` without showing the URL."""
    try:
        parsed = make_url(url)
        name = parsed.get_backend_name().lower()
    except (ArgumentError, ValueError):
        raise SettingsError(f"database_url is no address of a database; write {_FORMS}") from None
    kind = _KINDS.get(name)
    if kind is None:
        raise SettingsError(f"database_url names the unknown database {name!r}; write {_FORMS}")
    parsed = parsed.set(drivername=_DRIVERS[kind])
    if kind == "sqlite":
        return _sqlite(parsed)
    if not parsed.database:
        raise SettingsError(f"database_url does not name the database; write {_FORMS}")
    return Address(kind=kind, url=_with_options(parsed, kind))


def _sqlite(url: URL) -> Address:
    if url.host:
        raise SettingsError(
            f"database_url needs three slashes before a relative path, four before an absolute: {_FORMS}"
        )
    level = str(url.query.get("synchronous", "NORMAL")).upper()
    if level not in _LEVELS:
        raise SettingsError(f"database_url: synchronous must be one of {', '.join(_LEVELS)}, not {level!r}")
    return Address(kind="sqlite", url=url.difference_update_query(["synchronous"]), synchronous=level)


def _with_options(url: URL, kind: Kind) -> URL:
    """Force the character set that holds every text, and take libpq's name of the TLS option as well."""
    if kind == "mysql":
        return url.update_query_dict({"charset": "utf8mb4"})
    mode = url.query.get("sslmode")
    return url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode}) if mode else url
