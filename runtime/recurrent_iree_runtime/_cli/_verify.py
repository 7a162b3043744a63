"""`verify`: run an artifact's golden calls on devices of this machine."""

import argparse
import sys
from typing import Any

from recurrent_iree_runtime._artifact import read
from recurrent_iree_runtime._errors import RecurrentIreeError
from recurrent_iree_runtime._load import load
from recurrent_iree_runtime._text import table_text
from recurrent_iree_runtime._verify import VerifyReport

from ._common import add_command, add_devices, add_file


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = add_command(
        commands,
        "verify",
        "run the golden calls of an artifact here and compare with the expected numbers",
        "  recurrent-iree-runtime verify model.riree\n"
        "  recurrent-iree-runtime verify model.riree --device cpu --device vulkan",
    )
    add_file(parser)
    add_devices(parser)
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> int:
    """Print a table; the status is 1 if any call failed."""
    artifact = read(options.file)
    artifact.check()
    rows: list[list[str]] = []
    problems: list[str] = []
    for device in options.device or ["auto"]:
        try:
            with load(artifact, device) as model:
                report = model.verify()
            rows += verify_rows(report)
            report.raise_if_failed()
        except RecurrentIreeError as error:
            problems.append(" ".join(str(error).split()))
    if rows:
        print(table_text(VERIFY_HEADERS, rows, right="max abs error|max rel error"))
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


VERIFY_HEADERS = ["device", "entry", "sizes", "max abs error", "max rel error", "result"]


def verify_rows(report: VerifyReport) -> list[list[str]]:
    """Cells of a report, for any table writer."""
    return [
        [
            report.device,
            row.entry,
            ", ".join(f"{k}={v}" for k, v in sorted(row.dims.items())),
            f"{row.max_abs_error:.3g}",
            f"{row.max_rel_error:.3g}",
            "ok" if row.ok else "FAILED",
        ]
        for row in report.rows
    ]
