"""How fast song names are parsed, written and made safe: medians of several rounds over the test tables."""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from musicq_async.media.names import format_name, name_key, parse_name, parse_video_title, safe_name

ROUNDS = 7
TABLES = Path(__file__).parent.parent / "tests" / "media" / "data" / "names.json"


def rate(call: Callable[[str], object], texts: Sequence[str], *, times: int) -> tuple[float, float, float]:
    """Return calls a second: the median, the least and the most of the rounds, after one round to warm up."""
    rates = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        for _ in range(times):
            for text in texts:
                call(text)
        rates.append(times * len(texts) / (time.perf_counter() - began))
    return statistics.median(rates[1:]), min(rates[1:]), max(rates[1:])


def main() -> None:
    tables = json.loads(TABLES.read_text("utf-8"))
    names = [case["name"] for case in tables["names"]]
    titles = [case["title"] for case in tables["videos"]]
    songs = {name: parse_name(name) for name in names}
    print(f"Python {platform.python_version()} on {platform.machine()}, {ROUNDS} rounds")
    for label, call, texts, times in (
        ("parse_name", parse_name, names, 60),
        ("format_name", lambda name: format_name(songs[name]), names, 60),
        ("safe_name", safe_name, names, 200),
        ("name_key", name_key, names, 200),
        ("parse_video_title", parse_video_title, titles, 15),
    ):
        median, least, most = rate(call, texts, times=times)
        print(f"{label:18} {median:>10,.0f}/s   ({least:,.0f} to {most:,.0f})")


if __name__ == "__main__":
    sys.exit(main())
