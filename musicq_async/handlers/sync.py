"""Keeping lists in sync: what is new in a list becomes one download task an item."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from musicq_async.bilibili.links import is_list
from musicq_async.engine.context import TaskContext
from musicq_async.engine.ids import new_task_id
from musicq_async.engine.registry import Handlers
from musicq_async.errors import InvalidParams
from musicq_async.handlers.bilibili import child_params
from musicq_async.handlers.library import DOWNLOAD, Library
from musicq_async.handlers.params import Sync, read
from musicq_async.handlers.pauses import patient

if TYPE_CHECKING:
    from musicq_async.bilibili.links import Link
    from musicq_async.bilibili.lists import Walk
    from musicq_async.bilibili.models import Item

KINDS: Final = ("sync", "sync_favourites", "sync_collection", "sync_series", "sync_uploader", "sync_watch_later")
ONCE_IN: Final = 86_400.0
"""Seconds in which an item that is not archived yet is pushed once, whatever became of its task."""
AFTER_PEOPLE: Final = 5
"""Priority that is added to a sync's downloads: what a person asks for meanwhile goes first."""
MEMORY_LASTS: Final = 366 * 86_400.0
MOST_OPENED: Final = 10_000


def register_sync(handlers: Handlers, library: Library) -> None:
    """Add the task types to ``handlers``."""
    for kind in KINDS:
        _register(handlers, library, kind)


def _register(handlers: Handlers, library: Library, kind: str) -> None:
    @handlers.register(kind)
    @patient(library)
    async def sync(params: dict[str, Any], context: TaskContext) -> dict[str, int]:
        wish = read(Sync, params)
        client = await library.client()
        given = wish.link
        link = checked_link(await client.follow(client.parse(given)) if given else link_of(kind, wish), kind)
        return await Syncing(library, wish, context, link).run()


def link_of(kind: str, wish: Sync) -> Link:
    """Return the list that the params name by number. Raises `InvalidParams` where the number is missing."""
    from musicq_async.bilibili import links  # noqa: PLC0415 - with the client

    match kind:
        case "sync_favourites" if wish.media_id is not None:
            return links.Favourites(_number(wish.media_id, "media_id"))
        case "sync_favourites" if wish.mid is not None:
            return links.AllFavourites(_number(wish.mid, "mid"))
        case "sync_collection" if wish.season_id is not None:
            return links.Collection(_number(wish.season_id, "season_id"), _optional(wish.mid))
        case "sync_series" if wish.series_id is not None:
            return links.Series(_number(wish.series_id, "series_id"), _optional(wish.mid))
        case "sync_uploader" if wish.mid is not None:
            return links.Space(_number(wish.mid, "mid"))
        case "sync_watch_later":
            return links.WatchLater()
    field = {"sync_favourites": "media_id", "sync_collection": "season_id", "sync_series": "series_id"}
    named = "mid" if kind == "sync_uploader" else field.get(kind)
    raise InvalidParams(f"link{f' or {named}' if named else ''}: say which list to keep in sync")


def checked_link(link: Link, kind: str) -> Link:
    """Return a link that leads to a list of the kind. Raises `InvalidParams`."""
    from musicq_async.bilibili import links  # noqa: PLC0415

    fitting: dict[str, tuple[type, ...]] = {
        "sync_favourites": (links.Favourites, links.AllFavourites),
        "sync_collection": (links.Collection,),
        "sync_series": (links.Series,),
        "sync_uploader": (links.Space, links.SpaceAudio, links.AllLists),
        "sync_watch_later": (links.WatchLater,),
    }
    if not is_list(link) or (kind in fitting and not isinstance(link, fitting[kind])):
        wanted = kind.removeprefix("sync").removeprefix("_").replace("_", " ") or "list"
        raise InvalidParams(f"link: leads to a {type(link).__name__}, which is no {wanted} to keep in sync")
    return link


def _number(value: int | str, field: str) -> int:
    text = str(value).strip()
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:20]) < 1 << 63:
        raise InvalidParams(f"{field}: must be a positive number, not {text[:40]!r}")
    return int(text)


def _optional(mid: int | str | None) -> int | None:
    return None if mid is None else _number(mid, "mid")


@dataclass(slots=True)
class Memory:
    """What is remembered of a list between two syncs, in the public store."""

    full_at: float = 0.0
    """Epoch seconds of the last pass that came to the end."""
    open: bool = False
    """Whether a pass began to push and did not come to its end."""
    opened: list[int] = dataclasses.field(default_factory=list)
    """Collections inside the list whose videos were looked at; the next full pass looks again."""

    @classmethod
    def of(cls, value: Any) -> Memory:
        """Read what the store holds; whatever is spoilt counts as never looked at."""
        found = value if isinstance(value, dict) else {}
        full_at, opened = found.get("full_at"), found.get("opened")
        return cls(
            full_at=float(full_at) if isinstance(full_at, int | float) else 0.0,
            open=bool(found.get("open")),
            opened=[one for one in opened if isinstance(one, int)] if isinstance(opened, list) else [],
        )


