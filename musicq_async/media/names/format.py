"""Songs written as file names and folders, within every length that a file system allows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
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
    budget = max_bytes, max_units
    return _fitted(lambda it: render(template, more | song_fields(it), join=join), song, style, source, budget)


def song_path(
    song: SongName,
    *,
    template: str = DEFAULT_TEMPLATE,
    join: str = " / ",
    style: Style = "seed",
    fields: Mapping[str, object] | None = None,
    source: str | None = None,
) -> tuple[str, ...]:
    r"""Write a song as folders and a file name without an extension, as the template says; each is safe by itself.

    Only a ``/`` or ``\\`` of the template makes a folder. The file's name is shortened as `format_name` does it, a
    folder's at its end, and the same for every song that goes there. Raises ``SettingsError`` like `format_name`.
    """
    more = dict(fields or {})

    def components(shorter: SongName) -> list[str]:
        return rendered_components(template, more | song_fields(shorter), join=join)

    folders = (safe_name(text, style=style) for text in components(song)[:-1] if text.strip())
    return *folders, _fitted(lambda it: components(it)[-1], song, style, source, (MAX_BYTES, MAX_BYTES))


def _fitted(
    write: Callable[[SongName], str], song: SongName, style: Style, source: str | None, budget: tuple[int, int]
) -> str:
    """Write a song, and ever less of it until the name fits; mark a name that was cut."""
    whole = cleaned(write(song), style)
    if fits(whole, *budget):
        return whole
    mark = cut_mark(whole if source is None else source)
    for shorter in _shorter_songs(song, budget[0]):
        name = cleaned(write(shorter), style) + mark
        if fits(name, *budget):
            return cleaned(name, style)
    return safe_name(
        whole, style=style, max_bytes=budget[0], max_units=budget[1], source=whole if source is None else source
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
