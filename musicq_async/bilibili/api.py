"""One call of the site's API: paced, paused when suspected, signed where needed, retried where it helps."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal
from urllib.parse import urlencode, urlsplit

import anyio

from musicq_async.bilibili.answers import Answer, Verdict, judge
from musicq_async.bilibili.breaker import Breaker
from musicq_async.bilibili.credentials import Credentials
from musicq_async.bilibili.hosts import is_loopback
from musicq_async.bilibili.pacing import Pace, alone
from musicq_async.bilibili.reading import Reader
from musicq_async.bilibili.transport import REFERER, Transport
from musicq_async.bilibili.wbi import WbiKeys, keys_from_addresses, signed_query
from musicq_async.errors import AnswerNotUnderstood, RateLimited, RiskControl, SourceUnavailable
from musicq_async.ports import Clock, PublicStore
from musicq_async.settings import BilibiliSettings

Host = Literal["api", "www", "passport"]
KEYS_KEY: Final = "bilibili_wbi"
DEVICE_KEY: Final = "bilibili_device"
_KEYS_LIVE: Final = 1800.0
_DEVICE_LIVES: Final = 30 * 86_400.0
_RETRIES: Final = 4
_MAX_SKEW: Final = 60.0
_GUARDED_SLOWDOWN: Final = 3
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What to ask."""

    path: str
    subject: str
    """What it is about, in words for error messages."""
    params: Mapping[str, object] | None = None
    host: Host = "api"
    signed: bool = False
    guarded: bool = False
    """Whether the call is of the kind that is watched most: slower, and never two at once."""
    accept: frozenset[int] = frozenset()
    """Codes whose data is wanted although they mean an error."""
    form: Mapping[str, str] | None = field(default=None, repr=False)
    session: Credentials | None = None
    """Whose call it is, where it is not the account's."""


