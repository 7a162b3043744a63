"""The page that `recurrent-iree bench --report` writes: one file, no scripts."""

from html import escape

from recurrent_iree_runtime.command_line import BenchReport, time_text

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2430; max-width: 62rem; margin: 3rem auto;
       padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1rem; color: #6b7280; font-weight: 500 }
table { border-collapse: collapse; width: 100% }
th, td { padding: .35rem .7rem; text-align: right; border-bottom: 1px solid #e5e7eb }
th:first-child, td:first-child { text-align: left }
.row { display: grid; grid-template-columns: 8rem 1fr; align-items: center; margin: .3rem 0 }
.bar { background: #2563eb; height: 1.2rem; border-radius: 3px; display: inline-block;
       vertical-align: middle; margin-right: .5rem }
.base { background: #9ca3af } .error { color: #c2410c }
"""


def page(report: BenchReport, against: str | None = None) -> str:
    """The report as an HTML page: the median call as bars, and the whole table."""
    headers, cells = report.table()
    given = ", ".join(f"{name} {shape}" for name, shape in report.shapes.items()) or "no inputs"
    body = [
        f"<h1>{escape(report.name)}, entry {escape(report.entry)}</h1>",
        f"<p>{escape(given)} · {escape(report.host)}</p>",
        "<h2>median call</h2>",
        *_bars(report, against),
        "<h2>all figures</h2>",
        "<table><tr>" + "".join(f"<th>{escape(h)}</th>" for h in headers) + "</tr>",
        *["<tr>" + "".join(f"<td>{escape(c)}</td>" for c in line) + "</tr>" for line in cells],
        "</table>",
    ]
    body += [
        f'<p class="error">{escape(row.device)}: {escape(row.error)}</p>'
        for row in report.rows
        if row.error
    ]
    title = f"<title>{escape(report.name)}</title>"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8">{title}<style>{_STYLE}</style>'
    return "\n".join([head, *body, "</html>", ""])


def _bars(report: BenchReport, against: str | None) -> list[str]:
    times = {row.device: row.p50 for row in report.rows if row.p50 is not None}
    longest = max(times.values(), default=1.0)
    lines = []
    for device, seconds in times.items():
        kind = "bar base" if device == against else "bar"
        bar = f'<span class="{kind}" style="width:{75 * seconds / longest:.2f}%"></span>'
        lines.append(
            f'<div class="row"><span>{escape(device)}</span>'
            f"<span>{bar}{escape(time_text(seconds))}</span></div>"
        )
    return lines
