"""What an answer of the site means: its data, or the typed error with what it asks of the caller."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from musicq_async.bilibili.reading import Reader
from musicq_async.errors import (
    AnswerNotUnderstood,
    InvalidParams,
    LoginRequired,
    MusicqError,
    NotPermitted,
    RateLimited,
    RiskControl,
    SourceUnavailable,
    WorkGone,
)

_DAY: Final = 86_400.0
_GONE: Final = {
    -404: "was removed or never existed",
    62002: "is hidden",
    62012: "is visible to its uploader only",
    11010: "no longer exists",
    7201006: "was removed",
}
_NOT_PERMITTED: Final = {
    -102: "the account is banned",
    -10403: "not offered in this region, or to members only",
    87007: "for paying fans of the uploader only",
    87008: "for paying fans of the uploader only",
    72010027: "moved elsewhere for its copyright",
    4511006: "cannot be played",
}
_RISK: Final = {
    -412: "the address or account is banned for a while",
    -352: "the site's risk check failed",
    -401: "the site takes this program for a crawler",
}
_TOO_OFTEN: Final = frozenset({-799, -509, 429})
_SERVER: Final = frozenset({-500, -502, -503, -504, -8888})
_SIGNATURE: Final = frozenset({-403, -352})
_MAX_SHOWN: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back for one request."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = b""
    cookies: tuple[str, ...] = ()
    """Raw ``Set-Cookie`` lines."""

    def __repr__(self) -> str:
        return f"Answer({self.status}, {len(self.body)} bytes)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An answer judged."""

    code: int = 0
    data: Any = None
    error: MusicqError | None = None
    signature: bool = False
    """Whether newer signing keys may cure the error."""


def judge(answer: Answer, *, subject: str, logged_in: bool) -> Verdict:
    """Decide what an answer means for ``subject`` (words for the message). Nothing is raised."""
    if "x-bili-gaia-vvoucher" in answer.headers:
        return _risk("the site asks for a check by a person", code=-352, signature=True)
    if answer.status == 412:
        return _risk(_RISK[-412], code=-412)
    envelope = _envelope(answer.body)
    if answer.status == 429 or answer.status >= 500 or (envelope is None and answer.status != 200):
        return _by_status(answer, subject=subject)
    if envelope is None and _broke_off(answer.body):
        return Verdict(error=SourceUnavailable(f"the site's answer about {subject} broke off"))
    if envelope is None:
        return Verdict(error=AnswerNotUnderstood(f"the site's answer about {subject} is not what its API sends"))
    code = envelope.integer("code") or 0
    data = envelope.value("data", "result")
    if Reader(data).value("v_voucher") is not None:
        return _risk("the site asks for a check by a person", code=code or -352, data=data, signature=True)
    if code == 0 and answer.status != 200:
        return _by_status(answer, subject=subject)
    error = _error(code, envelope.text("message", "msg"), answer, subject=subject, logged_in=logged_in)
    return Verdict(code=code, data=data, error=error, signature=code in _SIGNATURE)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for, capped at an hour."""
    text = headers.get("retry-after", "")
    return min(float(text), 3600.0) if text.isascii() and text.isdecimal() and len(text) < 9 else None


def _envelope(body: bytes) -> Reader | None:
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError):
        return None
    reader = Reader(envelope)
    return reader if reader.integer("code") is not None else None


def _broke_off(body: bytes) -> bool:
    """Whether a body is the beginning of an answer: where no length is announced, nothing else tells."""
    try:
        json.loads(body)
    except json.JSONDecodeError:
        return body.lstrip()[:1] in {b"{", b""}
    except (ValueError, RecursionError):
        return False
    return False


def _risk(why: str, *, code: int, data: Any = None, signature: bool = False) -> Verdict:
    error = RiskControl(f"{why}; all calls of this account pause. Logging in, or a visit by browser, may help")
    return Verdict(code=code, data=data, error=error, signature=signature)


def _by_status(answer: Answer, *, subject: str) -> Verdict:
    status = answer.status
    error: MusicqError
    if status == 429:
        error = RateLimited("the site asks for fewer requests", retry_after=retry_after(answer.headers) or 0.0)
    elif status >= 500 or status == 408:
        error = SourceUnavailable(f"the site answered HTTP {status} about {subject}")
    elif status == 401:
        error = LoginRequired(f"{subject} needs a login")
    elif status == 403:
        error = NotPermitted(f"the site refuses to answer about {subject} (HTTP 403)")
    else:
        error = AnswerNotUnderstood(f"the site answered HTTP {status} about {subject}")
    return Verdict(code=-status, error=error)


def _error(code: int, message: str, answer: Answer, *, subject: str, logged_in: bool) -> MusicqError | None:
    if code == 0:
        return None
    if code in _RISK:
        return _risk(f"{_RISK[code]} (code {code})", code=code).error
    if code in _TOO_OFTEN:
        return RateLimited(f"too many requests (code {code})", retry_after=retry_after(answer.headers) or 0.0)
    if code in _SERVER:
        return SourceUnavailable(f"the site failed on {subject} (code {code})")
    if code in {-400, 72000000}:
        return InvalidParams(f"the site does not accept the request about {subject} (code {code}); check the id")
    return _refusal(code, subject=subject, logged_in=logged_in) or AnswerNotUnderstood(
        f"the site refuses {subject} with a code unknown here, {code}: {_shown(message)}"
    )


def _refusal(code: int, *, subject: str, logged_in: bool) -> MusicqError | None:
    """Return why this account does not get this work."""
    if code in {-101, -111} or (code == -403 and not logged_in):
        return LoginRequired(f"{subject} needs a login, or the login has expired (code {code})")
    if code == -403:
        return NotPermitted(f"the account may not see {subject} (code {code}): only its owner may")
    if code in _NOT_PERMITTED:
        return NotPermitted(f"{subject}: {_NOT_PERMITTED[code]} (code {code})")
    if code in _GONE:
        return WorkGone(f"{subject} {_GONE[code]} (code {code})")
    if code == 62004:
        return WorkGone(f"{subject} is still in review (code {code}); try again tomorrow", retry_after=_DAY)
    return None


def _shown(message: str) -> str:
    """Quote the site's words; long ones may repeat what was sent to it."""
    printable = "".join(letter if letter.isprintable() else " " for letter in message).strip()
    return repr(printable) if len(printable) <= _MAX_SHOWN else "(long message)"
