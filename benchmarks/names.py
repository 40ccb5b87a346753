"""How fast song names are parsed, written and made safe: medians of several rounds over the test tables.

``new titles`` have a song in them that was never seen; the rest go over the same tables again and again, as a library
of few artists does, and answers about their words are remembered.
"""

from __future__ import annotations

import json
import platform
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
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


def rate_once(call: Callable[[str], object], texts: Sequence[str]) -> float:
    """Return calls a second of one pass."""
    began = time.perf_counter()
    for text in texts:
        call(text)
    return len(texts) / (time.perf_counter() - began)


def new_titles(titles: Sequence[str], count: int) -> list[str]:
    """Put a song of random characters into titles: into their quotes, or anywhere."""
    draw = random.Random(7)
    made = []
    for number in range(count):
        title = titles[number % len(titles)]
        song = "".join(chr(draw.randrange(0x4E00, 0x9000)) for _ in range(draw.randint(2, 5)))
        quoted = re.search("[《「]([^》」]+)", title)
        start, end = quoted.span(1) if quoted else (draw.randrange(len(title) + 1),) * 2
        made.append(title[:start] + song + title[end:])
    return made


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
    fresh = iter(new_titles(titles, 1000 * (ROUNDS + 1)))
    rates = [rate_once(parse_video_title, list(islice(fresh, 1000))) for _ in range(ROUNDS + 1)][1:]
    print(f"{'  new titles':18} {statistics.median(rates):>10,.0f}/s   ({min(rates):,.0f} to {max(rates):,.0f})")


if __name__ == "__main__":
    sys.exit(main())
