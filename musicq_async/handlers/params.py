"""The params of the built-in task types, checked: every field with its spellings and its default."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from musicq_async.errors import InvalidParams

Params = TypeVar("Params", bound=msgspec.Struct)


class DownloadAudio(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``download_audio``: any address on the web."""

    url: str
    save_path: str | None = None
    """A file, or a folder (an existing one, or one that ends in a slash); relative to the music folder."""


class DownloadBilibiliAudio(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``download_bilibili_audio``: any Bilibili link or id. A list becomes one task an item."""

    bv_id: str | None = None
    url: str | None = None
    quality: str | None = None
    """best, hires, dolby, 320k, 192k, 128k or 64k; ``None`` is the setting."""
    save_path: str | None = None
    """A folder, or for a single song a file name with an audio ending; relative to the music folder."""
    format: str | None = None
    """Convert to this format on arrival; ``None`` is the setting ``audio_format``."""
    bitrate: str | int | None = None
    """Bit rate of that conversion, as for ``convert_format``."""
    upgrade: bool = False
    """Fetch what is there once more if a better quality is offered now."""
    only_new: bool = False
    """Leave alone what the archive knows, even if its file was removed."""
    item: dict[str, Any] | None = None
    """What a list already said of the item; written by the program itself."""

    @property
    def link(self) -> str:
        """The link or id, whichever way it was given. Raises `InvalidParams` unless exactly one was."""
        given = [text for text in (self.bv_id, self.url) if text]
        if len(given) != 1:
            raise InvalidParams("bv_id or url: give exactly one of them")
        return given[0]


class Sync(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``sync`` and ``sync_...``: a list by its link, or by the number that its kind goes by."""

    link: str | None = None
    media_id: int | str | None = None
    """A folder of favourites."""
    season_id: int | str | None = None
    """A collection."""
    series_id: int | str | None = None
    mid: int | str | None = None
    """An uploader; the owner of a collection, a series or favourites."""
    quality: str | None = None
    save_path: str | None = None
    audio_format: str | None = None
    full_every: float = 86_400.0
    """Seconds after which the whole list is looked through again; 0 does so every time."""


class RefreshLogin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``refresh_login``: renew the session where the site asks for it. Meant for once a day."""

    force: bool = False
    """Renew it even if the site does not ask for it."""


class ConvertFormat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``convert_format``: a file, or every audio file of a folder."""

    input_file: str | None = None
    input: str | None = None
    output_format: str | None = None
    output: str | None = None
    """A format (``flac``) or, for a single file, the path of the new file (``song.flac``)."""
    bitrate: str | int | None = None
    """``320k``, ``320`` or 320000; has no meaning for flac and wav."""
    keep: bool = True
    """Whether the original stays."""


class TestTask(msgspec.Struct, frozen=True, kw_only=True):
    """``test_task``: anything goes; it comes back as the result."""

    message: Any = None


def read(kind: type[Params], params: dict[str, Any]) -> Params:
    """Check the params of a task. Raises `InvalidParams` naming the field and what it should be."""
    try:
        return msgspec.convert(params, type=kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        field = where.rstrip("`")
        known = ", ".join(kind.__struct_fields__)
        raise InvalidParams(f"{field + ': ' if field else ''}{what}; known params are {known}") from error
