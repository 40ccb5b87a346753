"""A small HTTP/1.1 server for the stand-in: requests recorded, answers spoilt on demand."""

from __future__ import annotations

import fnmatch
import math
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Final
from urllib.parse import parse_qs, unquote

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

_MAX_HEAD: Final = 64 * 1024
_CHUNK: Final = 256 * 1024
_REASONS: Final = {200: "OK", 206: "Partial Content", 302: "Found", 403: "Forbidden", 404: "Not Found"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it came."""

    host: str
    """Which host of the site was asked: api, www, passport, short, image, cdn or backup."""
    method: str
    path: str
    query: str
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case."""
    body: bytes = field(default=b"", repr=False)
    time: float = 0.0
    """When it came, on the event loop's clock."""

    @property
    def params(self) -> dict[str, str]:
        """The query's fields; the first of each name."""
        return _fields(self.query)

    @property
    def form(self) -> dict[str, str]:
        """The body's fields, if it is a form."""
        return _fields(self.body.decode("utf-8", "replace"))

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that were sent, spelt as they were."""
        pairs = (pair.strip().partition("=") for pair in self.headers.get("cookie", "").split(";"))
        return {name: value for name, _, value in pairs if name}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One whole answer."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way in which an answer goes wrong. Fields may be combined; `None` and 0 change nothing."""

    status: int | None = None
    """Answer with this HTTP status and ``body``."""
    code: int | None = None
    """Answer with this code of the API and no data."""
    voucher: bool = False
    """Answer with a risk voucher in place of data; code 0 unless ``code`` says otherwise."""
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    """Seconds before the answer begins."""
    cut_after: int | None = None
    """Close the connection after so many bytes of the body."""
    reset: bool = False
    """Close it by a reset."""
    stall_after: int | None = None
    """Say nothing more after so many bytes of the body, until the client goes away."""
    bytes_per_second: float | None = None
    length_delta: int = 0
    """Announce a body that is so many bytes longer than it is."""
    no_length: bool = False
    """Announce no length and end by closing."""
    ignore_range: bool = False
    """Answer a range request with the whole, status 200."""
    shift_range: int = 0
    """Answer a range request with a range that starts so many bytes later, and say so."""


@dataclass(slots=True, kw_only=True)
class _Planned:
    pattern: str
    host: str | None
    fault: Fault
    left: float
    passing: int


class FaultPlan:
    """The faults that wait for their request."""

    def __init__(self) -> None:
        self._planned: list[_Planned] = []

    def add(self, pattern: str, fault: Fault, *, times: int | None, host: str | None, after: int = 0) -> None:
        """Spoil ``times`` requests (``None``: all) whose path fits a shell pattern, after letting some pass."""
        left = math.inf if times is None else times
        self._planned.append(_Planned(pattern=pattern, host=host, fault=fault, left=left, passing=after))

    def take(self, request: Request) -> Fault | None:
        """Return the fault for a request, and count it."""
        for planned in self._planned:
            fits = planned.host in {None, request.host} and fnmatch.fnmatchcase(request.path, planned.pattern)
            if planned.left > 0 and fits:
                if planned.passing:
                    planned.passing -= 1
                    continue
                planned.left -= 1
                return planned.fault
        return None

    def clear(self) -> None:
        """Forget all."""
        self._planned.clear()


Answerer = Callable[[Request], Awaitable[Reply]]


class Host:
    """One host of the site: a name, and a port that it listens on."""

    def __init__(
        self, name: str, *, answer: Answerer, faults: FaultPlan, record: list[Request], now: Callable[[], float]
    ) -> None:
        self.name = name
        self._answer = answer
        self._faults = faults
        self._record = record
        self._now = now

    async def serve(self, stream: SocketStream) -> None:
        """Answer the requests of one connection until it ends."""
        buffered = BufferedByteReceiveStream(stream)
        try:
            async with stream:
                while (request := await self._next(buffered)) is not None:
                    self._record.append(request)
                    fault = self._faults.take(request) or Fault()
                    if not await self._respond(stream, request, fault):
                        return
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.IncompleteRead, anyio.EndOfStream):
            return  # the client went away

    async def _next(self, buffered: BufferedByteReceiveStream) -> Request | None:
        try:
            head = (await buffered.receive_until(b"\r\n\r\n", _MAX_HEAD)).decode("latin-1")
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound):
            return None
        first, *lines = head.split("\r\n")
        method, _, rest = first.partition(" ")
        target = rest.rpartition(" ")[0]
        path, _, query = target.partition("?")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = headers.get("content-length", "0")
        body = await buffered.receive_exactly(int(length)) if length.isdecimal() and int(length) else b""
        return Request(
            host=self.name,
            method=method,
            path=unquote(path),
            query=query,
            headers=headers,
            body=body,
            time=anyio.current_time(),
        )

    async def _respond(self, stream: SocketStream, request: Request, fault: Fault) -> bool:
        """Send one answer; return whether the connection goes on."""
        if fault.delay:
            await anyio.sleep(fault.delay)
        reply = spoilt(fault) or ranged(await self._answer(request), request, fault)
        await stream.send(_head(reply, request, fault, date=formatdate(self._now(), usegmt=True)))
        if request.method == "HEAD":
            return True
        whole = await _send_body(stream, reply.body, fault)
        if fault.reset:
            linger = struct.pack("ii", 1, 0)
            raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - a socket, not a database
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        return whole and not fault.no_length and not fault.length_delta and not fault.reset


