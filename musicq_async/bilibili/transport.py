"""The only module that speaks HTTP: one request, one whole answer, foreign errors renamed."""

from __future__ import annotations

import importlib.util
import logging
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx

from musicq_async.bilibili.answers import Answer
from musicq_async.errors import AnswerNotUnderstood, MusicqError, NotRunning, SettingsError, SourceUnavailable
from musicq_async.settings import HttpSettings

USER_AGENT: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
)
REFERER: Final = "https://www.bilibili.com/"
_HEADERS: Final = {
    "Accept": "*/*",
    "Accept-Encoding": "gzip",
    "Connection": "keep-alive",
    "User-Agent": USER_AGENT,
}
_MAX_BODY: Final = 16 << 20
_LOGGERS: Final = ("httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy")
_busy: ContextVar[bool] = ContextVar("musicq_bilibili_request", default=False)


class Transport:
    """A pool of connections that keeps no cookies, follows no redirects and checks certificates.

    It stands below the HTTP library's client, which does all these, and whose refusals cost 0.1 ms a request.
    """

    def __init__(self, http: HttpSettings) -> None:
        self._http = http
        self._pool: httpx.AsyncHTTPTransport | None = None
        self._timeout = httpx.Timeout(http.stall_timeout, connect=http.connect_timeout, pool=None).as_dict()

    async def __aenter__(self) -> Self:
        _quieten()
        _end_search()
        context = await anyio.to_thread.run_sync(httpx.create_ssl_context)
        try:
            self._pool = httpx.AsyncHTTPTransport(verify=context, trust_env=False, proxy=self._http.proxy)
        except (ValueError, ImportError, httpx.InvalidURL) as error:
            raise SettingsError("http.proxy is no http:// or socks5:// address that can be used") from (
                error if isinstance(error, ImportError) else None
            )  # the original would print the password
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                await pool.aclose()

    async def send(
        self, address: str, *, headers: Mapping[str, str] | None = None, form: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask (POST with ``form``) and return the answer, whatever its status.

        The query of ``address`` is sent byte for byte. Raises `SourceUnavailable` when no whole answer came in time,
        `AnswerNotUnderstood` when it is too large or spoilt. Cancelling closes the connection.
        """
        if self._pool is None:
            raise NotRunning("the Bilibili client is not open; use it in `async with`")
        host = urlsplit(address).netloc.rpartition("@")[2]
        limit = self._http.connect_timeout + self._http.stall_timeout
        with _renamed(host), _marked(), anyio.fail_after(limit):
            method = "GET" if form is None else "POST"
            timeout = {"timeout": self._timeout}
            request = httpx.Request(
                method, address, headers={**_HEADERS, **(headers or {})}, data=form, extensions=timeout
            )
            response = await self._pool.handle_async_request(request)
            try:
                body = await _whole_body(response, host)
            finally:
                with anyio.CancelScope(shield=True):
                    await response.aclose()
        return Answer(
            status=response.status_code,
            headers={name.lower(): value for name, value in response.headers.items()},
            body=body,
            cookies=tuple(response.headers.get_list("set-cookie")),
        )


async def _whole_body(response: httpx.Response, host: str) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > _MAX_BODY:
            raise AnswerNotUnderstood(f"{host} sends an answer of more than {_MAX_BODY >> 20} MiB")
    match response.headers.get("content-encoding", "identity").strip().lower():
        case "identity" | "":
            return bytes(body)
        case "gzip" | "x-gzip":
            return _unpacked(bytes(body), host)
    raise AnswerNotUnderstood(f"{host} answers in an encoding that was not asked for")


def _unpacked(body: bytes, host: str) -> bytes:
    """Unpack gzip; a bomb and a cut stream are errors, where the library's own decoder would let both pass."""
    if not body:
        return body
    packed = zlib.decompressobj(wbits=31)
    try:
        plain = packed.decompress(body, _MAX_BODY)
    except zlib.error as error:
        raise AnswerNotUnderstood(f"{host} sends a spoilt gzip answer") from error
    if packed.unconsumed_tail:
        raise AnswerNotUnderstood(f"{host} sends an answer of more than {_MAX_BODY >> 20} MiB")
    if not packed.eof:
        raise SourceUnavailable(f"the answer of {host} ended too early")
    return plain


@contextmanager
def _renamed(host: str) -> Iterator[None]:
    try:
        yield
    except MusicqError:
        raise
    except (TimeoutError, httpx.TimeoutException) as error:
        raise SourceUnavailable(f"no answer from {host} in time") from error
    except httpx.LocalProtocolError:
        raise AnswerNotUnderstood(f"the request to {host} cannot be sent") from None  # the original prints headers
    except httpx.TransportError as error:
        raise SourceUnavailable(f"no connection to {host}, or it broke ({type(error).__name__})") from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise AnswerNotUnderstood(f"{host} cannot be asked ({type(error).__name__})") from error


@contextmanager
def _marked() -> Iterator[None]:
    token = _busy.set(True)
    try:
        yield
    finally:
        _busy.reset(token)


class _NotOurs(logging.Filter):
    """Drop what the HTTP library says about our own requests: it would print cookies and signed queries."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - the caller decides, not the record
        return not _busy.get()


_NOT_OURS: Final = _NotOurs()


def _quieten() -> None:
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_NOT_OURS)  # adding it again changes nothing


def _end_search() -> None:
    """Let the HTTP library's look for the optional ``sniffio``, once a lock, end at once where it is not installed.

    It would walk all of ``sys.path`` each time: milliseconds a request.
    """
    if "sniffio" not in sys.modules and importlib.util.find_spec("sniffio") is None:
        sys.modules["sniffio"] = None  # type: ignore[assignment] # the import system's own way to say "not there"
