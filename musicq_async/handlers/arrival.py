"""One item's way into the library: looked up, fetched, made a song, recorded."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from musicq_async.errors import ConvertFailed, EncryptedStream, MusicqError
from musicq_async.handlers.kept import Kept, Progress, Wish, kept
from musicq_async.handlers.songs import Words, name_fields, song_of, tags_of, words_of
from musicq_async.media.files import SafeFolder, numbered
from musicq_async.media.names import SongName, song_path
from musicq_async.ports import Archived

if TYPE_CHECKING:
    from musicq_async.bilibili.client import BilibiliClient
    from musicq_async.bilibili.models import Item
    from musicq_async.bilibili.streams import AudioChoice
    from musicq_async.handlers.library import Library
    from musicq_async.media.covers import Cover
    from musicq_async.media.finish import Finished
    from musicq_async.media.recipes import Format
    from musicq_async.media.sources import Source

COVER_TIME: Final = 30.0
"""Seconds after which a song goes without its picture."""
COVER_BYTES: Final = 16 << 20
COVERS_KEPT: Final = 8
"""Pictures that are kept for the songs that come next: the parts of a video have one."""
AUDIO_ENDINGS: Final = (".aac", ".flac", ".m4a", ".mka", ".mp3", ".ogg", ".opus", ".wav")
_LADDER: Final = ("video", "64k", "128k", "192k", "320k", "hires")
_MOST_NAMESAKES: Final = 100


class Arrival:
    """Brings one item that can be fetched, as `Library.keep` promises; the caller lets no two run for one item."""

    def __init__(
        self,
        library: Library,
        item: Item,
        wish: Wish,
        *,
        to: tuple[Format, int | None] | None,
        progress: Progress | None,
    ) -> None:
        self._library = library
        self._settings = library.settings
        self._item = item
        self._wish = wish
        self._to = to
        self._progress = progress
        self._song = song_of(item)
        self._quality = wish.quality or self._settings.bilibili.quality
        target = library.folder(wish.save_path)
        self._given = target.stem if target.suffix.lower() in AUDIO_ENDINGS else None
        self._folder = target.parent if self._given is not None else target

    async def kept(self) -> Kept:
        """Return what became of it. Raises the `SourceError` or `MediaError` that stopped it."""
        record, path = await self._found()
        if path is None and record is not None and self._wish.only_new:
            return self._skipped(None, "its file was removed; download it by its own link to have it again")
        if path is not None and not self._wish.upgrade:
            return self._skipped(path)
        client = await self._library.client()
        choice = await client.audio(self._item, self._quality)
        if path is not None and not await _is_better(choice, record, path):
            return self._skipped(path, "no better quality is offered")
        return await self._fetched(choice, older=path)

    async def _found(self) -> tuple[Archived | None, Path | None]:
        """Return what the archive says of the item, and the file that counts as it, if it is there."""
        archive, item = self._library.archive, self._item
        record = await archive.get(item.key, item.link)
        if record is not None and await self._counts(Path(record.path)):
            if record.key != item.key:  # found by its link alone, by a scan of the folder
                await archive.add(_under_key(record, item))
                await archive.forget(record.key)
            return record, Path(record.path)
        path = await _present(self._folder, self._name(self._song), item.link)
        if path is None or any(other.key not in {item.key, item.link} for other in await archive.at(str(path))):
            return record, None
        size = (await anyio.Path(path).stat()).st_size
        await archive.add(Archived(key=item.key, url=item.link, path=str(path), size=size))
        await anyio.to_thread.run_sync(_sweep, self._folder, _raw_stem(item))
        return record, path

    async def _counts(self, path: Path) -> bool:
        """Whether a recorded file is there, and where it is wanted."""
        if not await anyio.Path(path).is_file():
            return False
        if self._wish.only_new:
            return True
        folder = await anyio.Path(self._folder).resolve()
        if self._given is not None:
            return path.parent == Path(folder) and path.stem == self._given
        return path.is_relative_to(folder)

    def _skipped(self, path: Path | None, message: str | None = None) -> Kept:
        return kept(self._item, self._song, status="skipped", path=str(path) if path else None, message=message)

    def _name(self, song: SongName, quality: str = "") -> str:
        """Return the path of the song below its folder, without ending."""
        if self._given is not None:
            return self._given
        fields = name_fields(self._item, quality)
        settings = self._settings
        return "/".join(
            song_path(
                song, template=settings.name_template, style=settings.name_style, fields=fields, source=self._item.key
            )
        )

    async def _fetched(self, choice: AudioChoice, *, older: Path | None) -> Kept:
        try:
            finished, words = await self._made(choice, older)
        except ConvertFailed:  # a broken copy: another mirror may have a whole one
            if all(len(segment.sources) < 2 for segment in choice.segments):
                raise
            turned = tuple(replace(each, sources=each.sources[1:] + each.sources[:1]) for each in choice.segments)
            finished, words = await self._made(replace(choice, segments=turned), older)
        path, size, codec = await self._converted(finished)
        if words.lyrics and self._settings.lyrics in {"both", "file"}:
            await self._write_lyrics(path, words.lyrics)
        quality = None if choice.quality == "video" else choice.quality
        record = Archived(
            key=self._item.key, url=self._item.link, path=str(path), size=size, codec=codec, quality=quality
        )
        await self._library.archive.add(record)
        if older is not None and older != path:
            await _remove(older, but=path)
        return kept(
            self._item, self._song, path=str(path), codec=codec, quality=choice.quality,
            message=None if choice.exact else f"{choice.requested} is not offered; got {choice.quality}",
        )  # fmt: skip

    async def _made(self, choice: AudioChoice, older: Path | None) -> tuple[Finished, Words]:
        """Download a choice and make a song of it; nothing of what cannot be one stays behind."""
        client = await self._library.client()
        raw = await self._download(choice)
        if self._item.kind == "song" and not self._item.artists:  # a list says less than the song's own page
            self._item = await _told_more(client, self._item)
            self._song = song_of(self._item)
        words = await words_of(client, self._item, self._song, ask=self._asks())
        if words.music is not None:
            self._song = song_of(self._item, words.music)
        try:
            return await self._finish(choice, words, raw, older), words
        except (ConvertFailed, EncryptedStream):
            await anyio.to_thread.run_sync(_sweep, self._folder, _raw_stem(self._item))
            raise

    def _asks(self) -> bool:
        """Whether a video's lyrics may cost calls."""
        when = self._settings.bilibili.ask_lyrics
        return self._settings.lyrics != "none" and (when == "always" or (when == "auto" and not self._wish.listed))

    async def _download(self, choice: AudioChoice) -> list[Path]:
        from musicq_async.media.audio import looks_like_mp4  # noqa: PLC0415
        from musicq_async.media.transfer import download  # noqa: PLC0415 - httpx, on first use

        library, item = self._library, self._item
        client = await library.client()
        raw = []
        for number, segment in enumerate(choice.segments):

            async def refresh(number: int = number) -> list[Source]:
                again = await client.audio(item, self._quality)
                return self._sources(client, again, again.segments[number].sources)

            name = f"{_raw_stem(item)}{choice.quality}-{number}.raw"
            done = await download(
                self._sources(client, choice, segment.sources),
                self._folder / name,
                http=self._settings.http,
                web=await library.web(),
                progress=self._progress,
                within=SafeFolder(self._folder),
                sanity=None if choice.muxed or item.kind == "song" else looks_like_mp4,
                expected_size=segment.size,
                identity=f"{item.key} {choice.quality} {choice.codec} {number}",
                refresh=refresh,
                clock=library.clock,
            )
            raw.append(done.path)
        return raw

    def _sources(self, client: BilibiliClient, choice: AudioChoice, addresses: tuple[str, ...]) -> list[Source]:
        return [replace(self._source(client, url), expires_at=choice.expires_at) for url in addresses]

    def _source(self, client: BilibiliClient, address: str) -> Source:
        """Return a file of the site's media hosts, which none but they may give, by a redirect either."""
        from musicq_async.media.sources import Source  # noqa: PLC0415

        return Source(
            url=address, headers=client.media_headers, may_lead_to=client.media_hosts.allow,
            allowed_hosts=frozenset(self._settings.bilibili.media_hosts),
        )  # fmt: skip

    async def _finish(self, choice: AudioChoice, words: Words, raw: list[Path], older: Path | None) -> Finished:
        from musicq_async.media.finish import finish  # noqa: PLC0415 - PyAV, on first use

        loudness = self._settings.loudness
        if self._settings.lyrics not in {"both", "embedded"}:
            words = replace(words, lyrics=None)
        tags = tags_of(self._item, self._song, words, choice.loudness if loudness == "site" else None)
        name = self._name(self._song, choice.quality)
        beside = older is not None and older.parent == Path(await anyio.Path((self._folder / name).parent).resolve())
        return await finish(
            raw, SafeFolder(self._folder), name, tags=tags,
            cover=await self._cover(), existing="number", expected_duration=choice.duration,
            stale=(lambda there: older is not None and there == older.name) if beside else None,
            measure=loudness == "measured",
        )  # fmt: skip

    async def _converted(self, finished: Finished) -> tuple[Path, int, str]:
        """Convert a new song where that is wished; return its path, size and codec."""
        if self._to is None:
            return finished.path, finished.size, finished.sound.codec
        from musicq_async.media.convert import convert  # noqa: PLC0415 - PyAV, on first use

        made, bitrate = self._to
        done = await convert(
            finished.path, to=made.name, bitrate=bitrate, keep=False, within=SafeFolder(finished.path.parent)
        )
        return done.files[0].path, done.files[0].size, made.codec

    async def _write_lyrics(self, song: Path, lyrics: str) -> None:
        """Put the words beside the song. A song without them is still a song."""
        from musicq_async.media.lyrics import write_lrc  # noqa: PLC0415

        try:
            await write_lrc(song, lyrics, within=SafeFolder(song.parent))
        except MusicqError:
            return

    async def _cover(self) -> Cover | None:
        """Fetch the picture, once for all parts of a video. A song without one is still a song."""
        address, library = self._item.cover, self._library
        if not address:
            return None
        async with library.turn(address):
            if address in library.covers:
                return library.covers[address]
            cover = await self._fetched_cover(address)
            if cover is not None:
                library.covers[address] = cover
                while len(library.covers) > COVERS_KEPT:
                    del library.covers[next(iter(library.covers))]
            return cover

    async def _fetched_cover(self, address: str) -> Cover | None:
        from musicq_async.media.covers import cover_from  # noqa: PLC0415

        client, web = await self._library.client(), await self._library.web()
        try:
            with anyio.fail_after(COVER_TIME):
                fetched = await web.fetch(self._source(client, address), max_bytes=COVER_BYTES)
            return await cover_from(fetched.content)
        except (MusicqError, TimeoutError):
            return None