def spoilt(fault: Fault) -> Reply | None:
    """Return the answer that a fault puts in place of the right one, if it does."""
    if fault.status is not None:
        return Reply(status=fault.status, body=fault.body or b"", headers=fault.headers)
    if fault.voucher:
        body = b'{"code":%d,"message":"0","ttl":1,"data":{"v_voucher":"voucher_stand_in"}}' % (fault.code or 0)
        return Reply(body=body, headers=(("Content-Type", "application/json"), *fault.headers))
    if fault.code is not None:
        body = b'{"code":%d,"message":"code %d","ttl":1}' % (fault.code, fault.code)
        return Reply(body=body, headers=(("Content-Type", "application/json"), *fault.headers))
    return Reply(body=fault.body, headers=fault.headers) if fault.body is not None else None


def ranged(reply: Reply, request: Request, fault: Fault) -> Reply:
    """Cut an answer to the range that was asked for. A request with ``If-Range`` gets the whole, as on some mirrors."""
    if reply.status != 200 or ("Accept-Ranges", "bytes") not in reply.headers or fault.ignore_range:
        return reply
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if asked is None or asked.group() == "bytes=-" or "if-range" in request.headers:
        return reply
    total = len(reply.body)
    first, last = _span(asked[1], asked[2], total)
    if first > last:
        return Reply(status=416, headers=(("Content-Range", f"bytes */{total}"),))
    first = min(first + fault.shift_range, last)
    span = ("Content-Range", f"bytes {first}-{last}/{total}")
    return Reply(status=206, body=reply.body[first : last + 1], headers=(*reply.headers, span))


def _span(first: str, last: str, total: int) -> tuple[int, int]:
    if not first:
        return max(total - int(last), 0), total - 1
    return int(first), min(int(last), total - 1) if last else total - 1


def _head(reply: Reply, request: Request, fault: Fault, *, date: str) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Status')}", f"Date: {date}"]
    lines += [f"{name}: {value}" for name, value in reply.headers]
    if not fault.no_length:
        lines.append(f"Content-Length: {len(reply.body) + fault.length_delta}")
    closing = fault.no_length or fault.length_delta or request.headers.get("connection", "").lower() == "close"
    lines.append(f"Connection: {'close' if closing else 'keep-alive'}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _send_body(stream: SocketStream, body: bytes, fault: Fault) -> bool:
    """Send a body as far and as fast as the fault lets it; return whether all of it went."""
    limits = [limit for limit in (fault.cut_after, fault.stall_after) if limit is not None]
    shown = body[: min(limits)] if limits else body
    step = max(int((fault.bytes_per_second or 0) / 20), 1) if fault.bytes_per_second else _CHUNK
    view = memoryview(shown)
    for place in range(0, len(shown), step):
        await stream.send(bytes(view[place : place + step]) if len(shown) > step else shown)
        if fault.bytes_per_second:
            await anyio.sleep(step / fault.bytes_per_second)
    if fault.stall_after is not None:
        await stream.receive()
    return len(shown) == len(body)


def _fields(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}
