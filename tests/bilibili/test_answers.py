"""What each answer of the site means."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicq_async import errors
from musicq_async.bilibili.answers import Answer, judge


def answer(code: int = 0, *, status: int = 200, data: object = None, **headers: str) -> Answer:
    body = json.dumps({"code": code, "message": "words", "data": data}).encode()
    return Answer(status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, body=body)


TABLE = {
    -101: errors.LoginRequired,
    -102: errors.NotPermitted,
    -111: errors.LoginRequired,
    -352: errors.RiskControl,
    -400: errors.InvalidParams,
    -401: errors.RiskControl,
    -403: errors.NotPermitted,
    -404: errors.WorkGone,
    -412: errors.RiskControl,
    -500: errors.SourceUnavailable,
    -503: errors.SourceUnavailable,
    -504: errors.SourceUnavailable,
    -509: errors.RateLimited,
    -799: errors.RateLimited,
    -8888: errors.SourceUnavailable,
    -10403: errors.NotPermitted,
    11010: errors.WorkGone,
    62002: errors.WorkGone,
    62004: errors.WorkGone,
    62012: errors.WorkGone,
    87007: errors.NotPermitted,
    87008: errors.NotPermitted,
    7201006: errors.WorkGone,
    72000000: errors.InvalidParams,
    72010027: errors.NotPermitted,
    4511006: errors.NotPermitted,
    123456: errors.AnswerNotUnderstood,
}
STATUSES = {
    401: errors.LoginRequired,
    403: errors.NotPermitted,
    404: errors.AnswerNotUnderstood,
    412: errors.RiskControl,
    429: errors.RateLimited,
    500: errors.SourceUnavailable,
    502: errors.SourceUnavailable,
    302: errors.AnswerNotUnderstood,
}


@pytest.mark.parametrize(("code", "kind"), TABLE.items())
def test_every_code_has_its_error(code: int, kind: type[Exception]) -> None:
    error = judge(answer(code), subject="BV1", logged_in=True).error
    assert type(error) is kind


@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
def test_every_status_has_its_error(status: int, kind: type[Exception]) -> None:
    found = judge(Answer(status=status, headers={}, body=b"<html>"), subject="BV1", logged_in=True)
    assert type(found.error) is kind


def test_an_error_status_with_an_envelope_is_judged_by_its_code() -> None:
    assert type(judge(answer(-404, status=404), subject="x", logged_in=True).error) is errors.WorkGone
    assert type(judge(answer(0, status=403), subject="x", logged_in=True).error) is errors.NotPermitted


def test_what_is_right_has_data_and_no_error() -> None:
    found = judge(answer(data={"a": 1}), subject="x", logged_in=False)
    assert (found.code, found.data, found.error) == (0, {"a": 1}, None)


def test_episodes_answer_in_another_field() -> None:
    body = b'{"code":0,"message":"success","result":{"a":1}}'
    assert judge(Answer(status=200, headers={}, body=body), subject="x", logged_in=False).data == {"a": 1}


@pytest.mark.parametrize(
    "blocked",
    [
        answer(0, data={"v_voucher": "voucher_x"}),
        answer(-352, data={"v_voucher": "voucher_x"}),
        answer(0, data={"fine": 1}, x_bili_gaia_vvoucher="voucher_x"),
        Answer(status=412, headers={}, body=b""),
    ],
)
def test_a_voucher_or_a_ban_is_risk_control_whatever_the_code(blocked: Answer) -> None:
    assert isinstance(judge(blocked, subject="x", logged_in=True).error, errors.RiskControl)


def test_a_guest_who_is_refused_is_told_to_log_in() -> None:
    assert isinstance(judge(answer(-403), subject="x", logged_in=False).error, errors.LoginRequired)


def test_only_what_newer_keys_may_cure_asks_for_them() -> None:
    curable = {code for code in TABLE if judge(answer(code), subject="x", logged_in=True).signature}
    assert curable == {-403, -352}


def test_a_work_in_review_says_when_to_come_back() -> None:
    error = judge(answer(62004), subject="x", logged_in=True).error
    assert error is not None
    assert (error.retryable, error.retry_after) == (False, 86_400.0)


def test_retry_after_is_obeyed_and_capped() -> None:
    error = judge(answer(0, status=429, retry_after="90"), subject="x", logged_in=True).error
    assert error is not None
    assert error.retry_after == 90
    error = judge(answer(0, status=429, retry_after="999999"), subject="x", logged_in=True).error
    assert error is not None
    assert error.retry_after == 3600


@given(st.binary(max_size=200), st.sampled_from([200, 204, 302, 400, 404, 500]))
def test_any_body_is_judged(body: bytes, status: int) -> None:
    judge(Answer(status=status, headers={}, body=body), subject="x", logged_in=True)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"code":' + b"9" * 5000 + b"}", b'{"code":null}', b"[]", b'"x"', b'{"code":NaN}']
)
def test_hostile_json_is_not_understood(body: bytes) -> None:
    assert isinstance(
        judge(Answer(status=200, headers={}, body=body), subject="x", logged_in=True).error, errors.AnswerNotUnderstood
    )


def test_long_words_of_the_site_are_not_repeated() -> None:
    body = json.dumps({"code": 5, "message": "SESSDATA=" + "x" * 200}).encode()
    assert "SESSDATA" not in str(judge(Answer(status=200, headers={}, body=body), subject="x", logged_in=True).error)