def _raw_stem(item: Item) -> str:
    """Return how the names of an item's raw files begin."""
    return f".{re.sub(r'[^0-9A-Za-z]', '-', item.key)}-"


def _sweep(folder: Path, stem: str) -> None:
    """Remove raw files that no song will come of: it stands already, or they are spoilt; blocks."""
    for path in folder.glob(f"{stem}*.raw"):
        path.unlink(missing_ok=True)


def _under_key(record: Archived, item: Item) -> Archived:
    """Return a record under the item's own key."""
    return Archived(
        key=item.key, url=item.link, path=record.path, size=record.size, codec=record.codec, quality=record.quality,
        created_ms=record.created_ms,
    )  # fmt: skip


async def _told_more(client: Any, item: Item) -> Item:
    """Return a song of the audio zone with what its own page says; as it is, where that cannot be had."""
    try:
        told: Item = await client.song(item.auid)
    except MusicqError:
        return item
    return replace(told, added=item.added, cover=told.cover or item.cover, duration=told.duration or item.duration)


async def _present(folder: Path, name: str, link: str) -> Path | None:
    """Return the file that holds this very item already: its own source tag says so, whatever it is called now."""
    from musicq_async.media.tags import read_tags  # noqa: PLC0415

    for path in await anyio.to_thread.run_sync(_namesakes, folder, name):
        try:
            tagged = await read_tags(path)
        except MusicqError:
            continue
        if tagged.tags.url == link:
            return path
    return None


