"""What every `PublicStore` does, on every backend."""

from __future__ import annotations

import math

import anyio
import pytest

from musicq_async.errors import UsageError

pytestmark = pytest.mark.anyio


async def test_a_value_comes_back_as_it_was_set(bench) -> None:
    value = {"list": [1, 2.5, None, True], "文": "🎵  ", "": {}}
    await bench.store.set_public("k", value)
    assert await bench.store.get_public("k") == value
    assert await bench.store.get_public("other") is None


@pytest.mark.parametrize("value", [0, False, "", [], {}, 1.5, -(2**63), "null"])
async def test_values_that_look_like_nothing_are_values(bench, value) -> None:
    await bench.store.set_public("k", value)
    assert await bench.store.get_public("k") == value
    assert await bench.store.get_store_size() == 1


async def test_setting_again_replaces_value_and_ttl(bench) -> None:
    await bench.store.set_public("k", 1, ttl=0.001)
    await bench.store.set_public("k", 2)
    await anyio.sleep(0.005)
    assert await bench.store.get_public("k") == 2
    await bench.store.set_public("k", 3, ttl=0.001)
    await anyio.sleep(0.005)
    assert await bench.store.get_public("k") is None


async def test_a_value_is_gone_at_its_deadline_and_there_before(bench, clock) -> None:
    if bench.kind == "memory":
        pytest.skip("the threading core keeps its own time; its deadline is tested beside it")
    clock.stop()
    await bench.store.set_public("k", "v", ttl=10)
    await bench.store.set_public("short", "v", ttl=0.0001)
    clock.advance(9.999)
    assert await bench.store.get_public("k") == "v"
    assert await bench.store.get_public("short") is None
    clock.advance(0.001)
    assert await bench.store.get_public("k") is None
    assert await bench.store.list_keys() == []
    assert await bench.store.get_store_size() == 0
    assert not await bench.store.delete_public("k")


async def test_clean_up_drops_what_has_expired_and_says_how_many(bench) -> None:
    for number in range(5):
        await bench.store.set_public(f"short{number}", number, ttl=0.001)
    await bench.store.set_public("long", 1, ttl=60)
    await bench.store.set_public("kept", 1)
    await anyio.sleep(0.005)
    assert await bench.store.cleanup() == 5
    assert await bench.store.cleanup() == 0
    assert sorted(await bench.store.list_keys()) == ["kept", "long"]


async def test_deleting_says_whether_there_was_something(bench) -> None:
    await bench.store.set_public("k", None)
    assert await bench.store.delete_public("k")
    assert not await bench.store.delete_public("k")


async def test_keys_that_a_collation_may_mix_up_are_different(bench) -> None:
    keys = ["song", "song ", " song", "SONG", "🎵", "🎶", "か", "カ", "ガ", "ß", "ss", "é", "e\u0301", "%", "s_ng", "'"]
    for number, key in enumerate(keys):
        await bench.store.set_public(key, number)
    assert sorted(await bench.store.list_keys()) == sorted(keys)
    assert [await bench.store.get_public(key) for key in keys] == list(range(len(keys)))
    assert await bench.store.delete_public("song ")
    assert await bench.store.get_public("song") == 0


async def test_clearing_drops_everything(bench) -> None:
    for number in range(3):
        await bench.store.set_public(f"k{number}", number, ttl=60 if number else None)
    await bench.store.clear_store()
    assert await bench.store.get_store_size() == 0


@pytest.mark.parametrize("ttl", [0, -1, -math.inf, math.nan, "60"])
async def test_a_ttl_that_is_no_time_is_refused(bench, ttl) -> None:
    with pytest.raises(ValueError, match="ttl"):
        await bench.store.set_public("k", 1, ttl=ttl)
    assert await bench.store.get_public("k") is None


async def test_an_endless_ttl_keeps_the_value(bench) -> None:
    await bench.store.set_public("k", 1, ttl=math.inf)
    assert await bench.store.get_public("k") == 1


async def test_a_key_that_is_no_text_is_refused(bench) -> None:
    with pytest.raises(TypeError, match="key"):
        await bench.store.set_public(1, 1)


async def test_many_setting_one_key_at_once_leave_one_value(bench) -> None:
    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(bench.store.set_public, "k", number)
    assert await bench.store.get_public("k") in range(30)
    assert await bench.store.get_store_size() == 1


@pytest.mark.parametrize("value", [float("nan"), {"deep": [1, float("inf")]}])
async def test_what_json_cannot_write_is_refused_and_nothing_is_set(bench, value) -> None:
    if bench.kind == "memory":
        pytest.skip("the threading core keeps any object")
    await bench.store.set_public("k", "before")
    with pytest.raises(UsageError):
        await bench.store.set_public("k", value)
    assert await bench.store.get_public("k") == "before"
    await bench.store.set_public("k", [None, "null"])
    assert await bench.store.get_public("k") == [None, "null"]
