"""A file in the making: locked, invisible under its name until it is whole, gone when the work fails."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

from musicq_async.errors import TransferBroken
from musicq_async.media.files import Folder, SafeFolder, checked_name, disk_errors, folded, numbered
from musicq_async.media.partial import SLOTS, lock_part, part_name
from musicq_async.media.work import in_thread

Existing = Literal["replace", "number"]
"""What becomes of a file that has the name already: it is replaced, or the new one gets a number."""


async def save(
    folder: SafeFolder, path: str | os.PathLike[str], content: bytes, *, existing: Existing = "replace"
) -> Path:
    """Put a small file (lyrics, a picture) below the folder in one step, in a thread; return its path.

    Raises `UnsafePath` and `OutOfSpace`.
    """

    def work() -> Path:
        parts = folder.parts(path)
        with folder.folder(*parts[:-1]) as place, Draft(place, parts[-1]) as draft:
            with disk_errors(parts[-1]):
                draft.file.write(content)
            return draft.place(existing=existing)

    return await in_thread(work)


class Draft:
    """``with Draft(folder, "song.m4a") as draft``: write ``draft.file``, then `place` it. Blocks: use it in a thread.

    Without `place`, leaving the block deletes what was written. A draft left by a killed process is taken over by
    the next one of the same name.
    """

    file: BinaryIO
    part: str
    """Name of the file while it is made."""

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder = folder
        self._name = checked_name(name)
        self.part = ""

    def __enter__(self) -> Self:
        with disk_errors(self._name):
            for slot in range(1, SLOTS + 1):
                part = part_name(self._name, slot, "part")
                descriptor = lock_part(self._folder, part)
                if descriptor is not None:
                    self.part, self.file = part, os.fdopen(descriptor, "w+b")
                    self.file.truncate()
                    self._folder.remove(part_name(self._name, slot, "pmeta"))
                    return self
        raise TransferBroken(f"{self._name} is being written {SLOTS} times already")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.part:
            return
        if sys.platform != "win32":  # an open file cannot be deleted there
            self._folder.remove(self.part)
        with contextlib.suppress(OSError):  # what a full disk would not take does not matter any more
            self.file.close()
        if sys.platform == "win32":
            self._folder.remove(self.part)

    def place(
        self, *, existing: Existing = "replace", stale: Callable[[str], bool] | None = None, name: str | None = None
    ) -> Path:
        """Make the bytes last, give them their name in one step, and return the path.

        With ``number``, a name that another file has (also in other case or another Unicode form) becomes
        ``stem (2).ext`` and so on, unless ``stale`` says of that file that it may be replaced.
        """
        wanted = checked_name(name or self._name)
        with disk_errors(wanted):
            self.file.flush()
            os.fsync(self.file.fileno())
            if sys.platform == "win32":
                self.file.close()
            final = self._rename(wanted, existing, stale)
            self.part = ""
            self.file.close()
            self._folder.sync()
        return self._folder.path / final

    def _rename(self, wanted: str, existing: Existing, stale: Callable[[str], bool] | None) -> str:
        if existing == "replace":
            self._folder.replace(self.part, wanted)
            return wanted
        taken = {folded(name): name for name in self._folder.names()}
        number = 1
        while True:
            name = numbered(wanted, number)
            there = taken.get(folded(name))
            if there is None:
                if self._folder.link(self.part, name):
                    return name
            elif stale is not None and stale(there):
                self._folder.replace(self.part, there)
                return there
            number += 1
