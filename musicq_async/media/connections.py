"""Connections that only go where a gate lets them: an httpx transport whose sockets are opened here."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any, Final

import anyio
import anyio.abc
import anyio.to_thread
import httpcore
import httpx
from httpcore._backends.anyio import AnyIOStream  # httpcore's own wrapper, which has no public name

from musicq_async.errors import SettingsError
from musicq_async.media.addresses import Gate, resolve

_WIDTH: Final = 1 << 18
_HEAD_START: Final = 0.25  # seconds before the next address of a host is tried beside the one that does not answer
_PROXY_WANTED: Final = "http.proxy: give an http:// or socks5:// address; socks5 needs `pip install 'httpx[socks]'`"
_tls: ssl.SSLContext | None = None


async def tls_context() -> ssl.SSLContext:
    """Return the process's verified TLS settings; reading the certificates takes 20 ms, so a thread does it once."""
    global _tls  # noqa: PLW0603 - one immutable value for the process, made late
    if _tls is None:
        _tls = await anyio.to_thread.run_sync(httpx.create_ssl_context)
    return _tls


class GuardedTransport(httpx.AsyncHTTPTransport):
    """An httpx transport that asks the gate before each connection and connects to the address it judged.

    With a proxy, only the proxy is connected to; it resolves names itself, so its answer cannot be judged here.
    """

    def __init__(self, gate: Gate, *, tls: ssl.SSLContext, proxy: str | None = None) -> None:
        try:
            hostless = proxy is not None and not httpx.URL(proxy).host
            super().__init__(verify=tls, trust_env=False, proxy=proxy, limits=httpx.Limits(max_connections=None))
        except (ImportError, ValueError, httpx.InvalidURL):
            raise SettingsError(_PROXY_WANTED) from None  # the original may show a password
        if hostless:
            raise SettingsError(_PROXY_WANTED)
        # httpx has no public way to say who opens the sockets; the range of httpx versions is pinned for this.
        self._pool._network_backend = GuardedBackend(None if proxy else gate)  # noqa: SLF001


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections for httpcore: to judged addresses, the quickest of a host's addresses first."""

    def __init__(self, gate: Gate | None) -> None:
        self._gate = gate

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a host; raises what `Gate.addresses` raises besides httpcore's own errors."""
        del local_address, socket_options  # never given by our transport
        try:
            with anyio.fail_after(timeout):
                addresses = await (self._gate.addresses(host, port) if self._gate else resolve(host, port))
                stream = await _quickest(addresses, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"no connection to {host}:{port} in {timeout:g} s") from error
        except OSError as error:
            raise httpcore.ConnectError(f"no connection to {host}:{port}: {error.strerror or error}") from error
        return _WideStream(stream)

    async def sleep(self, seconds: float) -> None:
        """Wait between httpcore's own retries, of which there are none."""
        await anyio.sleep(seconds)


class _WideStream(AnyIOStream):
    """A stream that hands over all the loop has received: cutting that into httpcore's 64 KiB costs half the speed."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await super().read(max(max_bytes, _WIDTH), timeout)


async def _quickest(addresses: list[str], port: int) -> anyio.abc.SocketStream:
    """Connect to the first address that answers; each later one starts a moment after the one before."""
    if len(addresses) == 1:
        return await anyio.connect_tcp(addresses[0], port)
    race = _Race()
    try:
        async with anyio.create_task_group() as runners:
            for address in addresses:
                failed = anyio.Event()
                runners.start_soon(race.run, address, port, failed, runners.cancel_scope)
                with anyio.move_on_after(_HEAD_START):
                    await failed.wait()
    except BaseException:
        if race.winner is not None:
            await anyio.aclose_forcefully(race.winner)
        raise
    if race.winner is None:
        raise race.error or OSError("no address answered")
    return race.winner


class _Race:
    """The first connection made, and the last error seen."""

    def __init__(self) -> None:
        self.winner: anyio.abc.SocketStream | None = None
        self.error: OSError | None = None

    async def run(self, address: str, port: int, failed: anyio.Event, others: anyio.CancelScope) -> None:
        try:
            stream = await anyio.connect_tcp(address, port)
        except OSError as error:
            self.error = error
            failed.set()
            return
        if self.winner is not None:
            await anyio.aclose_forcefully(stream)
            return
        self.winner = stream
        others.cancel()
