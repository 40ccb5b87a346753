"""Signing of queries whose path asks for it (WBI)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

_ORDER: Final = (
    46, 47, 18, 2, 53, 8, 23, 32, 15, 50, 10, 31, 58, 3, 45, 35,
    27, 43, 5, 49, 33, 9, 42, 19, 29, 28, 14, 39, 12, 38, 41, 13,
)  # fmt: skip
_DROPPED: Final = str.maketrans("", "", "!'()*")


@dataclass(frozen=True, slots=True, kw_only=True)
class WbiKeys:
    """The site-wide pair of keys, changed about daily."""

    img: str
    sub: str

    @property
    def mixin(self) -> str:
        """The text that is hashed behind a query."""
        raw = self.img + self.sub
        return "".join(raw[place] for place in _ORDER)


def keys_from_addresses(img_url: str, sub_url: str) -> WbiKeys | None:
    """Read the keys from the two picture addresses that carry them; ``None`` if they do not."""
    img, sub = (address.rsplit("/", 1)[-1].split(".", 1)[0] for address in (img_url, sub_url))
    return WbiKeys(img=img, sub=sub) if len(img) == len(sub) == 32 else None


def canonical_query(params: Mapping[str, object]) -> str:
    """Join ``params`` sorted by name and percent-encoded: what is signed is what must be sent."""
    return "&".join(
        f"{quote(name, safe='')}={quote(str(value).translate(_DROPPED), safe='')}"
        for name, value in sorted(params.items())
    )


def signed_query(params: Mapping[str, object], keys: WbiKeys, *, now: int) -> str:
    """Return the whole query for ``params`` at epoch second ``now``, to be sent byte for byte."""
    fields = {name: value for name, value in params.items() if name != "w_rid"} | {"wts": now}
    query = canonical_query(fields)
    digest = hashlib.md5((query + keys.mixin).encode(), usedforsecurity=False).hexdigest()
    return f"{query}&w_rid={digest}"
