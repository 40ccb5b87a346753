"""Downloads arrive whole and in one version, or not at all."""

from __future__ import annotations

import asyncio
import errno
import gzip
import os
import random
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from musicq_async.errors import (
    FileTooLarge,
    InvalidParams,
    NotPermitted,
    OutOfSpace,
    RateLimited,
    SourceUnavailable,
    TransferBroken,
    UnsafePath,
    WorkGone,
)
from musicq_async.media.files import SafeFolder
from musicq_async.media.partial import PartFile
from musicq_async.media.sources import Source
from musicq_async.media.transfer import TransferRules, download
from musicq_async.media.web import Web
from musicq_async.settings import HttpSettings

pytestmark = pytest.mark.anyio


@pytest.fixture
def fetch(http, rules, tmp_path):
    """Download from sources of one or more sites to one place."""

    async def fetch(*sources, **how):
        how = {"http": http, "rules": rules} | how
        return await download(sources, how.pop("target", tmp_path / "song.m4a"), **how)

    return fetch


def left(folder) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


async def test_a_file_arrives_whole_under_its_name_and_nothing_else_stays(site, fetch, noise, tmp_path):
    site.put("/a", noise(300_000))
    done = await fetch(site.source("/a"))
    assert done.path == tmp_path / "song.m4a"
    assert done.path.read_bytes() == noise(300_000)
    assert (done.size, done.received, done.resumed_from, done.etag) == (300_000, 300_000, 0, '"v1"')
    assert left(tmp_path) == ["song.m4a"]


async def test_a_file_arrives_from_an_address_of_the_sixth_version(site_v6, fetch, noise):
    site_v6.put("/a", noise(1000))
    done = await fetch(Source(url=site_v6.url("/a", host="[::1]"), allowed_hosts=frozenset({"::1"})))
    assert done.path.read_bytes() == noise(1000)


async def test_missing_folders_are_made(site, fetch, tmp_path):
    site.put("/a", b"sound")
    done = await fetch(site.source("/a"), target=tmp_path / "x" / "y" / "song.mp3")
    assert done.path.read_bytes() == b"sound"


async def test_after_a_cut_exactly_the_missing_bytes_are_asked_for(site, fetch, noise):
    site.put("/a", noise(300_000), cuts=[100_000, 50_000])
    done = await fetch(site.source("/a"))
    assert done.path.read_bytes() == noise(300_000)
    assert [request.start for request in site.requests] == [None, 100_000, 150_000]
    assert done.received == 300_000


async def test_if_range_is_sent_only_when_it_is_asked_for(site, fetch, noise):
    site.put("/a", noise(90_000), cuts=[50_000])
    await fetch(site.source("/a"))
    assert "if-range" not in site.requests[-1].headers
    site.put("/a", noise(90_000), cuts=[50_000])
    await fetch(site.source("/a"), if_range=True)
    assert site.requests[-1].headers["if-range"] == '"v1"'


@pytest.mark.parametrize("if_range", [True, False])
async def test_a_version_that_changes_between_two_parts_is_never_mixed(site, fetch, noise, if_range):
    def change(file):
        file.data, file.etag = noise(300_000, 2), '"v2"'

    site.put("/a", noise(300_000), cuts=[100_000], after=change)
    site.routes["/a"].after = None
    file = site.routes["/a"]

    async def serve(request, writer):
        await file(request, writer)
        change(file)

    site.routes["/a"] = serve
    done = await fetch(site.source("/a"), if_range=if_range)
    assert done.path.read_bytes() == noise(300_000, 2)


async def test_a_file_without_any_version_mark_starts_again_rather_than_guess(site, fetch, noise):
    site.put("/a", noise(300_000), etag=None, cuts=[100_000])
    done = await fetch(site.source("/a"))
    assert done.path.read_bytes() == noise(300_000)
    assert [request.start for request in site.requests] == [None, None]


async def test_a_weak_etag_proves_nothing(site, fetch, noise):
    site.put("/a", noise(300_000), etag='W/"v1"', cuts=[100_000])
    done = await fetch(site.source("/a"))
    assert [request.start for request in site.requests] == [None, None]
    assert done.path.read_bytes() == noise(300_000)


