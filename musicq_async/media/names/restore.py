"""What each ``_`` in a file name stood for before the file system refused it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from musicq_async.media.names.characters import CJK
from musicq_async.media.names.dictionary import NAMES, Names, abbreviations

Piece = Literal["title", "tag", "artist"]
Restored = tuple[str, bool]
"""A piece with its signs put back, and whether any of them is a guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One way a sign was lost: where it was, what it was, and whether that is only likely."""

    where: re.Pattern[str]
    was: str | Callable[[re.Match[str]], str]
    guess: bool
    only: Piece | None = None


_QUESTION: Final = re.compile(
    r"(?:^|[\s,(（])(?:who|whom|whose|what|what's|whats|who's|where|where's|why|when|which|how|how's|are|"
    r"is|am|do|does|did|can|could|will|would|should|shall|have|has|"
    r"isn't|aren't|don't|didn't|doesn't|won't|can't|couldn't|wouldn't|shouldn't|haven't|ain't|wanna|ready|"
    r"anybody|anyone)(?![a-z'’])"
    r"|[吗嗎呢]|什么|什麼|甚麼|为什|為什|怎|谁|誰|哪|为何|為何|如何|何处|何處|何时|何時|何必|几时|幾時|"
    r"是否|难道|難道|可否|能否|([\u4e00-\u9fff])不\1|多少|干嘛|幹嘛|咩|未$"
    r"|何|なぜ|どう|どこ|どれ|どの|どんな|だれ|いつ|なん[でだの]|なに|か$|かな$|かい$|の$|って$"
    r"|뭐|무엇|왜|누구|누가|어디|언제|어떻게|어때|어떤|얼마|까$|니$|나요$|가요$|래$|을래|ㄹ까",
    re.IGNORECASE,
)
_WEAK_START: Final = re.compile(
    r"\A(?:are|is|am|do|does|did|can|could|will|would|should|shall|have|has)(?![a-z'’])", re.IGNORECASE
)
_AFTER: Final = rf"(?=\s|$|[)\]）】\d,，'\"{CJK}])"


def restore(piece: str, kind: Piece, names: Names = NAMES) -> Restored:
    """Return the piece with each ``_`` as the sign it was, and whether a guess was needed.

    Every sign takes the place of one ``_`` and nothing else changes, so that writing the piece again gives the same
    name.
    """
    if "_" not in piece:
        return piece, False
    piece = names.restored(piece)
    guessed = False
    for rule in _rules():
        if "_" not in piece:
            break
        if rule.only is None or rule.only == kind:
            piece, count = rule.where.subn(rule.was, piece)
            guessed |= rule.guess and count > 0
    piece, ended = _ending(piece, kind)
    return piece, guessed or ended or "_" in piece


def _ending(piece: str, kind: Piece) -> Restored:
    """Restore the last ``_``: a question mark where something is asked, a dot behind an artist."""
    if not piece.endswith("_"):
        return piece, False
    if kind == "artist":
        return piece[:-1] + ".", True
    body = piece.rstrip("_")
    if len(piece) - len(body) <= 2 and asks(body):
        return body + "?" * (len(piece) - len(body)), True
    return piece, True


def asks(text: str) -> bool:
    """Say whether the text holds a word that asks; English verbs ask only in front."""
    for match in _QUESTION.finditer(text):
        word = match.group().strip(" ,(（")
        if not _WEAK_START.match(word) or match.start() == 0:
            return True
    return False


def _dots(match: re.Match[str]) -> str:
    return match.group().replace("_", ".")


def _colons(match: re.Match[str]) -> str:
    return match.group().replace("_", ":")


def _colon_or_question(match: re.Match[str]) -> str:
    """``x_ y`` was ``x: y``, unless the clause before it asks."""
    clause = re.split(r"[,，!！?？]\s*", match.string[: match.start()])[-1]
    words = clause.split(" ")
    asking = len(words) > 1 and _QUESTION.match(clause) is not None
    return "?" if asking or re.search("[吗嗎呢]$", clause) else ":"


@cache
def _rules() -> tuple[Rule, ...]:
    abbreviation = "|".join(map(re.escape, abbreviations()))
    return (
        Rule(where=re.compile(r"___+"), was=_dots, guess=False),
        Rule(where=re.compile(r"(?<![A-Za-z])CV_", re.IGNORECASE), was=_colons, guess=False),
        Rule(where=re.compile(r"(?<![A-Za-z_])(?:R[Ee]_)+(?=\S|$)"), was=_colons, guess=False),
        Rule(where=re.compile(r"(?<![A-Za-z0-9])[A-Z](?:_[A-Z](?![A-Za-z]))+_?"), was=_dots, guess=False),
        Rule(where=re.compile(r"(?<![A-Za-z])[ap]_m_(?![A-Za-z])", re.IGNORECASE), was=_dots, guess=False),
        Rule(where=re.compile(rf"(?<![A-Za-z])(?:{abbreviation})_{_AFTER}", re.IGNORECASE), was=_dots, guess=False),
        Rule(
            where=re.compile(r"(?<![A-Za-z])(?:Mr|Mrs|Ms|Dr|Jr|St|feat|Feat|prod|Prod)_(?=[A-Z])"),
            was=_dots,
            guess=False,
        ),
        Rule(
            where=re.compile(r"(?<![^\s(（\[【])_([^\s_](?:[^_]*[^\s_])?)_(?![^\s)）\]】,，!！])"),
            was=lambda match: f'"{match[1]}"',
            guess=True,
        ),
        Rule(where=re.compile(r"(?<=\S) _ (?=\S)"), was=" / ", guess=True),
        Rule(where=re.compile(r"(?<![\d_])\d+_\d+(?=\s*[xX×倍](?![A-Za-z]))"), was=_dots, guess=False),
        Rule(where=re.compile(r"(?<![\d_])[01]?\d_[0-5]\d(?=\s*[AaPp]\.?[Mm])"), was=_colons, guess=False),
        Rule(
            where=re.compile(r"(?<![A-Za-z])(?:ver|Ver|VER|v|V|version|Version)[. ]?\d+(?:_\d+)+"),
            was=_dots,
            guess=True,
        ),
        Rule(where=re.compile(r"(?<![\d_])\d_0(?![\d_])"), was=_dots, guess=True),
        Rule(where=re.compile(r"(?<![\d_])(?:0\d_[0-5]\d|[012]?\d_00)(?![\d_])"), was=_colons, guess=True),
        Rule(where=re.compile(r"(?<=[^\s_])_(?=[^\s_])(?<=\d_)(?=\d)"), was="/", guess=True),
        Rule(where=re.compile(r"(?<![A-Za-z_.])([A-Z])_(?= [A-Z])"), was=r"\1.", guess=True, only="artist"),
        Rule(where=re.compile(r"(?<=[^\s_])_(?=\s)"), was=_colon_or_question, guess=True),
        Rule(where=re.compile(r"(?<=[^\s_])_(?=[^\s_])"), was="/", guess=True),
    )
