"""BV and av ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicq_async.bilibili.ids import av_to_bv, bv_to_av, normal_bvid
from musicq_async.errors import InvalidParams

KNOWN = {
    1: "BV1xx411c7mQ",
    2: "BV1xx411c7mD",
    170001: "BV17x411w7KC",
    80433022: "BV1GJ411x7h7",
    99999999: "BV1y7411Q7Eq",
    455017605: "BV1Q541167Qg",
    1004871019: "BV16x4y1H7M1",
    114868162141203: "BV1LMgNzUE2w",
    2251799813685247: "BV1aPPTfmvQq",
}


@pytest.mark.parametrize(("aid", "bvid"), KNOWN.items())
def test_known_pairs_convert_both_ways(aid: int, bvid: str) -> None:
    assert av_to_bv(aid) == bvid
    assert bv_to_av(bvid) == aid


@given(st.integers(1, (1 << 51) - 1))
def test_every_number_survives_the_round_trip(aid: int) -> None:
    bvid = av_to_bv(aid)
    assert bv_to_av(bvid) == aid
    assert bvid.startswith("BV1")
    assert len(bvid) == 12


@pytest.mark.parametrize(
    "text",
    [
        "BV1000000000",
        "BV27x411w7KC",
        "BV17x411w7KI",
        "BV17x411w7K",
        "BV17x411w7KCC",
        "",
        "BV1",
        "17x411w7KC",
        "BV17x411w7K\n",
    ],
)
def test_what_cannot_be_an_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidParams):
        bv_to_av(text)


@pytest.mark.parametrize("aid", [0, -1, 1 << 51, 1 << 70])
def test_a_number_outside_the_range_is_refused(aid: int) -> None:
    with pytest.raises(InvalidParams):
        av_to_bv(aid)


def test_the_prefix_is_written_in_capitals_and_the_rest_left_alone() -> None:
    assert normal_bvid("bv17x411w7KC") == "BV17x411w7KC"
    assert bv_to_av("BV17x411w7kc") != bv_to_av("BV17x411w7KC")