async def test_an_old_last_modified_is_proof_enough(site, fetch, noise):
    site.put("/a", noise(300_000), etag=None, modified="Sun, 06 Nov 1994 08:00:00 GMT", cuts=[100_000])
    await fetch(site.source("/a"))
    assert [request.start for request in site.requests] == [None, 100_000]


async def test_with_an_identity_a_mirror_goes_on_where_the_first_stopped(site, mirror, fetch, noise):
    site.put("/a", noise(300_000), etag=None, cuts=[100_000], statuses=[])
    site.routes["/a"].after = lambda file: file.statuses.extend([503] * 9)
    mirror.put("/b", noise(300_000), etag=None)
    first = site.routes["/a"]

    async def serve_once(request, writer):
        await first(request, writer)
        first.statuses.extend([503] * 9)

    site.routes["/a"] = serve_once
    done = await fetch(site.source("/a"), mirror.source("/b"), identity="bv1-30280")
    assert done.path.read_bytes() == noise(300_000)
    assert [request.start for request in mirror.requests] == [100_000]


async def test_a_mirror_of_another_size_is_not_mixed_in(site, mirror, fetch, noise):
    site.put("/a", noise(300_000), etag=None, cuts=[100_000, 0, 0, 0, 0, 0, 0, 0])
    mirror.put("/b", noise(280_000, 7), etag=None)
    done = await fetch(site.source("/a"), mirror.source("/b"), identity="bv1")
    assert done.path.read_bytes() in (noise(300_000), noise(280_000, 7))


async def test_a_later_run_goes_on_from_what_a_cancelled_one_kept(site, fetch, noise, tmp_path):
    site.put("/a", noise(300_000), stall_at=200_000)
    with anyio.move_on_after(0.3):
        await fetch(site.source("/a"))
    assert not (tmp_path / "song.m4a").exists()
    kept = (tmp_path / "song.m4a.part").stat().st_size
    assert 0 < kept <= 200_000
    site.routes["/a"].stall_at = None
    done = await fetch(site.source("/a"))
    assert done.path.read_bytes() == noise(300_000)
    assert site.requests[-1].start == kept == done.resumed_from
    assert left(tmp_path) == ["song.m4a"]


async def test_native_cancellation_keeps_the_part_too(site, fetch, noise, tmp_path):
    site.put("/a", noise(300_000), stall_at=200_000)
    task = asyncio.get_running_loop().create_task(fetch(site.source("/a")))
    await anyio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (tmp_path / "song.m4a.part").stat().st_size > 0
    site.routes["/a"].stall_at = None
    assert (await fetch(site.source("/a"))).path.read_bytes() == noise(300_000)


async def test_a_part_of_another_address_or_identity_is_not_used(site, fetch, noise, tmp_path):
    site.put("/a", noise(300_000), stall_at=200_000)
    site.put("/b", noise(300_000, 2))
    with anyio.move_on_after(0.3):
        await fetch(site.source("/a"))
    done = await fetch(site.source("/b"))
    assert done.path.read_bytes() == noise(300_000, 2)
    assert site.requests[-1].start is None


async def test_a_part_that_is_whole_only_needs_its_name(site, fetch, noise, tmp_path, monkeypatch):
    def die(self):
        raise OSError(errno.EIO, "power cut")

    site.put("/a", noise(1000))
    with monkeypatch.context() as patch:
        patch.setattr(PartFile, "finish", die)
        with pytest.raises(OSError, match="power cut"):
            await fetch(site.source("/a"))
    done = await fetch(site.source("/a"))
    assert done.path.read_bytes() == noise(1000)
    assert len(site.requests) == 1


async def test_a_part_without_its_note_is_started_again(site, fetch, noise, tmp_path):
    (tmp_path / "song.m4a.part").write_bytes(b"x" * 1000)
    site.put("/a", noise(5000))
    assert (await fetch(site.source("/a"))).path.read_bytes() == noise(5000)


async def test_a_broken_note_is_started_again(site, fetch, noise, tmp_path):
    (tmp_path / "song.m4a.part").write_bytes(b"x" * 1000)
    (tmp_path / "song.m4a.pmeta").write_bytes(b'{"total": "many"')
    site.put("/a", noise(5000))
    assert (await fetch(site.source("/a"))).path.read_bytes() == noise(5000)


