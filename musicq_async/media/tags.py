"""What a sound file says of itself: one set of tags for every file type, read and written in one step."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Final, TypeVar

from musicq_async.errors import ConvertFailed, MusicqError, TagsRejected
from musicq_async.media.audio import opened
from musicq_async.media.covers import Cover
from musicq_async.media.drafts import Draft
from musicq_async.media.files import disk_errors, open_folder, raise_if_full
from musicq_async.media.matroska import read_by_av
from musicq_async.media.remux import remux_file
from musicq_async.media.tag_values import Id3Version, ReplayGain, Tagged, Tags
from musicq_async.media.work import Unstoppable, in_thread, need_mutagen

__all__ = [
    "Id3Version",
    "ReplayGain",
    "Tagged",
    "Tags",
    "kind_of",
    "read_tags",
    "read_tags_from",
    "write_tags",
    "write_tags_to",
]

LONGEST_TEXT: Final = 1 << 20

R = TypeVar("R")
Reader = Callable[[BinaryIO], Tagged]


async def read_tags(path: str | os.PathLike[str]) -> Tagged:
    """Read a file's tags, in a thread. A file type without tags has none.

    Raises `TagsRejected` when the file is missing or its tags are broken.
    """

    def work() -> Tagged:
        with _readable(Path(path)) as file:
            return read_tags_from(file)

    return await in_thread(work)


async def write_tags(
    path: str | os.PathLike[str], tags: Tags, *, cover: Cover | None = None, id3_version: Id3Version = 3
) -> None:
    """Write tags into an existing file, in a thread; the file is as before or as wanted at any moment.

    Fields that ``tags`` leaves open keep what the file says. Raises `TagsRejected` when the file type takes no tags
    (raw .aac, .ac3) or is broken, `UnsafePath` and `OutOfSpace`. Cancelled, it finishes first.
    """

    def work() -> None:
        target = Path(path).absolute()
        folder = open_folder(target.parent, create=False)
        try:
            with _readable(target) as file, Draft(folder, target.name) as draft:
                if hasattr(os, "fchmod"):
                    os.fchmod(draft.file.fileno(), os.fstat(file.fileno()).st_mode & 0o777)
                if kind_of(file) == "matroska":
                    _rewrite_matroska(file, draft.file, tags, cover)
                else:
                    with disk_errors(str(target)):
                        file.seek(0)
                        shutil.copyfileobj(file, draft.file, 1 << 20)
                    write_tags_to(draft.file, tags, cover=cover, id3_version=id3_version)
                draft.place()
        finally:
            folder.close()

    await in_thread(work)


def _rewrite_matroska(file: BinaryIO, target: BinaryIO, tags: Tags, cover: Cover | None) -> None:
    try:
        older = read_by_av(file)
        remux_file([file], target, stop=Unstoppable(), tags=_clean(tags.over(older.tags)), cover=cover or older.cover)
    except ConvertFailed as error:
        raise TagsRejected(str(error)) from error


class _readable:  # noqa: N801 - used as ``with _readable(path)``
    """Opens a file as `opened` does, with the error of this module."""

    def __init__(self, path: Path) -> None:
        self._opened = opened(path)

    def __enter__(self) -> BinaryIO:
        try:
            return self._opened.__enter__()
        except ConvertFailed as error:
            raise TagsRejected(str(error)) from error

    def __exit__(self, *error: object) -> None:
        self._opened.__exit__(*error)  # type: ignore[arg-type]


def kind_of(file: BinaryIO) -> str:
    """Tell a file's type by its first bytes: mp4, flac, ogg, mp3, wav, aiff, matroska, or empty."""
    file.seek(0)
    first = file.read(12)
    if first[:3] == b"ID3":
        file.seek(10 + _id3_size(first))
        after = file.read(4)
        return "flac" if after == b"fLaC" else "mp3"
    if first[:4] == b"RIFF":
        return "wav" if first[8:12] == b"WAVE" else ""
    if first[:4] == b"FORM":
        return "aiff" if first[8:12] in (b"AIFF", b"AIFC") else ""
    if first[4:8] == b"ftyp":
        return "mp4"
    known = {b"fLaC": "flac", b"OggS": "ogg", b"\x1aE\xdf\xa3": "matroska"}
    if first[:4] in known:
        return known[first[:4]]
    # A bare MPEG frame: 11 bits set, layer III or II; layer 0 is raw AAC, which takes no tags.
    return "mp3" if len(first) > 1 and first[0] == 0xFF and first[1] & 0xE0 == 0xE0 and first[1] & 0x06 else ""


def _id3_size(first: bytes) -> int:
    size = 0
    for byte in first[6:10]:
        size = size << 7 | byte & 0x7F
    return size


def read_tags_from(file: BinaryIO) -> Tagged:
    """Read the tags of an open file; blocks."""
    reader: Reader | None = _forms().READERS.get(kind_of(file))
    if reader is None:
        try:
            return read_by_av(file)
        except ConvertFailed as error:
            raise TagsRejected(str(error)) from error
    file.seek(0)
    return _guarded(lambda: reader(file), "the tags cannot be read")


def write_tags_to(file: BinaryIO, tags: Tags, *, cover: Cover | None = None, id3_version: Id3Version = 3) -> None:
    """Write tags into a file that is open for reading and writing; blocks, and is not one step: use a draft."""
    writer = _forms().WRITERS.get(kind_of(file))
    if writer is None:
        known = "m4a, flac, mp3, opus, ogg, mka, wav and aiff"
        raise TagsRejected(f"a file of this type takes no tags here; known are {known}")
    text = (tags.title, tags.album, tags.comment, tags.lyrics, *tags.artists)
    if any(len(value) > LONGEST_TEXT for value in text if value):
        raise TagsRejected(f"a tag is longer than {LONGEST_TEXT} characters")
    file.seek(0)
    _guarded(lambda: writer(file, _clean(tags), cover, id3_version), "the tags cannot be written")
    file.flush()


def _forms() -> ModuleType:
    need_mutagen()
    from musicq_async.media import tag_forms  # noqa: PLC0415 - imports mutagen, an extra

    return tag_forms


def _clean(tags: Tags) -> Tags:
    """Replace what no file can hold: halves of characters and NULs."""

    def clean(value: object) -> object:
        if isinstance(value, str):
            return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
        if isinstance(value, tuple):
            return tuple(clean(item) for item in value if item)
        return value

    cleaned = {name: clean(getattr(tags, name)) for name in tags.__slots__ if name != "others"}
    others = {key.upper(): clean(values) for key, values in tags.others.items() if key}
    return Tags(**cleaned, others=others)  # type: ignore[arg-type] # each field keeps its type


def _guarded(work: Callable[[], R], what: str) -> R:
    try:
        return work()
    except MusicqError:
        raise
    except Exception as error:  # mutagen raises whatever a broken file makes it trip over
        origin = error if isinstance(error, OSError) else error.__context__
        if isinstance(origin, OSError):
            raise_if_full(origin, "the tags")
        raise TagsRejected(f"{what}: {type(error).__name__}; the file may be broken") from error
