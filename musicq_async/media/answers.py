"""What a server's answer to "give me the file from this byte on" means: pure rules, no sockets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from musicq_async.media.partial import Held, Validator

_CONTENT_RANGE: Final = re.compile(r"bytes\s+(?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)", re.IGNORECASE)
_RETRY_LATER: Final = {408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524}
_LONGEST_PAUSE: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The lines of an answer that matter here."""

    status: int
    length: int | None = None
    """Content-Length."""
    chunked: bool = False
    encoding: str = "identity"
    start: int | None = None
    end: int | None = None
    """First and last byte of Content-Range."""
    total: int | None = None
    """Size of the whole file according to Content-Range."""
    ranged: bool = False
    """Whether there was a Content-Range that could be read."""
    validator: Validator = field(default_factory=Validator)
    retry_after: float | None = None


def read_head(status: int, headers: Mapping[str, str], *, now: float) -> Head:
    """Read status and headers (names in any case, as httpx gives them); ``now`` is epoch seconds."""
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    start, end, total = found.groups() if found else (None, None, None)
    return Head(
        status=status,
        length=_number(headers.get("content-length")),
        chunked="chunked" in headers.get("transfer-encoding", "").lower(),
        encoding=headers.get("content-encoding", "identity").strip().lower() or "identity",
        start=_number(start),
        end=_number(end),
        total=_number(total),
        ranged=found is not None,
        validator=Validator(
            etag=_strong_etag(headers.get("etag")),
            modified=_strong_date(headers.get("last-modified"), headers.get("date"), now),
        ),
        retry_after=_pause(headers.get("retry-after"), now),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def _strong_etag(text: str | None) -> str | None:
    """Return an ETag that changes with every byte; ``W/"..."`` says only that two versions mean the same."""
    tag = (text or "").strip()
    return tag if len(tag) > 2 and tag[0] == tag[-1] == '"' else None


def _strong_date(modified: str | None, date: str | None, now: float) -> str | None:
    """Return a Last-Modified old enough that a second change in the same second is ruled out (RFC 9110, 8.8.2.2)."""
    changed, asked = _epoch(modified), _epoch(date)
    if changed is None:
        return None
    settled = asked - changed >= 1 if asked is not None else now - changed >= 60
    return modified if settled else None


def _epoch(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, TypeError, OverflowError):
        return None


def _pause(text: str | None, now: float) -> float | None:
    if text is None:
        return None
    seconds = _number(text.strip())
    if seconds is None:
        moment = _epoch(text)
        seconds = None if moment is None else int(moment - now)
    return None if seconds is None else min(max(float(seconds), 0.0), _LONGEST_PAUSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FromStart:
    """The body is the whole file: drop what is held and write from the first byte."""

    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Onward:
    """The body goes on exactly where the held bytes end, in the same version."""

    total: int | None
    until: int
    """Offset after the last byte that this answer brings."""


@dataclass(frozen=True, slots=True)
class Whole:
    """Every byte is held already."""


@dataclass(frozen=True, slots=True)
class Changed:
    """The file is not the one that the held bytes came from: drop them and ask for all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Nothing can be taken from this answer."""

    kind: Literal["passing", "final"]
    reason: str
    status: int
    retry_after: float | None = None


Verdict = FromStart | Onward | Whole | Changed | Refused


def judge(head: Head, *, offset: int, held: Held, host: str) -> Verdict:
    """Decide what to do with an answer to a request for the bytes from ``offset`` on.

    The order matters: what the server refuses, what it says in an encoding that hides the bytes, then the range.
    """
    if head.status in _RETRY_LATER:
        return Refused(kind="passing", reason=_said(head), status=head.status, retry_after=head.retry_after)
    if head.status == 416:
        return _beyond_the_end(head, offset=offset, held=held)
    if head.status not in (200, 206):
        return Refused(kind="final", reason=_said(head), status=head.status)
    if head.encoding != "identity":
        return Refused(kind="final", reason=f"sent the bytes {head.encoding[:20]}-encoded unasked", status=head.status)
    if head.status == 200:
        return FromStart(total=None if head.chunked else head.length)
    return _partial(head, offset=offset, held=held, host=host)


def _said(head: Head) -> str:
    return f"answered {head.status}"


def _beyond_the_end(head: Head, *, offset: int, held: Held) -> Verdict:
    if offset == 0:
        return Refused(kind="final", reason="has an empty file, or no ranges", status=416)
    if head.total == offset and held.total in (None, offset):
        return Whole()
    return Changed()


def _partial(head: Head, *, offset: int, held: Held, host: str) -> Verdict:
    if not head.ranged or head.start is None or head.end is None:
        return Refused(kind="final", reason="sent a part without saying which", status=206)
    if head.start != offset or head.end < head.start or (head.total is not None and head.end >= head.total):
        return Refused(kind="final", reason="sent another part than the one asked for", status=206)
    if head.length is not None and head.length != head.end + 1 - head.start:
        return Refused(kind="passing", reason="named two lengths for one part", status=206)
    if offset and not same_version(head, held=held, host=host):
        return Changed()
    return Onward(total=head.total, until=head.end + 1)


def same_version(head: Head, *, held: Held, host: str) -> bool:
    """Whether an answer belongs to the version that the held bytes came from; without proof it does not.

    On a server that gave some of the bytes, its own validators decide. A server that is new to this file is
    believed when the caller has an identity for the content and the size agrees: mirrors make up their own ETags.
    """
    if held.total is not None and head.total is not None and held.total != head.total:
        return False
    known = held.validators.get(host)
    if known is not None:
        if known.etag and head.validator.etag:
            return known.etag == head.validator.etag
        if known.modified and head.validator.modified:
            return known.modified == head.validator.modified
        if known.etag or known.modified or head.validator.etag:
            return False
    elif held.identity is None:
        return any(_agree(head.validator, other) for other in held.validators.values())
    return held.identity is not None and held.total is not None and head.total == held.total


def _agree(one: Validator, other: Validator) -> bool:
    return one.etag is not None and one.etag == other.etag


def resumable(held: Held) -> bool:
    """Whether an answer could prove that it belongs to the held bytes."""
    proofs = any(validator.etag or validator.modified for validator in held.validators.values())
    return proofs or (held.identity is not None and held.total is not None)
