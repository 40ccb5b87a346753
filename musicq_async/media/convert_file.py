"""Converting one file, in a thread: sound, tags and cover go into a draft that is renamed at the end."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from musicq_async.errors import MediaError, SourceError, TagsRejected
from musicq_async.media.audio import Sound, opened, probe_file
from musicq_async.media.conversions import Action, Converted, Wish
from musicq_async.media.drafts import Draft
from musicq_async.media.encode import encode_file
from musicq_async.media.ffmpeg import encode_by_ffmpeg
from musicq_async.media.files import Folder, SafeFolder, checked_name, disk_errors, numbered, open_folder
from musicq_async.media.mp4 import move_index_to_front
from musicq_async.media.recipes import Format, fits, usual_bitrate
from musicq_async.media.remux import remux_file
from musicq_async.media.tags import Tagged, Tags, kind_of, read_tags_from, write_tags_to
from musicq_async.media.work import Stopper, Teller

_SAME_LENGTH: Final = 1.0  # seconds by which two files of one song may differ


class FileConversion:
    """One file to convert; everything here blocks, in a thread of its own."""

    def __init__(
        self,
        source: Path,
        target: Path,
        wish: Wish,
        within: SafeFolder | None,
        stopper: Stopper,
        *,
        onto_itself: bool = False,
    ) -> None:
        self._onto_itself = onto_itself or not wish.keep
        self._source = source
        self._target = target
        self._wish = wish
        self._within = within
        self._stopper = stopper

    def run(self, teller: Teller, *, in_folder: bool = False) -> Converted:
        """Convert; in a folder, look first whether an earlier run has done it."""
        made = self._wish.made
        with self._opened() as file:
            sound = probe_file(file)
            folder = _open(self._target, self._within, create=True)
            try:
                same = self._same_file(folder, file)
                fitting = fits(made, sound, self._wish.bit_rate)
                if same and fitting and _has_type(file, made):
                    return self._done(self._source, "unchanged", sound.bit_rate, sound, sound.size)
                name = checked_name(self._target.name)
                if in_folder or (same and not self._onto_itself):
                    own = self._target.name if same and self._onto_itself else None
                    name, earlier = _name_beside(folder, name, own, self._target.name if same else None, sound)
                    if earlier and in_folder:
                        return self._done(folder.path / name, "skipped", None, sound, 0)
                with Draft(folder, name) as draft:
                    action, bit_rate = self._fill(file, draft, folder, sound, fitting=fitting, teller=teller)
                    size = draft.file.seek(0, os.SEEK_END)
                    path = draft.place(existing=self._wish.existing)
            finally:
                folder.close()
        return self._done(path, action, bit_rate, sound, size)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        """Open the source, not through a link when it must lie within a folder."""
        if self._within is None:
            with opened(self._source) as file:
                yield file
            return
        folder = _open(self._source, self._within, create=False)
        try:
            with os.fdopen(folder.open(self._source.name, os.O_RDONLY), "rb") as file:
                yield file
        finally:
            folder.close()

    def _same_file(self, folder: Folder, file: BinaryIO) -> bool:
        there = folder.stat(self._target.name)
        here = os.fstat(file.fileno())
        return there is not None and (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev)

    def _fill(
        self, file: BinaryIO, draft: Draft, folder: Folder, sound: Sound, *, fitting: bool, teller: Teller
    ) -> tuple[Action, int | None]:
        """Write sound and tags into the draft."""
        made = self._wish.made
        if fitting and _has_type(file, made):
            file.seek(0)
            with disk_errors(self._target.name):
                shutil.copyfileobj(file, draft.file, 1 << 20)
            return "copied", sound.bit_rate
        action: Action = "encoded"
        bit_rate = None if made.lossless else self._wish.bit_rate or usual_bitrate(made, sound)
        if fitting and made.name in ("m4a", "alac", "flac", "mp3", "opus"):
            remux_file([file], draft.file, stop=self._stopper)
            action, bit_rate = "copied", sound.bit_rate
        elif not self._by_program(folder.path / draft.part, sound, bit_rate, teller):
            draft.file.seek(0)
            draft.file.truncate()
            encode_file(file, draft.file, made, sound, bit_rate=bit_rate, stop=self._stopper, teller=teller)
        elif made.muxer == "ipod":
            move_index_to_front(draft.file)
        if made.tagged:
            tagged = _tags_of(file)
            write_tags_to(draft.file, tagged.tags, cover=tagged.cover, id3_version=self._wish.id3_version)
        return action, bit_rate

    def _by_program(self, part: Path, sound: Sound, bit_rate: int | None, teller: Teller) -> bool:
        if self._wish.ffmpeg is None or bit_rate is None:
            return False
        return encode_by_ffmpeg(
            self._wish.ffmpeg,
            self._source,
            part,
            self._wish.made,
            sound,
            bit_rate=bit_rate,
            stop=self._stopper,
            teller=teller,
        )

    def _done(self, path: Path, action: Action, bit_rate: int | None, sound: Sound, size: int) -> Converted:
        removed = not self._wish.keep and action != "unchanged" and path != self._source
        if removed:
            folder = _open(self._source, self._within, create=False)
            try:
                folder.remove(self._source.name)
            finally:
                folder.close()
        return Converted(
            source=self._source,
            path=path,
            format=self._wish.made.name,
            action=action,
            bit_rate=bit_rate,
            duration=sound.duration,
            size=size,
            removed=removed,
        )


def _has_type(file: BinaryIO, made: Format) -> bool:
    """Whether a file is of the format's own file type, so that it can be copied byte for byte."""
    kinds = {"m4a": "mp4", "alac": "mp4", "opus": "ogg", "aac": ""}
    kind = kind_of(file)
    file.seek(0)
    fragmented = kind == "mp4" and b"mvex" in file.read(1 << 16)
    return kind == kinds.get(made.name, made.name) and not fragmented


def _tags_of(file: BinaryIO) -> Tagged:
    """Read the tags to carry over; tags too broken to read do not stand in the way of the sound."""
    try:
        return read_tags_from(file)
    except TagsRejected:
        return Tagged(tags=Tags(), cover=None)


def _name_beside(folder: Folder, name: str, own: str | None, kept: str | None, sound: Sound) -> tuple[str, bool]:
    """Choose a name that takes no other song's place; say whether this song stands under it already.

    ``own`` is the source where it may be replaced, ``kept`` the source where it may not.
    """
    number = 1
    while True:
        tried = numbered(name, number)
        if tried == own or folder.stat(tried) is None:
            return tried, False
        if tried != kept and _same_song(folder, tried, sound):
            return tried, True
        number += 1


def _same_song(folder: Folder, name: str, sound: Sound) -> bool:
    """Whether a file is as long as this sound, which for equal names says that it is the same song."""
    try:
        with os.fdopen(folder.open(name, os.O_RDONLY), "rb") as file:
            other = probe_file(file)
    except (MediaError, SourceError, OSError):
        return False
    return (
        other.duration is not None
        and sound.duration is not None
        and abs(other.duration - sound.duration) <= _SAME_LENGTH
    )


def _open(path: Path, within: SafeFolder | None, *, create: bool) -> Folder:
    """Open the folder that a file lies in."""
    if within is None:
        return open_folder(path.parent, create=create)
    return within.open_folder(*within.parts(path)[:-1], create=create)
