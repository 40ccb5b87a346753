"""The music library: from a Bilibili item to a tagged song under its proper name."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import anyio

from musicq_async.clock import SystemClock
from musicq_async.errors import InvalidParams, MediaError, MusicqError, SettingsError, SourceError, WorkGone
from musicq_async.media.files import SafeFolder
from musicq_async.media.names import SongName, VideoSong, check_template, parse_video_title, song_path
from musicq_async.memory.store import MemoryStore
from musicq_async.model.event import Completed, Event, Failed, Progressed
from musicq_async.observe.secrets import register_secret
from musicq_async.ports import Clock, PublicStore
from musicq_async.settings import Settings, session_path

if TYPE_CHECKING:
    from musicq_async.bilibili.client import BilibiliClient
    from musicq_async.bilibili.models import Item
    from musicq_async.bilibili.streams import AudioChoice
    from musicq_async.media.covers import Cover
    from musicq_async.media.finish import Finished
    from musicq_async.media.recipes import Format
    from musicq_async.media.sources import Source
    from musicq_async.media.tags import Tags
    from musicq_async.media.web import Web

Progress = Callable[[int, int | None], Awaitable[None] | None]
COOKIE_KEY = "bilibili_cookie"
COVER_TIME = 30.0
"""Seconds after which a song goes without its picture."""
COVER_BYTES = 16 << 20
AUDIO_ENDINGS = frozenset({".m4a", ".flac", ".mp3", ".opus", ".mka", ".wav", ".ogg", ".aac"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What became of one item; `row` is how the command line and task results show it."""

    link: str
    bvid: str | None = None
    cid: int | None = None
    status: Literal["ok", "skipped", "failed"] = "ok"
    path: str | None = None
    title: str | None = None
    artists: tuple[str, ...] = ()
    codec: str | None = None
    quality: str | None = None
    error: str | None = None
    """Name of the error's class."""
    message: str | None = None

    def row(self) -> dict[str, Any]:
        """Return the fields as JSON."""
        return {
            name: list(value) if isinstance(value := getattr(self, name), tuple) else value for name in self.__slots__
        }