class Syncing:
    """One pass over a list."""

    def __init__(self, library: Library, wish: Sync, context: TaskContext, link: Link) -> None:
        self._library = library
        self._wish = wish
        self._context = context
        self._link = link
        self._counts = {"new": 0, "known": 0, "gone": 0, "pushed": 0}
        self._memory = Memory()
        self._full = True

    async def run(self) -> dict[str, int]:
        """Push what is new, and return how many entries are new, known and gone, and how many tasks were pushed.

        New entries come first in most lists, so a pass ends with the first page that is wholly known. One pass a day,
        and one after a pass that was cut off, goes through the whole list.
        """
        now = self._library.clock.time()
        self._memory = Memory.of(await self._library.store.get_public(self._key))
        since = now - self._memory.full_at
        self._full = self._memory.open or not 0 <= since < self._wish.full_every
        client = await self._library.client()
        for walk in await client.lists.walks(self._link):
            await self._walk(walk)
        if self._full:
            self._memory.full_at = now
        if self._full or self._memory.open:
            self._memory.open = False
            await self._remember()
        return self._counts

    @property
    def _key(self) -> str:
        numbers = "_".join(str(value) for value in dataclasses.astuple(self._link) if value is not None)
        return f"bilibili_sync_{type(self._link).__name__.lower()}_{numbers}".rstrip("_")

    async def _remember(self) -> None:
        value = {**dataclasses.asdict(self._memory), "opened": self._memory.opened[-MOST_OPENED:]}
        await self._library.store.set_public(self._key, value, ttl=MEMORY_LASTS)

    async def _walk(self, walk: Walk, *, full: bool | None = None) -> None:
        full = self._full if full is None else full
        async for stretch in walk.stretches(full=full):
            pushed = await self._page(stretch.items)
            if stretch.last_word and not pushed:
                return

    async def _page(self, items: Sequence[Item]) -> int:
        """Do what a page asks for; return how many tasks were pushed for it."""
        self._counts["gone"] += sum(item.gone for item in items)
        there = [item for item in items if not item.gone]
        known = await self._known([item for item in there if item.kind != "collection"])
        new = [item for item in there if item.kind != "collection" and _identity(item) not in known]
        self._counts["known"] += len(known)
        self._counts["new"] += len(new)
        before = self._counts["pushed"]
        if new:
            self._counts["pushed"] += await self._push(new)
        for item in there:
            if item.kind == "collection":
                await self._collection(item)
        await self._context.progress(sum(self._counts[name] for name in ("new", "known", "gone")), None, "looking")
        return self._counts["pushed"] - before

    async def _collection(self, item: Item) -> None:
        """Look into a collection that stands in the list: the first time, and on every full pass."""
        number = item.season_id or 0
        seen = number in self._memory.opened
        if seen and not self._full:
            self._counts["known"] += 1
            return
        client = await self._library.client()
        await self._walk(client.lists.walk_of(item), full=True)
        if not seen:
            self._memory.opened.append(number)
            self._memory.open = True  # so that it is remembered at the end

    async def _known(self, items: Sequence[Item]) -> set[str]:
        """Return the identities of those that need not be fetched. A video of several parts needs all of them."""
        archive = self._library.archive
        cids = await archive.cids({item.bvid for item in items if item.bvid and item.cid is None})
        names = [name for item in items for name in ((item.key, item.link) if item.pages == 1 else (item.key,))]
        keys = await archive.known(names)
        return {
            _identity(item)
            for item in items
            if item.key in keys
            or (item.pages == 1 and item.link in keys)
            or (item.cid is None and len(cids.get(item.bvid or "", ())) >= item.pages)
        }

    async def _push(self, items: Sequence[Item]) -> int:
        """Push a download for each, but none for what was pushed lately; return how many were pushed."""
        if not self._memory.open:
            self._memory.open = True
            await self._remember()
        wish = self._wish
        wishes = {"quality": wish.quality, "save_path": wish.save_path, "format": wish.audio_format, "only_new": True}
        tasks = [
            {
                "type": DOWNLOAD,
                "params": child_params(item, **wishes),
                "priority": AFTER_PEOPLE,
                "unique_key": f"bilibili {_identity(item)}",
                "unique_mode": ONCE_IN,
                "task_id": new_task_id(),
            }
            for item in items
        ]
        ids = await self._context.queue.push_many(tasks)
        return sum(task["task_id"] == task_id for task, task_id in zip(tasks, ids, strict=True))


def _identity(item: Item) -> str:
    """Name an entry of a list: an item by its key, a video whose parts are not named yet by how many it has."""
    return item.key if item.kind != "video" or item.cid is not None else f"{item.bvid}/{item.pages}"
