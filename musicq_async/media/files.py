"""Files by name inside one open folder, and a root that nothing leads out of.

Where the system can open files relative to an open folder (Linux, macOS), every step down from the root is one
``open`` that refuses symbolic links, so no name, link or race leads outside. Elsewhere each path is resolved and
compared with the root before it is used. Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shutil
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final, Protocol

from musicq_async.errors import OutOfSpace, UnsafePath

LONGEST_NAME: Final = 255
DESCRIPTORS: Final = {os.open, os.rename, os.unlink, os.stat, os.mkdir} <= os.supports_dir_fd and hasattr(
    os, "O_NOFOLLOW"
)
"""Whether this system opens files relative to an open folder without following links."""

_BINARY: Final = getattr(os, "O_BINARY", 0)
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_NONBLOCK: Final = getattr(os, "O_NONBLOCK", 0)  # opening a pipe somebody planted must not wait for its other end
_FULL: Final = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}


class Folder(Protocol):
    """An open folder, whose files are reached by one name each and never through a link."""

    path: Path

    def open(self, name: str, flags: int) -> int:
        """Open a regular file and return its descriptor; `UnsafePath` for a link, a pipe or a device."""

    def enter(self, name: str, *, create: bool = False) -> Folder:
        """Open a folder in this one."""

    def stat(self, name: str) -> os.stat_result | None:
        """Look at an entry itself, not through a link; ``None`` when there is none."""

    def replace(self, name: str, new_name: str) -> None:
        """Rename in one step over whatever file has the new name."""

    def link(self, name: str, new_name: str) -> bool:
        """Rename in one step unless the new name is taken; say whether it was free."""

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""

    def names(self) -> list[str]:
        """Name every entry."""

    def free(self) -> int:
        """Count the bytes that may still be written."""

    def sync(self) -> None:
        """Make renames last through a power cut."""

    def close(self) -> None:
        """Let go of the folder; twice does no harm."""


def raise_if_full(error: OSError, what: str) -> None:
    """Raise `OutOfSpace` if that is what the system's error means."""
    if error.errno in _FULL:
        raise OutOfSpace(f"no room left on the disk for {what}; free some and try again") from error


@contextlib.contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Give a full disk, an over-long name and a refused path their own errors."""
    try:
        yield
    except OSError as error:
        raise_if_full(error, what)
        if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
            raise UnsafePath(f"the system refuses the name of {what}: {error.strerror}") from error
        if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.ELOOP):
            raise UnsafePath(f"{what} is not a file, or its folder is none: {error.strerror}") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UnsafePath(f"{what} may not be written: {error.strerror}; give a folder that is yours") from error
        raise


def checked_name(name: str) -> str:
    """Return a name that is exactly one legal component of a path; raise `UnsafePath` for anything else."""
    if name in ("", ".", "..") or any(sign in name for sign in ("/", "\\", "\0")):
        raise UnsafePath(f"{name!r} is not the name of a file in one folder")
    try:
        size = len(os.fsencode(name))
    except UnicodeEncodeError as error:
        raise UnsafePath(f"{name!r} holds half a character and cannot be a file's name") from error
    if size > LONGEST_NAME:
        raise UnsafePath(f"the name {name[:40]!r}... is {size} bytes long; the limit is {LONGEST_NAME}")
    return name


@functools.lru_cache(maxsize=1 << 15)  # every new file is compared with all names of its folder
def folded(name: str) -> str:
    """Return what two names share when some file system takes them for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def open_folder(path: Path, *, create: bool = True, descriptors: bool = DESCRIPTORS) -> Folder:
    """Open a folder that the user has named; links on the way to it are the user's own and are followed.

    Raises `UnsafePath` when the path is a file or may not be used.
    """
    with disk_errors(f"the folder {path}"):
        try:
            if create:
                path.mkdir(parents=True, exist_ok=True)
            real = path.resolve(strict=True)
            if not descriptors:
                return _PathFolder(real, real)
            return _DescriptorFolder(real, os.open(real, os.O_RDONLY | os.O_DIRECTORY))
        except (NotADirectoryError, FileExistsError) as error:
            raise UnsafePath(f"{path} is not a folder") from error
        except FileNotFoundError as error:
            raise UnsafePath(f"there is no folder {path}") from error
        except (ValueError, RuntimeError) as error:  # a NUL byte; a loop of links on older Pythons
            raise UnsafePath(f"{str(path)!r} is not a path") from error


