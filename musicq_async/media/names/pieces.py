"""A video title cut into its text, brackets and quotes."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from musicq_async.media.names.characters import INVISIBLE
from musicq_async.media.names.memory import remembered
from musicq_async.media.names.parse import without_extension

_SLASHED_MV: Final = re.compile(r"([Mm])(?<![A-Za-z].)/([Vv])(?![A-Za-z])")

PieceKind = Literal["text", "label", "square", "round", "book", "corner", "quote"]

_CLOSING: Final[dict[str, tuple[str, PieceKind]]] = {
    "【": ("】", "square"),
    "[": ("]", "square"),
    "［": ("］", "square"),
    "〖": ("〗", "square"),
    "〔": ("〕", "square"),
    "(": (")）", "round"),
    "（": ("）)", "round"),
    "《": ("》", "book"),
    "〈": ("〉", "book"),
    "≪": ("≫", "book"),
    "「": ("」", "corner"),
    "『": ("』", "corner"),
    "｢": ("｣", "corner"),
    "<": (">", "book"),
    "＜": ("＞", "book"),
    "“": ("”", "quote"),
    "‘": ("’", "quote"),
    '"': ('"', "quote"),
    "'": ("'", "quote"),
}
_OPENING: Final = re.compile(f"[{re.escape(''.join(_CLOSING))}]")
_EMPHASIS: Final = re.compile(r"</?em\b[^>]*>", re.IGNORECASE)
_PICTURES: Final = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u2604\u2607-\u2639\u263d-\u2660\u2662-\u2664\u2667-\u2669\u2670-\u27bf\u2b00-\u2bff\ufe0e\ufe0f\u200d\u25b6\u25c0\U000e0020-\U000e007f]+"
)
_EDGES: Final = "♪♫♬★☆♡♥♩◆◇■□●○▲△▼▽※"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One bracket with what it holds, or the text between two; ``start`` and ``end`` count in the whole title."""

    kind: PieceKind
    text: str
    start: int
    end: int
    opening: str = ""


def tidied(title: str) -> str:
    """Return the title without markup, pictures, invisible characters and file ending, in NFC, with single spaces."""
    text = unicodedata.normalize("NFC", INVISIBLE.sub("", _PICTURES.sub(" ", _unmarked(title))))
    text = _SLASHED_MV.sub(r"\1\2", text) if "/" in text else text
    return without_extension(" ".join(text.split()).strip(" " + _EDGES))


def plain_title(title: str) -> str:
    """Return the title as a reader sees it: entities and markup resolved, nothing dropped; markup alone stays."""
    return " ".join(unicodedata.normalize("NFC", _unmarked(title)).split()) or title.strip()


@remembered
def _unmarked(title: str) -> str:
    return html.unescape(_EMPHASIS.sub("", title))


def cut(title: str) -> list[Piece]:
    """Cut a title into its outermost brackets and the texts between them; an open bracket without an end is text."""
    return list(_cut(title))


@remembered
def _cut(title: str) -> tuple[Piece, ...]:
    return tuple(_pieces(title))


def _pieces(title: str) -> Iterator[Piece]:
    text_from = index = 0
    while found := _OPENING.search(title, index):
        index = found.start()
        end = _end_of(title, index)
        if end < 0 or _begins_a_name(title, index, end):
            index += 1
            continue
        if index > text_from:
            yield Piece(kind="text", text=title[text_from:index], start=text_from, end=index)
        opening = title[index]
        yield Piece(kind=_CLOSING[opening][1], text=title[index + 1 : end], start=index, end=end + 1, opening=opening)
        text_from = index = end + 1
    if text_from < len(title):
        yield Piece(kind="text", text=title[text_from:], start=text_from, end=len(title))


def _begins_a_name(title: str, start: int, end: int) -> bool:
    """Say whether a round bracket is the first letter of a word: ``(G)I-DLE``, ``(여자)아이들``."""
    opens_word = title[start] == "(" and (start == 0 or title[start - 1] in " -/_【[")
    inside, after = title[start + 1 : end], title[end + 1 : end + 2]
    return (
        opens_word and len(inside) <= 2 and inside.isalnum() and after.isalpha() and inside.isascii() == after.isascii()
    )


def _end_of(title: str, start: int) -> int:
    """Return where the bracket that opens at ``start`` closes, -1 if none opens there or it never closes."""
    opening = title[start]
    if opening not in _CLOSING:
        return -1
    closings, kind = _CLOSING[opening]
    if opening in "'\"":
        return _end_of_straight_quote(title, start, opening)
    depth = 0
    for index in range(start, len(title)):
        character = title[index]
        if character == opening or (kind == "round" and character in "(（"):
            depth += 1
        elif character in closings:
            depth -= 1
            if depth == 0:
                return index
    return -1


def _end_of_straight_quote(title: str, start: int, quote: str) -> int:
    """Tell a quote from an apostrophe: it stands at the edge of a word on both sides."""
    if start and (title[start - 1].isascii() and title[start - 1].isalnum()):
        return -1
    for index in range(start + 2, len(title)):
        if title[index] != quote or title[index - 1] == " ":
            continue
        after = title[index + 1 : index + 2]
        if not (after.isascii() and after.isalnum()):
            return index
    return -1
