"""Logging in by QR code, and renewing a session before it dies."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal
from urllib.parse import parse_qs, quote, urlsplit

from musicq_async.bilibili.answers import Answer
from musicq_async.bilibili.api import Api, Call
from musicq_async.bilibili.credentials import GUEST, Credentials, from_set_cookie
from musicq_async.bilibili.reading import Reader
from musicq_async.errors import AnswerNotUnderstood, LoginRequired, SourceUnavailable, UsageError
from musicq_async.ports import Clock

QrState = Literal["waiting", "scanned", "expired", "done"]
Save = Callable[[Credentials], Awaitable[None]]

_WEB: Final = "/x/passport-login/web"
_SOURCE: Final = "main-fe-header"
_STATES: Final[dict[int, QrState]] = {86101: "waiting", 86090: "scanned", 86038: "expired", 0: "done"}
_LIFETIME: Final = 180.0
_POLL_EVERY: Final = 1.5
_SESSION_COOKIES: Final = ("SESSDATA", "bili_jct", "DedeUserID", "DedeUserID__ckMd5", "sid")
_TOKEN: Final = re.compile(r'id="1-name"[^>]*>\s*([^<\s]+)\s*<')
_KEY: Final = (
    "y4HdjgJHBlbaBN04VERG4qNBIFHP6a3GozCl75AihQloSWCXC5HDNgyinEnhaQ_4-gaMud_GF50elYXLlCToR9se9Z8z433U3KjM-3Yx7ptKkmQN"
    "AMggQwAVKgq3zYAoidNEWuxpkY_mAitTSRLnsJW-NCTa0bqBFF6Wm1MxgfE"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QrCode:
    """A login under way: ``url`` goes into the picture. ``key`` is a secret while it lasts."""

    url: str
    key: str
    dies_at: float
    """On the clock's monotonic scale."""

    def __repr__(self) -> str:
        return "QrCode(...)"


@dataclass(frozen=True, slots=True, kw_only=True)
class QrPoll:
    """How far a login is; ``credentials`` are there once it is done."""

    state: QrState
    credentials: Credentials | None = None


