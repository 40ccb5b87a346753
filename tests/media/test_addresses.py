"""Downloads reach the public network and the hosts that the user has named, whatever way an address is spelled."""

from __future__ import annotations

import socket

import anyio
import pytest

from musicq_async.errors import InvalidParams, SettingsError, SourceUnavailable, UnsafePath
from musicq_async.media.addresses import Gate, authorization_of, host_of, is_public, web_url
from musicq_async.media.sources import Source
from musicq_async.media.transfer import download
from musicq_async.media.web import Web
from musicq_async.settings import HttpSettings

pytestmark = pytest.mark.anyio

SPELLINGS = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.0.0.1.",
    "localhost", "LOCALHOST", "localhost.", "0", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[::127.0.0.1]", "[0:0:0:0:0:0:0:1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "１２７.０.０.１", "①②⑦.0.0.1",
    "127。0。0。1", "user@127.0.0.1", "example.com@127.0.0.1", "127.0.0.1%23@example.com", "169.254.169.254",
    "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "[fe80::1]", "[fc00::1]", "[fec0::1]", "224.0.0.1",
    "255.255.255.255", "198.18.0.1",
]  # fmt: skip


@pytest.fixture
def no_connections(monkeypatch):
    """Record every connection that is attempted, and let none through."""
    asked = []

    async def refuse(host, port, **_):
        asked.append(host)
        raise OSError("no network in this test")

    monkeypatch.setattr(anyio, "connect_tcp", refuse)
    return asked


@pytest.mark.parametrize("host", SPELLINGS)
async def test_no_spelling_of_a_private_address_is_connected_to(host, no_connections, tmp_path, http, rules):
    port = "" if "%23" in host else ":8080"
    try:
        await download([Source(url=f"http://{host}{port}/x")], tmp_path / "x", http=http, rules=rules)
    except (UnsafePath, InvalidParams, SourceUnavailable):
        pass
    else:
        pytest.fail("it was let through")
    assert no_connections == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "scheme", ["file:///etc/passwd", "ftp://x/y", "gopher://x", "data:,x", "javascript:x", "//x/y", "/x", "unix:///x"]
)
def test_only_the_web_is_fetched_from(scheme):
    with pytest.raises((UnsafePath, InvalidParams)):
        web_url(scheme)


async def test_a_name_that_leads_to_a_private_address_is_refused(monkeypatch, no_connections, tmp_path, http, rules):
    answers = [["93.184.216.34", "127.0.0.1"], ["::ffff:10.0.0.1"], ["fe80::1%eth0"]]
    for addresses in answers:
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda *_, a=addresses, **__: [(2, 1, 6, "", (one, 80)) for one in a]
        )
        with pytest.raises(UnsafePath, match="public"):
            await download([Source(url="http://innocent.example/x")], tmp_path / "x", http=http, rules=rules)
    assert no_connections == []


async def test_a_name_is_resolved_once_and_that_very_address_is_connected_to(
    monkeypatch, no_connections, tmp_path, http, rules
):
    """A name that answers differently the second time gains nothing."""
    asked = []

    def answer(*_, **__):
        asked.append(1)
        return [(2, 1, 6, "", ("93.184.216.34" if len(asked) == 1 else "127.0.0.1", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    with pytest.raises((SourceUnavailable, UnsafePath)):
        await download([Source(url="http://rebind.example/x")], tmp_path / "x", http=http, rules=rules)
    assert no_connections == ["93.184.216.34"]


async def test_private_addresses_are_open_when_the_setting_says_so(site, tmp_path, rules):
    site.put("/a", b"sound")
    await download([Source(url=site.url("/a"))], tmp_path / "x", http=HttpSettings(allow_private=True), rules=rules)
    assert (tmp_path / "x").read_bytes() == b"sound"


@pytest.mark.parametrize("allowed", ["127.0.0.1", "127.0.0.1:{port}"])
async def test_a_named_host_is_open_to_its_source_alone(site, tmp_path, http, rules, allowed):
    site.put("/a", b"sound")
    open_to = frozenset({allowed.format(port=site.port)})
    async with Web(http) as web:
        await download(
            [Source(url=site.url("/a"), allowed_hosts=open_to)], tmp_path / "x", http=http, rules=rules, web=web
        )
        for other in (frozenset(), frozenset({"127.0.0.1:1"}), frozenset({"localhost"})):
            with pytest.raises(UnsafePath):
                await download(
                    [Source(url=site.url("/a"), allowed_hosts=other)], tmp_path / "y", http=http, rules=rules, web=web
                )
    assert len(site.requests) == 1


async def test_the_quickest_address_of_a_host_is_used(site, monkeypatch, tmp_path, http, rules):
    site.put("/a", b"sound")
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (one, 80)) for one in ("127.0.0.9", "127.0.0.1")]
    )
    source = Source(url=site.url("/a", host="two.example"), allowed_hosts=frozenset({"two.example"}))
    await download([source], tmp_path / "x", http=http, rules=rules)
    assert site.requests[0].headers["host"].startswith("two.example")


async def test_through_a_proxy_what_resolves_here_to_a_private_address_is_refused_too(site, tmp_path, rules):
    async def proxy(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nsound")

    site.routes["http"] = site.routes["http://8.8.8.8/a"] = proxy
    http = HttpSettings(proxy=f"http://127.0.0.1:{site.port}")
    await download([Source(url="http://8.8.8.8/a")], tmp_path / "x", http=http, rules=rules)
    assert site.requests[0].path == "http://8.8.8.8/a"
    with pytest.raises(UnsafePath):
        await download([Source(url="http://127.0.0.1/a")], tmp_path / "y", http=http, rules=rules)
    assert len(site.requests) == 1


@pytest.mark.parametrize("proxy", ["ftp://x:1", "nonsense", "http://"])
async def test_a_proxy_that_is_none_names_the_setting_and_not_its_value(tmp_path, rules, proxy):
    with pytest.raises(SettingsError, match=r"http\.proxy"):
        await download([Source(url="http://8.8.8.8/a")], tmp_path / "x", http=HttpSettings(proxy=proxy), rules=rules)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::8.8.8.8", "2002:808:808::1", "::ffff:8.8.8.8"]
)
def test_the_public_network_is_open(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "x",
        "127.0.0.1",
        "::1",
        "::",
        "fe80::1%lo",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "::ffff:192.168.0.1",
        "64:ff9b:1::1",
        "2001:0:a00:1::1",
        "100.127.255.255",
        "192.0.0.8",
        "240.0.0.1",
        "ff02::1",
    ],
)
def test_all_else_is_closed(address):
    assert not is_public(address)


def test_a_host_is_named_without_what_may_be_secret():
    url = web_url("https://user:pass@UPOS.example.com./path?upsig=1")
    assert host_of(url) == "upos.example.com:443"
    assert authorization_of(url) == "Basic dXNlcjpwYXNz"
    assert host_of(web_url("http://[2606:4700::1]:81/")) == "[2606:4700::1]:81"
    assert "upsig" not in repr(Source(url=str(url), headers={"Cookie": "canary"}))
    assert "canary" not in repr(Source(url=str(url), headers={"Cookie": "canary"}))


def test_a_gate_knows_hosts_by_name_and_port():
    gate = Gate(allowed_hosts=frozenset({"cdn.example", "[::1]:8080"}))
    assert gate.trusts("CDN.example.", 443)
    assert gate.trusts("::1", 8080)
    assert not gate.trusts("::1", 80)
    assert not gate.trusts("evil-cdn.example", 443)