def _namesakes(folder: Path, name: str) -> list[Path]:
    """Return the audio files that have this name, or this name and a number; blocks."""
    found = []
    for ending in AUDIO_ENDINGS:
        parent, _, last = f"{name}{ending}".rpartition("/")
        for number in range(1, _MOST_NAMESAKES):
            path = folder / parent / numbered(last, number)
            if not path.is_file():
                break
            found.append(path.resolve())
    return found


async def _is_better(choice: AudioChoice, record: Archived | None, path: Path) -> bool:
    """Whether a choice is better than what lies there."""
    there = (record.quality if record is not None else None) or await _quality_of(path)
    if "dolby" in {there, choice.quality}:  # another mix, not a step of the ladder
        return choice.quality != there and choice.exact and choice.requested in {"dolby", "hires"}
    if there not in _LADDER or choice.quality not in _LADDER:
        return False
    return _LADDER.index(choice.quality) > _LADDER.index(there)


async def _quality_of(path: Path) -> str:
    """Return what a file's sound amounts to in the site's names."""
    from musicq_async.media.audio import probe  # noqa: PLC0415 - PyAV, on first use

    sound = await probe(path)
    if sound.codec == "eac3":
        return "dolby"
    if sound.lossless:
        return "hires"
    steps = ((256_000, "320k"), (160_000, "192k"), (96_000, "128k"))
    return next((name for least, name in steps if (sound.bit_rate or 0) >= least), "64k")


async def _remove(older: Path, *, but: Path) -> None:
    """Remove the file that a better one replaces, and lyrics that are no longer anybody's."""
    await anyio.Path(older).unlink(missing_ok=True)
    if older.with_suffix("") != but.with_suffix(""):
        await anyio.Path(older.with_suffix(".lrc")).unlink(missing_ok=True)
