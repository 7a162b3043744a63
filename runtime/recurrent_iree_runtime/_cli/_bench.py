"""`bench`: times on several devices side by side."""

import argparse
import json
import sys
from typing import Any

from recurrent_iree_runtime._arrays_io import gather_inputs
from recurrent_iree_runtime._artifact import read
from recurrent_iree_runtime._bench import bench
from recurrent_iree_runtime._container import write_atomic

from ._common import add_command, add_devices, add_file


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = add_command(
        commands,
        "bench",
        "time an artifact: load, first call, percentiles, per step, peak memory",
        "  recurrent-iree-runtime bench model.riree\n"
        "  recurrent-iree-runtime bench model.riree --device cpu --device xla --json times.json\n"
        "  recurrent-iree-runtime bench model.riree --profile",
    )
    add_file(parser)
    add_devices(parser)
    parser.add_argument("--entry", metavar="NAME", help="the entry to time (default: the default)")
    parser.add_argument("--input", action="append", metavar="[NAME=]FILE",
                        help="inputs as for `run` (default: the golden ones)")  # fmt: skip
    parser.add_argument("--seconds", type=_positive, default=2.0, help="per device (default: 2)")
    parser.add_argument("--profile", action="store_true",
                        help="also time each dispatch, with IREE's own tools")  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    parser.set_defaults(function=run)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 3600")
    return value


def run(options: argparse.Namespace) -> int:
    """Print the table; the status is 1 if no device could run."""
    artifact = read(options.file)
    entry = artifact.manifest.entry(options.entry or artifact.manifest.default_entry)
    inputs = gather_inputs(entry, options.input) if options.input and entry else None
    report = bench(
        artifact,
        options.device or ["auto"],
        entry=options.entry,
        inputs=inputs,
        seconds=options.seconds,
        profile=options.profile,
        progress=_progress if sys.stderr.isatty() else None,
    )
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    if options.json:
        text = json.dumps(report.to_json(), indent=2) + "\n"
        write_atomic(options.json, iter([text.encode()]))
    usable = any(not row.error for row in report.rows)
    if usable:
        print(report.text())
        return 0
    print("error: " + "; ".join(f"{row.device}: {row.error}" for row in report.rows),
          file=sys.stderr)  # fmt: skip
    return 1


def _progress(text: str) -> None:
    print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