class _DescriptorFolder:
    """A folder held open; names are looked up in it whatever happens to its path meanwhile."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def open(self, name: str, flags: int) -> int:
        try:
            descriptor = os.open(
                checked_name(name), flags | _NOFOLLOW | _NONBLOCK | _BINARY, 0o666, dir_fd=self._descriptor
            )
        except OSError as error:
            raise _not_a_link(error, self.path / name) from error
        return _regular(descriptor, self.path / name)

    def enter(self, name: str, *, create: bool = False) -> Folder:
        if create:
            with contextlib.suppress(FileExistsError):
                os.mkdir(checked_name(name), dir_fd=self._descriptor)
        flags = os.O_RDONLY | os.O_DIRECTORY | _NOFOLLOW
        try:
            return _DescriptorFolder(self.path / name, os.open(checked_name(name), flags, dir_fd=self._descriptor))
        except OSError as error:
            raise _not_a_link(error, self.path / name) from error

    def stat(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(checked_name(name), dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def replace(self, name: str, new_name: str) -> None:
        os.replace(checked_name(name), checked_name(new_name), src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def link(self, name: str, new_name: str) -> bool:
        try:
            os.link(
                checked_name(name),
                checked_name(new_name),
                src_dir_fd=self._descriptor,
                dst_dir_fd=self._descriptor,
                follow_symlinks=False,
            )
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links: look, then rename
            if self.stat(new_name) is not None:
                return False
            self.replace(name, new_name)
            return True
        self.remove(name)
        return True

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(checked_name(name), dir_fd=self._descriptor)

    def names(self) -> list[str]:
        return os.listdir(self._descriptor)  # noqa: PTH208 - pathlib cannot list an open folder

    def free(self) -> int:
        room = os.fstatvfs(self._descriptor)
        return room.f_bavail * room.f_frsize

    def sync(self) -> None:
        with contextlib.suppress(OSError):  # some network file systems cannot
            os.fsync(self._descriptor)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class _PathFolder:
    """A folder known by its path, for systems that cannot hold one open: every use checks where it leads."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path = path
        self._root = root

    def _at(self, name: str) -> Path:
        """Path of an entry, after making sure that this folder still lies where it should."""
        if not self.path.resolve().is_relative_to(self._root):
            raise UnsafePath(f"{self.path} leads outside {self._root}")
        return self.path / checked_name(name)

    def open(self, name: str, flags: int) -> int:
        path = self._at(name)
        if _is_link(path):
            raise UnsafePath(f"{path} is a link; links are not followed")
        return _regular(os.open(path, flags | _NONBLOCK | _BINARY, 0o666), path)

    def enter(self, name: str, *, create: bool = False) -> Folder:
        path = self._at(name)
        if _is_link(path):
            raise UnsafePath(f"{path} is a link; links are not followed")
        if create:
            with contextlib.suppress(FileExistsError):
                path.mkdir()
        if not path.is_dir():
            raise UnsafePath(f"{path} is not a folder")
        return _PathFolder(path, self._root)

    def stat(self, name: str) -> os.stat_result | None:
        try:
            return self._at(name).lstat()
        except FileNotFoundError:
            return None

    def replace(self, name: str, new_name: str) -> None:
        self._at(name).replace(self._at(new_name))

    def link(self, name: str, new_name: str) -> bool:
        if self.stat(new_name) is not None:
            return False
        try:
            os.rename(self._at(name), self._at(new_name))  # noqa: PTH104 - on Windows it refuses a taken name
        except FileExistsError:
            return False
        return True

    def remove(self, name: str) -> None:
        self._at(name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        return [entry.name for entry in self.path.iterdir()]

    def free(self) -> int:
        return shutil.disk_usage(self.path).free

    def sync(self) -> None:
        """Nothing to do: a folder cannot be synced by its path."""

    def close(self) -> None:
        """Nothing is held."""


def _is_link(path: Path) -> bool:
    """Whether an entry is a symbolic link, or a Windows junction."""
    try:
        entry = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISLNK(entry.st_mode) or bool(getattr(entry, "st_reparse_tag", 0))


def _regular(descriptor: int, path: Path) -> int:
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise UnsafePath(f"{path} is not a regular file")


def _not_a_link(error: OSError, path: Path) -> Exception:
    if error.errno in (errno.ELOOP, errno.EMLINK, getattr(errno, "EFTYPE", errno.ELOOP)):
        return UnsafePath(f"{path} is a link; links are not followed")
    if error.errno in (errno.EISDIR, errno.ENXIO):
        return UnsafePath(f"{path} is not a regular file")
    if error.errno == errno.ENOTDIR:
        return UnsafePath(f"{path} is not a folder, or a link to one; links are not followed")
    return error


class SafeFolder:
    """A root folder; whatever is asked of it, nothing is touched outside.

    The root itself may be reached through links, for it is the user's own word; nothing below it may.
    """

    def __init__(self, root: str | os.PathLike[str], *, descriptors: bool = DESCRIPTORS) -> None:
        self.root = Path(os.path.normpath(Path(root).absolute()))
        self._descriptors = descriptors

    def __repr__(self) -> str:
        return f"SafeFolder({str(self.root)!r})"

    def parts(self, path: str | os.PathLike[str]) -> tuple[str, ...]:
        """Split a path below the root into checked components; touches no disk.

        The path is relative to the root, or absolute and inside it. Raises `UnsafePath` for anything else: ``..``,
        another root, a drive or network share, a NUL, half a character, a component over 255 bytes.
        """
        text = os.fspath(path)
        if "\0" in text:
            raise UnsafePath(f"{text!r} holds a NUL and is not a path")
        pure = PurePosixPath(text.replace("\\", "/"))
        if Path(text).is_absolute():
            pure = self._below_root(Path(text))
        elif pure.is_absolute() or PureWindowsPath(text).drive:
            raise UnsafePath(f"{text!r} lies outside {self.root}")
        if not pure.parts:
            raise UnsafePath(f"{text!r} names no file")
        return tuple(checked_name(part) for part in pure.parts)

    def _below_root(self, path: Path) -> PurePosixPath:
        for root in (self.root, self.root.resolve()):
            if path.is_relative_to(root):
                return PurePosixPath(path.relative_to(root).as_posix())
        raise UnsafePath(f"{str(path)!r} lies outside {self.root}")

    @contextlib.contextmanager
    def folder(self, *parts: str, create: bool = True) -> Iterator[Folder]:
        """Open a folder below the root, one checked component after the other, and close it afterwards.

        Raises `UnsafePath` for a component that is a link or a file, or is missing when nothing is created.
        """
        opened = self.open_folder(*parts, create=create)
        try:
            yield opened
        finally:
            opened.close()

    def open_folder(self, *parts: str, create: bool = True) -> Folder:
        """Open a folder as `folder` does; the caller closes it."""
        here = open_folder(self.root, create=create, descriptors=self._descriptors)
        for part in parts:
            try:
                with disk_errors(f"the folder {here.path / part}"):
                    inner = here.enter(part, create=create)
            except FileNotFoundError as error:
                raise UnsafePath(f"there is no folder {here.path / part}") from error
            finally:
                here.close()
            here = inner
        return here


def numbered(name: str, number: int) -> str:
    """Return ``name`` for 1 and ``stem (number).ext`` beyond, shortened on a character boundary to stay legal."""
    if number < 2:
        return name
    stem, dot, extension = name.rpartition(".")
    if not stem:
        stem, dot, extension = name, "", ""
    tail = f" ({number}){dot}{extension}"
    while stem and len((stem + tail).encode("utf-8", "surrogatepass")) > LONGEST_NAME:
        stem = stem[:-1]
    return stem.rstrip() + tail


def free_name(name: str, taken: set[str]) -> str:
    """Return the first of ``name``, ``name (2)``, ... whose folded form is not in ``taken``."""
    number = 1
    while folded(numbered(name, number)) in taken:
        number += 1
    return numbered(name, number)