async def test_a_server_that_ignores_ranges_sends_the_file_anew(site, fetch, noise):
    site.put("/a", noise(300_000), ranges=False, cuts=[100_000, 250_000])
    assert (await fetch(site.source("/a"))).path.read_bytes() == noise(300_000)


async def test_a_part_that_starts_elsewhere_is_refused(site, mirror, fetch, noise):
    site.put("/a", noise(300_000), cuts=[100_000], shift=5)
    mirror.put("/a", noise(300_000))
    done = await fetch(site.source("/a"), mirror.source("/a"), identity="x")
    assert done.path.read_bytes() == noise(300_000)
    assert len(mirror.requests) == 1


async def test_a_total_that_changes_means_another_version(site, fetch, noise):
    file = site.put("/a", noise(300_000), cuts=[100_000])
    file.total = 300_001
    assert (await fetch(site.source("/a"))).path.read_bytes() == noise(300_000)


async def test_a_length_that_promises_too_much_is_a_broken_transfer(site, fetch, noise, tmp_path):
    site.put("/a", noise(1000), length=2000)
    with pytest.raises(TransferBroken):
        await fetch(site.source("/a"))
    assert "song.m4a" not in left(tmp_path)


async def test_a_length_other_than_expected_goes_to_the_next_source(site, mirror, fetch, noise):
    site.put("/a", noise(150))
    mirror.put("/a", noise(1000))
    done = await fetch(site.source("/a"), mirror.source("/a"), expected_size=1000)
    assert done.path.read_bytes() == noise(1000)


async def test_junk_that_fails_the_look_at_its_first_bytes_goes_to_the_next_source(site, mirror, fetch):
    site.put("/a", b"<html>sorry</html>")
    mirror.put("/a", b"\0\0\0\x18ftypiso5....")
    done = await fetch(site.source("/a"), mirror.source("/a"), sanity=lambda first: first[4:8] == b"ftyp")
    assert done.path.read_bytes().startswith(b"\0\0\0\x18ftyp")


async def test_a_body_without_length_is_believed_only_with_its_own_end_mark(site, fetch, noise):
    site.put("/a", noise(90_000), framing="chunked")
    assert (await fetch(site.source("/a"))).path.read_bytes() == noise(90_000)


async def test_a_chunked_body_that_is_cut_is_not_whole(site, fetch, noise):
    site.put("/a", noise(300_000), framing="chunked", cuts=[100_000])
    assert (await fetch(site.source("/a"))).path.read_bytes() == noise(300_000)


async def test_a_body_that_ends_with_the_connection_needs_a_second_opinion(site, fetch, noise):
    site.put("/a", noise(90_000), framing="close")
    done = await fetch(site.source("/a"))
    assert done.path.read_bytes() == noise(90_000)
    assert site.requests[-1].start == 90_000


async def test_a_body_cut_without_any_length_is_completed(site, fetch, noise):
    site.put("/a", noise(90_000), framing="close", cuts=[30_000])
    assert (await fetch(site.source("/a"))).path.read_bytes() == noise(90_000)


async def test_a_body_whose_length_nobody_says_is_refused(site, fetch, noise, tmp_path):
    site.put("/a", noise(90_000), framing="close", ranges=False)
    with pytest.raises(TransferBroken, match="how long"):
        await fetch(site.source("/a"))
    assert not (tmp_path / "song.m4a").exists()


async def test_an_expected_size_settles_a_body_without_length(site, fetch, noise):
    site.put("/a", noise(90_000), framing="close", ranges=False)
    assert (await fetch(site.source("/a"), expected_size=90_000)).size == 90_000


async def test_an_unasked_encoding_is_refused(site, fetch, noise, tmp_path):
    bomb = gzip.compress(bytes(1 << 20))
    site.put("/a", bomb, extra={"Content-Encoding": "gzip"})
    with pytest.raises(TransferBroken, match="gzip"):
        await fetch(site.source("/a"))
    assert site.requests[0].headers["accept-encoding"] == "identity"
    assert left(tmp_path) == []


