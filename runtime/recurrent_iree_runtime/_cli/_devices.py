"""`devices`: what this machine has, and what is missing."""

import argparse
import json
from dataclasses import asdict
from typing import Any

from recurrent_iree_runtime._devices import devices
from recurrent_iree_runtime._text import table_text

from ._common import add_command


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = add_command(
        commands,
        "devices",
        "list the devices of this machine, and the drivers that are missing",
        "  recurrent-iree-runtime devices\n  recurrent-iree-runtime devices --json",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    found = devices()
    if options.json:
        print(json.dumps([asdict(device) for device in found], indent=2))
        return 0
    rows = [[d.name, "yes" if d.available else "no", d.description or d.reason] for d in found]
    print(table_text(["device", "usable", "what it is"], rows))
    return 0
