"""The shipped data of names, and the folding of characters that it brings."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any


@cache
def shipped() -> dict[str, Any]:
    """Return the shipped data, read when it is first needed."""
    data: dict[str, Any] = json.loads(files(__package__).joinpath("dictionary.json").read_text("utf-8"))
    return data


class _Folding(dict[int, str]):
    """A ``str.translate`` table that folds case, width and Han variants without changing the length of a text."""

    def __missing__(self, code: int) -> str:
        narrow = unicodedata.normalize("NFKC", chr(code))
        lower = (narrow if len(narrow) == 1 else chr(code)).lower()
        folded = lower if len(lower) == 1 else chr(code)
        self[code] = variants().get(ord(folded), folded)
        return self[code]


@cache
def folding() -> _Folding:
    """Return the table under which spellings of one name are equal, as long as they were."""
    return _Folding()


@cache
def variants() -> Mapping[int, str]:
    """Return the ``str.translate`` table from traditional and Japanese Han forms to the simplified ones."""
    leader: dict[str, str] = {}
    for group in shipped()["variants"].split():
        known = next((leader[character] for character in group if character in leader), group[0])
        for character in group:
            leader.setdefault(character, known)
    return {ord(character): lead for character, lead in leader.items() if character != lead}


@lru_cache(maxsize=4096)
def simplified(text: str) -> str:
    """Return the text in simplified Han characters, as long as it was."""
    return text.translate(variants())
