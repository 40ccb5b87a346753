"""Songs written as file names and folders, within every length that a file system allows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Final

from musicq_async.media.names.characters import CJK, graphemes
from musicq_async.media.names.safe import MAX_BYTES, cleaned, cut_mark, fits, safe_name, shortened
from musicq_async.media.names.template import DEFAULT_TEMPLATE, render, rendered_components, song_fields
from musicq_async.media.names.values import SongName, Style, TagKind

_LESS_NEEDED: Final[tuple[TagKind, ...]] = ("quality", "credit", "source", "translation", "other")
"""The tags that go first when a name is too long, in this order."""


def format_name(
    song: SongName,
    *,
    template: str = DEFAULT_TEMPLATE,
    join: str = " / ",
    style: Style = "seed",
    fields: Mapping[str, object] | None = None,
    source: str | None = None,
    max_bytes: int = MAX_BYTES,
    max_units: int = MAX_BYTES,
) -> str:
    """Write a song as a file name without an extension: ``title (tag) - artist _ artist``, or what the template says.

    ``fields`` are further values for the template (``uploader``, ``page``, ``bvid``...), ``style`` is that of
    ``safe_name``. A name that is too long loses its less needed tags, then the artists beyond the second, then the
    end of its title, and ends in `` ~`` and six hexadecimal digits of ``source`` (of the whole name where there is
    none), so that two songs differ. Raises ``SettingsError`` for a template that cannot be filled in.
    """
    more = dict(fields or {})

    def written(shorter: SongName) -> str:
        return cleaned(render(template, more | song_fields(shorter), join=join), style)

    whole = written(song)
    if fits(whole, max_bytes, max_units):
        return whole
    mark = cut_mark(whole if source is None else source)
    for shorter in _shorter_songs(song, max_bytes):
        name = written(shorter) + mark
        if fits(name, max_bytes, max_units):
            return cleaned(name, style)
    return safe_name(
        whole, style=style, max_bytes=max_bytes, max_units=max_units, source=whole if source is None else source
    )


def _shorter_songs(song: SongName, max_bytes: int) -> Iterator[SongName]:
    """Yield the song with ever less to write, the least needed gone first."""
    for kind in _LESS_NEEDED:
        kept = tuple(tag for tag in song.tags if tag.kind != kind)
        if len(kept) < len(song.tags):
            song = dataclasses.replace(song, tags=kept)
            yield song
    if len(song.artists) > 2:
        first, second, *_ = song.artists
        others = "等" if re.search(f"[{CJK}]", first + second) else " et al."
        song = dataclasses.replace(song, artists=(first, second + others))
        yield song
    kept_title = list(graphemes(shortened(song.title, max_bytes, max_bytes)))
    while len(kept_title) > 1:
        kept_title.pop()
        yield dataclasses.replace(song, title="".join(kept_title).rstrip() + "…")


def path_components(
    template: str,
    fields: Mapping[str, object],
    *,
    join: str = " / ",
    style: Style = "seed",
    source: str | None = None,
    max_bytes: int = MAX_BYTES,
    max_units: int = MAX_BYTES,
) -> tuple[str, ...]:
    r"""Fill in a template for folders and file and return its components, each a safe name by itself, the file last.

    Only a ``/`` or ``\\`` of the template makes a folder; in a value it is a character like any other that a name
    cannot hold. Joined below a root, the components never lead out of it. A folder whose fields are all empty is left
    out. Raises ``SettingsError`` for a template that cannot be filled in.
    """
    *folders, file = rendered_components(template, fields, join=join)
    texts = [folder for folder in folders if folder.strip()] + [file]
    return tuple(
        safe_name(text, style=style, max_bytes=max_bytes, max_units=max_units, source=source) for text in texts
    )
