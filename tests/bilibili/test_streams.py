"""The choice of a stream."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicq_async.bilibili.hosts import MediaHosts, by_quality, expiry
from musicq_async.bilibili.streams import choose, parse_quality, read_offer, refuse_preview
from musicq_async.errors import (
    AnswerNotUnderstood,
    EncryptedStream,
    InvalidParams,
    MusicqError,
    NoAudioStream,
    NotPermitted,
)

HOSTS = MediaHosts()
MIRROR = "https://upos-sz-mirrorcos.bilivideo.com/a.m4s"


def stream(
    number: int, bandwidth: int = 100_000, codecs: str = "mp4a.40.2", url: str = MIRROR, **more: Any
) -> dict[str, Any]:
    return {
        "id": number,
        "baseUrl": f"{url}?id={number}&bw={bandwidth}",
        "bandwidth": bandwidth,
        "codecs": codecs,
        **more,
    }


LOW, MIDDLE, HIGH = stream(30216, 64_000), stream(30232, 132_000), stream(30280, 319_000)
FLAC, DOLBY = stream(30251, 1_500_000, "fLaC"), stream(30250, 448_000, "ec-3")


def offer(*audio: dict[str, Any], flac: Any = None, dolby: Any = None, **more: Any) -> Any:
    dash = {"duration": 200, "audio": list(audio) or None, "flac": flac, "dolby": dolby}
    return read_offer({"dash": dash, **more}, hosts=HOSTS)


ALL = {"flac": {"display": True, "audio": FLAC}, "dolby": {"type": 2, "audio": [DOLBY]}}


@pytest.mark.parametrize(
    ("quality", "full", "plain"),
    [
        ("best", "hires", "320k"),
        ("hires", "hires", "320k"),
        ("dolby", "dolby", "320k"),
        ("320k", "320k", "320k"),
        ("192k", "320k", "320k"),
        ("128k", "128k", "128k"),
        ("64k", "64k", "64k"),
    ],
)
def test_each_quality_name_gets_its_stream(quality: Any, full: str, plain: str) -> None:
    assert choose(offer(LOW, HIGH, MIDDLE, **ALL), quality).quality == full
    got = choose(offer(MIDDLE, LOW, HIGH), quality)
    assert got.quality == plain
    assert got.exact is (quality not in {"hires", "dolby"})


def test_a_fallback_goes_down_first_then_up_and_says_so() -> None:
    down = choose(offer(LOW, MIDDLE), "320k")
    up = choose(offer(MIDDLE, HIGH), "64k")
    assert (down.quality, down.exact) == ("128k", False)
    assert (up.quality, up.exact) == ("128k", False)
    assert choose(offer(flac={"audio": FLAC}), "64k").quality == "hires"


def test_dolby_is_taken_unasked_only_where_nothing_else_is_left() -> None:
    assert choose(offer(LOW, dolby={"audio": [DOLBY]}), "best").quality == "64k"
    assert choose(offer(dolby={"audio": [DOLBY]}), "best").codec == "eac3"


def test_what_is_sold_as_the_highest_rate_is_named_by_its_real_one() -> None:
    got = choose(offer(stream(30280, 196_000)), "320k")
    assert (got.quality, got.exact) == ("192k", False)
    assert choose(offer(stream(30280, 196_000)), "192k").exact


def test_the_higher_rate_wins_among_equals() -> None:
    assert choose(offer(stream(30280, 200_000), stream(30280, 320_000)), "best").bandwidth == 320_000


def test_unknown_ids_are_graded_by_codec_and_rate() -> None:
    got = choose(offer(stream(39999, 250_000), LOW), "best")
    assert (got.codec, got.quality) == ("aac", "192k")
    assert choose(offer(stream(39999, 900_000, "flac")), "best").quality == "hires"


@pytest.mark.parametrize("empty", [None, {}, {"display": True, "audio": None}, {"display": False}])
def test_a_member_stream_that_is_announced_but_not_given_is_passed_over(empty: Any) -> None:
    assert choose(offer(HIGH, flac=empty, dolby={"type": 0, "audio": None}), "best").quality == "320k"


def test_either_spelling_of_a_key_is_read() -> None:
    entry = {
        "id": "30280",
        "base_url": MIRROR,
        "backup_url": [MIRROR, "https://upos-sz-estgoss.bilivideo.com/a"],
        "bandwidth": "320000",
    }
    got = choose(offer(entry), "best")
    assert got.sources == (MIRROR, "https://upos-sz-estgoss.bilivideo.com/a")
    assert got.bandwidth == 320_000


def test_encrypted_streams_are_named_and_never_taken() -> None:
    with pytest.raises(EncryptedStream):
        offer(stream(100008), stream(100010))
    assert choose(offer(stream(100010), LOW), "best").quality == "64k"
    with pytest.raises(EncryptedStream):
        offer(HIGH, is_drm=True)


def test_a_silent_video_and_an_empty_answer_have_no_sound() -> None:
    with pytest.raises(NoAudioStream):
        offer()
    with pytest.raises(NoAudioStream):
        read_offer({}, hosts=HOSTS)


def test_foreign_hosts_are_dropped_and_where_none_is_left_it_is_an_error() -> None:
    mixed = stream(
        30280, url="https://evil.example/a", backupUrl=[MIRROR, "http://127.0.0.1/a", "ftp://x.bilivideo.com/a"]
    )
    assert choose(offer(mixed), "best").sources == (MIRROR,)
    with pytest.raises(AnswerNotUnderstood):
        offer(stream(30280, url="https://evil.example/a"))


def test_old_videos_come_as_files_in_order() -> None:
    found = read_offer(
        {
            "timelength": 9000,
            "durl": [
                {"order": 2, "length": 4000, "url": MIRROR + "?2"},
                {"order": 1, "length": 5000, "size": 7, "url": MIRROR + "?1", "backup_url": None},
            ],
        },
        hosts=HOSTS,
    )
    got = choose(found, "192k")
    assert got.muxed
    assert [segment.sources for segment in got.segments] == [(MIRROR + "?1",), (MIRROR + "?2",)]
    assert (got.duration, got.size, got.codec, got.exact) == (9.0, None, None, False)


def test_a_preview_is_refused() -> None:
    with pytest.raises(NotPermitted, match="preview"):
        refuse_preview(offer(HIGH), expected=260)
    refuse_preview(offer(HIGH), expected=202)
    refuse_preview(offer(HIGH), expected=None)
    refuse_preview(offer(HIGH), expected=100)


def test_loudness_becomes_a_gain_and_a_peak() -> None:
    loud = choose(offer(HIGH, volume={"measured_i": -9.8, "measured_lra": 10.8, "measured_tp": 3.8}), "best").loudness
    assert loud is not None
    assert loud.gain == pytest.approx(-8.2)
    assert loud.peak == pytest.approx(1.5488, abs=1e-4)
    assert choose(offer(HIGH), "best").loudness is None
    assert choose(offer(HIGH, volume={"measured_i": "nonsense"}), "best").loudness is None


def test_hosts_are_ordered_from_steady_to_flaky_and_repeats_dropped() -> None:
    mirror, estg = "https://upos-sz-mirrorhw.bilivideo.com/a", "https://upos-sz-estgcos.bilivideo.com/a"
    akam, own = "https://upos-hz-mirrorakam.akamaized.net/a", "https://cn-bj-ct-01-02.bilivideo.com/a"
    mcdn, p2p = "https://xy1x2x3x4xy.mcdn.bilivideo.cn:4483/a", "https://x.szbdyd.com/a"
    assert by_quality([p2p, mcdn, own, akam, estg, mirror, mirror]) == (mirror, akam, estg, own, p2p, mcdn)


def test_the_earliest_deadline_counts() -> None:
    assert expiry(["https://x/a?deadline=20", "https://x/a?deadline=10&x=1", "https://x/a"]) == 10
    assert expiry(["https://x/a", "https://x/a?deadline=soon"]) is None


def test_quality_names_are_taken_in_any_case_and_others_refused() -> None:
    assert parse_quality(" HiRes ") == "hires"
    for name in ("", "flac!", "999k", None, 3):
        with pytest.raises(InvalidParams):
            parse_quality(name)  # type: ignore[arg-type]


def test_extra_media_hosts_are_compared_with_their_port() -> None:
    hosts = MediaHosts(extra=("127.0.0.1:8000", "cdn.example"))
    assert hosts.allow("http://127.0.0.1:8000/a")
    assert hosts.allow("https://cdn.example:9/a")
    assert not hosts.allow("http://127.0.0.1:8001/a")
    assert not hosts.allow("http://127.0.0.1/a")
    assert not hosts.allow("https://cdn.example.evil/a")
    assert not hosts.allow("https://cdn.example@evil.example/a")
    assert not hosts.allow("https://evilbilivideo.com/a")
    assert not hosts.allow("https://x.bilivideo.com:99999/a")


def test_pictures_are_asked_for_over_tls() -> None:
    assert HOSTS.picture("http://i0.hdslb.com/bfs/a.jpg") == "https://i0.hdslb.com/bfs/a.jpg"
    assert HOSTS.picture("//archive.biliimg.com/a.jpg") == "https://archive.biliimg.com/a.jpg"
    assert HOSTS.picture("https://evil.example/a.jpg") is None
    assert MediaHosts(extra=("127.0.0.1:1",)).picture("http://127.0.0.1:1/a.jpg") == "http://127.0.0.1:1/a.jpg"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(MIRROR),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "dash",
                    "audio",
                    "flac",
                    "dolby",
                    "id",
                    "baseUrl",
                    "backupUrl",
                    "durl",
                    "url",
                    "bandwidth",
                    "duration",
                    "codecs",
                    "volume",
                    "measured_i",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_answer_is_an_offer_or_a_typed_error(data: Any) -> None:
    try:
        found = read_offer(data, hosts=HOSTS)
    except MusicqError:
        return
    assert choose(found, "best").sources
