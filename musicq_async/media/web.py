"""Requests that follow redirects by hand and never reach further than their gate allows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import anyio
import httpx

from musicq_async.errors import InvalidParams, MusicqError, SourceUnavailable, TransferBroken, UnsafePath
from musicq_async.media.addresses import Gate, authorization_of, host_of, port_of, web_url
from musicq_async.media.connections import GuardedTransport, tls_context
from musicq_async.media.sources import Failure, FailureKind, Source
from musicq_async.settings import HttpSettings

REDIRECTS: Final = 5
_REDIRECTING: Final = {301, 302, 303, 307, 308}
_PRIVATE_HEADERS: Final = {"cookie", "authorization", "proxy-authorization"}
_AGENT: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


class SourceFailed(Exception):
    """A source gave nothing, or stopped. ``final`` says that asking it again is of no use."""

    def __init__(self, failure: Failure, *, final: bool) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.final = final


class Web:
    """The way out to the network: ``async with Web(settings.http) as web``; one serves any number of downloads.

    Connections are kept and shared only between requests that may reach the same hosts. No cookies are stored, and
    the environment's proxies are not read.
    """

    def __init__(self, http: HttpSettings) -> None:
        self.http = http
        self._pools: dict[frozenset[str], GuardedTransport] = {}
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._open.aclose()
        self._pools.clear()

    def gate(self, source: Source) -> Gate:
        """Return what a source may reach."""
        hosts = frozenset(host.lower() for host in source.allowed_hosts)
        return Gate(allow_private=self.http.allow_private, allowed_hosts=hosts)

    async def _pool(self, gate: Gate) -> GuardedTransport:
        tls = await tls_context()
        if gate.allowed_hosts not in self._pools:
            transport = GuardedTransport(gate, tls=tls, proxy=self.http.proxy)
            self._pools[gate.allowed_hosts] = await self._open.enter_async_context(transport)
        return self._pools[gate.allowed_hosts]

    @asynccontextmanager
    async def answer(self, source: Source, extra: Mapping[str, str] | None = None) -> AsyncIterator[httpx.Response]:
        """Ask a source and hand out the answer, its body unread; after at most five redirects.

        Raises `SourceFailed`, also for what goes wrong while the body is read inside the ``async with``.
        """
        gate = self.gate(source)
        transport = await self._pool(gate)
        with _while_opening(source), anyio.fail_after(self.http.connect_timeout + self.http.stall_timeout):
            response = await self._follow(transport, gate, source, extra or {})
        try:
            with _while_reading(source):
                yield response
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    async def _follow(
        self, transport: GuardedTransport, gate: Gate, source: Source, extra: Mapping[str, str]
    ) -> httpx.Response:
        url = origin = web_url(source.url)
        for _ in range(REDIRECTS + 1):
            if self.http.proxy:
                await _judge_before_proxy(gate, url)
            response = await transport.handle_async_request(self._request(url, origin, source, extra))
            target = response.headers.get("location")
            if response.status_code not in _REDIRECTING or not target:
                return response
            await response.aclose()
            url = web_url(str(url.join(target)), field="redirect")
            if source.may_lead_to is not None and not source.may_lead_to(str(url)):
                raise UnsafePath(f"redirect: {host_of(url)} is no host that this may come from")
        raise _failed(source, f"redirects more than {REDIRECTS} times", final=True)

    def _request(self, url: httpx.URL, origin: httpx.URL, source: Source, extra: Mapping[str, str]) -> httpx.Request:
        headers = httpx.Headers({"user-agent": _AGENT, "accept": "*/*"})
        authorization = authorization_of(url)
        if authorization:
            headers["authorization"] = authorization
        headers.update(source.headers)
        if (url.scheme, host_of(url)) != (origin.scheme, host_of(origin)):
            for name in _PRIVATE_HEADERS:
                headers.pop(name, None)
        headers.update(extra)
        headers["accept-encoding"] = "identity"
        stall = self.http.stall_timeout
        timeout = {"connect": self.http.connect_timeout, "read": stall, "write": stall, "pool": None}
        bare = url.copy_with(userinfo=b"", fragment=None) if url.userinfo or url.fragment else url
        return httpx.Request("GET", bare, headers=headers, extensions={"timeout": timeout})

    async def fetch(self, source: Source, *, max_bytes: int = 16 << 20) -> Fetched:
        """Read a small answer (a picture, a text of lyrics) whole.

        Raises `TransferBroken` or `SourceUnavailable` when it does not come or is over ``max_bytes``, and
        `UnsafePath` when it lies where downloads may not go.
        """
        source.check()
        body = bytearray()
        try:
            with anyio.fail_after(min(self.http.deadline, 10 * self.http.stall_timeout)):
                async with self.answer(source) as response:
                    if response.status_code != 200:
                        raise _failed(source, f"answered {response.status_code}", final=True)
                    async for chunk in response.aiter_raw():
                        body += chunk
                        if len(body) > max_bytes:
                            raise _failed(source, f"sent more than {max_bytes} bytes", final=True)
        except SourceFailed as error:
            raise as_public(error.failure) from error.__cause__
        except TimeoutError as error:
            raise TransferBroken(f"{source.host} took too long") from error
        return Fetched(content=bytes(body), media_type=response.headers.get("content-type", "").partition(";")[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A small answer."""

    content: bytes
    media_type: str


@contextmanager
def _while_opening(source: Source) -> Iterator[None]:
    """Rename what names, sockets, TLS and redirects raise to `SourceFailed`."""
    try:
        with _while_reading(source):
            yield
    except TimeoutError as error:
        raise _failed(source, "did not answer in time", final=False, kind="unreachable") from error
    except SourceUnavailable as error:
        raise _failed(source, f"cannot be reached: {error}", final=False, kind="unreachable") from error
    except (UnsafePath, InvalidParams) as error:
        raise _failed(source, f"is refused: {error}", final=True, kind="unsafe") from error
    except ExceptionGroup as error:  # what some impossible addresses end in
        raise _failed(source, "cannot be reached", final=True, kind="unreachable") from error


@contextmanager
def _while_reading(source: Source) -> Iterator[None]:
    """Rename what HTTP raises to `SourceFailed`; everything else belongs to whoever uses the bytes."""
    try:
        yield
    except httpx.ReadTimeout as error:
        raise _failed(source, "sent nothing for too long", final=False) from error
    except httpx.ConnectTimeout as error:
        raise _failed(source, "did not answer in time", final=False, kind="unreachable") from error
    except httpx.ConnectError as error:
        raise _failed(source, "cannot be reached", final=False, kind="unreachable") from error
    except httpx.HTTPError as error:
        raise _failed(source, "broke off or does not speak HTTP", final=False) from error


def _failed(source: Source, reason: str, *, final: bool, kind: FailureKind = "broken") -> SourceFailed:
    return SourceFailed(Failure(host=source.host, reason=reason, kind=kind), final=final)


def as_public(failure: Failure) -> MusicqError:
    """Turn a failure into the error that the caller of this package sees."""
    if failure.kind == "unsafe":
        return UnsafePath(str(failure))
    if failure.kind == "unreachable":
        return SourceUnavailable(str(failure))
    return TransferBroken(str(failure), retry_after=failure.retry_after)


async def _judge_before_proxy(gate: Gate, url: httpx.URL) -> None:
    """Judge what this machine resolves; what only the proxy can resolve is left to the proxy."""
    try:
        await gate.addresses(url.host, port_of(url))
    except SourceUnavailable:
        return
