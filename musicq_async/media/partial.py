"""The unfinished file of a download: locked, resumable, and renamed in one step when it is whole.

Beside the target ``song.m4a`` lie ``song.m4a.part`` with the bytes and ``song.m4a.pmeta`` with what they belong to.
Whoever holds the lock on a ``.part`` owns both; a second download of the same target gets ``.part2``, and so on.
Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

from musicq_async.errors import OutOfSpace, TransferBroken, UnsafePath
from musicq_async.media.files import LONGEST_NAME, Folder, disk_errors

SLOTS: Final = 16
"""Downloads of one target that may run at once, in all processes together."""

_LONGEST_SUFFIX: Final = len(".pmeta16~")
_STRETCH: Final = 8 << 20
_HEAD: Final = 64
_BUFFERS: Final = 512  # below every system's limit of buffers to one write


class Validator(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says of a version of a file; only strong ones, which change with every byte."""

    etag: str | None = None
    modified: str | None = None


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What the bytes in a ``.part`` belong to."""

    identity: str | None = None
    """The caller's own name for the content, the same on every server that offers it."""
    origin: str | None = None
    """Hash of the address, where there is no identity."""
    total: int | None = None
    validators: dict[str, Validator] = {}
    """By ``host:port`` of each server that gave some of the bytes."""


def part_name(name: str, slot: int, kind: str) -> str:
    """Name of a file beside ``name``; a name too long for a suffix is replaced by its hash."""
    if len(os.fsencode(name)) + _LONGEST_SUFFIX > LONGEST_NAME:
        name = hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()
    return f"{name}.{kind}{slot if slot > 1 else ''}"


