"""The music library: the way to the site and to the disk that all tasks share."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import anyio

from musicq_async.bilibili.links import Video, is_list
from musicq_async.clock import SystemClock
from musicq_async.errors import InvalidParams, MediaError, MusicqError, SettingsError, SourceError, WorkGone
from musicq_async.handlers.archive import MemoryArchive
from musicq_async.handlers.arrival import Arrival
from musicq_async.handlers.home import opened_home
from musicq_async.handlers.kept import Kept, Progress, Wish, failed
from musicq_async.handlers.session import COOKIE_KEY, Session
from musicq_async.handlers.songs import song_of
from musicq_async.media.files import SafeFolder
from musicq_async.media.names import check_template
from musicq_async.model.event import Completed, Event, Failed, Progressed
from musicq_async.ports import Archive, Clock, Node, PublicStore
from musicq_async.settings import Settings

if TYPE_CHECKING:
    from musicq_async.bilibili.client import BilibiliClient
    from musicq_async.bilibili.links import Link
    from musicq_async.bilibili.models import Item
    from musicq_async.media.covers import Cover
    from musicq_async.media.recipes import Format
    from musicq_async.media.web import Web

__all__ = ["COOKIE_KEY", "Kept", "Library", "Wish", "failed", "fetch", "song_of"]


DOWNLOAD: Final = "download_bilibili_audio"
"""The type of a task that fetches one item."""


class Library:
    """Fetches what links stand for into folders; an async context manager. Connections are made on first use."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        store: PublicStore,
        archive: Archive | None = None,
        patience: int = 0,
    ) -> None:
        self.settings = settings
        self._patience = patience
        """How often a call of the site waits in its place; see `BilibiliClient`."""
        self.clock = clock
        self.store = store
        self.archive: Archive = MemoryArchive() if archive is None else archive
        """What was fetched already; without a database, by this process."""
        self.session = Session(settings.bilibili, store)
        self.sharers = 1
        """How many processes use the account, this one among them."""
        self.covers: dict[str, Cover] = {}
        """The last pictures by address, the oldest first."""
        self._busy: dict[str, _Turn] = {}
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

    def meet(self, nodes: Sequence[Node]) -> None:
        """Learn which nodes are alive: those that download, too, have the pace of the account together with us."""
        self.sharers = max(1, sum(node.concurrency > 0 and DOWNLOAD in node.types for node in nodes))

    async def client(self) -> BilibiliClient:
        """Return the account's client; the cookie of the public store wins over the setting."""
        if self._client is not None:
            return self._client
        async with self._opening:
            if self._client is None:
                from musicq_async.bilibili.client import BilibiliClient  # noqa: PLC0415 - httpx, on first use

                client = BilibiliClient(
                    self.settings.bilibili,
                    self.settings.http,
                    clock=self.clock,
                    cookie=self.session.text,
                    store=self.store,
                    patience=self._patience,
                    sharers=lambda: self.sharers,
                )
                self._client = await self._open.enter_async_context(client)
            return self._client

    async def web(self) -> Web:
        """Return the shared way out to the network."""
        if self._web is not None:
            return self._web
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

    async def items(self, link: Link | str) -> AsyncIterator[Item]:
        """Yield what a link stands for, each opened to what can be fetched; what is gone is yielded as such."""
        client = await self.client()
        async for found in client.items(link):
            if found.gone:
                yield found
                continue
            for item in await client.expand(found):
                yield item

    async def attempt(self, item: Item, wish: Wish | None = None, *, progress: Progress | None = None) -> Kept:
        """Do what `keep` does, and give an error that concerns this item as a result in place of raising it."""
        try:
            return await self.keep(item, wish, progress=progress)
        except (SourceError, MediaError) as error:
            return failed(item.link, error, item)

    async def keep(self, item: Item, wish: Wish | None = None, *, progress: Progress | None = None) -> Kept:
        """Fetch one item into the library and return where it is; skipped if the very item is there already.

        Two calls for one item take turns, so that it is fetched once. Raises the `SourceError` or `MediaError` that
        stopped it; then nothing lies under a final name, and the ``.part`` is gone on with next time. Raises
        `InvalidParams` for a format or a quality that is none.
        """
        if item.gone:
            raise WorkGone(f"{item.title or item.link} was removed from the site")
        wish = wish or Wish()
        to = _conversion(wish.audio_format or self.settings.audio_format, wish.bitrate or self.settings.bitrate)
        if item.cid is None and item.kind != "song":
            item = (await (await self.client()).expand(item))[0]
        async with self.turn(item.key):
            return await Arrival(self, item, wish, to=to, progress=progress).kept()

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Work on one thing after everybody who asked before."""
        turn = self._busy.setdefault(key, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._busy[key]


class _Turn:
    """Who works on one item, and how many more want to."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.waiting = 0


