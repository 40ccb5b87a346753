"""Video ids: the exact conversion between ``av`` numbers and ``BV`` texts, in integers only."""

from __future__ import annotations

import re
from typing import Final

from musicq_async.errors import InvalidParams

_ALPHABET: Final = "FcwAPNKTMug3GV5Lj7EJnHpWsx4tb8haYeviqBz6rkCy12mUSDQX9RdoZf"
_VALUE: Final = {letter: value for value, letter in enumerate(_ALPHABET)}
_BASE: Final = 58
_DIGITS: Final = 9
_XOR: Final = 23442827791579
_TOP: Final = 1 << 51

BV_PATTERN: Final = f"[Bb][Vv]1[{_ALPHABET}]{{{_DIGITS}}}"
"""A BV id in a regular expression; whether it is a valid one, `bv_to_av` knows."""

_BV: Final = re.compile(BV_PATTERN, re.ASCII)


def av_to_bv(aid: int) -> str:
    """Return the BV id of an av number (1 to 2**51 - 1). Raises `InvalidParams`."""
    if not 0 < aid < _TOP:
        raise InvalidParams(f"av{aid} is no video number; they go from 1 to {_TOP - 1}")
    rest = (_TOP | aid) ^ _XOR
    letters = []
    for _ in range(_DIGITS):
        rest, value = divmod(rest, _BASE)
        letters.append(_ALPHABET[value])
    letters.reverse()
    return "BV1" + "".join(_swapped(letters))


def bv_to_av(bvid: str) -> int:
    """Return the av number of a BV id. Raises `InvalidParams` for anything that is not one."""
    if not _BV.fullmatch(bvid):
        raise InvalidParams(f"{_shown(bvid)} is no BV id: BV1 and nine letters or digits, where upper and lower differ")
    number = 0
    for letter in _swapped(list(bvid[3:])):
        number = number * _BASE + _VALUE[letter]
    aid = (number & (_TOP - 1)) ^ _XOR
    if number >> 51 != 1 or not 0 < aid < _TOP:
        raise InvalidParams(f"{bvid} is no BV id that can exist: check it for a mistyped letter")
    return aid


def normal_bvid(text: str) -> str:
    """Return a BV id as the site writes it (``BV`` in capitals). Raises `InvalidParams`."""
    bv_to_av(text)
    return "BV" + text[2:]


def _swapped(letters: list[str]) -> list[str]:
    for one, other in ((0, 6), (1, 4)):
        letters[one], letters[other] = letters[other], letters[one]
    return letters


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
