"""Converting files and folders of sound: tags and cover come along, and nothing half made is ever seen."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final, Literal

import anyio

from musicq_async.errors import ConvertFailed, InvalidParams, MediaError, SourceError, TagsRejected
from musicq_async.media.audio import Sound, opened, probe_file
from musicq_async.media.drafts import Draft
from musicq_async.media.encode import encode_file
from musicq_async.media.ffmpeg import encode_by_ffmpeg, ffmpeg_for
from musicq_async.media.files import Folder, SafeFolder, checked_name, disk_errors, numbered, open_folder
from musicq_async.media.recipes import FORMATS, Format, fits, format_named, read_bitrate, usual_bitrate
from musicq_async.media.remux import remux_file
from musicq_async.media.tags import Id3Version, Tagged, Tags, kind_of, read_tags_from, write_tags_to
from musicq_async.media.work import Progress, Stopped, Stopper, Teller, first_error, in_thread, need_av, tell

_EXTENSIONS: Final = """
    aac ac3 aif aiff amr ape caf dsf eac3 flac flv m4a m4b mka mp2 mp3 mp4 oga ogg opus tak tta wav wave webm wma wv
"""
SOUND_FILES: Final = frozenset(_EXTENSIONS.split())
"""Extensions that count as sound when a folder is converted."""

Action = Literal["encoded", "copied", "unchanged", "skipped"]
"""Encoded anew; bits kept and moved to another file; already as wanted; made by an earlier run."""

_SAME_LENGTH: Final = 1.0  # seconds by which two files of one song may differ


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What became of one file."""

    source: Path
    path: Path
    format: str
    action: Action
    bit_rate: int | None
    duration: float | None
    size: int
    removed: bool
    """Whether the source was deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotConverted:
    """A file of a folder that could not be converted."""

    source: Path
    error: MediaError | SourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What became of a file, or of the files of a folder in the order of their names."""

    files: tuple[Converted, ...]
    failed: tuple[NotConverted, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """How every file of a conversion is to be made."""

    made: Format
    bit_rate: int | None
    keep: bool
    id3_version: Id3Version
    ffmpeg: str | None = None


async def convert(
    source: str | os.PathLike[str],
    *,
    to: str | None = None,
    output: str | os.PathLike[str] | None = None,
    bitrate: str | int | None = None,
    keep: bool = True,
    within: SafeFolder | None = None,
    id3_version: Id3Version = 3,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Conversion:
    """Convert a file, or every sound file below a folder, and say what became of each.

    ``to`` is one of ``FORMATS``; without it the extension of ``output`` decides. ``output`` is a file, or a folder
    to put the files in; without it they lie beside their sources. ``bitrate`` is ``"320k"``, ``320`` or ``320000``;
    FLAC, ALAC, WAV and AIFF ignore it. A file that is in the format already keeps its bits. A single file replaces
    what has its name; in a folder, a song that was converted before is skipped and another song gets a number.
    A source whose own name would be taken is kept, and its new file numbered, unless ``output`` names the source.
    ``keep=False`` deletes each source once its file stands. ``within`` refuses every path outside that folder.
    Progress is told in milliseconds of sound for a file, in files for a folder.

    Raises `InvalidParams` naming ``input``, ``output``, ``output_format`` or ``bitrate``; `ConvertFailed`,
    `EncryptedStream`, `OutOfSpace`, `UnsafePath`; for a folder only when every file failed. Cancelled, or when
    ``cancel`` is set, it stops at the next packet and leaves nothing half made; an event raises `ConvertFailed`.
    """
    need_av()
    if to is None and isinstance(output, str) and output.strip().lower() in FORMATS:
        to, output = output, None
    made = format_named(to) if to is not None else _format_of(output)
    wish = _Wish(made=made, bit_rate=read_bitrate(bitrate, made), keep=keep, id3_version=id3_version)
    place = within.root if within is not None else Path()
    start = place / _path(source, "input")
    goal = None if output is None else place / _path(output, "output")
    goal_is_folder = str(output).endswith(("/", "\\"))
    stopper = Stopper(cancel)
    try:
        job = await in_thread(lambda: _plan(start, goal, wish, within, stopper, goal_is_folder=goal_is_folder))
        if isinstance(job, _Tree):
            return await job.convert(progress)
        return Conversion(files=(await in_thread(lambda: job.run(Teller(progress)), stopper=stopper),))
    except Stopped as error:
        raise ConvertFailed("the conversion was stopped") from error


def _plan(
    start: Path, goal: Path | None, wish: _Wish, within: SafeFolder | None, stopper: Stopper, *, goal_is_folder: bool
) -> _Job | _Tree:
    """Look at what there is, and decide what the conversion works on; blocks."""
    wish = replace(wish, ffmpeg=ffmpeg_for(wish.made))
    if start.is_dir():
        return _Tree(start, goal, wish, within, stopper)
    if not start.exists():
        raise InvalidParams(f"input: there is no file or folder {start}")
    goal_is_folder = goal is not None and (goal_is_folder or goal.is_dir())
    target = _target(start, goal, wish.made, goal_is_folder=goal_is_folder)
    return _Job(start, target, wish, within, stopper, onto_itself=goal is not None and not goal_is_folder)


def _path(value: str | os.PathLike[str], field: str) -> Path:
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else ""
    if not text or "\0" in text:
        raise InvalidParams(f"{field}: give the path of a file or folder")
    return Path(text)


def _format_of(output: str | os.PathLike[str] | None) -> Format:
    extension = Path(output).suffix if output is not None else ""
    if not extension:
        raise InvalidParams(f"output_format: say what to convert to; one of {', '.join(FORMATS)}")
    return format_named(extension, field="output")


def _target(source: Path, goal: Path | None, made: Format, *, goal_is_folder: bool) -> Path:
    name = f"{source.stem}.{made.extension}"
    if goal is None:
        return source.with_name(name)
    if goal_is_folder or not goal.suffix:
        return goal / name
    if goal.suffix.lower() != f".{made.extension}":
        raise InvalidParams(f"output: a {made.name} file ends in .{made.extension}, not in {goal.suffix}")
    return goal


def _open(path: Path, within: SafeFolder | None, *, create: bool) -> Folder:
    """Open the folder that a file lies in."""
    if within is None:
        return open_folder(path.parent, create=create)
    return within.open_folder(*within.parts(path)[:-1], create=create)


class _Job:
    """One file to convert; everything here blocks, in a thread of its own."""

    def __init__(
        self,
        source: Path,
        target: Path,
        wish: _Wish,
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
                    path = draft.place()
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


class _Tree:
    """Every sound file below a folder."""

    def __init__(self, root: Path, goal: Path | None, wish: _Wish, within: SafeFolder | None, stopper: Stopper) -> None:
        if goal is not None and goal.suffix and not goal.is_dir() and goal.suffix[1:].lower() in SOUND_FILES:
            raise InvalidParams("output: a folder is converted into a folder, not into one file")
        self._root = root
        self._goal = goal
        self._wish = wish
        self._within = within
        self._stopper = stopper
        self._names = threading.Lock()
        self._converted: dict[Path, Converted] = {}
        self._failed: dict[Path, NotConverted] = {}

    async def convert(self, progress: Progress | None) -> Conversion:
        """Convert all, as many at once as there are processors; one that fails does not stop the others."""
        files = await in_thread(lambda: sorted(self._files()), stopper=self._stopper)
        await tell(progress, 0, len(files))
        waiting = iter(_groups(files, self._wish.made))

        async def work() -> None:
            for group in waiting:
                for source in group:
                    await self._one(source)
                    await tell(progress, len(self._converted) + len(self._failed), len(files))

        try:
            async with anyio.create_task_group() as workers:
                for _ in range(min(len(files), os.cpu_count() or 1)):
                    workers.start_soon(work)
        except ExceptionGroup as group:
            raise first_error(group) from group
        if self._failed and not self._converted:
            first = next(iter(self._failed.values()))
            raise ConvertFailed(
                f"none of the {len(files)} files could be converted; {first.source.name}: {first.error}"
            ) from first.error
        return Conversion(
            files=tuple(self._converted[path] for path in files if path in self._converted),
            failed=tuple(self._failed[path] for path in files if path in self._failed),
        )

    def _files(self) -> Iterator[Path]:
        """Find sound files; links are not followed, and hidden files and the goal itself not looked at."""
        if self._within is not None and self._root != self._within.root:
            self._within.open_folder(*self._within.parts(self._root), create=False).close()
        for folder, inner, names in os.walk(self._root):
            self._stopper.check()
            inner[:] = [name for name in inner if not name.startswith(".") and Path(folder, name) != self._goal]
            for name in names:
                path = Path(folder, name)
                if name[0] != "." and path.suffix[1:].lower() in SOUND_FILES and not path.is_symlink():
                    yield path

    async def _one(self, source: Path) -> None:
        target = source.with_name(f"{source.stem}.{self._wish.made.extension}")
        if self._goal is not None:
            target = self._goal / target.relative_to(self._root)
        job = _Job(source, target, self._wish, self._within, self._stopper)
        try:
            done = await in_thread(lambda: job.run(Teller(None), in_folder=True), stopper=self._stopper)
        except (ConvertFailed, TagsRejected, SourceError) as error:
            self._failed[source] = NotConverted(source=source, error=error)
        else:
            self._converted[source] = done


def _groups(files: Sequence[Path], made: Format) -> list[list[Path]]:
    """Put files that want the same name together, to be converted one after the other."""
    groups: dict[str, list[Path]] = {}
    for path in files:
        groups.setdefault(str(path.with_suffix(f".{made.extension}")).casefold(), []).append(path)
    return list(groups.values())
