"""What the benchmarks share: timing that takes turns, and one way to report.

A contender is a callable that does the work once and returns its figure (seconds, or items a second). The contenders
take turns, round by round, so that a busy moment of the machine meets all of them; medians, spread and the ratio to the
named peer are of the same rounds.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def arguments(description: str, *, rounds: int = 7) -> argparse.Namespace:
    """Read the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help="turns of each contender")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    return parser.parse_args()


def take_turns(contenders: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run every contender once a round, after one unmeasured round; return the figures by name."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, work in contenders.items():
            gc.collect()
            figure = work()
            if turn:
                figures[name].append(figure)
    return figures


def case(
    name: str,
    figures: dict[str, list[float]],
    *,
    unit: str,
    ours: str = "musicq_async",
    targets: Sequence[tuple[str, str, float]] = (),
) -> dict[str, Any]:
    """Make one row of the report.

    ``targets`` are ``(peer, sense, factor)``: ``"at least"`` for rates (ours / peer), ``"at most"`` for times. A ratio
    is the median of the ratios of single rounds. An empty peer compares our own median with the factor.
    """
    checks = []
    for peer, sense, factor in targets:
        pairs = zip(figures[ours], figures[peer], strict=True) if peer else ((value, 1.0) for value in figures[ours])
        ratio = statistics.median(mine / theirs for mine, theirs in pairs)
        met = ratio >= factor if sense == "at least" else ratio <= factor
        checks.append({"peer": peer or unit, "sense": sense, "factor": factor, "ratio": round(ratio, 4), "met": met})
    rows = {
        key: {"median": statistics.median(values), "min": min(values), "max": max(values)}
        for key, values in figures.items()
    }
    return {"case": name, "unit": unit, "figures": rows, "targets": checks}


def report(title: str, cases: Sequence[dict[str, Any]], *, packages: Sequence[str], json_only: bool) -> int:
    """Print one JSON line and, unless told not to, a table; return 1 if a target was missed."""
    document = {"benchmark": title, "machine": machine(), "versions": versions(packages), "cases": list(cases)}
    print(json.dumps(document))
    if not json_only:
        print(f"\n{title}: {document['machine']}, {document['versions']}")
        for row in cases:
            print_case(row)
    return 0 if all(check["met"] for row in cases for check in row["targets"]) else 1


def print_case(row: dict[str, Any]) -> None:
    """Print one case for people."""
    print(f"\n{row['case']} ({row['unit']})")
    for name, figure in row["figures"].items():
        spread = f"{figure['min']:,.4g} to {figure['max']:,.4g}"
        print(f"  {name:<28} {figure['median']:>14,.4g}   {spread}")
    for check in row["targets"]:
        verdict = "met" if check["met"] else "MISSED"
        print(f"  {verdict:<7} {check['ratio']:.3g} x {check['peer']}, {check['sense']} {check['factor']:g}")


def machine() -> dict[str, Any]:
    """Tell what it ran on and how busy that was."""
    load = [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None
    return {"system": platform.system(), "arch": platform.machine(), "cpus": os.cpu_count(), "load": load}


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
