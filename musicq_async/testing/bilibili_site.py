"""The state of the stand-in site, and the shape of its answers."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, parse_qsl, quote, unquote

from musicq_async.testing.bilibili_catalogue import FAN, GUEST, Catalogue, Level, Person
from musicq_async.testing.bilibili_http import Reply, Request

_SIGNING_ORDER: Final = bytes.fromhex("2e2f1202350817200f320a1f3a032d231b2b053121092a131d1c0e270c26290d")
_JSON: Final = (("Content-Type", "application/json; charset=utf-8"),)
_SIGNED_CHARACTERS: Final = str.maketrans("", "", "!'()*")


class Refusal(Exception):
    """The site's answer is a code other than 0."""

    def __init__(self, code: int, *, data: Any = None) -> None:
        super().__init__(code)
        self.code = code
        self.data = data


@dataclass(slots=True, kw_only=True)
class QrCode:
    """A login by QR code under way."""

    key: str
    state: int = 86101
    """86101 not scanned, 86090 scanned, 86038 expired, 0 confirmed."""
    person: Person = FAN


class Site:
    """Who may see what, and where everything is."""

    def __init__(self, catalogue: Catalogue, *, now: Callable[[], float] = time.time) -> None:
        self.catalogue = catalogue
        self.now = now
        self.addresses: dict[str, str] = {}
        """Base address of each host by its name."""
        self.url_lifetime = 7200.0
        """Seconds that a stream's address lives."""
        self.sessions: dict[str, Person] = {}
        """Decoded SESSDATA to whose it is."""
        self.expired: set[str] = set()
        """Decoded SESSDATA of sessions that have died, and may still be renewed."""
        self.csrf: dict[str, str] = {}
        """Decoded SESSDATA to its bili_jct."""
        self.refresh_tokens: dict[str, str] = {}
        """Refresh token to the decoded SESSDATA that it renews."""
        self.refresh_due = False
        self.qr_codes: dict[str, QrCode] = {}
        self.wbi = (secrets.token_hex(16), secrets.token_hex(16))
        self._secret = secrets.token_bytes(16)

    def rotate_wbi_keys(self) -> None:
        """Change the keys, as happens about daily: signatures made with the old ones are refused."""
        self.wbi = (secrets.token_hex(16), secrets.token_hex(16))

    def open_session(self, person: Person, *, csrf: str | None = None) -> str:
        """Begin a session and return its SESSDATA, decoded."""
        session = f"{secrets.token_hex(4)},{int(self.now()) + 15_552_000},{secrets.token_hex(3)}*11"
        self.sessions[session] = person
        self.csrf[session] = csrf or secrets.token_hex(16)
        return session

    def cookie(self, person: Person, session: str | None = None) -> str:
        """Return the Cookie header of a session, a new one by default, as a browser shows it."""
        session = session or self.open_session(person)
        values = {"SESSDATA": quote(session, safe=""), "bili_jct": self.csrf[session], "DedeUserID": person.mid}
        return "; ".join(f"{name}={value}" for name, value in values.items())

    def person(self, request: Request) -> Person:
        """Return whose session a request belongs to."""
        session = unquote(request.cookies.get("SESSDATA", ""))
        return GUEST if session in self.expired else self.sessions.get(session, GUEST)

    def level(self, request: Request) -> Level:
        """Return what the account of a request may have."""
        return self.person(request).level

    def signature_fits(self, query: str) -> bool:
        """Check a signed query: it must be sorted, encoded and hashed as the site does it."""
        fields = parse_qsl(query, keep_blank_values=True)
        given = [value for name, value in fields if name == "w_rid"]
        signed = sorted((name, value) for name, value in fields if name != "w_rid")
        text = "&".join(
            f"{quote(name, safe='')}={quote(value.translate(_SIGNED_CHARACTERS), safe='')}" for name, value in signed
        )
        raw = "".join(self.wbi)
        mixin = "".join(raw[place] for place in _SIGNING_ORDER)
        right = hashlib.md5((text + mixin).encode(), usedforsecurity=False).hexdigest()
        moments = [value for name, value in fields if name == "wts" and value.isdecimal()]
        return given == [right] and len(moments) == 1 and abs(int(moments[0]) - self.now()) < 3600

    def media(self, path: str) -> tuple[str, str]:
        """Return the addresses of a media file on the main and the backup host; they die at their deadline."""
        deadline = int(self.now() + self.url_lifetime)
        query = f"e=ig8&deadline={deadline}&gen=playurlv3&os=upos&oi=2130706433&uparams=e,deadline,gen,os,oi"
        signed = f"{path}?{query}&upsig={self._media_signature(path, str(deadline))}"
        return self.addresses["cdn"] + signed, self.addresses["backup"] + signed

    def media_allowed(self, request: Request) -> bool:
        """Check the signature and the deadline of a media address."""
        fields = {name: values[0] for name, values in parse_qs(request.query).items()}
        deadline = fields.get("deadline", "0")
        right = self._media_signature(request.path, deadline)
        return fields.get("upsig") == right and int(deadline) > self.now()

    def picture(self, path: str, *, plain: bool = False) -> str:
        """Return the address of a picture, or with ``plain`` of a text beside it."""
        return self.addresses["image"] + ("" if plain else "/bfs/archive") + path

    def _media_signature(self, path: str, deadline: str) -> str:
        return hmac.new(self._secret, f"{path} {deadline}".encode(), "md5").hexdigest()


def envelope(data: Any, *, name: str = "data", message: str = "message") -> Reply:
    """Wrap data as the API does."""
    return _json({"code": 0, message: "0", "ttl": 1, name: data})


def refused(refusal: Refusal, *, message: str = "message") -> Reply:
    """Answer with a code, at HTTP status 200."""
    return _json({"code": refusal.code, message: str(refusal.code), "ttl": 1, "data": refusal.data})


def number(params: dict[str, str], name: str) -> int:
    """Return a positive number from the query; anything else is a bad request."""
    text = params.get(name, "")
    if not text.isdecimal() or not text.isascii() or len(text) > 19:
        raise Refusal(-400)
    return int(text)


def paged(params: dict[str, str], *, page: str, size: str, largest: int) -> tuple[int, int]:
    """Return number and size of a page; a size over the largest is a bad request, as on the site."""
    at, of = number(params, page), number(params, size)
    if not 0 < of <= largest or at < 1:
        raise Refusal(-400)
    return at, of


def _json(value: Any) -> Reply:
    return Reply(body=json.dumps(value, ensure_ascii=False).encode(), headers=_JSON)
