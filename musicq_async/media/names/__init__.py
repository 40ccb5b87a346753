"""Song names: file names taken apart and written, and the song found in a video title.

``parse_name`` and ``format_name`` are inverse for the names of the user's library; ``safe_name`` makes any text a
legal file name; ``name_key`` says which names are the same; ``parse_video_title`` finds title and artists in a video
title. Nothing here does input or output, except for reading the shipped dictionary when it is first needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from musicq_async.media.names.dictionary import NAMES, Names
from musicq_async.media.names.format import format_name, song_path
from musicq_async.media.names.keys import artist_key, name_key
from musicq_async.media.names.parse import parse_name
from musicq_async.media.names.safe import MAX_BYTES, file_key, free_name, numbered, safe_name
from musicq_async.media.names.tags import tag_kind
from musicq_async.media.names.template import DEFAULT_TEMPLATE, FIELDS, check_template, render, song_fields
from musicq_async.media.names.values import Confidence, Order, SongName, Style, Tag, TagKind, VideoSong

if TYPE_CHECKING:
    from musicq_async.media.names.video import parse_video_title

__all__ = [
    "DEFAULT_TEMPLATE",
    "FIELDS",
    "MAX_BYTES",
    "NAMES",
    "Confidence",
    "Names",
    "Order",
    "SongName",
    "Style",
    "Tag",
    "TagKind",
    "VideoSong",
    "artist_key",
    "check_template",
    "file_key",
    "format_name",
    "free_name",
    "name_key",
    "numbered",
    "parse_name",
    "parse_video_title",
    "render",
    "safe_name",
    "song_fields",
    "song_path",
    "tag_kind",
]


def __getattr__(name: str) -> Any:
    """Load the reader of video titles when it is first asked for: file names do not need its word lists."""
    if name == "parse_video_title":
        from musicq_async.media.names.video import parse_video_title  # noqa: PLC0415 - see above

        return parse_video_title
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