async def test_an_empty_file_is_no_song(site, fetch, tmp_path):
    site.put("/a", b"")
    with pytest.raises(TransferBroken, match="empty"):
        await fetch(site.source("/a"))
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, WorkGone), (410, WorkGone), (403, NotPermitted), (401, NotPermitted), (405, TransferBroken)],
)
async def test_a_refusal_that_will_not_pass_is_asked_once(site, fetch, status, error, tmp_path):
    site.put("/a", b"x", statuses=[status] * 9)
    with pytest.raises(error) as caught:
        await fetch(site.source("/a?token=secret"))
    assert len(site.requests) == 1
    assert "secret" not in str(caught.value)
    assert left(tmp_path) == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_refusal_that_may_pass_is_asked_again(site, fetch, status):
    site.put("/a", b"sound", statuses=[status, status])
    assert (await fetch(site.source("/a"))).size == 5
    assert len(site.requests) == 3


async def test_a_server_that_wants_fewer_requests_says_when(site, fetch, http):
    site.put("/a", b"x", statuses=[429] * 99, extra={"Retry-After": "0"})
    with pytest.raises(RateLimited):
        await fetch(site.source("/a"))


async def test_nobody_at_home_is_unavailable(fetch, site):
    port = site.port
    await site.stop()
    with pytest.raises(SourceUnavailable):
        await fetch(Source(url=f"http://127.0.0.1:{port}/a", allowed_hosts=frozenset({"127.0.0.1"})))
    await site.start()


async def test_a_stalled_source_is_left_for_another(site, mirror, fetch, noise):
    site.put("/a", noise(300_000), stall_at=100_000)
    mirror.put("/a", noise(300_000))
    http = HttpSettings(stall_timeout=0.2)
    done = await fetch(site.source("/a"), mirror.source("/a"), http=http, identity="x")
    assert done.path.read_bytes() == noise(300_000)
    assert mirror.requests[0].start > 0


async def test_a_crawling_source_is_left_only_when_there_is_another(site, mirror, fetch, noise, rules):
    site.put("/a", noise(3000), chunk=50, pause=0.02)
    mirror.put("/a", noise(3000))
    done = await fetch(site.source("/a"), mirror.source("/a"), identity="x")
    assert done.path.read_bytes() == noise(3000)
    assert len(mirror.requests) == 1
    site.put("/b", noise(1000), chunk=50, pause=0.02)
    await fetch(site.source("/b"))
    assert [request.path for request in site.requests].count("/b") == 1


@pytest.mark.parametrize("drip", ["header", "body"])
async def test_a_drip_of_bytes_ends_at_the_deadline(site, fetch, drip, tmp_path):
    async def slow(request, writer):
        if drip == "body":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x" if drip == "body" else b"H")
            await writer.drain()
            await asyncio.sleep(0.02)

    site.routes["/a"] = slow
    started = anyio.current_time()
    with pytest.raises(TransferBroken, match="longer than"):
        await fetch(site.source("/a"), deadline=0.4)
    assert anyio.current_time() - started < 1.0
    assert "song.m4a" not in left(tmp_path)


async def test_an_endless_body_ends_at_the_cap(site, fetch, tmp_path):
    async def endless(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(1 << 16))
            await writer.drain()

    site.routes["/a"] = endless
    with pytest.raises(FileTooLarge, match="max_bytes"):
        await fetch(site.source("/a"), max_bytes=1 << 20)
    assert left(tmp_path) == []


async def test_a_file_over_the_cap_is_not_begun(site, fetch, noise, tmp_path):
    site.put("/a", noise(5000))
    with pytest.raises(FileTooLarge, match="4999"):
        await fetch(site.source("/a"), max_bytes=4999)
    assert left(tmp_path) == []


async def test_a_full_disk_is_noticed_before_the_first_byte(site, fetch, noise, tmp_path):
    site.put("/a", noise(5000))
    with pytest.raises(OutOfSpace, match="disk"):
        await fetch(site.source("/a"), rules=TransferRules(spare=1 << 60))
    assert left(tmp_path) == []


