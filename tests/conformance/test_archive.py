"""What an archive promises, on every database."""

from __future__ import annotations

import pytest

pytest.importorskip("sqlalchemy")
from backends import SQL_BACKENDS

from musicq_async.ports import Archived

pytestmark = pytest.mark.anyio
BV, OTHER_CASE = "BV17x411w7KC", "BV17X411w7KC"


@pytest.fixture(params=SQL_BACKENDS)
def kind(request):
    return request.param


@pytest.fixture
def archive(bench):
    from musicq_async.sql import SqlArchive

    return SqlArchive(bench.database)


def record(key, path="/music/歌🎵.m4a", **values):
    return Archived(key=key, path=path, **values)


async def test_what_is_added_is_known_by_its_key(archive):
    keys = [f"{BV}:{30_000_000_000}", "au400100", "ep12:345", "https://example.org/a.mp3"]
    assert await archive.known(keys) == set()
    for key in keys:
        await archive.add(record(key, url=f"https://www.bilibili.com/{key}" if "://" not in key else None))
    assert await archive.known([*keys, f"{BV}:1", "au4"]) == set(keys)
    for key in keys:
        assert (await archive.get(key)).key == key
    assert await archive.get("au4") is None


async def test_a_record_comes_back_as_it_was_and_is_replaced_by_the_next_one(archive):
    first = record(f"{BV}:7", url="https://x/1", size=5, codec="aac", quality="128k", created_ms=9)
    await archive.add(first)
    assert await archive.get(first.key) == first
    await archive.add(record(first.key, path="/b.flac", codec="flac"))
    found = await archive.get(first.key)
    assert (found.path, found.codec, found.quality, found.size) == ("/b.flac", "flac", None, None)
    assert len(await archive.page()) == 1


async def test_upper_and_lower_case_are_two_videos_and_parts_are_counted(archive):
    for cid in (1, 2):
        await archive.add(record(f"{BV}:{cid}"))
    await archive.add(record(f"{OTHER_CASE}:3"))
    assert await archive.cids([BV, OTHER_CASE, "BV1xx411c7mQ"]) == {BV: {1, 2}, OTHER_CASE: {3}}
    assert await archive.known([f"{OTHER_CASE}:1"]) == set()


async def test_records_are_found_by_path_listed_in_order_and_forgotten(archive):
    for cid in range(5):
        await archive.add(record(f"{BV}:{cid}", path=f"/{cid % 2}"))
    assert [one.key for one in await archive.at("/1")] == [f"{BV}:1", f"{BV}:3"]
    first = await archive.page(limit=3)
    rest = await archive.page(limit=3, after=first[-1][0])
    assert [one.key for _, one in (*first, *rest)] == [f"{BV}:{cid}" for cid in range(5)]
    assert await archive.forget(f"{BV}:2")
    assert not await archive.forget(f"{BV}:2")


async def test_thousands_of_keys_are_asked_at_once(archive):
    await archive.add(record("au1"))
    await archive.add(record(f"{BV}:1"))
    assert await archive.known([f"au{n}" for n in range(3000)] + [f"{BV}:{n}" for n in range(3000)]) == {
        "au1",
        f"{BV}:1",
    }