class Library:
    """Fetches what links stand for into folders; an async context manager. Connections are made on first use."""

    def __init__(self, settings: Settings, *, clock: Clock, store: PublicStore) -> None:
        self.settings = settings
        self._clock = clock
        self._store = store
        self._open = AsyncExitStack()
        self._opening = anyio.Lock()
        self._client: BilibiliClient | None = None
        self._web: Web | None = None
        _check_wishes(settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client = self._web = None
        await self._open.aclose()

    async def client(self) -> BilibiliClient:
        """Return the account's client; the cookie of the public store wins over the setting."""
        async with self._opening:
            if self._client is None:
                from musicq_async.bilibili.client import BilibiliClient  # noqa: PLC0415 - httpx, on first use

                client = BilibiliClient(
                    self.settings.bilibili,
                    self.settings.http,
                    clock=self._clock,
                    cookie=self._cookie,
                    store=self._store,
                )
                self._client = await self._open.enter_async_context(client)
            return self._client

    async def web(self) -> Web:
        """Return the shared way out to the network."""
        async with self._opening:
            if self._web is None:
                from musicq_async.media.web import Web  # noqa: PLC0415 - httpx, on first use

                self._web = await self._open.enter_async_context(Web(self.settings.http))
            return self._web

    def folder(self, save_path: str | None) -> Path:
        """Return the folder that a ``save_path`` means; relative ones lie in the music folder, or are `UnsafePath`."""
        root = Path(self.settings.music_dir).expanduser()
        path = Path(save_path or ".").expanduser()
        if path.parts and not path.is_absolute():
            SafeFolder(root).parts(path)
        return root / path

    def within(self, *paths: str | None) -> SafeFolder | None:
        """Return the music folder, for a task to be held in; ``None`` if a path names another place.

        An absolute path is the caller's own word. A relative one never leads out: raises `UnsafePath`.
        """
        root = SafeFolder(Path(self.settings.music_dir).expanduser())
        places = (Path(os.path.normpath(self.folder(path).absolute())) for path in paths if path)
        return root if all(place.is_relative_to(root.root) for place in places) else None

    async def items(self, link: str) -> AsyncIterator[Item]:
        """Yield what a link stands for, each opened to what can be fetched; what is gone is yielded as such."""
        client = await self.client()
        async for found in client.items(link):
            if found.gone:
                yield found
                continue
            for item in await client.expand(found):
                yield item

    async def attempt(self, item: Item, **wish: Any) -> Kept:
        """Do what `keep` does, and give an error that concerns this item as a result in place of raising it."""
        try:
            return await self.keep(item, **wish)
        except (SourceError, MediaError) as error:
            return failed(item.link, error, item)

    async def keep(
        self,
        item: Item,
        *,
        save_path: str | None = None,
        quality: str | None = None,
        audio_format: str | None = None,
        bitrate: str | int | None = None,
        progress: Progress | None = None,
    ) -> Kept:
        """Fetch one item into the library and return where it is; skipped if the very item is there already.

        ``save_path`` is a folder, or a file name with an audio ending. ``audio_format`` and ``bitrate`` convert on
        arrival; ``None`` is the setting. Raises the `SourceError` or `MediaError` that stopped it; then nothing lies
        under a final name, and the ``.part`` is gone on with next time. Raises `InvalidParams` for another format.
        """
        if item.gone:
            raise WorkGone(f"{item.title or item.link} was removed from the site")
        to = _conversion(audio_format or self.settings.audio_format, bitrate or self.settings.bitrate)
        client = await self.client()
        folder, name, song = self._place(item, save_path)
        present = await _present(folder, name, item.link)
        if present is not None:
            return _kept(item, song, status="skipped", path=str(present))
        choice = await client.audio(item, quality or self.settings.bilibili.quality)
        raw = await self._download(item, choice, folder, quality, progress)
        finished = await self._finish(item, choice, song, folder, name, raw)
        path, codec = await self._arrived(finished, to)
        return _kept(
            item, song, path=str(path), codec=codec, quality=choice.quality,
            message=None if choice.exact else f"{choice.requested} is not offered; got {choice.quality}",
        )  # fmt: skip

    async def _cookie(self) -> str | None:
        """Find the session: in the public store, else in the settings, else in the file that ``login`` writes."""
        value = await self._store.get_public(COOKIE_KEY)
        if isinstance(value, Mapping):
            value = "; ".join(f"{name}={text}" for name, text in value.items())
        if not isinstance(value, str) or not value:
            value = self.settings.bilibili.cookie or await self._session_in_file()
        register_secret(value)
        return value

    async def _session_in_file(self) -> str | None:
        from musicq_async.bilibili.cookie_file import CookieFile  # noqa: PLC0415 - like the client

        found = await CookieFile(session_path(self.settings.bilibili)).load()
        return None if found is None else found.text

    def _place(self, item: Item, save_path: str | None) -> tuple[Path, str, SongName]:
        song = song_of(item)
        target = self.folder(save_path)
        if target.suffix.lower() in AUDIO_ENDINGS:
            return target.parent, target.stem, song
        name = song_path(
            song,
            template=self.settings.name_template,
            style=self.settings.name_style,
            fields=_name_fields(item),
            source=item.key,
        )
        return target, "/".join(name), song

    async def _download(
        self, item: Item, choice: AudioChoice, folder: Path, quality: str | None, progress: Progress | None
    ) -> list[Path]:
        from musicq_async.media.audio import looks_like_mp4  # noqa: PLC0415
        from musicq_async.media.transfer import download  # noqa: PLC0415 - httpx, on first use

        client = await self.client()
        raw = []
        for number, segment in enumerate(choice.segments):

            async def refresh(number: int = number) -> list[Source]:
                again = await client.audio(item, quality or self.settings.bilibili.quality)
                return self._sources(again, again.segments[number].sources)

            name = f".{re.sub(r'[^0-9A-Za-z]', '-', item.key)}-{choice.quality}-{number}.raw"
            done = await download(
                self._sources(choice, segment.sources),
                folder / name,
                http=self.settings.http,
                web=await self.web(),
                progress=progress,
                within=SafeFolder(folder),
                sanity=None if choice.muxed or item.kind == "song" else looks_like_mp4,
                expected_size=segment.size,
                identity=f"{item.key} {choice.quality} {choice.codec} {number}",
                refresh=refresh,
                clock=self._clock,
            )
            raw.append(done.path)
        return raw

    def _sources(self, choice: AudioChoice, addresses: tuple[str, ...]) -> list[Source]:
        from musicq_async.media.sources import Source  # noqa: PLC0415

        hosts = frozenset(self.settings.bilibili.media_hosts)
        return [
            Source(url=url, headers=dict(choice.headers), allowed_hosts=hosts, expires_at=choice.expires_at)
            for url in addresses
        ]

    async def _finish(  # noqa: PLR0917
        self, item: Item, choice: AudioChoice, song: SongName, folder: Path, name: str, raw: list[Path]
    ) -> Finished:
        from musicq_async.media.finish import finish  # noqa: PLC0415 - PyAV, on first use

        loudness = self.settings.loudness
        tags = _tags(item, song, choice if loudness == "site" else None)
        return await finish(
            raw, SafeFolder(folder), name, tags=tags, cover=await self._cover(item),
            existing="number", expected_duration=choice.duration, measure=loudness == "measured",
        )  # fmt: skip

    async def _arrived(self, finished: Finished, to: tuple[Format, int | None] | None) -> tuple[Path, str]:
        """Convert a new song where that is wished; return its path and codec."""
        if to is None:
            return finished.path, finished.sound.codec
        from musicq_async.media.convert import convert  # noqa: PLC0415 - PyAV, on first use

        made, bitrate = to
        done = await convert(
            finished.path, to=made.name, bitrate=bitrate, keep=False, within=SafeFolder(finished.path.parent)
        )
        return done.files[0].path, made.codec

    async def _cover(self, item: Item) -> Cover | None:
        """Fetch the picture. A song without one is still a song."""
        if not item.cover:
            return None
        from musicq_async.media.covers import cover_from  # noqa: PLC0415
        from musicq_async.media.sources import Source  # noqa: PLC0415

        client, web = await self.client(), await self.web()
        hosts = frozenset(self.settings.bilibili.media_hosts)
        source = Source(url=item.cover, headers=client.media_headers, allowed_hosts=hosts)
        try:
            with anyio.fail_after(COVER_TIME):
                fetched = await web.fetch(source, max_bytes=COVER_BYTES)
            return await cover_from(fetched.content)
        except (MusicqError, TimeoutError):
            return None


def _check_wishes(settings: Settings) -> None:
    """Refuse settings about files that no song could be written with. Raises `SettingsError`."""
    check_template(settings.name_template)
    try:
        _conversion(settings.audio_format, settings.bitrate)
    except InvalidParams as error:
        raise SettingsError(str(error)) from error


def _conversion(audio_format: str, bitrate: str | int) -> tuple[Format, int | None] | None:
    """Return what to convert to on arrival, ``None`` for nothing. Raises `InvalidParams`."""
    if not audio_format:
        return None
    from musicq_async.media.recipes import format_named, read_bitrate  # noqa: PLC0415

    made = format_named(audio_format, field="audio_format")
    return made, read_bitrate(bitrate or None, made)


def _name_fields(item: Item) -> dict[str, object]:
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
        "index": item.page if item.pages > 1 else "",
    }


