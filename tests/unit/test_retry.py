"""How long a retry waits: a law, not a table."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicq_async.model.retry import FIRST_WAIT, JITTER, LONGEST_WAIT, backoff

attempts = st.integers(1, 10**6)
draws = st.floats(0, 1, exclude_max=True)


def test_the_wait_doubles_until_ten_minutes():
    waits = [backoff(attempt, draw=0.5) for attempt in range(1, 13)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]


@given(attempts, draws)
def test_the_wait_is_spread_by_a_tenth_and_has_an_end(attempt, draw):
    wait = backoff(attempt, draw=draw)
    middle = backoff(attempt, draw=0.5)
    assert FIRST_WAIT * (1 - JITTER) <= wait <= LONGEST_WAIT
    assert middle * (1 - JITTER) - 1e-9 <= wait <= middle * (1 + JITTER) + 1e-9 or wait == LONGEST_WAIT


@given(draws)
def test_a_later_attempt_waits_longer_until_the_longest_wait(draw):
    waits = [backoff(attempt, draw=draw) for attempt in range(1, 15)]
    assert all(before < after or after == LONGEST_WAIT for before, after in itertools.pairwise(waits))


@given(attempts)
def test_a_greater_draw_waits_no_shorter(attempt):
    waits = [backoff(attempt, draw=draw) for draw in (0.0, 0.25, 0.5, 0.75, 0.999)]
    assert waits == sorted(waits)


@given(attempts, draws, st.floats(-1e6, 1e6))
def test_an_error_that_knows_better_is_taken_at_its_word(attempt, draw, retry_after):
    assert backoff(attempt, draw=draw, retry_after=retry_after) == max(0.0, retry_after)


@pytest.mark.parametrize("attempt", [0, -5])
def test_an_attempt_below_the_first_counts_as_the_first(attempt):
    assert backoff(attempt, draw=0.5) == 1
