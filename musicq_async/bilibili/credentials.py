"""An account's cookies: read as people paste them, shown to nobody."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote, unquote

from musicq_async.errors import InvalidParams

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_PAIR: Final = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*=(.*)", re.DOTALL)
_PREFIX: Final = re.compile(r"(?:-H\s*)?['\"]?\s*cookie\s*:", re.IGNORECASE)
_SAFE_VALUE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*", re.ASCII)
_HIDDEN: Final = ("SESSDATA", "bili_jct", "DedeUserID__ckMd5", "sid")
_TOKEN_NAME: Final = "ac_time_value"  # noqa: S105 - where the site's own pages keep the token
_ATTRIBUTES: Final = frozenset({"path", "domain", "expires", "max-age", "samesite", "priority"})


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Credentials:
    """The cookies of one session, ready to be sent, and the token that renews them."""

    cookies: Mapping[str, str]
    refresh_token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({', '.join(self.cookies)})"

    @property
    def header(self) -> str:
        """The value of a ``Cookie`` header. A secret."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    @property
    def text(self) -> str:
        """Everything as one text that `parse_cookie` reads again. A secret."""
        token = f"; {_TOKEN_NAME}={self.refresh_token}" if self.refresh_token else ""
        return self.header + token

    @property
    def logged_in(self) -> bool:
        """Whether there is a session at all; whether it is alive, only the site knows."""
        return bool(self.cookies.get("SESSDATA"))

    @property
    def csrf(self) -> str:
        """The token that goes into forms."""
        return self.cookies.get("bili_jct", "")

    @property
    def account(self) -> str:
        """A name for the account that gives nothing away: its number, a digest, or ``guest``."""
        if not self.logged_in:
            return "guest"
        number = self.cookies.get("DedeUserID", "")
        if number.isdecimal():
            return number
        return hashlib.sha256(self.cookies["SESSDATA"].encode()).hexdigest()[:12]

    def secrets(self) -> tuple[str, ...]:
        """Return every value that must not appear anywhere, in all the spellings that could."""
        values = [self.cookies.get(name, "") for name in _HIDDEN] + [self.refresh_token or ""]
        spelled = (spelling for value in values if value for spelling in (value, unquote(value), quote(value, safe="")))
        return tuple(dict.fromkeys(spelled))

    def with_cookies(self, cookies: Mapping[str, str]) -> Credentials:
        """Return these credentials with some cookies replaced or added."""
        return replace(self, cookies={**self.cookies, **cookies})


GUEST: Final = Credentials(cookies={})


def parse_cookie(text: str | None) -> Credentials:
    """Read cookies pasted from a browser: a header, one cookie a line, or the bare value of SESSDATA.

    Nothing, or only blanks, is a guest. Raises `InvalidParams` (without the text) for what cannot be cookies.
    """
    text = _PREFIX.sub("", (text or "").strip(), count=1).strip().strip("'\"").strip()
    if not text:
        return GUEST
    if not _PAIR.match(text):
        return Credentials(cookies={"SESSDATA": _session(text)})
    cookies: dict[str, str] = {}
    for pair in re.split(r"[;\r\n]+", text):
        found = _PAIR.fullmatch(pair)
        if not found or found[1].lower() in _ATTRIBUTES:
            continue  # pasted from a Set-Cookie line
        value = found[2].strip().strip('"')
        cookies[found[1]] = _session(value) if found[1] == "SESSDATA" else _plain(value)
    token = cookies.pop(_TOKEN_NAME, None)
    return Credentials(cookies=cookies, refresh_token=token)


def from_set_cookie(lines: list[str]) -> dict[str, str]:
    """Read the cookies that an answer sets; one that is set to nothing is left out."""
    cookies = {}
    for line in lines:
        name, _, value = line.split(";", 1)[0].partition("=")
        name, value = name.strip(), value.strip().strip('"')
        if _NAME.fullmatch(name) and value:
            cookies[name] = _session(value) if name == "SESSDATA" else _plain(value)
    return cookies


def _session(value: str) -> str:
    """Spell a session value percent-encoded, as some hosts insist."""
    decoded = unquote(value.strip())
    if not decoded or any(letter.isspace() or not letter.isprintable() for letter in decoded):
        raise _refusal()
    return quote(decoded, safe="")


def _plain(value: str) -> str:
    return value if _SAFE_VALUE.fullmatch(value) else quote(value, safe="%")


def _refusal() -> InvalidParams:
    return InvalidParams(
        "the cookie cannot be read; paste the Cookie header of a logged-in browser, or the value of SESSDATA alone"
    )
