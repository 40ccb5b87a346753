"""Signatures against published and independently computed vectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicq_async.bilibili.wbi import WbiKeys, canonical_query, keys_from_addresses, signed_query

A = WbiKeys(img="7cd084941338484aae1ad9425b84077c", sub="4932caff0ff746eab6f01bf08b70ac45")
B = WbiKeys(img="0123456789abcdef0123456789abcdef", sub="fedcba9876543210fedcba9876543210")
PLAY = {"fnval": 4048, "fnver": 0, "fourk": 1, "qn": 127}

VECTORS = [
    (A, {"foo": 114, "bar": 514, "zab": 1919810}, 1702204169, "8f6f2b5b3d485fe1886cec6a0be8c5d4"),
    (A, {"bvid": "BV17x411w7KC", "cid": 279786, **PLAY, "try_look": 1}, 1764576000, "daaa3368184c133819680fe327cab17e"),
    (
        A,
        {"mid": 2, "ps": 30, "tid": 0, "pn": 1, "keyword": "", "order": "pubdate"},
        1764576000,
        "15b3b707c79361d09c058caa8d5d758f",
    ),
    (A, {"keyword": "你好 (Live!) it's*", "page": 1}, 1764576000, "aa8b0bf4fea9476d0ed5a0dac3dabce4"),
    (A, {"keyword": "a b&c=d/e?f+g~h", "x": ""}, 1700000000, "52a897bc891999e656c9ce8a9074a2a6"),
    (B, {"bvid": "BV17x411w7KC", "cid": 279786}, 1700000000, "9664da32bc711f9b3258ba03ae89eb8f"),
    (
        A,
        {"bvid": "BV1xx411c7mD", "cid": 62131, **PLAY, "web_location": 1550101},
        1735689600,
        "8df986aa212930d2af2fedebc0500b89",
    ),
]


def test_the_keys_are_mixed_as_the_site_does() -> None:
    assert A.mixin == "ea1db124af3c7062474693fa704f4ff8"
    assert B.mixin == "1022a87ffdaf532cb45ee953dce8c96d"


@pytest.mark.parametrize(("keys", "params", "now", "signature"), VECTORS)
def test_signatures_agree(keys: WbiKeys, params: dict[str, object], now: int, signature: str) -> None:
    query, _, found = signed_query(params, keys, now=now).rpartition("&w_rid=")
    assert found == signature
    assert f"wts={now}" in query


def test_an_old_signature_is_replaced() -> None:
    assert signed_query({"foo": 1, "w_rid": "old", "wts": 1}, A, now=2) == signed_query({"foo": 1}, A, now=2)


@given(st.dictionaries(st.text("abc_", min_size=1, max_size=5), st.text(max_size=20)))
def test_a_query_is_ascii_and_holds_none_of_the_dropped_signs(params: dict[str, object]) -> None:
    query = canonical_query({name: str(value).encode("utf-8", "ignore").decode() for name, value in params.items()})
    assert query.isascii()
    assert not set(query) & set("!'()* +")


def test_keys_are_read_from_the_addresses_of_two_pictures() -> None:
    found = keys_from_addresses(
        f"https://i0.hdslb.com/bfs/wbi/{A.img}.png", f"https://i0.hdslb.com/bfs/wbi/{A.sub}.png"
    )
    assert found == A
    assert keys_from_addresses("", "") is None
    assert keys_from_addresses("https://x/short.png", f"https://x/{A.sub}.png") is None