def song_of(item: Item) -> SongName:
    """Read title and artists out of what the site says; the uploader stands in where no artist is named."""
    if item.kind == "song":
        artists = item.artists or ((item.uploader.name,) if item.uploader.name else ())
        return SongName(raw=item.title, title=item.title, artists=artists, tags=(), lossy=False)
    read: VideoSong = parse_video_title(
        item.title, part=item.part_title or None, uploader=item.uploader.name or None, tags=item.tags
    )
    artists = read.artists or ((item.uploader.name,) if item.uploader.name else ())
    return SongName(raw=item.title, title=read.title, artists=artists, tags=read.tags, lossy=False)


def failed(link: str, error: BaseException, item: Item | None = None) -> Kept:
    """Return the result of an item that could not be had."""
    return Kept(
        link=item.link if item is not None else link,
        bvid=item.bvid if item is not None else None,
        cid=item.cid if item is not None else None,
        status="failed",
        title=item.title if item is not None else None,
        error=type(error).__name__,
        message=str(error),
    )


def _kept(item: Item, song: SongName, **values: Any) -> Kept:
    return Kept(link=item.link, bvid=item.bvid, cid=item.cid, title=song.full, artists=song.artists, **values)


async def _present(folder: Path, name: str, link: str) -> Path | None:
    """Return the file that holds this very item already: its own source tag says so, whatever it is called now."""
    from musicq_async.media.tags import read_tags  # noqa: PLC0415

    for ending in sorted(AUDIO_ENDINGS):
        path = folder / f"{name}{ending}"
        if await anyio.Path(path).is_file():
            try:
                tagged = await read_tags(path)
            except MusicqError:
                continue
            if tagged.tags.url == link:
                return path
    return None


