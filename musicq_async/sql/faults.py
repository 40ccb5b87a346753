"""What a driver's error means: redo the transaction, wait for the server, or give up with an error of our own tree."""

from __future__ import annotations

import sqlite3
from enum import Enum
from typing import Final

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from musicq_async.errors import BackendError, BackendUnavailable, MusicqError, UsageError
from musicq_async.sql.address import Address


class Fault(Enum):
    """The ways in which a transaction can fail that are nobody's mistake, and some that are."""

    CONTENDED = "another transaction was in the way; nothing is committed: do the whole transaction again"
    AWAY = "no connection, or it broke"
    REFUSED = "the database does not take writes: full, read-only or short of memory"
    TOO_LARGE = "a value does not fit its column or the server's packet"
    CONFLICT = "a row with this key is there already"
    CLOSED_DOOR = "wrong password, no such database, no right"
    BROKEN = "the file is no database, or damaged"
    OTHER = "something that this table does not know"


class Contended(Exception):
    """Another transaction was in the way: do the whole unit again."""


class CommitUnknown(Exception):
    """The connection broke during COMMIT: the transaction may or may not have happened."""


_MYSQL: Final = {
    **dict.fromkeys((1020, 1205, 1213, 1614, 3058, 3572), Fault.CONTENDED),
    **dict.fromkeys(
        (0, 1040, 1042, 1043, 1047, 1053, 1077, 1078, 1079, 1080, 1129, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1226),
        Fault.AWAY,
    ),
    **dict.fromkeys((1317, 1927, 2002, 2003, 2006, 2012, 2013, 2014, 2055, 3024, 3169, 4031), Fault.AWAY),
    **dict.fromkeys((1021, 1036, 1037, 1038, 1041, 1114, 1290, 1792, 1836, 3675), Fault.REFUSED),
    **dict.fromkeys((1153, 1264, 1366, 1406, 1301), Fault.TOO_LARGE),
    **dict.fromkeys((1022, 1062, 1586), Fault.CONFLICT),
    **dict.fromkeys((1044, 1045, 1049, 1142, 1143, 1227, 1251, 1698, 2059), Fault.CLOSED_DOOR),
}
_POSTGRES: Final = {
    **dict.fromkeys(("40001", "40P01", "55P03", "40003"), Fault.CONTENDED),
    **dict.fromkeys(("57P01", "57P02", "57P03", "57014", "53300", "25P03", "57P05"), Fault.AWAY),
    **dict.fromkeys(("53100", "53200", "53400", "25006", "53000"), Fault.REFUSED),
    **dict.fromkeys(("22001", "22003", "22021", "22P05", "54000"), Fault.TOO_LARGE),
    **dict.fromkeys(("23505",), Fault.CONFLICT),
    **dict.fromkeys(("28P01", "28000", "3D000", "42501"), Fault.CLOSED_DOOR),
    **dict.fromkeys(("XX001", "XX002"), Fault.BROKEN),
}
_SQLITE: Final = {
    "SQLITE_BUSY": Fault.CONTENDED,
    "SQLITE_LOCKED": Fault.CONTENDED,
    "SQLITE_PROTOCOL": Fault.CONTENDED,
    "SQLITE_SCHEMA": Fault.CONTENDED,
    "SQLITE_FULL": Fault.REFUSED,
    "SQLITE_READONLY": Fault.REFUSED,
    "SQLITE_NOMEM": Fault.REFUSED,
    "SQLITE_IOERR": Fault.REFUSED,
    "SQLITE_CANTOPEN": Fault.CLOSED_DOOR,
    "SQLITE_PERM": Fault.CLOSED_DOOR,
    "SQLITE_AUTH": Fault.CLOSED_DOOR,
    "SQLITE_NOTADB": Fault.BROKEN,
    "SQLITE_CORRUPT": Fault.BROKEN,
    "SQLITE_TOOBIG": Fault.TOO_LARGE,
    "SQLITE_MISMATCH": Fault.TOO_LARGE,
    "SQLITE_CONSTRAINT": Fault.CONFLICT,
}


_DRIVERS: Final = {"sqlite3", "asyncpg", "pymysql"}
"""Packages whose errors come from the database, also where no SQLAlchemy was between."""


def fault_of(error: BaseException) -> Fault | None:
    """Return what an error means, or ``None`` where it did not come from the database."""
    if isinstance(error, MusicqError):
        return None
    if isinstance(error, (PoolTimeout, CommitUnknown, OSError, TimeoutError, EOFError)):
        return Fault.AWAY
    if isinstance(error, Contended):
        return Fault.CONTENDED
    cause = error.orig if isinstance(error, DBAPIError) else error
    fault = _by_code(cause) if cause is not None else None
    if fault is not None:
        return fault
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return Fault.AWAY
    if isinstance(error, IntegrityError):
        return Fault.CONFLICT
    if isinstance(error, DataError):
        return Fault.TOO_LARGE
    known = isinstance(error, SQLAlchemyError) or type(error).__module__.partition(".")[0] in _DRIVERS
    return Fault.OTHER if known else None


def _by_code(cause: BaseException) -> Fault | None:
    if isinstance(cause, sqlite3.Error):
        name = getattr(cause, "sqlite_errorname", None) or ""
        return _SQLITE.get("_".join(name.split("_")[:2]))
    code = cause.args[0] if cause.args else None
    if isinstance(code, int):
        return _MYSQL.get(code)
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str):
        return Fault.AWAY if state.startswith("08") else _POSTGRES.get(state)
    return None


def renamed(error: BaseException, address: Address) -> MusicqError:
    """Return the error of our own tree that says what happened and what to do."""
    fault = fault_of(error) or Fault.OTHER
    why = reason(error)
    match fault:
        case Fault.AWAY:
            return BackendUnavailable(
                f"{address} cannot be reached ({why}); check that it runs and that the address is right"
            )
        case Fault.CONTENDED:
            return BackendUnavailable(
                f"{address} stayed locked by other transactions ({why}); look for one that does not end"
            )
        case Fault.REFUSED:
            return BackendUnavailable(f"{address} refuses to write ({why}); free space or make it writable")
        case Fault.CLOSED_DOOR:
            return BackendError(
                f"{address} cannot be opened ({why}); check the path, the name, the user and its rights"
            )
        case Fault.BROKEN:
            return BackendError(
                f"{address} is no database of this kind or is damaged ({why}); restore a copy or name another"
            )
        case Fault.TOO_LARGE:
            return UsageError(f"{address} cannot hold a value ({why}); make it shorter")
        case Fault.CONFLICT:
            return BackendError(f"{address} refused a row ({why})")
        case _:
            return BackendError(f"{address} failed ({why})")


def reason(error: BaseException) -> str:
    """Return the driver's own words on one line, without SQL or parameters."""
    cause = error.__cause__ if isinstance(error, CommitUnknown) and error.__cause__ is not None else error
    if isinstance(cause, DBAPIError) and cause.orig is not None:
        cause = cause.orig
    words = [str(part) for part in cause.args if isinstance(part, (str, int))]
    text = " ".join(" ".join(words).split())
    return f"{type(cause).__name__}: {text[:200]}" if text else type(cause).__name__
