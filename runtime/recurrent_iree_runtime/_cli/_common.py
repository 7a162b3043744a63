"""What the commands share."""

import argparse
from typing import Any


def add_command(commands: Any, name: str, text: str, examples: str) -> argparse.ArgumentParser:
    """A sub-command with examples in its help."""
    return commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_file(parser: argparse.ArgumentParser) -> None:
    """The artifact."""
    parser.add_argument("file", metavar="FILE", help="the .riree artifact")


def add_devices(parser: argparse.ArgumentParser) -> None:
    """`--device`, several times."""
    parser.add_argument(
        "--device",
        action="append",
        metavar="DEVICE",
        help="auto, cpu, cpu:local-sync, cpu:local-task, vulkan, vulkan:N, cuda, vmvx, xla; "
        "may be repeated (default: auto)",
    )
