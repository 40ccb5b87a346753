"""An archive that lasts as long as its process, for a library without a database."""

from __future__ import annotations

import itertools
from collections.abc import Collection

from musicq_async.ports import Archived


class MemoryArchive:
    """The `musicq_async.ports.Archive` in memory."""

    def __init__(self) -> None:
        self._records: dict[str, tuple[int, Archived]] = {}
        self._numbers = itertools.count(1)

    async def known(self, keys: Collection[str]) -> set[str]:
        """Return those of the keys that are archived."""
        return {key for key in keys if key in self._records}

    async def cids(self, bvids: Collection[str]) -> dict[str, set[int]]:
        """Return the archived parts (cids) of each of these videos that has any."""
        found: dict[str, set[int]] = {}
        for key in self._records:
            bvid, colon, cid = key.partition(":")
            if colon and bvid in bvids and cid.isdecimal():
                found.setdefault(bvid, set()).add(int(cid))
        return found

    async def get(self, *keys: str) -> Archived | None:
        """Return the record of the first of the keys that has one."""
        return next((self._records[key][1] for key in keys if key in self._records), None)

    async def at(self, path: str) -> list[Archived]:
        """Return the records whose file has this very path."""
        return [record for _, record in self._records.values() if record.path == path]

    async def add(self, record: Archived) -> None:
        """Store a record; one with the same key is replaced."""
        number = self._records[record.key][0] if record.key in self._records else next(self._numbers)
        self._records[record.key] = (number, record)

    async def forget(self, key: str) -> bool:
        """Drop a record; return whether it was there."""
        return self._records.pop(key, None) is not None

    async def page(self, *, limit: int = 1000, after: int = 0) -> list[tuple[int, Archived]]:
        """Return records in the order in which they were first stored, each with a number to go on ``after``."""
        return sorted(pair for pair in self._records.values() if pair[0] > after)[:limit]
