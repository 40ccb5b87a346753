"""File names that are legal on every system, whatever system this is."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

from musicq_async.media.names.characters import INVISIBLE, graphemes
from musicq_async.media.names.values import Style

MAX_BYTES: Final = 240
"""255 bytes that a name may have, less ``.flac.part``, less `` (2)``."""

_ILLEGAL: Final = '/\\:*?"<>|'
_WIDE: Final = "／＼：＊？＂＜＞｜"
_CONTROLS: Final = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), "_")
_TABLES: Final[dict[str, dict[int, str]]] = {
    "seed": _CONTROLS | {ord(character): "_" for character in _ILLEGAL + "."},
    "wide": _CONTROLS | {ord(narrow): wide for narrow, wide in zip(_ILLEGAL, _WIDE, strict=True)},
    "plain": _CONTROLS | {ord(character): "_" for character in _ILLEGAL},
}
_BREAKS: Final = re.compile("[\t\n\r\u2028\u2029]+")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_BLANKS: Final = " \u3000\u00a0"
_RESERVED: Final = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])[ ]*(?=\.|\Z)", re.IGNORECASE
)


def safe_name(
    text: str,
    *,
    style: Style = "seed",
    max_bytes: int = MAX_BYTES,
    max_units: int = MAX_BYTES,
    source: str | None = None,
) -> str:
    """Return the text as one file or folder name that Windows, macOS, Linux and their network drives all take.

    ``seed`` writes ``_`` for the nine illegal characters and for the dot, ``plain`` leaves dots, ``wide`` takes the
    full-width look-alikes. The name has at most ``max_bytes`` UTF-8 bytes and ``max_units`` UTF-16 units and is cut
    between graphemes; with a ``source`` (an id), a name that had to be cut ends in `` ~`` and six hexadecimal digits
    of it. Calling it again changes nothing.
    """
    name = cleaned(text, style)
    if fits(name, max_bytes, max_units):
        return name
    mark = "" if source is None else cut_mark(source)
    room = len(mark)
    while True:
        cut = cleaned(shortened(name, max_bytes - room, max_units - room), style)
        if fits(cut + mark, max_bytes, max_units):
            return cleaned(cut + mark, style)
        room += 1


def cleaned(text: str, style: Style) -> str:
    """Return the text with every rule of ``safe_name`` applied but the length."""
    name = _cleaned_once(text, style)
    while (again := _cleaned_once(name, style)) != name:
        name = again
    return name


def _cleaned_once(text: str, style: Style) -> str:
    text = _SURROGATES.sub("\ufffd", text)
    text = unicodedata.normalize("NFC", INVISIBLE.sub("", text))
    text = _BREAKS.sub(" ", text).translate(_TABLES[style]).strip(_BLANKS)
    if text.startswith("."):
        text = "_" + text[1:]
    if text.endswith("."):
        text = text[:-1] + "_"
    if not text or _RESERVED.match(text):
        text = "_" + text
    return unicodedata.normalize("NFC", text)


def fits(name: str, max_bytes: int, max_units: int) -> bool:
    """Say whether the name is within both budgets."""
    return len(name.encode()) <= max_bytes and len(name.encode("utf-16-le")) // 2 <= max_units


def shortened(text: str, max_bytes: int, max_units: int) -> str:
    """Return as many whole graphemes from the front of the text as both budgets allow."""
    kept: list[str] = []
    for grapheme in graphemes(text):
        max_bytes -= len(grapheme.encode())
        max_units -= len(grapheme.encode("utf-16-le")) // 2
        if max_bytes < 0 or max_units < 0:
            break
        kept.append(grapheme)
    return "".join(kept)


def cut_mark(source: str) -> str:
    """Return what tells two cut names apart: `` ~`` and six hexadecimal digits of the source's hash."""
    return " ~" + hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:6]


def file_key(name: str) -> str:
    """Return what two names share if a case-insensitive or normalising file system takes them for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def numbered(name: str, n: int, *, max_bytes: int = MAX_BYTES + 5) -> str:
    """Return the name that the ``n``-th song of this name gets: itself, ``name (2)``, ``name (3)``...

    ``name`` is a stem, without an extension; it is cut between graphemes where the number needs the room.
    """
    if n < 2:
        return name
    suffix = f" ({n})"
    room = max_bytes - len(suffix)
    return shortened(name, room, room).rstrip(_BLANKS) + suffix


def free_name(name: str, taken: frozenset[str] | set[str]) -> str:
    """Return the first of ``name``, ``name (2)``, ... whose ``file_key`` is not in ``taken``."""
    n = 1
    while file_key(numbered(name, n)) in taken:
        n += 1
    return numbered(name, n)
