"""What kind of character each character is: scripts, graphemes, characters that show nothing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

HAN: Final = r"\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA: Final = r"\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
HANGUL: Final = r"\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3"
LATIN: Final = r"A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff\uff21-\uff3a\uff41-\uff5a"
CJK: Final = HAN + KANA + HANGUL

_SCRIPTS: Final = {
    "han": re.compile(f"[{HAN}]"),
    "kana": re.compile(f"[{KANA}]"),
    "hangul": re.compile(f"[{HANGUL}]"),
    "latin": re.compile(f"[{LATIN}]"),
}
INVISIBLE: Final = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
"""Characters that show nothing and can turn the reading direction; U+200D is not among them, emoji need it."""

_JOINER: Final = "\u200d"


@lru_cache(maxsize=4096)
def scripts(text: str) -> frozenset[str]:
    """Return which of han, kana, hangul and latin occur in the text."""
    return frozenset(name for name, pattern in _SCRIPTS.items() if pattern.search(text))


def graphemes(text: str) -> Iterator[str]:
    """Split a text where a reader sees one character end: marks, emoji sequences, flags and Hangul jamo stay whole."""
    start = 0
    for index in range(1, len(text)):
        if not _joined(text, start, index):
            yield text[start:index]
            start = index
    if text:
        yield text[start:]


def _joined(text: str, start: int, index: int) -> bool:
    """Say whether the character at ``index`` belongs to the grapheme that began at ``start``."""
    before, here = text[index - 1], text[index]
    if here < "\u0300":
        return False
    if _extends(here) or before == _JOINER:
        return True
    if _is_flag_letter(here):
        return (index - start) % 2 == 1 and _is_flag_letter(before)
    return _is_jamo_pair(before, here)


def _extends(character: str) -> bool:
    return (
        character == _JOINER
        or unicodedata.category(character) in {"Mn", "Me", "Mc"}
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= character <= "\U000e007f"  # tags of subdivision flags
        or character in "\uff9e\uff9f"  # half-width voicing marks
    )


def _is_flag_letter(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _is_jamo_pair(before: str, here: str) -> bool:
    vowel, final = "\u1160" <= here <= "\u11a7", "\u11a8" <= here <= "\u11ff"
    lead = "\u1100" <= before <= "\u115f"
    syllable = "\uac00" <= before <= "\ud7a3"
    if lead:
        return vowel or "\uac00" <= here <= "\ud7a3" or "\u1100" <= here <= "\u115f"
    open_syllable = syllable and (ord(before) - 0xAC00) % 28 == 0
    if "\u1160" <= before <= "\u11a7" or open_syllable:
        return vowel or final
    return (syllable or "\u11a8" <= before <= "\u11ff") and final