async def test_a_disk_that_fills_up_keeps_nothing_under_the_name(site, fetch, noise, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    site.put("/a", noise(5000))
    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(OutOfSpace):
        await fetch(site.source("/a"))
    assert "song.m4a" not in left(tmp_path)


async def test_a_rate_limit_holds(site, fetch, noise):
    site.put("/a", noise(60_000))
    started = anyio.current_time()
    await fetch(site.source("/a"), http=HttpSettings(rate_limit=100_000))
    assert 0.4 < anyio.current_time() - started < 2


async def test_expired_addresses_are_refreshed_at_most_three_times(site, fetch, noise):
    site.put("/new", noise(1000))
    asked = []

    async def refresh():
        asked.append(1)
        return [site.source("/new", expires_at=4e9)]

    done = await fetch(site.source("/old", expires_at=1000.0), refresh=refresh)
    assert done.path.read_bytes() == noise(1000)
    assert len(asked) == 1
    assert [request.path for request in site.requests] == ["/new"]

    async def never():
        asked.append(1)
        return [site.source("/old", expires_at=1000.0)]

    with pytest.raises(TransferBroken):
        await fetch(site.source("/old", expires_at=1000.0), refresh=never)
    assert len(asked) == 4


async def test_refreshed_addresses_go_on_from_the_same_byte(site, fetch, noise):
    old = site.put("/a", noise(300_000), cuts=[100_000], etag=None)

    async def then_forbidden(request, writer):
        await old(request, writer)
        old.statuses.extend([403] * 9)

    site.routes["/a"] = then_forbidden
    site.put("/b", noise(300_000), etag=None)

    async def refresh():
        return [site.source("/b?sign=2")]

    done = await fetch(site.source("/a?sign=1"), refresh=refresh, identity="cid-30280")
    assert done.path.read_bytes() == noise(300_000)
    assert site.requests[-1].start == 100_000


async def test_redirects_are_followed_without_the_cookie_of_the_first_host(site, mirror, fetch):
    async def away(request, writer):
        writer.write(
            b"HTTP/1.1 302 X\r\nLocation: "
            + mirror.url("/b").encode()
            + b"\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\n\r\n"
        )

    site.routes["/a"] = away
    mirror.put("/b", b"sound")
    headers = {"Cookie": "SESSDATA=canary", "Authorization": "Bearer canary", "Referer": "http://r/"}
    source = Source(url=site.url("/a"), headers=headers, allowed_hosts=frozenset({"127.0.0.1"}))
    await fetch(source)
    assert site.requests[0].headers["cookie"] == "SESSDATA=canary"
    assert not {"cookie", "authorization"} & set(mirror.requests[0].headers)
    assert mirror.requests[0].headers["referer"] == "http://r/"


async def test_a_redirect_leads_nowhere_that_the_source_does_not_allow(site, mirror, fetch):
    async def away(request, writer):
        writer.write(b"HTTP/1.1 302 X\r\nLocation: " + mirror.url("/b").encode() + b"\r\nContent-Length: 0\r\n\r\n")

    site.routes["/a"] = away
    mirror.put("/b", b"sound")
    with pytest.raises(UnsafePath, match="no host that this may come from"):
        await fetch(site.source("/a", may_lead_to=lambda address: address.startswith(site.url("/"))))
    assert mirror.requests == []
    await fetch(site.source("/a", may_lead_to=lambda address: address.startswith(mirror.url("/"))))
    assert len(mirror.requests) == 1


async def test_six_redirects_are_too_many(site, fetch):
    async def around(request, writer):
        writer.write(b"HTTP/1.1 302 X\r\nLocation: /a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    site.routes["/a"] = around
    with pytest.raises(TransferBroken, match="redirects"):
        await fetch(site.source("/a"))
    assert len(site.requests) == 6


@pytest.mark.parametrize(
    "target",
    ["http://localhost:{port}/secret", "file:///etc/passwd", "gopher://x/", "javascript:alert(1)", "http://[::1]/"],
)
async def test_a_redirect_to_where_downloads_may_not_go_is_refused(site, fetch, target):
    async def away(request, writer):
        place = target.format(port=site.port)
        writer.write(f"HTTP/1.1 302 X\r\nLocation: {place}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())

    site.routes["/a"] = away
    site.put("/secret", b"x")
    with pytest.raises((UnsafePath, TransferBroken)):
        await fetch(site.source("/a"))
    assert [request.path for request in site.requests] == ["/a"]


async def test_two_downloads_of_one_target_both_end_well(site, fetch, noise, tmp_path):
    site.put("/a", noise(300_000), chunk=10_000, pause=0.002)
    site.put("/b", noise(300_000, 2), chunk=10_000, pause=0.002)
    async with anyio.create_task_group() as tasks:
        for path in ("/a", "/b", "/a", "/b"):
            tasks.start_soon(fetch, site.source(path))
    assert (tmp_path / "song.m4a").read_bytes() in (noise(300_000), noise(300_000, 2))
    assert left(tmp_path) == ["song.m4a"]


async def test_a_finished_download_replaces_the_old_file_in_one_step(site, fetch, noise, tmp_path):
    (tmp_path / "song.m4a").write_bytes(b"old")
    site.put("/a", noise(300_000), cuts=[100_000] * 9, etag=None)
    with pytest.raises(TransferBroken):
        await fetch(site.source("/a"))
    assert (tmp_path / "song.m4a").read_bytes() == b"old"
    site.put("/a", noise(300_000))
    await fetch(site.source("/a"))
    assert (tmp_path / "song.m4a").read_bytes() == noise(300_000)


async def test_a_link_at_the_target_or_its_part_is_not_written_through(site, fetch, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    folder = tmp_path / "music"
    folder.mkdir()
    (folder / "song.m4a").symlink_to(outside)
    (folder / "song.m4a.part").symlink_to(outside)
    (folder / "song.m4a.pmeta").symlink_to(outside)
    site.put("/a", b"sound")
    await fetch(site.source("/a"), target=folder / "song.m4a")
    assert outside.read_bytes() == b"precious"
    assert (folder / "song.m4a").read_bytes() == b"sound"
    assert not (folder / "song.m4a").is_symlink()


async def test_a_hard_linked_part_is_left_alone(site, fetch, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    folder = tmp_path / "music"
    folder.mkdir()
    (folder / "song.m4a.part").hardlink_to(outside)
    site.put("/a", b"sound")
    await fetch(site.source("/a"), target=folder / "song.m4a")
    assert outside.read_bytes() == b"precious"


async def test_a_folder_at_the_target_is_refused_at_once(site, fetch, tmp_path):
    (tmp_path / "song.m4a").mkdir()
    site.put("/a", b"sound")
    with pytest.raises(UnsafePath):
        await fetch(site.source("/a"))
    assert site.requests == []


@pytest.mark.parametrize("name", ["名" * 84 + ".m4", "x" * 255, "🎵" * 63])
async def test_the_longest_legal_names_have_room_for_their_part(site, fetch, tmp_path, name):
    site.put("/a", b"sound", cuts=[2])
    done = await fetch(site.source("/a"), target=tmp_path / name)
    assert left(tmp_path) == [name]
    assert done.size == 5


async def test_within_a_folder_no_target_leads_outside(site, fetch, tmp_path):
    site.put("/a", b"sound")
    safe = SafeFolder(tmp_path / "music")
    done = await fetch(site.source("/a"), target=Path("Artist/song.m4a"), within=safe)
    assert done.path == tmp_path / "music" / "Artist" / "song.m4a"
    (tmp_path / "outside").mkdir()
    (tmp_path / "music" / "link").symlink_to(tmp_path / "outside")
    for target in ("../song.m4a", tmp_path / "song.m4a", "link/song.m4a", "Artist/../../song.m4a"):
        with pytest.raises(UnsafePath):
            await fetch(site.source("/a"), target=Path(target), within=safe)
    assert left(tmp_path) == ["music", "outside"]
    assert left(tmp_path / "outside") == []


async def test_progress_grows_from_what_was_there_to_the_end(site, fetch, noise):
    told = []

    async def progress(done, total):
        told.append((done, total))

    site.put("/a", noise(3_000_000), pause=0.001)
    await fetch(site.source("/a"), progress=progress)
    assert told[0] == (0, None)
    assert told[-1] == (3_000_000, 3_000_000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(told) > 3


async def test_an_error_of_progress_stops_the_download_and_keeps_the_part(site, fetch, noise, tmp_path):
    def progress(done, total):
        if done:
            raise RuntimeError("stop")

    site.put("/a", noise(3_000_000))
    with pytest.raises(RuntimeError, match="stop"):
        await fetch(site.source("/a"), progress=progress)
    assert "song.m4a" not in left(tmp_path)
    assert (tmp_path / "song.m4a.part").stat().st_size > 0


@pytest.mark.parametrize(
    "url", ["", "song.mp3", "http://", "http://x:99999/", "http://x:abc/", "http://exa mple/", "http://\0/", "x" * 9000]
)
async def test_what_is_no_address_is_refused_before_anything_is_made(fetch, tmp_path, url):
    with pytest.raises((InvalidParams, UnsafePath)):
        await fetch(Source(url=url), target=tmp_path / "deep" / "song.mp3")
    assert left(tmp_path) == []


async def test_a_password_in_an_address_is_sent_and_never_shown(site, fetch):
    site.put("/a", b"x", statuses=[404])
    url = site.url("/a").replace("http://", "http://user:hunter2@")
    source = Source(url=url, allowed_hosts=frozenset({"127.0.0.1"}))
    with pytest.raises(WorkGone) as caught:
        await fetch(source)
    assert site.requests[0].headers["authorization"].startswith("Basic ")
    assert "hunter2" not in repr(source) + str(caught.value) + repr(caught.value.__cause__)


async def test_cookies_of_an_answer_are_not_sent_later(site, http, rules, tmp_path):
    site.put("/a", b"x", extra={"Set-Cookie": "id=1; Path=/"})
    async with Web(http) as web:
        await download([site.source("/a")], tmp_path / "1", http=http, web=web, rules=rules)
        await download([site.source("/a")], tmp_path / "2", http=http, web=web, rules=rules)
    assert "cookie" not in site.requests[1].headers


async def test_a_small_answer_can_be_fetched_into_memory(site, http):
    site.put("/cover", b"\xff\xd8\xff picture", extra={"Content-Type": "image/jpeg; q=1"})
    site.put("/big", bytes(5000))
    site.put("/gone", b"", statuses=[404])
    async with Web(http) as web:
        got = await web.fetch(site.source("/cover"))
        assert (got.content, got.media_type) == (b"\xff\xd8\xff picture", "image/jpeg")
        with pytest.raises(TransferBroken, match="more than"):
            await web.fetch(site.source("/big"), max_bytes=4999)
        with pytest.raises(TransferBroken, match="404"):
            await web.fetch(site.source("/gone"))
        with pytest.raises(UnsafePath):
            await web.fetch(Source(url=site.url("/cover")))


@pytest.mark.parametrize("count", [120, pytest.param(450, marks=pytest.mark.soak)])
async def test_files_from_a_server_that_cuts_lies_and_changes_are_never_corrupt(
    site, http, rules, noise, tmp_path, count
):
    """Promise 24: what stands under the final name is one version of the file, whole."""
    dice = random.Random(7)
    versions: dict[str, list[bytes]] = {}

    def behave(path):
        state = {"n": 0}

        async def serve(request, writer):
            state["n"] += 1
            if dice.random() < 0.15:
                versions[path].append(dice.randbytes(len(versions[path][-1])))
            data = versions[path][-1]
            sane = state["n"] > 12
            file = kind(
                data,
                etag=f'"{len(versions[path])}"' if path[-1] in "0123456" else None,
                ranges=sane or dice.random() < 0.8,
                cuts=[] if sane or dice.random() < 0.3 else [dice.randrange(len(data))],
                total=None if sane or dice.random() < 0.9 else len(data) + 1,
                length=None if sane or dice.random() < 0.9 else len(data) + 7,
                shift=0 if sane or dice.random() < 0.95 else 1,
                framing="length" if sane else dice.choice(["length", "length", "chunked", "close"]),
                statuses=[] if sane or dice.random() < 0.9 else [503],
            )
            await file(request, writer)

        return serve

    kind = type(site.put("/x"))
    limiter = anyio.CapacityLimiter(16)
    corrupt, arrived = [], []

    async def one(number):
        path = f"/{number}"
        versions[path] = [dice.randbytes(dice.randrange(1, 40_000))]
        site.routes[path] = behave(path)
        async with limiter:
            for _ in range(20):
                try:
                    done = await download(
                        [site.source(path)], tmp_path / f"{number}.bin", http=http, rules=rules, web=web
                    )
                except TransferBroken:
                    assert not (tmp_path / f"{number}.bin").exists()
                    continue
                arrived.append(number)
                if done.path.read_bytes() not in versions[path]:
                    corrupt.append(number)
                return

    async with Web(http) as web, anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(one, number)
    assert corrupt == []
    assert len(arrived) == count
