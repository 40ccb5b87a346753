"""What the driver's error means: wait for the server, or give up with an error of our own tree."""

from __future__ import annotations

from enum import Enum
from typing import Final

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004 - the driver's name
    MaxConnectionsError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - the driver's name
)

from musicq_async.errors import BackendError, BackendUnavailable, MusicqError
from musicq_async.redis.address import Address


class Fault(Enum):
    """The ways in which a call can fail."""

    AWAY = "no connection, or it broke, or the server cannot serve for now"
    UNKNOWN_SCRIPT = "the server has forgotten the script: send it again"
    REFUSED = "the server does not take writes: short of memory, or its disk fails"
    CLOSED_DOOR = "wrong password, or no right"
    OTHER = "something that this table does not know"


_AWAY_WORDS: Final = ("LOADING", "BUSY", "TRYAGAIN", "MASTERDOWN", "CLUSTERDOWN", "READONLY", "UNBLOCKED")
_REFUSED_WORDS: Final = ("OOM", "MISCONF", "NOREPLICAS")
_CLOSED_WORDS: Final = ("NOAUTH", "WRONGPASS", "NOPERM")


def fault_of(error: BaseException) -> Fault | None:
    """Return what an error means, or ``None`` where it did not come from Redis."""
    if isinstance(error, MusicqError):
        return None
    if isinstance(error, NoScriptError):
        return Fault.UNKNOWN_SCRIPT
    if isinstance(error, (AuthenticationError, AuthorizationError, NoPermissionError)):
        return Fault.CLOSED_DOOR
    if isinstance(error, OutOfMemoryError):
        return Fault.REFUSED
    if isinstance(error, (ReadOnlyError, BusyLoadingError, MaxConnectionsError)):
        return Fault.AWAY
    if isinstance(error, (ConnectionError, TimeoutError, OSError, EOFError)):
        return Fault.AWAY
    if isinstance(error, ResponseError):
        return _by_word(str(error))
    return Fault.OTHER if isinstance(error, RedisError) else None


def _by_word(text: str) -> Fault:
    """Read the first word of an answer. The driver cuts it off where it knows it; a script's error may follow ours."""
    word = text.removeprefix("ERR ").partition(" ")[0]
    if word in _AWAY_WORDS:
        return Fault.AWAY
    if word in _REFUSED_WORDS:
        return Fault.REFUSED
    if word in _CLOSED_WORDS:
        return Fault.CLOSED_DOOR
    return Fault.OTHER


def renamed(error: BaseException, address: Address) -> MusicqError:
    """Return the error of our own tree that says what happened and what to do."""
    why = reason(error)
    match fault_of(error):
        case Fault.AWAY:
            return BackendUnavailable(
                f"{address} cannot be reached ({why}); check that it runs and that the address is right"
            )
        case Fault.REFUSED:
            return BackendUnavailable(
                f"{address} refuses to write ({why}); give it memory (maxmemory) or make its disk writable"
            )
        case Fault.CLOSED_DOOR:
            return BackendError(f"{address} lets us not in ({why}); check user, password and the rights of the user")
        case _:
            return BackendError(f"{address} answered with an error ({why})")


def reason(error: BaseException) -> str:
    """Return an error's kind and first words, without what the driver adds of the address or of values."""
    if isinstance(error, ResponseError):
        text = " ".join(str(error).split())[:160]
        return f"{type(error).__name__}: {text}" if text else type(error).__name__
    cause = error.__cause__ or error.__context__
    shown = cause if isinstance(cause, OSError) and cause.strerror else error
    text = shown.strerror if isinstance(shown, OSError) and shown.strerror else ""
    return f"{type(shown).__name__}: {text}" if text else type(shown).__name__