def _check_wishes(settings: Settings) -> None:
    """Refuse settings about files that no song could be written with. Raises `SettingsError`."""
    check_template(settings.name_template)
    try:
        _conversion(settings.audio_format or (settings.bitrate and "flac"), settings.bitrate)  # any bit rate will do
    except InvalidParams as error:
        raise SettingsError(str(error)) from error


def _conversion(audio_format: str, bitrate: str | int) -> tuple[Format, int | None] | None:
    """Return what to convert to on arrival, ``None`` for nothing. Raises `InvalidParams`."""
    if not audio_format:
        return None
    from musicq_async.media.recipes import recipe_named  # noqa: PLC0415

    return recipe_named(audio_format, bitrate or None, field="audio_format")


AT_ONCE = 3
"""Files that `fetch` downloads side by side."""
PATIENCE = 3
"""How often `fetch` waits where the site asks for fewer calls: nobody would try again later."""


async def fetch(
    links: Sequence[str],
    *,
    settings: Settings,
    quality: str | None = None,
    audio_format: str | None = None,
    listen: Callable[[Event], None] = lambda _event: None,
) -> list[dict[str, Any]]:
    """Download what links stand for, here and now, and return a row for each item in order; one failure stops no other.

    ``listen`` is told `Progressed`, `Completed` and `Failed` with the item's link as the task id. Session, pauses and
    archive are those of the database of the settings, if there is one.
    """
    clock = SystemClock()
    rows: list[list[Kept]] = []
    async with (
        opened_home(settings, clock) as (store, archive),
        Library(settings, clock=clock, store=store, archive=archive, patience=PATIENCE) as library,
        anyio.create_task_group() as group,
    ):
        places = anyio.CapacityLimiter(AT_ONCE)

        async def one(item: Item, wish: Wish, found: list[Kept], place: int) -> None:
            async with places:
                began = clock.monotonic()
                kept = await _fetched(library, item, wish, listen)
            found[place] = kept
            if kept.status == "failed":
                error = f"{kept.error}: {kept.message}"
                listen(Failed(task_id=item.link, task_type="download", error=error, attempt=1))
            else:
                seconds = clock.monotonic() - began
                listen(Completed(task_id=item.link, task_type="download", result=None, seconds=seconds))

        for given in links:
            found: list[Kept] = []
            rows.append(found)
            link: Link | None = None
            try:
                client = await library.client()
                link = client.parse(given)
                link = await client.follow(link)
                wish = Wish(quality=quality, audio_format=audio_format, listed=is_list(link))
                async for item in library.items(link):
                    found.append(failed(given, WorkGone("waiting"), item))
                    group.start_soon(one, item, wish, found, len(found) - 1)
            except MusicqError as error:
                found.append(failed(given, error, bvid=link.bvid if isinstance(link, Video) else None))
                listen(Failed(task_id=given, task_type="download", error=f"{type(error).__name__}: {error}", attempt=1))
    return [kept.row() for found in rows for kept in found]


async def _fetched(library: Library, item: Item, wish: Wish, listen: Callable[[Event], None]) -> Kept:
    def progress(done: int, total: int | None) -> None:
        name = item.part_title or item.title
        listen(Progressed(task_id=item.link, task_type="download", done=done, total=total, message=name))

    try:
        return await library.keep(item, wish, progress=progress)
    except MusicqError as error:
        return failed(item.link, error, item)
