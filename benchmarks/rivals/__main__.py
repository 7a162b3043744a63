"""Measure recurrences against other systems.

    python -m benchmarks.rivals --quick          # minutes
    python -m benchmarks.rivals --full           # hours: every row that the goals name
    python -m benchmarks.rivals --full --missing --keep benchmarks/results/FILE.json --limit 1800

Writes JSON, a table in Markdown and a picture. A system that is not installed is left out, and the
table says so. See `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import time
from pathlib import Path
from typing import Any

from . import _limits, _work
from ._earlier import commit, merged, read_earlier
from ._machine import describe
from ._measure import Bench, Settings
from ._plot import plot
from ._systems import NAMES, OURS
from ._table import markdown
from ._work import Work

_ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, write the files and give what the JSON file has."""
    options = _parse(arguments)
    works = {"tiny": _work.tiny, "quick": _work.quick, "full": _work.full}[options.size]()
    works = [work for work in works if re.search(options.rows, work.name)]
    machine = describe()
    earlier = read_earlier(options.keep, machine) if options.keep else {"rows": []}
    if options.missing:
        there = {row["name"] for row in earlier["rows"]}
        works = [work for work in works if work.name not in there]
    cores = len(os.sched_getaffinity(0))
    threads = [t for t in options.threads if t <= cores]
    settings = Settings(options.systems, threads, options.rounds, options.turn)
    started = time.monotonic()
    results: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "threads": threads,
        "systems": [n for n in NAMES if n in {*options.systems, *earlier.get("systems", ())}],
        "settings": {"rounds": options.rounds, "turn": options.turn, "size": options.size},
        "remarks": options.remark,
        "rows": earlier["rows"],
        **{key: earlier[key] for key in ("memory", "memory_row", "versions") if key in earlier},
    }
    new: list[dict[str, Any]] = []
    stamp = {"commit": commit(), "date": results["date"]}
    results["limits"] = {str(t): _limits.measure(t) for t in threads}
    with Bench(settings) as bench:
        for work in works:
            if options.limit and time.monotonic() - started > options.limit:
                results["remarks"].append(f"Stopped after {options.limit:.0f} s: rows are missing.")
                break
            row = stamp | bench.row(work)
            row["share"] = shares(row, results["limits"])
            new.append(row)
            results["rows"] = merged(earlier["rows"], new, [*_work.full(), *_work.quick()])
            _finish(results, bench, started, options.out)
        for t in threads:
            known = results["limits"][str(t)]
            results["limits"][str(t)] = _limits.higher(known, _limits.measure(t))
        for row in new:
            row["share"] = shares(row, results["limits"])
        if options.memory:
            results["memory_row"] = _work.MEMORY.name
            results["memory"] = bench.peak_memory(_work.MEMORY)
        print(_finish(results, bench, started, options.out))
    return results


def _finish(results: dict[str, Any], bench: Bench, started: float, out: Path) -> str:
    """Write what is known so far, so that an interrupted run leaves its rows; gives the page."""
    results["versions"] = results.get("versions", {}) | bench.versions
    results["missing"] = bench.missing
    results["growth"] = growth(results["rows"])
    results["load_after"] = round(os.getloadavg()[0], 2)
    results["seconds"] = round(time.monotonic() - started)
    return _write(results, out)


def growth(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Our time per step of long over short sequences, and per row of large over small batches."""
    medians = {
        (Work(**row["work"]), threads): cells[OURS]["median"]
        for row in rows
        for threads, cells in row["threads"].items()
        if "median" in cells.get(OURS, {})
    }
    found = []
    for (large, threads), seconds in medians.items():
        for (small, others), less in medians.items():
            if threads != others or large.kind != "sequence" or small.kind != "sequence":
                continue
            ratio = seconds * small.batch * small.steps / (less * large.batch * large.steps)
            same = (large.cell, large.width) == (small.cell, small.width)
            if same and large.batch == small.batch and (large.steps, small.steps) == (4096, 256):
                name = f"{large.name} over T256, per step"
                found.append({"name": name, "threads": threads, "ratio": ratio, "goal": "1.1"})
            if same and large.steps == small.steps and large.batch == 4 * small.batch == 32:
                name = f"{large.name} over B8, per row"
                found.append({"name": name, "threads": threads, "ratio": ratio, "goal": "1.1"})
    return found


def shares(row: dict[str, Any], limits: dict[str, Any]) -> dict[str, float]:
    """The share that our time is of what the limits of the machine allow, by number of threads."""
    return {
        threads: _limits.seconds_at_limit(Work(**row["work"]), limits[threads])
        / cells[OURS]["median"]
        for threads, cells in row["threads"].items()
        if "median" in cells.get(OURS, {}) and threads in limits
    }


def _write(results: dict[str, Any], out: Path) -> str:
    out.mkdir(parents=True, exist_ok=True)
    cpu = re.sub(r"[^a-z0-9]+", "-", results["machine"]["cpu"].lower()).strip("-")
    stem = out / f"{results['date']}-{cpu}"
    stem.with_suffix(".json").write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    page = markdown(results)
    stem.with_suffix(".md").write_text(page)
    try:
        plot(results, stem.with_suffix(".png"))
    except ImportError as error:
        print(f"no picture: {error}")
    return page


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rivals",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sizes = parser.add_mutually_exclusive_group()
    for size in ("tiny", "quick", "full"):
        sizes.add_argument(f"--{size}", action="store_const", const=size, dest="size")
    parser.set_defaults(size="quick")
    parser.add_argument("--rows", default="", help="only rows whose name this expression finds")
    parser.add_argument("--systems", type=_names, default=list(NAMES), help=", ".join(NAMES))
    parser.add_argument("--threads", type=_counts, default=[1, 2], help="such as 1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turn", type=float, default=0.05, help="seconds of a turn")
    parser.add_argument("--limit", type=float, default=0, help="seconds after which no row starts")
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--keep", type=Path, metavar="FILE",
                        help="JSON of an earlier run here, whose other rows stay")  # fmt: skip
    parser.add_argument("--missing", action="store_true",
                        help="with --keep: measure only the rows that it lacks")  # fmt: skip
    parser.add_argument("--remark", action="append", default=[], help="a line for the table")
    parser.add_argument("--out", type=Path, default=_ROOT / "results")
    options = parser.parse_args(arguments)
    if options.missing and not options.keep:
        parser.error("--missing needs --keep FILE: the rows that are there")
    return options


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {list(NAMES)}")
    return names


def _counts(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
