"""The task types that download from Bilibili: any link, one task an item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from musicq_async.bilibili.links import is_list
from musicq_async.engine.context import TaskContext
from musicq_async.engine.registry import Handlers
from musicq_async.handlers.kept import Wish
from musicq_async.handlers.library import DOWNLOAD, Library
from musicq_async.handlers.params import DownloadBilibiliAudio, RefreshLogin, read
from musicq_async.handlers.pauses import patient

if TYPE_CHECKING:
    from musicq_async.bilibili.links import Link
    from musicq_async.bilibili.models import Item

TOGETHER: Final = 100
"""Tasks that are pushed in one go."""
REMEMBERED: Final = 30 * 86_400.0
"""Seconds for which a task that runs again pushes nothing twice."""


def register_bilibili(handlers: Handlers, library: Library) -> None:
    """Add the task types to ``handlers``."""

    @handlers.register(DOWNLOAD)
    @patient(library)
    async def download_bilibili_audio(params: dict[str, Any], context: TaskContext) -> dict[str, Any]:
        return await download(library, read(DownloadBilibiliAudio, params), context)

    @handlers.register("refresh_login", concurrency=1)
    @patient(library)
    async def refresh_login(params: dict[str, Any], context: TaskContext) -> dict[str, Any]:  # noqa: ARG001 - the shape of a patient handler
        wish = read(RefreshLogin, params)
        return {"session": await library.session.renewed(await library.client(), force=wish.force)}


async def download(library: Library, wish: DownloadBilibiliAudio, context: TaskContext) -> dict[str, Any]:
    """Download one item; push a task for each of several."""
    client = await library.client()
    if wish.item is not None:
        items = await client.expand(client.restored(wish.item))
    else:
        link = await client.follow(client.parse(wish.link))
        if is_list(link):
            return await _split_list(library, link, wish, context)
        items = await client.resolve(link)
    if len(items) != 1:
        return await _split(library, items, wish, context)

    async def progress(done: int, total: int | None) -> None:
        await context.progress(done, total, "downloading")

    return (await library.keep(items[0], _wish(wish), progress=progress)).row()


def child_params(item: Item, **wishes: Any) -> dict[str, Any]:
    """Return the params of the task that downloads an item of a list: what the list said goes with it."""
    params = {"url": item.link, **wishes, "item": item.saved()}
    return {name: value for name, value in params.items() if value not in (None, False)}


def _wish(wish: DownloadBilibiliAudio) -> Wish:
    return Wish(
        save_path=wish.save_path, quality=wish.quality, audio_format=wish.format, bitrate=wish.bitrate,
        only_new=wish.only_new, upgrade=wish.upgrade, listed=wish.item is not None,
    )  # fmt: skip


async def _split_list(
    library: Library, link: Link, wish: DownloadBilibiliAudio, context: TaskContext
) -> dict[str, Any]:
    """Push a task for each entry of a list, while it is read."""
    client = await library.client()
    tasks, gone, some = [], 0, []
    async for item in client.items(link):
        if item.gone:
            gone += 1
            continue
        some.append(item)
        if len(some) == TOGETHER:
            tasks += await _pushed(some, wish, context)
            some = []
            await context.progress(len(tasks), None, "looking through the list")
    return {"tasks": tasks + await _pushed(some, wish, context), "gone": gone}


async def _split(
    library: Library, items: Sequence[Item], wish: DownloadBilibiliAudio, context: TaskContext
) -> dict[str, Any]:
    """Push a task for each part of a video, or video of a collection."""
    wanted = [item for item in items if not item.gone]
    if wish.only_new:
        known = await library.archive.known([item.key for item in wanted])
        wanted = [item for item in wanted if item.key not in known]
    return {"tasks": await _pushed(wanted, wish, context), "gone": sum(item.gone for item in items)}


async def _pushed(items: Sequence[Item], wish: DownloadBilibiliAudio, context: TaskContext) -> list[str]:
    """Push the tasks of these items, but none that an earlier run of this very task has pushed."""
    wishes = {
        "quality": wish.quality, "save_path": wish.save_path, "format": wish.format, "bitrate": wish.bitrate,
        "only_new": wish.only_new, "upgrade": wish.upgrade,
    }  # fmt: skip
    tasks = [
        {
            "type": DOWNLOAD,
            "params": child_params(item, **wishes),
            "unique_key": f"{context.task_id} {item.key} {item.bvid}",
            "unique_mode": REMEMBERED,
        }
        for item in items
    ]
    ids: list[str] = await context.queue.push_many(tasks) if tasks else []
    return ids
