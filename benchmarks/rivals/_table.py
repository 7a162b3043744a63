"""The results as a table in Markdown: ratios, shares of the limits, what missed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ._earlier import told
from ._systems import OURS

Results = dict[str, Any]


def best_rival(cells: dict[str, Any]) -> tuple[str, float] | None:
    """The fastest other system that agreed, and its median."""
    timed = {n: c["median"] for n, c in cells.items() if n != OURS and "median" in c}
    return min(timed.items(), key=lambda item: item[1]) if timed else None


def ratio_of(cells: dict[str, Any]) -> float | None:
    """Our median over that of the best rival."""
    best, ours = best_rival(cells), cells.get(OURS, {}).get("median")
    return ours / best[1] if best and ours else None


def reached(row: Results, threads: str) -> bool:
    """Whether the ratio meets the goal, or, where the goal allows it, the share of the limit."""
    ratio = ratio_of(row["threads"][threads])
    share = row.get("share", {}).get(threads)
    near = row["goal"] < 1 and share is not None and share >= 0.85
    return near or (ratio is not None and ratio <= row["goal"])


def markdown(results: Results) -> str:
    """The whole page."""
    parts = [_head(results), *(_rows(results, t) for t in map(str, results["threads"]))]
    parts += [_extras(results), _notes(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(results: Results) -> str:
    machine = results["machine"]
    caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items())
    versions = ", ".join(f"{name} {v}" for name, v in sorted(results["versions"].items()))
    virtual = ", virtual" if machine["virtual"] else ""
    lines = [
        f"# Recurrences against other systems, {results['date']}",
        "",
        f"{machine['cpu']} (family {machine['family']}{virtual}), {machine['cores']} cores, "
        f"{caches}, {machine['memory_gib']} GiB, {machine['system']}. "
        f"Load before: {machine['load'][0]}, after: {results['load_after']}.",
        "",
        f"{versions}.",
        "",
        "Medians in milliseconds, p90 in brackets; each system in a process of its own on as many",
        "cores as threads, taking turns. Ratio: ours over the best rival. Limit: the share that",
        "our time is of what measured arithmetic and weight bandwidth allow (1.00 = at the limit).",
    ]
    remarks = [told(results["rows"]), *results.get("remarks", ())]
    lines += [f"\n{line}" for line in remarks if line]
    return "\n".join(lines)


def _rows(results: Results, threads: str) -> str:
    names = [n for n in results["systems"] if n not in results["missing"]]
    rows = [row for row in results["rows"] if threads in row["threads"]]
    won = sum(reached(row, threads) for row in rows)
    plural = "s" if threads != "1" else ""
    title = f"## {threads} thread{plural}: {won} of {len(rows)} rows reach their goal"
    heads = ["row", *names, "ratio", "best rival", "goal", "reached", "limit"]
    cells = [_row(row, threads, names) for row in rows]
    return f"{title}\n\n{table(heads, cells)}"


def _row(row: Results, threads: str, names: Sequence[str]) -> list[str]:
    cells = row["threads"][threads]
    ratio, best = ratio_of(cells), best_rival(cells)
    share = row.get("share", {}).get(threads)
    return [
        row["name"],
        *(_time(cells.get(name, {})) for name in names),
        "-" if ratio is None else f"{ratio:.2f}",
        best[0] if best else "-",
        f"{row['goal']:.1f}",
        "yes" if reached(row, threads) else "no",
        "-" if share is None else f"{share:.2f}",
    ]


def _time(cell: dict[str, Any]) -> str:
    if "median" in cell:
        return f"{cell['median'] * 1e3:.3f} ({cell['p90'] * 1e3:.3f})"
    return next((k for k in ("disagrees", "failed") if k in cell), "-")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    lines = ["| " + " | ".join(heads) + " |"]
    lines.append("|---" + "|---:" * (len(heads) - 1) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def _extras(results: Results) -> str:
    parts = []
    if results.get("growth"):
        rows = [[g["name"], g["threads"], f"{g['ratio']:.2f}", g["goal"]]
                for g in results["growth"]]  # fmt: skip
        parts.append("## Growth of ours\n\n" + table(["", "threads", "ratio", "goal"], rows))
    if results.get("memory"):
        sizes = sorted(results["memory"].items(), key=lambda item: item[1])
        rows = [[name, f"{size / 2**20:.0f}"] for name, size in sizes]
        title = f"## Peak memory of a process, {results['memory_row']}, 1 thread"
        parts.append(f"{title}\n\n" + table(["system", "MiB"], rows))
    built = [row for row in results["rows"] if "cold" in row["build"]]
    if built:
        rows = [[row["name"], f"{row['build']['cold']:.2f}", f"{row['build']['cached']:.2f}",
                 f"{row['build']['bytes'] / 1024:.0f}"] for row in built]  # fmt: skip
        heads = ["row", "cold, s", "cached, s", "KiB"]
        parts.append("## Builds of ours (tracing, golden vectors, verification included)\n\n"
                     + table(heads, rows))  # fmt: skip
    return "\n\n".join(parts)


def _notes(results: Results) -> str:
    lines = [f"- {name} is not installed: {why}" for name, why in results["missing"].items()]
    lines += _problems(results)
    return "## Notes\n\n" + "\n".join(lines) if lines else ""


def _problems(results: Results) -> Iterator[str]:
    for row in results["rows"]:
        if "failed" in row["build"]:
            yield f"- {row['name']}: not built: {row['build']['failed']}"
        loops = [f for f in row["build"].get("forms", ()) if not f.startswith("fused")]
        for form in loops:
            yield f"- {row['name']}: not one kernel: {form}"
        for threads, cells in row["threads"].items():
            for name, cell in cells.items():
                for kind in ("disagrees", "failed"):
                    if kind in cell:
                        yield f"- {row['name']}, {threads} threads, {name} {kind}: {cell[kind]}"
                if cell.get("quiet") is False:
                    yield f"- {row['name']}, {threads} threads: {name} was not quiet between turns"
