"""The command line of the runtime: run, inspect, verify, bench, devices."""

import argparse
import os
import sys
from collections.abc import Sequence

from recurrent_iree_runtime._errors import RecurrentIreeError, StorageError

from . import _bench, _devices, _inspect, _run, _verify

_EXAMPLES = """examples:
  recurrent-iree-runtime devices
  recurrent-iree-runtime inspect model.riree
  recurrent-iree-runtime run model.riree --input x.npy --output y.npz
  recurrent-iree-runtime verify model.riree --device cpu --device vulkan
  recurrent-iree-runtime bench model.riree --device cpu --device vulkan --json times.json
"""


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(
        prog="recurrent-iree-runtime",
        description="Run compiled recurrent programs (.riree artifacts).",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (_run, _inspect, _verify, _bench, _devices):
        module.add_parser(commands)
    return top


def error_line(error: RecurrentIreeError) -> str:
    """An error as one line."""
    text = error.strerror if isinstance(error, StorageError) and error.strerror else str(error)
    return " ".join(text.split())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command: 0 if it worked, 1 with one line on stderr if not, 2 for wrong usage."""
    options = parser().parse_args(arguments)
    try:
        status = options.function(options)
        sys.stdout.flush()
        return status
    except RecurrentIreeError as error:
        print(f"error: {error_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe went away; silence the flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
