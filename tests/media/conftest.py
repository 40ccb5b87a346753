"""A web server that misbehaves as told, and real sound to work on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from musicq_async.media.sources import Source
from musicq_async.media.transfer import TransferRules
from musicq_async.settings import HttpSettings


@dataclass
class Request:
    path: str
    headers: dict[str, str]

    @property
    def start(self) -> int | None:
        found = self.headers.get("range")
        return int(found.removeprefix("bytes=").split("-")[0]) if found else None


Behaviour = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class File:
    """One file on the server and the ways in which it is served badly."""

    data: bytes
    etag: str | None = '"v1"'
    modified: str | None = None
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    """Bytes after which each further answer is cut off."""
    statuses: list[int] = field(default_factory=list)
    """Statuses of the first answers."""
    extra: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    """A lie about Content-Length."""
    total: int | None = None
    """A lie about the total of Content-Range."""
    shift: int = 0
    """Bytes by which a 206 starts elsewhere."""
    framing: str = "length"
    """length, chunked, or close."""
    after: Callable[[File], None] | None = None
    """Called after each answer."""
    chunk: int = 1 << 16
    pause: float = 0.0
    stall_at: int | None = None

    async def __call__(self, request: Request, writer: asyncio.StreamWriter) -> None:
        start = request.start if self.ranges else None
        if request.headers.get("if-range") not in (None, self.etag):
            start = None
        if self.statuses:
            status = self.statuses.pop(0)
            await reply(writer, status, b"no", self.extra)
            return
        headers = dict(self.extra)
        if self.etag:
            headers["ETag"] = self.etag
        if self.modified:
            headers["Last-Modified"] = self.modified
            headers["Date"] = "Sun, 06 Nov 1994 08:49:37 GMT"
        total = len(self.data) if self.total is None else self.total
        if start is not None and start >= len(self.data):
            await reply(writer, 416, b"", headers | {"Content-Range": f"bytes */{total}"})
            return
        body = self.data[start or 0 :]
        if start is not None:
            first = start + self.shift
            headers["Content-Range"] = f"bytes {first}-{first + len(body) - 1}/{total}"
        cut = self.cuts.pop(0) if self.cuts else None
        await self._send(writer, 200 if start is None else 206, headers, body, cut)
        if self.after:
            self.after(self)

    async def _send(self, writer, status, headers, body, cut) -> None:
        if self.framing == "length":
            headers["Content-Length"] = str(len(body) if self.length is None else self.length)
        elif self.framing == "chunked":
            headers["Transfer-Encoding"] = "chunked"
        writer.write(head(status, headers))
        sent = 0
        for at in range(0, len(body), self.chunk):
            piece = body[at : at + self.chunk]
            if cut is not None:
                piece = piece[: cut - sent]
            if self.stall_at is not None and sent + len(piece) > self.stall_at:
                await asyncio.sleep(3600)
            sent += len(piece)
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self.framing == "chunked" and piece else piece)
            await writer.drain()
            if cut is not None and sent >= cut:
                return
            if self.pause:
                await asyncio.sleep(self.pause)
        if self.framing == "chunked":
            writer.write(b"0\r\n\r\n")


def head(status: int, headers: dict[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} X",
        *(f"{name}: {value}" for name, value in headers.items()),
        "Connection: close",
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1")


async def reply(writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    writer.write(head(status, {"Content-Length": str(len(body)), **(headers or {})}) + body)


class Site:
    """A loopback web server with one behaviour a path; remembers every request."""

    def __init__(self) -> None:
        self.routes: dict[str, Behaviour] = {}
        self.requests: list[Request] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)
                }
                request = Request(lines[0].split(" ")[1], headers)
                self.requests.append(request)
                await self.routes[request.path.partition("?")[0]](request, writer)
                await writer.drain()
        finally:
            self._tasks.discard(asyncio.current_task())
            with suppress(Exception):
                writer.close()

    def put(self, path: str, data: bytes = b"", **how) -> File:
        """Serve a file; returns it, to be changed at will."""
        self.routes[path] = file = File(data, **how)
        return file

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def source(self, path: str, **how) -> Source:
        return Source(url=self.url(path), allowed_hosts=frozenset({"127.0.0.1"}), **how)


@pytest.fixture
async def site(anyio_backend) -> AsyncIterator[Site]:
    site = Site()
    await site.start()
    yield site
    await site.stop()


@pytest.fixture
async def mirror(anyio_backend) -> AsyncIterator[Site]:
    site = Site()
    await site.start()
    yield site
    await site.stop()


@pytest.fixture
def http() -> HttpSettings:
    return HttpSettings(connect_timeout=2.0, stall_timeout=2.0, deadline=20.0)


@pytest.fixture
def rules() -> TransferRules:
    return TransferRules(cool_down=0.002, slow_window=0.2, flush_interval=0.05, spare=0)


@pytest.fixture
def noise() -> Callable[[int], bytes]:
    """Bytes in which every place is different."""
    return lambda size, seed=1: random.Random(seed).randbytes(size)
