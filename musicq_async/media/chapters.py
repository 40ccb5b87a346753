"""A long recording split into tracks at its chapters, numbered and tagged; no bit of the sound is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import anyio

from musicq_async.errors import InvalidParams
from musicq_async.media.audio import probe
from musicq_async.media.files import SafeFolder
from musicq_async.media.finish import Finished, finish
from musicq_async.media.names import SongName, Style, parse_video_title, song_path
from musicq_async.media.remux import Cut
from musicq_async.media.tags import Tagged, Tags, read_tags

TEMPLATE: Final = "{collection}/{index:02} {title}{tags}[ - {artists}]"
"""How tracks are named: ``collection`` is the title of the whole, ``index`` the number of the track."""
SHORTEST: Final = 0.5
"""Seconds below which a chapter is a mark, and no track."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """A stretch of a recording, in seconds. Without an end it goes to the next one."""

    title: str
    start: float
    end: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """A song that a chapter became."""

    number: int
    song: SongName
    finished: Finished


def tracks_of(chapters: Sequence[Chapter], duration: float) -> list[Chapter]:
    """Return the chapters that are tracks, in order, each with an end; none overlaps the next or leaves the sound."""
    ordered = sorted((chapter for chapter in chapters if 0 <= chapter.start < duration), key=lambda each: each.start)
    tracks = []
    for number, chapter in enumerate(ordered):
        following = ordered[number + 1].start if number + 1 < len(ordered) else duration
        end = min(following if chapter.end is None else chapter.end, following, duration)
        if end - chapter.start >= SHORTEST:
            tracks.append(replace(chapter, end=end))
    return tracks


async def split(
    recording: Path,
    chapters: Sequence[Chapter],
    folder: SafeFolder,
    *,
    template: str = TEMPLATE,
    style: Style = "seed",
    measure: bool = False,
) -> list[Track]:
    """Split a recording into tracks below a folder, and return them in order; the recording stays.

    Packets are copied, so that cuts are as exact as the codec's frames (23 ms for AAC); FLAC is cut to the sample and
    written anew without loss. Title and artists of each track are read out of its chapter's title beside the
    recording's; album, number, date, source and cover are the recording's. ``measure`` measures each track's loudness.

    Raises `InvalidParams` when fewer than two chapters are tracks, and what `finish` and `read_tags` raise. On errors
    and on cancellation no track of this call stays.
    """
    sound, tagged = await probe(recording), await read_tags(recording)
    if sound.duration is None:
        raise InvalidParams(f"chapters: {recording.name} does not say how long it is")
    tracks = tracks_of(chapters, sound.duration)
    if len(tracks) < 2:
        raise InvalidParams(f"chapters: {recording.name} has {len(tracks)} that could be a track; it takes two")
    whole = tagged.tags.title or recording.stem
    songs = _songs(tracks, whole, tagged.tags)
    made: list[Track] = []
    try:
        for number, (chapter, song) in enumerate(zip(tracks, songs, strict=True), start=1):
            name = song_path(
                song,
                template=template,
                style=style,
                fields={"collection": whole, "index": number, "video_title": whole},
            )
            done = await finish(
                recording,
                folder,
                "/".join(name),
                tags=_tags(song, tagged, whole, number, len(tracks)),
                cover=tagged.cover,
                cut=Cut(start=chapter.start, end=chapter.end),
                measure=measure,
                remove_raw=False,
            )
            made.append(Track(number=number, song=song, finished=done))
    except BaseException:
        with anyio.CancelScope(shield=True):
            for track in made:
                await anyio.Path(track.finished.path).unlink(missing_ok=True)
        raise
    return made


def _songs(tracks: Sequence[Chapter], whole: str, tags: Tags) -> list[SongName]:
    """Read what the chapters are called; who sings is what the chapter says, else what the recording does."""
    titles = [chapter.title for chapter in tracks]
    songs = []
    for number, title in enumerate(titles, start=1):
        read = parse_video_title("", part=title, parts=titles)
        songs.append(
            SongName(
                raw=title,
                title=read.title.strip() or title.strip() or f"{whole} {number}",
                artists=read.artists or tags.artists,
                tags=read.tags,
            )
        )
    return songs


def _tags(song: SongName, recording: Tagged, whole: str, number: int, total: int) -> Tags:
    return replace(
        recording.tags,
        title=song.full,
        artists=song.artists,
        album=whole,
        track=number,
        tracks=total,
        disc=None,
        discs=None,
        lyrics=None,
        replay_gain=None,
        others={},
    )
