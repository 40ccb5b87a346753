"""The song in an item: its title, artists and tags, out of what the site says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from musicq_async.errors import MusicqError
from musicq_async.media.names import SongName, VideoSong, name_key, parse_video_title

if TYPE_CHECKING:
    from musicq_async.bilibili.client import BilibiliClient
    from musicq_async.bilibili.models import Item, Loudness, Music
    from musicq_async.media.tags import Tags

KEY_TAG: Final = "MUSICQ_ID"
"""Tag of a file that holds its key in the archive."""
_UNSEEN: Final = dict.fromkeys(sign for sign in (*range(32), *range(127, 160)) if chr(sign) not in "\t\n\r")
_LAST_SECOND: Final = 253_402_300_800
"""Of the year 9999."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What goes with a song beside its sound."""

    lyrics: str | None = None
    music: Music | None = None
    """The song that the site recognised, where the title says the same."""


def song_of(item: Item, music: Music | None = None) -> SongName:
    """Read title and artists out of what the site says; the uploader stands in where no artist is named.

    A recognised song names the artists where the title does not, unless the title says that somebody else sings.
    """
    item = _seen(item)
    uploader = (item.uploader.name,) if item.uploader.name else ()
    if item.kind == "song":
        return SongName(raw=item.title, title=item.title, artists=item.artists or uploader, tags=(), lossy=False)
    read: VideoSong = parse_video_title(
        item.title, part=item.part_title or None, uploader=item.uploader.name or None, tags=item.tags
    )
    artists = read.artists
    recognised = music.artists if music is not None else ()
    if recognised and artists in {(), uploader} and not read.original_artists:
        artists = recognised
    return SongName(raw=item.title, title=read.title, artists=artists or uploader, tags=read.tags, lossy=False)


def _seen(item: Item) -> Item:
    """Return an item without the control characters in its names, which no tag of a file can hold."""
    return replace(
        item,
        title=item.title.translate(_UNSEEN),
        part_title=item.part_title.translate(_UNSEEN),
        artists=tuple(name.translate(_UNSEEN) for name in item.artists),
        uploader=replace(item.uploader, name=item.uploader.name.translate(_UNSEEN)),
    )


async def words_of(client: BilibiliClient, item: Item, song: SongName, *, ask: bool) -> Words:
    """Find lyrics: those of the recognised song, the song's own, or subtitles that a person wrote.

    ``ask`` says whether a video may cost calls of its own. A song without words is still a song: errors of the site
    end the search, and nothing else.
    """
    found = Words()
    if not ask and item.kind != "song":
        return found
    try:
        if item.kind == "song":
            return Words(lyrics=await client.lyrics(item))
        player = await client.player(item)
        if player.music_id and (not player.music_title or _same_song(player.music_title, item, song)):
            music = await client.music(player.music_id)
            if _same_song(music.title, item, song):
                found = Words(music=music)
                found = replace(found, lyrics=await _text(client, music.lyrics))
        if not found.lyrics:
            found = replace(found, lyrics=await client.lyrics(item, player=player))
    except MusicqError:
        return found
    return found


async def _text(client: BilibiliClient, lyrics: str) -> str | None:
    """Return lyrics that come as text, or as the address of one."""
    return await client.text(lyrics) if lyrics.startswith(("http://", "https://", "//")) else lyrics or None


def _same_song(recognised: str, item: Item, song: SongName) -> bool:
    """Whether a recognised title is the video's own, and no background music."""
    wanted = {name_key(title) for title in (song.title, song.full, item.part_title, item.title) if title}
    return name_key(recognised) in wanted or name_key(parse_video_title(recognised).title) in wanted


def name_fields(item: Item, quality: str = "") -> dict[str, object]:
    """Return what a name template can print beside the song itself."""
    return {
        "uploader": item.uploader.name,
        "video_title": item.title,
        "part": item.part_title,
        "page": item.page,
        "pages": item.pages,
        "bvid": item.bvid or "",
        "cid": item.cid or "",
        "date": item.published,
        "quality": quality,
        "index": item.page if item.pages > 1 else "",
    }


def tags_of(item: Item, song: SongName, words: Words, loudness: Loudness | None) -> Tags:
    """Return what is written into the file."""
    from musicq_async.media.tags import ReplayGain, Tags  # noqa: PLC0415 - mutagen, on first use

    several = item.pages > 1
    album = item.title if several else (words.music.album or None if words.music is not None else None)
    gain = None if loudness is None else ReplayGain(gain=loudness.gain, peak=loudness.peak)
    return Tags(
        title=song.full,
        artists=song.artists,
        album=album,
        date=_date(item.published),
        track=item.page if several else None,
        tracks=item.pages if several else None,
        url=item.link,
        comment=item.link,
        lyrics=words.lyrics,
        replay_gain=gain,
        others={KEY_TAG: (item.key,)},
    )


def _date(published: int | None) -> str | None:
    if published is None or not 0 < published < _LAST_SECOND:
        return None
    return datetime.fromtimestamp(published, UTC).strftime("%Y-%m-%d")
