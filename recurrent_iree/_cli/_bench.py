"""`recurrent-iree bench`: times of an artifact on several devices side by side."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

import recurrent_iree_runtime as rt
from recurrent_iree_runtime.command_line import BenchReport

from ._bench_page import page
from ._options import artifact_argument, console, devices_option, make_table, usable_devices


@click.command()
@artifact_argument
@devices_option
@click.option(
    "--against",
    type=click.Choice(["xla"]),
    help="Add XLA, as the line that the others are compared with.",
)
@click.option("--entry", metavar="NAME", help="The entry to time; default: the default entry.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="[NAME=]FILE",
    help="Inputs as for `run`; default: those of the golden calls.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, max=3600, min_open=True),
    default=2.0,
    show_default=True,
    help="Time to spend per device.",
)
@click.option("--profile", is_flag=True, help="Also time each dispatch, with IREE's own tools.")
@click.option("--json", "json_path", metavar="FILE", help="Write the figures there; - prints them.")
@click.option("--report", "page_path", metavar="FILE", help="Write a page with the table and bars.")
def bench(
    artifact: str,
    devices: tuple[str, ...],
    against: str | None,
    entry: str | None,
    inputs: tuple[str, ...],
    seconds: float,
    profile: bool,
    json_path: str | None,
    page_path: str | None,
) -> None:
    """Time ARTIFACT on several devices, in turns, so that a slow moment hits all of them.

    \b
    Examples:
      recurrent-iree bench model.riree
      recurrent-iree bench model.riree --device cpu --device vulkan --against xla
      recurrent-iree bench model.riree --json - --seconds 10
      recurrent-iree bench model.riree --profile
      recurrent-iree bench model.riree --report bench.html
    """
    names = list(devices or usable_devices(rt.read(artifact).manifest))
    names += [against] if against and against not in names else []
    options = ["--seconds", str(seconds), *(["--entry", entry] if entry else [])]
    options += ["--profile"] if profile else []
    options += [f"--device={name}" for name in names] + [f"--input={text}" for text in inputs]
    with Console(stderr=True).status(f"measure on {', '.join(names)}"):
        report = _measure(artifact, options)
    if json_path:
        _write(json_path, json.dumps(report.to_json(), indent=2) + "\n")
    if page_path:
        _write(page_path, page(report, against))
    if json_path != "-":
        _print(report, against)
    if all(row.error for row in report.rows):
        raise rt.DeviceError("; ".join(f"{row.device}: {row.error}" for row in report.rows))


def _measure(artifact: str, options: list[str]) -> BenchReport:
    """Measure with the runtime's own command: a process without JAX, unless XLA is measured."""
    command = [sys.executable, "-P", "-m", "recurrent_iree_runtime", "bench", artifact, *options]
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder, "bench.json")
        done = subprocess.run(
            [*command, "--json", str(figures)], stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        if not figures.exists():
            last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
            if done.returncode == 1 and last.startswith("error: "):
                raise rt.ArgumentError(last.removeprefix("error: "))
            raise rt.DeviceError(f"measuring stopped with exit status {done.returncode}: {last}")
        return BenchReport.from_json(json.loads(figures.read_text()))


def _write(path: str, text: str) -> None:
    if path == "-":
        click.echo(text, nl=False)
    else:
        rt.write_atomic(path, iter([text.encode()]))


def _print(report: BenchReport, against: str | None) -> None:
    out = console()
    headers, cells = report.table()
    given = ", ".join(f"{name} {shape}" for name, shape in report.shapes.items())
    out.print(f"{report.name}, entry {report.entry!r}, {given or 'no inputs'}, on {report.host}")
    base = next((row.p50 for row in report.rows if row.device == against), None)
    table = make_table([*headers, *([f"× {against}"] if base else [])])
    for row, line in zip(report.rows, cells, strict=True):
        ratio = f"{row.p50 / base:.2f}" if base and row.p50 else "-"
        table.add_row(*line, *([ratio] if base else []))
    out.print(table)
    for row in report.rows:
        if row.error:
            out.print(f"{row.device}: {row.error}", style="red", markup=False)
    for profile in report.profiles:
        out.print(f"\n{profile.text()}", markup=False, highlight=False)
