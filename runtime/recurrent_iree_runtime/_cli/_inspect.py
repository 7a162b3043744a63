"""`inspect`: what is inside an artifact."""

import argparse
import json
from typing import Any

from recurrent_iree_runtime._artifact import read
from recurrent_iree_runtime._inspect import inspect_json, inspect_tree
from recurrent_iree_runtime._text import tree_text

from ._common import add_command, add_file


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = add_command(
        commands,
        "inspect",
        "check an artifact and show what is inside: signatures, states, modules, hashes",
        "  recurrent-iree-runtime inspect model.riree\n"
        "  recurrent-iree-runtime inspect model.riree --json | jq .manifest.entries",
    )
    add_file(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> int:
    """Print the tree; nothing is loaded on a device."""
    artifact = read(options.file)
    if options.json:
        print(json.dumps(inspect_json(artifact), indent=2))
    else:
        print(tree_text(inspect_tree(artifact)))
    return 0
