"""The stand-in itself: honest sound, ranges, refusals and faults."""

from __future__ import annotations

import io
import math
import time
from typing import Any

import anyio
import httpx
import pytest

from musicq_async.bilibili.client import BilibiliClient
from musicq_async.bilibili.streams import AudioChoice
from musicq_async.settings import Settings
from musicq_async.testing import Fault, StandInBilibili
from musicq_async.testing import bilibili_sound as sound
from musicq_async.testing.bilibili_catalogue import ALL_STREAMS

av = pytest.importorskip("av")

ALL = ("low", "middle", "high", "flac", "dolby")
CODECS = {"low": "aac", "middle": "aac", "high": "aac", "flac": "flac", "dolby": "eac3"}


def decoded(data: bytes) -> tuple[str, list[float], int]:
    """Return the codec, one channel of samples from -1 to 1, and the rate."""
    samples: list[float] = []
    with av.open(io.BytesIO(data)) as container:
        track = container.streams.audio[0]
        resampler = av.AudioResampler(format="flt", layout="mono", rate=sound.RATE)
        for frame in container.decode(track):
            for part in resampler.resample(frame):
                samples += memoryview(bytes(part.planes[0])).cast("f")[: part.samples]
        return track.codec_context.name, samples, sound.RATE


def strength(samples: list[float], rate: int, note: float) -> float:
    """Return how strong one frequency is (Goertzel)."""
    middle = samples[rate // 4 : rate // 4 + rate // 2]
    factor, one, two = 2 * math.cos(2 * math.pi * note / rate), 0.0, 0.0
    for sample in middle:
        one, two = sample + factor * one - two, one
    return math.sqrt(max(one * one + two * two - factor * one * two, 0.0)) / len(middle)


@pytest.mark.parametrize("kind", ALL)
def test_every_stream_is_real_sound_with_its_own_chord(kind: Any) -> None:
    data = sound.stream(kind, (440, 660), 1.0)
    assert data[4:8] == b"ftyp"
    assert b"moof" in data
    codec, samples, rate = decoded(data)
    assert codec == CODECS[kind]
    assert len(samples) / rate == pytest.approx(1.0, abs=0.06)
    heard, silent = strength(samples, rate, 440), strength(samples, rate, 550)
    assert heard > 0.05
    assert silent < heard / 20


def test_songs_and_old_videos_hold_sound_too() -> None:
    for data in (sound.song_file((440,), 1.0), sound.muxed((440,), 1.0)):
        codec, samples, rate = decoded(data)
        assert codec == "aac"
        assert strength(samples, rate, 440) > 0.1
    assert sound.cover(3)[:2] == b"\xff\xd8"
    assert len({sound.cover(seed) for seed in range(8)}) == 8


def test_the_index_is_where_it_is_said_to_be() -> None:
    data = sound.stream("low", (440,), 1.0)
    (start, end), (index, last) = (map(int, span.split("-")) for span in sound.index_ranges(data))
    assert start == 0
    assert data[index + 4 : index + 8] == b"sidx"
    assert (end + 1, data[last + 5 : last + 9]) == (index, b"moof")


@pytest.fixture
async def choice(member: BilibiliClient, server: StandInBilibili) -> AudioChoice:
    video = next(iter(server.catalogue.videos.values()))
    return await member.audio((await member.resolve(video.bvid))[0], "64k")


@pytest.fixture
async def browser() -> Any:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


def asked(choice: AudioChoice, **more: str) -> dict[str, str]:
    return {**dict(choice.headers), **{name.replace("_", "-"): value for name, value in more.items()}}


@pytest.mark.anyio
async def test_ranges_are_served_exactly(choice: AudioChoice, browser: Any) -> None:
    whole = (await browser.get(choice.sources[0], headers=asked(choice))).content
    total = len(whole)
    for text, span in {
        "bytes=0-1": (0, 2), "bytes=100-": (100, total), "bytes=-5": (total - 5, total), f"bytes=5-{total * 2}": (5, total),
    }.items():  # fmt: skip
        answer = await browser.get(choice.sources[1], headers=asked(choice, range=text))
        assert answer.status_code == 206
        assert answer.content == whole[slice(*span)]
        assert answer.headers["content-range"] == f"bytes {span[0]}-{span[1] - 1}/{total}"
    assert (await browser.get(choice.sources[0], headers=asked(choice, range=f"bytes={total}-"))).status_code == 416
    conditional = await browser.get(choice.sources[0], headers=asked(choice, range="bytes=5-", if_range='"x"'))
    assert (conditional.status_code, conditional.content) == (200, whole)


@pytest.mark.anyio
async def test_media_are_refused_without_their_headers_or_after_their_time(
    choice: AudioChoice, browser: Any, clock: Any
) -> None:
    address, headers = choice.sources[0], dict(choice.headers)
    for changed in ({"Referer": ""}, {"Referer": "https://evil.example/"}, {"User-Agent": ""}):
        assert (await browser.get(address, headers={**headers, **changed})).status_code == 403
    assert (await browser.get(address.replace("upsig=", "upsig=0"), headers=headers)).status_code == 403
    assert (await browser.get(address.replace("deadline=1", "deadline=2"), headers=headers)).status_code == 403
    clock.passed += 7201
    assert (await browser.get(address, headers=headers)).status_code == 403


@pytest.mark.anyio
async def test_faults_are_what_they_are_called(choice: AudioChoice, server: StandInBilibili, browser: Any) -> None:
    address, headers = choice.sources[0], asked(choice)
    whole = (await browser.get(address, headers=headers)).content

    async def spoilt(fault: Fault, **more: str) -> httpx.Response:
        server.fail("/upgcxcode/*", with_=fault, host="cdn")
        return await browser.get(address, headers={**headers, **more})

    assert (await spoilt(Fault(status=403))).status_code == 403
    for fault in (Fault(cut_after=100), Fault(length_delta=10)):
        with pytest.raises(httpx.RemoteProtocolError):
            await spoilt(fault)
    with pytest.raises(httpx.TransportError):
        await spoilt(Fault(cut_after=10, reset=True))
    ignored = await spoilt(Fault(ignore_range=True), Range="bytes=10-")
    assert (ignored.status_code, ignored.content) == (200, whole)
    shifted = await spoilt(Fault(shift_range=7), Range="bytes=10-")
    assert (shifted.status_code, shifted.content) == (206, whole[17:])
    with pytest.raises(httpx.ReadTimeout):
        server.fail("/upgcxcode/*", with_=Fault(stall_after=5))
        await browser.get(address, headers=headers, timeout=0.1)
    endless = await spoilt(Fault(no_length=True))
    assert "content-length" not in endless.headers
    assert (await browser.get(address, headers=headers)).content == whole


@pytest.mark.anyio
async def test_a_library_that_calls_itself_so_is_banned(server: StandInBilibili, browser: Any) -> None:
    address = server.site.addresses["api"] + "/x/web-interface/nav"
    assert (await browser.get(address)).status_code == 412
    assert (await browser.get(address, headers={"User-Agent": "Mozilla/5.0"})).json()["code"] == -101
    page = server.site.addresses["www"] + "/video/BV17x411w7KC"
    assert (await browser.get(page, headers={"User-Agent": "Mozilla/5.0"})).status_code == 412


@pytest.mark.anyio
async def test_a_picture_comes_in_the_size_that_is_asked_for(server: StandInBilibili, browser: Any) -> None:
    address = server.site.picture("/170001.jpg")
    for end, size in {"": 320, "@600w_600h_1c.jpg": 600}.items():
        answer = await browser.get(address + end, headers={"Referer": "https://www.bilibili.com/"})
        with av.open(io.BytesIO(answer.content)) as picture:
            assert picture.streams.video[0].codec_context.width == size
    assert (await browser.get(address, headers={"Referer": "https://evil.example/"})).status_code == 403


@pytest.mark.anyio
async def test_its_settings_and_its_environment_say_the_same(
    server: StandInBilibili, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Settings(**server.settings(api_rate=50.0))
    for name, value in server.environment(api_rate=50.0).items():
        monkeypatch.setenv(name, value)
    read = Settings()
    assert (read.bilibili, read.http) == (given.bilibili, given.http)


@pytest.mark.anyio
async def test_it_closes_at_once_with_clients_connected_and_lets_errors_through() -> None:
    async with StandInBilibili() as server, httpx.AsyncClient() as client:
        await client.get(server.site.addresses["api"])
        address = server.site.addresses["api"]
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient() as client:
            await client.get(address)
    with pytest.raises(KeyError):
        async with StandInBilibili():
            raise KeyError("as it is")
    with anyio.move_on_after(0.01) as scope:
        async with StandInBilibili():
            await anyio.sleep_forever()
    assert scope.cancelled_caught


@pytest.mark.anyio
async def test_the_demo_catalogue_is_made_quickly(server: StandInBilibili) -> None:
    start = time.thread_time()
    for cid, (video, _) in server.catalogue.parts.items():
        await server.sound_of(cid, next(kind for kind in reversed(ALL_STREAMS) if kind in video.streams))
    assert len(server.catalogue.parts) == 11
    assert time.thread_time() - start < 3.0  # in a third of it on a quiet machine
