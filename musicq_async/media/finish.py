"""From downloaded bytes to a song in the music folder: own container, tags, cover, one rename."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from musicq_async.errors import ConvertFailed
from musicq_async.media.audio import Sound, is_cut_off, opened, probe_file
from musicq_async.media.covers import Cover
from musicq_async.media.drafts import Draft, Existing
from musicq_async.media.encode import encode_file
from musicq_async.media.files import SafeFolder
from musicq_async.media.loudness import measure_files
from musicq_async.media.recipes import FORMATS
from musicq_async.media.remux import Cut, remux_file
from musicq_async.media.tags import Id3Version, Tags, write_tags_to
from musicq_async.media.work import Stopper, Teller, in_thread


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A song in its place."""

    path: Path
    size: int
    sound: Sound


async def finish(
    raw: Path | Sequence[Path],
    folder: SafeFolder,
    name: str | os.PathLike[str],
    *,
    tags: Tags,
    cover: Cover | None = None,
    existing: Existing = "number",
    stale: Callable[[str], bool] | None = None,
    cut: Cut | None = None,
    expected_duration: float | None = None,
    measure: bool = False,
    id3_version: Id3Version = 3,
    remove_raw: bool = True,
) -> Finished:
    """Make a song of a downloaded file, or of segments to be joined, and put it into the music folder; in a thread.

    The sound keeps every bit: AAC and ALAC become .m4a, FLAC .flac, MP3 .mp3, Opus .opus, all else .mka; the sound of
    an MP4 or FLV video is taken out. ``name`` is a path below the folder without extension, its components made by
    ``safe_name``. ``existing`` and ``stale`` are as in `Draft.place`. ``cut`` takes a stretch only (a chapter).
    ``measure`` measures the loudness for ReplayGain; a silent song keeps what ``tags`` say. The raw files are deleted
    once the song stands.

    Raises `ConvertFailed` for what is no sound, is cut off, or is shorter than ``expected_duration`` seconds by more
    than two, `EncryptedStream`, `TagsRejected`, `UnsafePath`, `OutOfSpace`. Cancelled, it stops at the next packet and
    leaves nothing but the raw files.
    """
    sources = [raw] if isinstance(raw, Path) else list(raw)
    if not sources:
        raise ConvertFailed("there is nothing to make a song of")
    stopper = Stopper()

    def work() -> Finished:
        parts = folder.parts(name)
        with folder.folder(*parts[:-1]) as place, ExitStack() as files:
            open_files = [files.enter_context(opened(path)) for path in sources]
            if any(map(is_cut_off, open_files)):
                raise ConvertFailed("the file is cut off: its last part is not whole")
            draft = files.enter_context(Draft(place, parts[-1]))
            said = _measured(open_files, tags, cut, stopper) if measure else tags
            extension = _fill(open_files, draft, tags=said, cover=cover, cut=cut, stopper=stopper)
            sound = probe_file(draft.file)
            _check_duration(sound, expected_duration)
            if extension != "mka":
                write_tags_to(draft.file, said, cover=cover, id3_version=id3_version)
            size = draft.file.seek(0, os.SEEK_END)
            path = draft.place(name=f"{parts[-1]}.{extension}", existing=existing, stale=stale)
        if remove_raw:
            for source in sources:
                source.unlink(missing_ok=True)
        return Finished(path=path, size=size, sound=sound)

    return await in_thread(work, stopper=stopper)


def _measured(sources: Sequence[BinaryIO], tags: Tags, cut: Cut | None, stopper: Stopper) -> Tags:
    try:
        return replace(tags, replay_gain=measure_files(sources, stop=stopper, cut=cut).replay_gain)
    except ConvertFailed:  # what cannot be measured may still be kept
        return tags


def _fill(
    sources: Sequence[BinaryIO],
    draft: Draft,
    *,
    tags: Tags,
    cover: Cover | None,
    cut: Cut | None,
    stopper: Stopper,
) -> str:
    """Copy the sound; a stretch of FLAC is encoded anew, for its frames are numbered from the start."""
    if cut is not None and len(sources) == 1:
        sound = probe_file(sources[0])
        if sound.codec == "flac":
            made = FORMATS["flac"]
            encode_file(sources[0], draft.file, made, sound, bit_rate=None, stop=stopper, teller=Teller(None), cut=cut)
            return made.extension
    return remux_file(sources, draft.file, stop=stopper, cut=cut, tags=tags, cover=cover).extension


def _check_duration(sound: Sound, expected: float | None) -> None:
    """Refuse a preview that pretends to be the whole song."""
    if expected is not None and (sound.duration is None or sound.duration < expected - 2):
        raise ConvertFailed(
            f"the sound lasts {sound.duration or 0:.0f} s in place of {expected:.0f}: it is a preview, or cut off"
        )
