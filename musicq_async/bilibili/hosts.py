"""Which hosts media and pictures may come from, and which of several serves best."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qs, urlsplit

_OWN: Final = (
    "bilivideo.com", "bilivideo.cn", "akamaized.net", "hdslb.com", "szbdyd.com", "biliimg.com", "bilibili.com",
)  # fmt: skip
_ODD: Final = re.compile(r"[\x00-\x20\\]")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaHosts:
    """The site's own media hosts and ``extra`` ones, each a ``name`` (any port) or ``name:port``."""

    extra: tuple[str, ...] = ()

    def allow(self, address: str) -> bool:
        """Return whether media may be fetched from this address."""
        parts = split_address(address)
        return parts is not None and (self.named(parts) or is_own(parts.hostname or ""))

    def named(self, parts: SplitResult) -> bool:
        """Return whether the host is one of the extra ones."""
        host = (parts.hostname or "").rstrip(".")
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        bracketed = f"[{host}]" if ":" in host else host
        return any(entry.lower() in {host, bracketed, f"{bracketed}:{port}"} for entry in self.extra)

    def picture(self, address: str) -> str | None:
        """Return a picture's address over TLS where the host is the site's own, ``None`` if it is nobody's we know."""
        address = "https:" + address if address.startswith("//") else address
        parts = split_address(address)
        if parts is None or not self.allow(address):
            return None
        if parts.scheme == "http" and not self.named(parts):
            return parts._replace(scheme="https").geturl()
        return address


def split_address(address: str) -> SplitResult | None:
    """Split an http or https address that has a host, a valid port and no user name; otherwise ``None``."""
    if _ODD.search(address):
        return None
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return None
    usable = parts.scheme in _DEFAULT_PORTS and parts.hostname and parts.username is None and parts.password is None
    return parts if usable else None


def is_own(host: str) -> bool:
    """Return whether a host name belongs to the site or to one of its media networks."""
    host = host.lower().rstrip(".")
    return any(host == own or host.endswith("." + own) for own in _OWN)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, judged by its spelling alone."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def by_quality(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses without repeats, the steadiest kind of host first; equals keep their order."""
    return tuple(sorted(dict.fromkeys(addresses), key=_rank))


def expiry(addresses: Iterable[str]) -> int | None:
    """Return the epoch second at which the first of the addresses dies; ``None`` if none says."""
    found = (parse_qs(urlsplit(address).query).get("deadline", [""])[0] for address in addresses)
    return min((int(text) for text in found if re.fullmatch(r"[0-9]{1,12}", text)), default=None)


def _rank(address: str) -> int:
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.port is not None or ".mcdn." in host or host.endswith("szbdyd.com") or not host.strip("0123456789."):
        return 4
    if host.startswith("cn-"):
        return 3
    if "akam" in host or "-estg" in host:
        return 1
    return 0 if "mirror" in host else 2
