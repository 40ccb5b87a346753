"""What is wished of an item, and what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from musicq_async.media.names import SongName

if TYPE_CHECKING:
    from musicq_async.bilibili.models import Item

Progress = Callable[[int, int | None], Awaitable[None] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How an item is to be kept. ``None`` is the setting."""

    save_path: str | None = None
    """A folder, or a file name with an audio ending; relative to the music folder."""
    quality: str | None = None
    audio_format: str | None = None
    """Convert to this format on arrival."""
    bitrate: str | int | None = None
    only_new: bool = False
    """Leave alone what the archive knows, wherever its file is, and even if somebody removed it."""
    upgrade: bool = False
    """Fetch what is there once more if a better quality is offered now."""
    listed: bool = False
    """Whether the item comes out of a list: then calls are saved where they can be."""


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


def kept(item: Item, song: SongName, **values: Any) -> Kept:
    """Return the result of an item that is there."""
    return Kept(link=item.link, bvid=item.bvid, cid=item.cid, title=song.full, artists=song.artists, **values)


def failed(link: str, error: BaseException, item: Item | None = None, *, bvid: str | None = None) -> Kept:
    """Return the result of an item that could not be had; ``bvid`` is what is known of it without one."""
    return Kept(
        link=item.link if item is not None else link,
        bvid=item.bvid if item is not None else bvid,
        cid=item.cid if item is not None else None,
        status="failed",
        title=item.title if item is not None else None,
        error=type(error).__name__,
        message=str(error),
    )
