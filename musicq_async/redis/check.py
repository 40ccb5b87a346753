"""Whether a Redis keeps what it is given: read from its INFO, which managed servers answer as well."""

from __future__ import annotations

from typing import Final

from musicq_async.errors import BackendError, BackendUnavailable
from musicq_async.redis.address import Address

OLDEST: Final = (6, 2)
_ALLOW: Final = "or accept the loss by MUSICQ_REDIS__ALLOW_VOLATILE=1"


def check_answer(answer: bytes, address: Address, *, allow_volatile: bool) -> BackendError | None:
    """Return what is wrong with a server, by its answer to INFO: ``None`` where nothing is."""
    info = _read(answer)
    version = _version(info.get("redis_version", ""))
    if version is None:
        return BackendError(f"{address} does not say that it is a Redis; check the address")
    if version < OLDEST:
        found = ".".join(map(str, version))
        return BackendError(f"{address} is Redis {found}; it takes {OLDEST[0]}.{OLDEST[1]} or newer: upgrade it")
    if info.get("redis_mode", "standalone") != "standalone":
        kind = "a node of a Redis Cluster" if info["redis_mode"] == "cluster" else f"a {info['redis_mode']}"
        return BackendError(f"{address} is {kind}, which is not supported; give the address of a single Redis")
    if info.get("loading", "0") == "1":
        return BackendUnavailable(f"{address} is still loading its data; try again when it has")
    if info.get("role", "master") != "master":
        return BackendError(f"{address} is a replica, which takes no writes; give the address of its primary")
    return None if allow_volatile else _volatile(info, address)


def _volatile(info: dict[str, str], address: Address) -> BackendError | None:
    policy = info.get("maxmemory_policy", "unknown")
    if info.get("aof_enabled") != "1":
        return BackendError(
            f"{address} loses tasks when it stops: it has no append-only file; set 'appendonly yes', {_ALLOW}"
        )
    if policy != "noeviction":
        return BackendError(
            f"{address} drops tasks when memory runs short (maxmemory-policy {policy}); set 'maxmemory-policy "
            f"noeviction', {_ALLOW}"
        )
    return None


def _read(answer: bytes) -> dict[str, str]:
    lines = answer.decode("utf-8", "replace").splitlines()
    return {name: value.strip() for name, mark, value in (line.partition(":") for line in lines) if mark}


def _version(text: str) -> tuple[int, ...] | None:
    numbers = text.split(".")[:3]
    return tuple(map(int, numbers)) if len(numbers) > 1 and all(each.isdecimal() for each in numbers) else None