class PartFile:
    """A locked ``.part``. Threads may call it one after another.

    A caller that was cancelled may close it while its thread is still at work: the close waits for what has begun,
    and what comes after it raises `TransferBroken` and touches nothing.
    """

    def __init__(self, folder: Folder, name: str, slot: int, descriptor: int, *, owns_folder: bool = False) -> None:
        self._folder = folder
        self._owns_folder = owns_folder
        self._name = name
        self._part = part_name(name, slot, "part")
        self._meta = part_name(name, slot, "pmeta")
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._on_its_way = 0
        self.finished = False
        try:
            self.held = self._read_meta()
            self.head = os.read(descriptor, _HEAD)
            """The first bytes, at most 64."""
            self.size = os.lseek(descriptor, 0, os.SEEK_END)
        except BaseException:  # or it would stay locked
            self._close()
            raise

    @classmethod
    def open(cls, folder: Folder, name: str, *, owns_folder: bool = False) -> Self:
        """Lock the first ``.part`` that is free; ``owns_folder`` closes the folder with it.

        Raises `UnsafePath` when the target is a folder, and `TransferBroken` when all are in use.
        """
        entry = folder.stat(name)
        if entry is not None and not (stat.S_ISREG(entry.st_mode) or stat.S_ISLNK(entry.st_mode)):
            raise UnsafePath(f"{folder.path / name} exists and is not a file")
        with disk_errors(f"{name}.part"):
            for slot in range(1, SLOTS + 1):
                descriptor = lock_part(folder, part_name(name, slot, "part"))
                if descriptor is not None:
                    return cls(folder, name, slot, descriptor, owns_folder=owns_folder)
        raise TransferBroken(f"{name} is being downloaded {SLOTS} times already")

    def write(self, chunks: Sequence[bytes]) -> None:
        """Append; raises `OutOfSpace` when the disk is full."""
        with self._working():
            for start in range(0, len(chunks), _BUFFERS):
                _write_all(self._descriptor, chunks[start : start + _BUFFERS])
            if len(self.head) < _HEAD:
                self.head = (self.head + b"".join(chunk[:_HEAD] for chunk in chunks))[:_HEAD]
            self.size += sum(map(len, chunks))
            if self.size - self._on_its_way >= _STRETCH:
                self._start_writeback()

    def begin(self, held: Held) -> None:
        """Drop the bytes and the note; `note` what the next ones belong to before they are written."""
        with self._working():
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            self.size = self._on_its_way = 0
            self.head = b""
            self._folder.remove(self._meta)
            self.held = held

    def note(self, held: Held) -> None:
        """Keep what the bytes belong to; the ``.pmeta`` is replaced in one step."""
        with self._working():
            if held == self.held:
                return
            fresh = f"{self._meta}~"
            self._folder.remove(fresh)
            descriptor = self._folder.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                os.write(descriptor, msgspec.json.encode(held))
            finally:
                os.close(descriptor)
            self._folder.replace(fresh, self._meta)
            self.held = held

    def finish(self) -> Path:
        """Make the bytes last, give them the target's name in one step, let go, and return its path."""
        with self._working():
            os.fsync(self._descriptor)
            if sys.platform == "win32":  # an open file cannot be renamed there, and a locked one not be taken over
                self._close()
            self._folder.replace(self._part, self._name)
            self._folder.remove(self._meta)
            self._close()
            self._folder.sync()
            self._sweep()
            self.finished = True
        self.close()
        return self._folder.path / self._name

    def discard(self) -> None:
        """Delete the bytes and the note."""
        with self._lock:
            if self._descriptor >= 0:
                self._folder.remove(self._meta)
                if sys.platform == "win32":
                    self._close()
                self._folder.remove(self._part)
                self._close()

    def close(self) -> None:
        """Let go and keep the bytes for the next download; an empty ``.part`` is removed."""
        if self.size == 0:
            self.discard()
        with self._lock:
            self._close()
            if self._owns_folder:
                self._folder.close()

    def make_room(self, total: int, spare: int) -> None:
        """Raise `OutOfSpace` unless the bytes still missing and some to spare fit on the disk."""
        with self._working():
            missing = total - self.size
            free = self._folder.free()
        if missing + spare > free:
            raise OutOfSpace(
                f"{self._name} needs {missing} more bytes and the disk has {free}; free some and try again"
            )

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        with self._lock, disk_errors(self._name):
            if self._descriptor < 0:
                raise TransferBroken(f"{self._part} was closed")
            yield

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _start_writeback(self) -> None:
        """Have the system begin to write what it holds, so that the sync at the end has little left to wait for."""
        if hasattr(os, "posix_fadvise"):
            stretch = self.size - self._on_its_way
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._descriptor, self._on_its_way, stretch, os.POSIX_FADV_DONTNEED)
        self._on_its_way = self.size

    def _read_meta(self) -> Held:
        try:
            descriptor = self._folder.open(self._meta, os.O_RDONLY)
        except (FileNotFoundError, UnsafePath):
            return Held()
        try:
            return msgspec.json.decode(os.read(descriptor, 1 << 16), type=Held)
        except (msgspec.DecodeError, OSError):
            return Held()
        finally:
            os.close(descriptor)

    def _sweep(self) -> None:
        """Remove what earlier downloads of this target left and nobody uses."""
        for slot in range(1, SLOTS + 1):
            part = part_name(self._name, slot, "part")
            if self._folder.stat(part) is None:
                if slot > 2:
                    return
                continue
            with contextlib.suppress(OSError, UnsafePath):
                descriptor = lock_part(self._folder, part)
                if descriptor is not None:
                    PartFile(self._folder, self._name, slot, descriptor).discard()


def lock_part(folder: Folder, part: str) -> int | None:
    """Open and lock a ``.part`` that is ours alone, or return ``None`` when another has it."""
    while True:
        try:
            descriptor = folder.open(part, os.O_RDWR | os.O_CREAT)
        except UnsafePath:  # a link or pipe that somebody put there
            return None
        entry = os.fstat(descriptor)
        if entry.st_nlink > 1 or not _lock(descriptor):
            os.close(descriptor)
            return None
        there = folder.stat(part)
        if there is not None and (there.st_ino, there.st_dev) == (entry.st_ino, entry.st_dev):
            return descriptor
        os.close(descriptor)  # it was finished and renamed between our open and our lock


def _write_all(descriptor: int, chunks: Sequence[bytes]) -> None:
    if not hasattr(os, "writev"):
        chunks = [b"".join(chunks)]
    wanted = sum(map(len, chunks))
    written = os.writev(descriptor, chunks) if hasattr(os, "writev") else os.write(descriptor, chunks[0])
    if written < wanted:
        rest = memoryview(b"".join(chunks))[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        os.lseek(descriptor, 1 << 40, os.SEEK_SET)  # a byte that no download reaches
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        os.lseek(descriptor, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:  # a file system without locks is better used than refused
            return error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
        return True