class Login:
    """The steps of a login. Nothing is stored here: the caller keeps the `Credentials`."""

    def __init__(self, api: Api, *, clock: Clock) -> None:
        self._api = api
        self._clock = clock

    async def begin(self) -> QrCode:
        """Ask for a code, valid for three minutes."""
        data = Reader(await self._api.call(self._call("/qrcode/generate", params={"source": _SOURCE})))
        url, key = data.text("url"), data.text("qrcode_key")
        if not url or not key:
            raise AnswerNotUnderstood("the site gives no QR code")
        return QrCode(url=url, key=key, dies_at=self._clock.monotonic() + _LIFETIME)

    async def poll(self, code: QrCode) -> QrPoll:
        """Ask once how far it is."""
        params = {"qrcode_key": code.key, "source": _SOURCE}
        verdict, answer = await self._api.verdict(self._call("/qrcode/poll", params=params))
        data = Reader(verdict.data)
        state = _STATES.get(data.integer("code") or 0, "waiting")
        if state != "done":
            return QrPoll(state=state)
        return QrPoll(state=state, credentials=_session(answer, data))

    async def wait(self, code: QrCode, *, told: Callable[[QrState], None] = lambda _state: None) -> Credentials:
        """Poll until the login is confirmed; ``told`` hears each new state. Raises `LoginRequired` when it expires."""
        last: QrState | None = None
        while self._clock.monotonic() < code.dies_at:
            found = await self.poll(code)
            if found.state != last:
                told(found.state)
                last = found.state
            if found.credentials is not None:
                return found.credentials
            if found.state == "expired":
                break
            await self._clock.sleep(_POLL_EVERY)
        raise LoginRequired("the QR code has expired; ask for a new one")

    async def refresh(self, credentials: Credentials, *, save: Save, force: bool = False) -> Credentials:
        """Renew a session if the site asks for it (or ``force``), and return the credentials that are now valid.

        ``save`` is awaited with the new ones before the old ones are given up, so that a crash between leaves a
        session. Needs a refresh token and the ``cryptography`` package. Raises `LoginRequired` for a dead session.
        """
        if not credentials.logged_in or not credentials.refresh_token:
            raise LoginRequired("there is no session that could be renewed; log in by QR code")
        try:
            due, moment = await self._due(credentials)
        except LoginRequired:
            if not force:
                raise
            due, moment = True, int(self._clock.time() * 1000)  # a dead session may still be renewed
        if not due and not force:
            return credentials
        token = await self._correspondence(credentials, moment)
        form = {
            "csrf": credentials.csrf,
            "refresh_csrf": token,
            "source": "main_web",
            "refresh_token": credentials.refresh_token,
        }
        verdict, answer = await self._api.verdict(self._call("/cookie/refresh", form=form, session=credentials))
        fresh = _renewed(credentials, answer, Reader(verdict.data))
        await save(fresh)
        confirm = {"csrf": fresh.csrf, "refresh_token": credentials.refresh_token}
        await self._api.call(self._call("/confirm/refresh", form=confirm, session=fresh))
        return fresh

    async def _due(self, credentials: Credentials) -> tuple[bool, int]:
        params = {"csrf": credentials.csrf}
        data = Reader(await self._api.call(self._call("/cookie/info", params=params, session=credentials)))
        return data.flag("refresh"), data.integer("timestamp") or int(self._clock.time() * 1000)

    async def _correspondence(self, credentials: Credentials, moment: int) -> str:
        path = f"/correspond/1/{_encrypted(f'refresh_{moment}')}"
        answer = await self._api.page(Call(host="www", path=path, subject="the session", session=credentials))
        found = _TOKEN.search(answer.body.decode("utf-8", "replace"))
        if answer.status >= 500:
            raise SourceUnavailable(f"the session cannot be renewed now (HTTP {answer.status})")
        if answer.status != 200 or found is None:
            raise AnswerNotUnderstood("the session cannot be renewed; check this machine's clock, or log in again")
        return found[1]

    def _call(
        self,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        form: dict[str, str] | None = None,
        session: Credentials = GUEST,
    ) -> Call:
        return Call(host="passport", path=_WEB + path, params=params, form=form, subject="the login", session=session)


def _session(answer: Answer, data: Reader) -> Credentials:
    """Take the session from the cookies of an answer, or else from the address that repeats them."""
    cookies = from_set_cookie(list(answer.cookies))
    repeated = parse_qs(urlsplit(data.text("url")).query)
    for name in _SESSION_COOKIES:
        if name not in cookies and (values := repeated.get(name)):
            cookies |= from_set_cookie([f"{name}={quote(values[0], safe='')}"])
    if "SESSDATA" not in cookies:
        raise AnswerNotUnderstood("the login succeeded, but the site gave no session")
    return Credentials(cookies=cookies, refresh_token=data.text("refresh_token") or None)


def _renewed(old: Credentials, answer: Answer, data: Reader) -> Credentials:
    cookies = from_set_cookie(list(answer.cookies))
    token = data.text("refresh_token")
    if "SESSDATA" not in cookies or "bili_jct" not in cookies or not token:
        raise AnswerNotUnderstood("the site renewed the session, but gave no new one; log in again")
    return replace(old.with_cookies(cookies), refresh_token=token)


def _encrypted(text: str) -> str:
    try:
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - an extra, for this call alone
        from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415
    except ImportError as error:
        raise UsageError("renewing a session needs the cryptography package: pip install cryptography") from error
    modulus = int.from_bytes(base64.urlsafe_b64decode(_KEY + "=" * (-len(_KEY) % 4)), "big")
    key = rsa.RSAPublicNumbers(65537, modulus).public_key()
    scheme = padding.OAEP(mgf=padding.MGF1(algorithm=hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
    return key.encrypt(text.encode(), scheme).hex()