def _tags(item: Item, song: SongName, choice: AudioChoice | None) -> Tags:
    from musicq_async.media.tags import ReplayGain, Tags  # noqa: PLC0415

    gain = None
    if choice is not None and choice.loudness is not None:
        peak = None if choice.loudness.true_peak is None else 10 ** (choice.loudness.true_peak / 20)
        gain = ReplayGain(gain=-18 - choice.loudness.integrated, peak=peak)
    return Tags(
        title=song.full,
        artists=song.artists,
        album=item.title if item.pages > 1 else None,
        date=datetime.fromtimestamp(item.published, UTC).strftime("%Y-%m-%d") if item.published else None,
        track=item.page if item.pages > 1 else None,
        tracks=item.pages if item.pages > 1 else None,
        url=item.link,
        comment=item.link,
        replay_gain=gain,
    )


AT_ONCE = 3
"""Files that `fetch` downloads side by side."""


async def fetch(
    links: Sequence[str],
    *,
    settings: Settings,
    quality: str | None = None,
    audio_format: str | None = None,
    listen: Callable[[Event], None] = lambda _event: None,
) -> list[dict[str, Any]]:
    """Download what links stand for, here and now, and return a row for each item in order; one failure stops no other.

    ``listen`` is told `Progressed`, `Completed` and `Failed` with the item's link as the task id.
    """
    clock = SystemClock()
    rows: list[list[Kept]] = []
    async with Library(settings, clock=clock, store=MemoryStore()) as library, anyio.create_task_group() as group:
        places = anyio.CapacityLimiter(AT_ONCE)

        async def one(item: Item, found: list[Kept], place: int) -> None:
            async with places:
                began = clock.monotonic()
                kept = await _fetched(library, item, quality, audio_format, listen)
            found[place] = kept
            if kept.status == "failed":
                error = f"{kept.error}: {kept.message}"
                listen(Failed(task_id=item.link, task_type="download", error=error, attempt=1))
            else:
                seconds = clock.monotonic() - began
                listen(Completed(task_id=item.link, task_type="download", result=None, seconds=seconds))

        for link in links:
            found: list[Kept] = []
            rows.append(found)
            try:
                async for item in library.items(link):
                    found.append(failed(link, WorkGone("waiting"), item))
                    group.start_soon(one, item, found, len(found) - 1)
            except MusicqError as error:
                found.append(failed(link, error))
                listen(Failed(task_id=link, task_type="download", error=f"{type(error).__name__}: {error}", attempt=1))
    return [kept.row() for found in rows for kept in found]


async def _fetched(
    library: Library, item: Item, quality: str | None, audio_format: str | None, listen: Callable[[Event], None]
) -> Kept:
    def progress(done: int, total: int | None) -> None:
        name = item.part_title or item.title
        listen(Progressed(task_id=item.link, task_type="download", done=done, total=total, message=name))

    try:
        return await library.keep(item, quality=quality, audio_format=audio_format, progress=progress)
    except MusicqError as error:
        return failed(item.link, error, item)
