"""A folder of songs read into the archive: by the source that a file names, else by its name, as a guess."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio

from musicq_async.bilibili.ids import BV_PATTERN, normal_bvid
from musicq_async.bilibili.links import Episode, Link, Song, Video, parse_link, video_link
from musicq_async.errors import InvalidParams, SourceError
from musicq_async.handlers.songs import KEY_TAG
from musicq_async.media.names import SongName, name_key, parse_name
from musicq_async.ports import Archive, Archived

if TYPE_CHECKING:
    from musicq_async.bilibili.models import Item
    from musicq_async.media.scan import FoundSong

GUESS: Final = "guess://"
"""What the keys of songs begin with that are known by their name alone."""
_KEY: Final = re.compile(r"BV1[0-9A-Za-z]{9}:\d{1,18}|au\d{1,18}|ep\d{1,18}:\d{1,18}", re.ASCII)
_IN_NAME: Final = re.compile(
    rf"(?<![0-9A-Za-z])({BV_PATTERN})(?![0-9A-Za-z])(?:[ _]?[pP]0*(\d{{1,4}})(?!\d))?", re.ASCII
)
_PAGE: Final = 1000

Ask = Callable[[str], Awaitable["list[Item]"]]
"""Asks the site for the parts of a video by its BV id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """What became of one file."""

    path: str
    status: Literal["added", "known", "guessed", "failed"]
    key: str | None = None
    """Its key in the archive."""
    link: str | None = None
    """Its page, where that is known."""
    title: str | None = None
    artists: tuple[str, ...] = ()
    error: str | None = None
    message: str | None = None

    def row(self) -> dict[str, Any]:
        """Return the fields as JSON."""
        return {name: getattr(self, name) for name in self.__slots__} | {"artists": list(self.artists)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a song came from."""

    key: str
    link: str | None = None


class Scan:
    """One look through a folder."""

    def __init__(self, archive: Archive, *, ask: Ask | None = None) -> None:
        self._archive = archive
        self._ask = ask
        self._asked: dict[str, list[Item]] = {}
        self._records: dict[str, Archived] = {}
        self._keys: dict[str, set[str]] = {}

    async def run(self, place: Path, *, told: Callable[[Scanned], None] = lambda _song: None) -> list[Scanned]:
        """Read every song below ``place`` into the archive; ``told`` hears of each.

        A file that names its source (a link, or a key of ours, in its tags; a BV id in its name) is stored under it;
        with ``ask`` the site is asked which part of a video that is. Every other is stored as a guess. A song that
        the archive has elsewhere keeps its place there while that file exists. Cancelled, what was read is stored.
        """
        from musicq_async.media.scan import found_songs  # noqa: PLC0415 - PyAV, on first use

        async for record in all_records(self._archive):
            self._note(record)
        seen = []
        async for song in found_songs(place):
            done = await self._one(song)
            told(done)
            seen.append(done)
        return seen

    async def _one(self, song: FoundSong) -> Scanned:
        path = str(song.path)
        if song.error is not None:
            return Scanned(path=path, status="failed", error=type(song.error).__name__, message=str(song.error))
        name = understood(song)
        said: dict[str, Any] = {"path": path, "title": name.full, "artists": name.artists}
        source = await self._source(song)
        known = self._keys.get(path, set())
        if source is None:
            real = next((key for key in known if not key.startswith(GUESS)), None)
            if real is not None:  # somebody has told what it is
                return Scanned(status="known", key=real, link=self._records[real].url, **said)
            key = await self._guess(name, path)
            await self._store(song, Source(key=key))
            return Scanned(status="guessed", key=key, **said)
        older = self._records.get(source.key)
        if older is not None and (older.path == path or await anyio.Path(older.path).is_file()):
            message = None if older.path == path else f"the archive has it as {older.path}"
            return Scanned(status="known", key=source.key, link=source.link, message=message, **said)
        await self._store(song, source)
        for other in known - {source.key}:
            await self._forget(other)
        return Scanned(status="added", key=source.key, link=source.link, **said)

    async def _source(self, song: FoundSong) -> Source | None:
        found = source_of(song)
        if found is None or self._ask is None or not isinstance(link := _parsed(found.link or ""), Video):
            return found
        if found.key != found.link:
            return found
        try:
            if link.bvid not in self._asked:
                self._asked[link.bvid] = await self._ask(link.bvid)
        except SourceError:  # it is gone: the link is all there is
            self._asked[link.bvid] = []
        items = self._asked[link.bvid]
        part = link.part or (1 if len(items) == 1 else song.tags.track)
        item = next((item for item in items if item.page == part and item.cid is not None), None)
        return found if item is None else Source(key=item.key, link=item.link)

    async def _guess(self, name: SongName, path: str) -> str:
        """Return the key of a guess: the same for every spelling of a name, numbered for another file."""
        whole = f"{GUESS}{name_key(name.full)}/{'/'.join(map(name_key, name.artists))}"
        number = 1
        while True:
            key = whole if number == 1 else f"{whole}#{number}"
            older = self._records.get(key)
            if older is None or older.path == path or not await anyio.Path(older.path).is_file():
                return key
            number += 1

    async def _store(self, song: FoundSong, source: Source) -> None:
        record = Archived(key=source.key, url=source.link, path=str(song.path), size=song.size, codec=song.codec)
        await self._archive.add(record)
        self._note(record)

    async def _forget(self, key: str) -> None:
        await self._archive.forget(key)
        self._records.pop(key, None)

    def _note(self, record: Archived) -> None:
        self._records[record.key] = record
        self._keys.setdefault(record.path, set()).add(record.key)


async def all_records(archive: Archive) -> Any:
    """Yield every record of an archive."""
    after = 0
    while page := await archive.page(limit=_PAGE, after=after):
        for after, record in page:  # noqa: B007 - the last number is where the next page begins
            yield record


async def guesses(archive: Archive) -> list[Archived]:
    """Return the records that are guesses, by path; those of files that are gone are forgotten."""
    found = [record async for record in all_records(archive) if record.key.startswith(GUESS)]
    for record in list(found):
        if not await anyio.Path(record.path).is_file():
            await archive.forget(record.key)
            found.remove(record)
    return sorted(found, key=lambda record: record.path)


async def settle(archive: Archive, path: Path, item: Item) -> Archived:
    """Store what a file is, by the word of a person: a guess about it is forgotten.

    Raises `InvalidParams` when there is no such file.
    """
    place = anyio.Path(path)
    if not await place.is_file():
        raise InvalidParams(f"there is no file {path}")
    where = str(await place.resolve())
    size = (await place.stat()).st_size
    for older in await archive.at(where):
        await archive.forget(older.key)
    record = Archived(key=item.key, url=item.link, path=where, size=size)
    await archive.add(record)
    return record


def source_of(song: FoundSong) -> Source | None:
    """Return what a file says of its source: a key of ours, a link in its tags, or a BV id in its name."""
    for text in _texts(song):
        if _KEY.fullmatch(text):
            link = _parsed(song.tags.url or "")
            return Source(key=text, link=None if link is None else _page(link))
    for text in _texts(song):
        if (link := _parsed(text)) and (page := _page(link)):
            return Source(key=f"au{link.auid}" if isinstance(link, Song) else page, link=page)
    for found in _IN_NAME.finditer(song.path.stem):
        try:
            page = video_link(normal_bvid(found[1]), int(found[2]) if found[2] else None)
        except InvalidParams:
            continue
        return Source(key=page, link=page)
    return None


def understood(song: FoundSong) -> SongName:
    """Return title and artists: what the tags say, else what the name does."""
    if song.tags.title:
        return SongName(raw=song.tags.title, title=song.tags.title, artists=song.tags.artists)
    return parse_name(song.path.stem)


def _texts(song: FoundSong) -> Iterator[str]:
    tags = song.tags
    yield from tags.others.get(KEY_TAG, ())
    for text in (tags.url, tags.comment, *(value for values in tags.others.values() for value in values)):
        if text and len(text) <= 2000:
            yield text


def _parsed(text: str) -> Link | None:
    try:
        return parse_link(text)
    except InvalidParams:
        return None


def _page(link: Link) -> str | None:
    """Return the page of one song, as its `Item` names it; ``None`` for lists."""
    match link:
        case Video(bvid, part):
            return video_link(bvid, part)
        case Song(auid):
            return f"https://www.bilibili.com/audio/au{auid}"
        case Episode(ep_id):
            return f"https://www.bilibili.com/bangumi/play/ep{ep_id}"
        case _:
            return None