class Api:
    """Calls with everything shared that callers of one account must share."""

    def __init__(
        self,
        settings: BilibiliSettings,
        transport: Transport,
        *,
        clock: Clock,
        store: PublicStore,
        credentials: Callable[[], Awaitable[Credentials]],
        draw: Callable[[], float],
        patience: int = 0,
        sharers: Callable[[], int] = alone,
    ) -> None:
        self._bases = {
            "api": settings.api_url.rstrip("/"),
            "www": settings.www_url.rstrip("/"),
            "passport": settings.passport_url.rstrip("/"),
        }
        self._transport = transport
        self._clock = clock
        self._store = store
        self._credentials = credentials
        self._draw = draw
        self._patience = patience
        self._breaker = Breaker(store=store, clock=clock)
        self.pace = Pace(rate=settings.api_rate, sharers=sharers, clock=clock)
        guarded_rate = settings.api_rate / _GUARDED_SLOWDOWN
        self._guarded_pace = Pace(rate=guarded_rate, burst=1, sharers=sharers, clock=clock)
        self._guarded_lock = anyio.Lock()
        self._keys_lock = anyio.Lock()
        self._device_lock = anyio.Lock()
        self._device: dict[str, str] | None = None
        self._limited = 0
        self._skew_told = False

    async def call(self, call: Call) -> Any:
        """Return the data of an answer. Raises the typed error that the answer, or the lack of one, means."""
        return (await self.verdict(call))[0].data

    async def verdict(self, call: Call) -> tuple[Verdict, Answer]:
        """Return a judged answer without error (or with an accepted code), together with the raw one."""
        keys = await self._keys() if call.signed else None
        renewed = False
        failures = limited = 0
        while True:
            credentials = call.session or await self._credentials()
            try:
                verdict, answer = await self._once(call, credentials, keys)
            except SourceUnavailable as error:
                verdict, answer = Verdict(error=error), None
            if answer is not None and (verdict.error is None or verdict.code in call.accept):
                self._limited = 0
                return verdict, answer
            if keys is not None and verdict.signature and not renewed:
                keys, renewed = await self._keys(instead_of=keys), True
            elif isinstance(verdict.error, SourceUnavailable) and failures < _RETRIES:
                await self._clock.sleep(self._backoff(failures))
                failures += 1
            elif isinstance(verdict.error, RateLimited) and limited < self._patience:
                await self._consequence(verdict, credentials)  # the next turn comes when the wait is over
                limited += 1
            else:
                raise await self._consequence(verdict, credentials)

    async def page(self, call: Call) -> Answer:
        """Return an answer that is no JSON, whatever its status."""
        await self.pace.turn()
        credentials = call.session or await self._credentials()
        return await self._sent(call, credentials, None)

    async def whole(self, address: str) -> Answer:
        """Fetch one address outside the API, without cookies, in its turn."""
        await self.pace.turn()
        return await self._transport.send(address, headers={"Referer": REFERER})

    async def _once(self, call: Call, credentials: Credentials, keys: WbiKeys | None) -> tuple[Verdict, Answer]:
        if call.host == "passport":  # a login is the way out of a pause
            await self.pace.turn()
            answer = await self._sent(call, credentials, keys)
        else:
            self._breaker.refuse_if_paused(credentials.account)
            async with self._turn(call), self._breaker.passage(credentials.account):
                answer = await self._sent(call, credentials, keys)
        return judge(answer, subject=call.subject, logged_in=credentials.logged_in), answer

    async def _sent(self, call: Call, credentials: Credentials, keys: WbiKeys | None) -> Answer:
        headers = await self._headers(call, credentials)
        answer = await self._transport.send(self._address(call, keys), headers=headers, form=call.form)
        self._watch_clock(answer)
        return answer

    @asynccontextmanager
    async def _turn(self, call: Call) -> AsyncIterator[None]:
        if not call.guarded:
            await self.pace.turn()
            yield
            return
        async with self._guarded_lock:
            await self._guarded_pace.turn()
            await self.pace.turn()
            yield

    def _address(self, call: Call, keys: WbiKeys | None) -> str:
        params = call.params or {}
        if keys is not None:
            query = signed_query(params, keys, now=int(self._clock.time()))
        else:
            query = urlencode({name: str(value) for name, value in params.items()})
        return self._bases[call.host] + call.path + ("?" + query if query else "")

    async def _headers(self, call: Call, credentials: Credentials) -> dict[str, str]:
        headers = {"Referer": REFERER}
        if call.host != "www":
            headers["Origin"] = REFERER.rstrip("/")
        if not may_see_cookies(self._bases[call.host]):
            return headers
        if call.guarded:
            credentials = await self._with_device(credentials)
        if credentials.cookies:
            headers["Cookie"] = credentials.header
        return headers

    async def _with_device(self, credentials: Credentials) -> Credentials:
        """Add the device cookies that the site hands out to everybody, for the calls that look for them."""
        if "buvid3" in credentials.cookies:
            return credentials
        async with self._device_lock:
            if self._device is None:
                self._device = await self._known_device() or await self._new_device()
        return credentials.with_cookies(self._device)

    async def _known_device(self) -> dict[str, str]:
        known = Reader(await self._store.get_public(DEVICE_KEY))
        return {name: known.text(name) for name in ("buvid3", "buvid4") if known.text(name)}

    async def _new_device(self) -> dict[str, str]:
        try:
            await self.pace.turn()
            address = self._bases["api"] + "/x/frontend/finger/spi"
            answer = await self._transport.send(address, headers={"Referer": REFERER})
        except (SourceUnavailable, AnswerNotUnderstood):
            return {}
        data = Reader(judge(answer, subject="the device", logged_in=False).data)
        device = {"buvid3": data.text("b_3"), "buvid4": data.text("b_4")}
        device = {name: value for name, value in device.items() if value.isascii() and value.isprintable() and value}
        if device:
            await self._store.set_public(DEVICE_KEY, device, ttl=_DEVICE_LIVES)
        return device

    async def _keys(self, *, instead_of: WbiKeys | None = None) -> WbiKeys:
        """Return the signing keys; all who ask at once share one request for them."""
        async with self._keys_lock:
            kept = Reader(await self._store.get_public(KEYS_KEY))
            keys = WbiKeys(img=kept.text("img"), sub=kept.text("sub"))
            if len(keys.img) == len(keys.sub) == 32 and keys != instead_of:
                return keys
            pictures = Reader(await self.call(nav_call())).inner("wbi_img")
            fresh = keys_from_addresses(pictures.text("img_url"), pictures.text("sub_url"))
            if fresh is None:
                raise AnswerNotUnderstood("the site gives no keys to sign with")
            await self._store.set_public(KEYS_KEY, {"img": fresh.img, "sub": fresh.sub}, ttl=_KEYS_LIVE)
            return fresh

    async def _consequence(self, verdict: Verdict, credentials: Credentials) -> BaseException:
        """Return the error to raise, after telling everybody who shares the account."""
        error = verdict.error
        if isinstance(error, RiskControl):
            return await self._breaker.trip(credentials.account, str(error).partition(";")[0])
        if isinstance(error, RateLimited):
            if not self.pace.held:  # calls that were under way together were refused once
                self._limited += 1
            wait = min(10.0 * 2 ** min(self._limited - 1, 3), 60.0) * (1 + self._draw() / 4)
            wait = max(wait, error.retry_after or 0.0)
            self.pace.hold(wait)
            return RateLimited(f"{error}; next try in {wait:.0f} s", retry_after=wait)
        return error or AnswerNotUnderstood("no answer")

    def _backoff(self, failures: int) -> float:
        return min(0.5 * 2.0**failures, 8.0) * (0.75 + self._draw() / 2)

    def _watch_clock(self, answer: Answer) -> None:
        """Warn once when this machine's clock is wrong: signatures hold the time."""
        if self._skew_told or "date" not in answer.headers:
            return
        try:
            theirs = parsedate_to_datetime(answer.headers["date"])
        except ValueError:
            return
        theirs = theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC)
        if abs(skew := theirs.timestamp() - self._clock.time()) > _MAX_SKEW:
            self._skew_told = True
            _log.warning("This machine's clock is %d seconds off; signed requests will be refused. Set it", skew)


def nav_call() -> Call:
    """Ask whose session it is; a guest's answer is an error by its code and still holds what is needed."""
    return Call(path="/x/web-interface/nav", subject="the session", accept=frozenset({-101}))


def may_see_cookies(base: str) -> bool:
    """Return whether cookies may go to this configured address: over TLS, or to this machine."""
    parts = urlsplit(base)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")
