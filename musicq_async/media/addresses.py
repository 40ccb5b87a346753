"""Which network addresses a download may reach, whatever way they are spelled.

A name in an address is resolved here once; the connection is then made to one of the very addresses that were
judged (see ``connections``), so a name that changes its answer between the two gains nothing.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import anyio
import httpx

from musicq_async.errors import InvalidParams, SourceUnavailable, UnsafePath

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
LONGEST_URL: Final = 8192

_HOST: Final = re.compile(rb"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Spelled out, because what ``is_global`` says has changed between Python versions.
_CLOSED: Final = tuple(
    ipaddress.ip_network(block)
    for block in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "::/8", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16",
        "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def web_url(text: str, *, field: str = "url") -> httpx.URL:
    """Read an ``http`` or ``https`` address.

    Raises `InvalidParams` for what is no address, and `UnsafePath` for another scheme. Neither shows the
    address, which may carry a password or a signature.
    """
    if not isinstance(text, str) or not 0 < len(text) <= LONGEST_URL:
        raise InvalidParams(f"{field}: an http or https address of 1 to {LONGEST_URL} characters is needed")
    url = _parsed(text.strip())
    if url is None:
        raise InvalidParams(f"{field}: this is not a valid web address")
    if url.scheme not in DEFAULT_PORTS:
        what = f"{url.scheme}: addresses are" if url.scheme else "an address without http:// or https:// is"
        raise UnsafePath(f"{field}: {what} not fetched; give an http or https address")
    if not _HOST.fullmatch(url.raw_host) or (url.port is not None and not 0 < url.port < 65536):
        raise InvalidParams(f"{field}: the address names no host, or a port outside 1 to 65535")
    return url


@lru_cache(maxsize=256)  # one download looks at its addresses eight times
def _parsed(text: str) -> httpx.URL | None:
    try:
        url = httpx.URL(text)
        _ = url.port
    except (httpx.InvalidURL, ValueError, TypeError, UnicodeError):
        return None
    return url


def port_of(url: httpx.URL) -> int:
    """Port that the address leads to."""
    return url.port or DEFAULT_PORTS[url.scheme]


def host_of(url: httpx.URL) -> str:
    """``host:port`` for messages and comparisons: never the path or query, where signatures live."""
    name = url.raw_host.decode("ascii").lower().rstrip(".")
    return f"[{name}]:{port_of(url)}" if ":" in name else f"{name}:{port_of(url)}"


def authorization_of(url: httpx.URL) -> str | None:
    """Return the Basic authorization for a user and password written into the address."""
    if not url.userinfo:
        return None
    return "Basic " + b64encode(f"{url.username}:{url.password}".encode()).decode("ascii")


def is_public(address: str) -> bool:
    """Whether a numeric address belongs to the public network.

    An IPv4 address wrapped in an IPv6 one (mapped, compatible, 6to4, Teredo, NAT64) is judged by what is inside.
    """
    try:
        ip: IPAddress = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = _wrapped(ip)
        if inner is not None:
            return is_public(str(inner))
    return not ip.is_multicast and not any(ip in block for block in _CLOSED if block.version == ip.version)


def _wrapped(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip.sixtofour is not None:
        return ip.sixtofour
    if ip.teredo is not None:
        return ip.teredo[1]
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What one source may reach: the public network, and the hosts that the user has named."""

    allow_private: bool = False
    allowed_hosts: frozenset[str] = frozenset()
    """``name`` (any port) or ``name:port``, lower case; these may be private."""

    def trusts(self, host: str, port: int) -> bool:
        """Whether this host may be reached at whatever address it has."""
        name = host.lower().strip("[]").rstrip(".")
        spelled = {name, f"{name}:{port}", f"[{name}]", f"[{name}]:{port}"}
        return self.allow_private or not spelled.isdisjoint(self.allowed_hosts)

    async def addresses(self, host: str, port: int) -> list[str]:
        """Resolve a host to the numeric addresses that may be connected to, in the resolver's order.

        Raises `UnsafePath` when any of them is not public, and `SourceUnavailable` when there is none.
        """
        found = await resolve(host, port)
        if not self.trusts(host, port):
            for address in found:
                if not is_public(address):
                    raise UnsafePath(
                        f"{host}:{port} leads to {address}, which is not on the public network; "
                        "set http.allow_private if downloads may go there"
                    )
        return found


async def resolve(host: str, port: int) -> list[str]:
    """Numeric addresses of a host, without duplicates, in the resolver's order.

    Raises `SourceUnavailable` when the name is not known or the resolver does not answer.
    """
    try:
        return [str(ipaddress.ip_address(host.strip("[]")))]
    except ValueError:
        pass  # a name, or one of the odd numeric spellings, which the resolver reads as the system would
    try:
        answers = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SourceUnavailable(f"the name {host} cannot be resolved; check it and the network") from error
    found = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
    if not found:
        raise SourceUnavailable(f"the name {host} has no address")
    return found
