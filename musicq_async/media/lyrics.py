"""Lyrics beside a song: a ``.lrc`` file of its name, for players that look there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from musicq_async.media.drafts import Existing, save
from musicq_async.media.files import SafeFolder

_MOMENT: Final = re.compile(r"^[ \t]*\[\d{1,4}:[0-5]?\d(?:[.:]\d{1,3})?\]", re.MULTILINE)
_BREAKS: Final = re.compile(r"\r\n?|[\u2028\u2029\x0b\x0c]")


def is_timed(lyrics: str) -> bool:
    """Whether a text is LRC: lines begin with moments such as ``[01:23.45]``."""
    return _MOMENT.search(lyrics) is not None


def plain_lyrics(lyrics: str) -> str:
    """Return the words alone, without moments and without the heading fields of LRC."""
    lines = (re.sub(r"^(?:\s*\[[^\]\n]{0,80}\])+", "", line).strip() for line in _lines(lyrics))
    return "\n".join(lines).strip("\n")


async def write_lrc(song: Path, lyrics: str, *, within: SafeFolder, existing: Existing = "replace") -> Path | None:
    """Write timed lyrics beside a song and return the file's path; ``None`` for lyrics without moments.

    The file is UTF-8 with plain line ends. Raises `UnsafePath` for a song outside ``within``, and `OutOfSpace`.
    """
    if not is_timed(lyrics):
        return None
    text = "\n".join(_lines(lyrics)).strip("\n") + "\n"
    content = text.encode("utf-8", "replace").replace(b"\0", b"")
    return await save(within, os.fspath(song.with_suffix(".lrc")), content, existing=existing)


def _lines(lyrics: str) -> list[str]:
    return [line.rstrip() for line in _BREAKS.sub("\n", lyrics.removeprefix("\ufeff")).split("\n")]
