"""``download``: links in, songs out, in this process and with progress bars."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from musicq_async.cli.interrupts import run_async
from musicq_async.cli.opening import address_options, json_option, open_quietly, read_settings
from musicq_async.cli.output import print_json

if TYPE_CHECKING:
    from musicq_async.bilibili.models import Item
    from musicq_async.handlers.library import Kept, Library
    from musicq_async.observe.progress import Display

QUALITIES: Final = ("best", "hires", "dolby", "320k", "192k", "128k", "64k")
AT_ONCE: Final = 4
"""Files that are fetched side by side."""
PARTLY_FAILED: Final = 4
TASK_TYPE: Final = "download_bilibili_audio"


@click.command()
@click.argument("links", nargs=-1, required=True, metavar="LINK...")
@click.option("--quality", type=click.Choice(QUALITIES), help="The best that there is up to this; best by default.")
@click.option("--to", "folder", type=click.Path(file_okay=False), metavar="DIR", help="The music folder by default.")
@click.option("--format", "audio_format", metavar="F", help="Convert on arrival: mp3, flac, m4a, opus, wav.")
@json_option
@address_options
def download(
    links: tuple[str, ...],
    *,
    quality: str | None,
    folder: str | None,
    audio_format: str | None,
    as_json: bool,
    **addresses: str | None,
) -> int:
    """Download songs from Bilibili, by any link or id: videos, parts, favourites, collections, uploaders, audio.

    Prints the path of each file. Goes on past what cannot be had; exit code 4 if some failed, 1 if all did.
    """
    place = None if folder is None else Path(folder).expanduser().absolute()
    settings = read_settings(**addresses, music_dir=place, concurrency=0, scheduler=False)
    if audio_format is not None:
        _check_format(audio_format)

    async def body() -> int:
        from musicq_async.observe.progress import display

        async with open_quietly(settings) as app:
            with display(sys.stderr) as shown:
                batch = Batch(app.library, shown, quality=quality, audio_format=audio_format)
                kept = await batch.fetch(links, at_once=AT_ONCE)
        return told([each.row() for each in kept], as_json=as_json)

    return run_async(body)


class Batch:
    """Everything that some links stand for. One item's failure is its own."""

    def __init__(self, library: Library, listen: Display, *, quality: str | None, audio_format: str | None) -> None:
        self._library = library
        self._listen = listen
        self._quality = quality
        self._format = audio_format
        self._kept: dict[int, Kept] = {}

    async def fetch(self, links: Sequence[str], *, at_once: int) -> list[Kept]:
        """Fetch all, ``at_once`` files side by side; return what became of each, in the order of the links."""
        import anyio

        room = anyio.CapacityLimiter(at_once)
        async with anyio.create_task_group() as group:
            place = 0
            async for link, found in self._found(links):
                await room.acquire_on_behalf_of(place)
                group.start_soon(self._one, place, link, found, room)
                place += 1
        return [self._kept[each] for each in sorted(self._kept)]

    async def _found(self, links: Sequence[str]) -> AsyncIterator[tuple[str, Item | Exception]]:
        """Yield the items of each link; an error about a link as such, so that the next link has its turn."""
        from musicq_async.errors import MediaError, SourceError, UsageError

        for link in links:
            try:
                async for item in self._library.items(link):
                    yield link, item
            except (SourceError, MediaError, UsageError) as error:
                yield link, error

    async def _one(self, place: int, link: str, found: Item | Exception, room: Any) -> None:
        from musicq_async.handlers.library import failed
        from musicq_async.model.event import Completed, Failed

        began = time.monotonic()
        task = {"task_id": link if isinstance(found, Exception) else found.link, "task_type": TASK_TYPE}
        try:
            kept = failed(link, found) if isinstance(found, Exception) else await self._item(found, task)
        finally:
            room.release_on_behalf_of(place)
        self._kept[place] = kept
        if kept.status == "failed":
            self._listen(Failed(**task, error=f"{kept.error}: {kept.message}", attempt=1))
        else:
            self._listen(Completed(**task, seconds=time.monotonic() - began))

    async def _item(self, item: Item, task: dict[str, str]) -> Kept:
        from musicq_async.errors import MusicqError
        from musicq_async.handlers.library import failed
        from musicq_async.model.event import Progressed

        def progressed(done: int, total: int | None) -> None:
            self._listen(Progressed(**task, done=done, total=total, message=item.title))

        try:
            kept = await self._library.attempt(item, quality=self._quality, progress=progressed)
            return await self._as_wanted(kept)
        except MusicqError as error:
            return failed(item.link, error, item)

    async def _as_wanted(self, kept: Kept) -> Kept:
        if self._format is None or kept.status != "ok" or kept.path is None:
            return kept
        from musicq_async.media.convert import convert

        made = await convert(kept.path, to=self._format, keep=False)
        return replace(kept, path=str(made.files[0].path), codec=made.files[0].format)


def _check_format(name: str) -> None:
    from musicq_async.media.recipes import format_named

    format_named(name, field="--format")


def told(items: list[dict[str, Any]], *, as_json: bool) -> int:
    """Print what became of the items, paths on stdout and the rest on stderr. Return the exit code."""
    from musicq_async.observe.secrets import printable

    if as_json:
        print_json({"items": items})
    for item in items:
        if not as_json and item["path"]:
            click.echo(printable(item["path"]))
        if item["status"] == "failed":
            click.echo(f"musicq: {printable(_failure(item))}", err=True)
    counts = {status: sum(item["status"] == status for item in items) for status in ("ok", "skipped", "failed")}
    click.echo(", ".join(f"{count} {status}" for status, count in counts.items() if count) or "nothing found", err=True)
    if not counts["failed"]:
        return 0
    return 1 if counts["failed"] == len(items) else PARTLY_FAILED


def _failure(item: dict[str, Any]) -> str:
    link = item.get("link") or item.get("source")
    title = item.get("title")
    return f"{f'{title} ({link})' if title else link}: {item['error']}: {item['message']}"
