"""Keys by which names are compared: what is left when spelling, width and illegal characters no longer count."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from musicq_async.media.names.characters import INVISIBLE
from musicq_async.media.names.memory import remembered
from musicq_async.media.names.shipped import variants

_DROPPED: Final = re.compile(r'[\s\x00-\x20\x7f-\xa0\u3000/\\:*?"<>|._／＼：＊？＂＜＞｜．＿\u00ad]+')
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_LOOK_ALIKE: Final = str.maketrans(
    "\u2018\u2019\u201b\u02bc\u2010\u2011\u2012\u2013\u2014\u2212\u301c\u223c", "''''------~~"
)
_ODD: Final = re.compile(
    "|".join((_DROPPED.pattern, _SURROGATES.pattern, INVISIBLE.pattern, f"[{''.join(map(chr, _LOOK_ALIKE))}]"))
)
"""What a key never holds."""
_ALIAS: Final = re.compile(r"[(（\[【][^()（）\[\]【】]*[)）\]】]")
_PUNCTUATION: Final = re.compile(r"[\W_]+")


@remembered
def name_key(text: str) -> str:
    """Return the key under which two spellings of one name are equal.

    Case, width, normalisation form and invisible characters do not count, nor do spaces, dots and the characters that a
    file name cannot hold: ``name_key(safe_name(x)) == name_key(x)`` unless the name was cut or reserved.
    """
    if not _ODD.search(text) and unicodedata.is_normalized("NFKC", text) and text.casefold() == text:
        return text
    text = _SURROGATES.sub("\ufffd", text)
    text = _DROPPED.sub("", unicodedata.normalize("NFC", INVISIBLE.sub("", text)))
    while (key := _folded(text)) != text:
        text = key
    return key


def _folded(text: str) -> str:
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _DROPPED.sub("", INVISIBLE.sub("", text.translate(_LOOK_ALIKE)))


@lru_cache(maxsize=8192)
def artist_key(text: str) -> str:
    """Return the key of an artist: ``name_key`` in one set of Han characters, without punctuation or alias."""
    key = name_key(_ALIAS.sub("", text)) or name_key(text)
    bare = _PUNCTUATION.sub("", key)
    return (key if len(bare) < 2 or bare.isdigit() else bare).translate(variants())
