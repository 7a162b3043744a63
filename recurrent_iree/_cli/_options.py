"""What the commands share: options, devices to run on, where they print."""

import sys

import click
from rich.console import Console
from rich.table import Table

import recurrent_iree_runtime as rt

artifact_argument = click.argument("artifact", type=click.Path())

devices_option = click.option(
    "--device",
    "devices",
    multiple=True,
    help="May be repeated; default: every device here for which there is a module.",
)


def console() -> Console:
    """Standard output: as wide as the terminal, and wide enough for a sentence in a pipe."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def usable_devices(manifest: rt.Manifest) -> list[str]:
    """The devices of this machine whose driver the artifact has a module for.

    Raises:
        NoVariantError: there is none.
    """
    drivers = {module.driver for module in manifest.modules}
    found = [
        device.name
        for device in rt.devices()
        if device.available and device.driver in drivers and not device.name.startswith("cpu:")
    ]
    if not found:
        raise rt.NoVariantError(
            f"{manifest.name!r} holds modules for {', '.join(sorted(drivers)) or 'nothing'}, and "
            "this machine has no such device; compile it for another target"
        )
    return found


def make_table(headers: list[str], left: int = 1) -> Table:
    """A table without lines whose first `left` columns are aligned to the left."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, header in enumerate(headers):
        table.add_column(header, justify="left" if i < left else "right", no_wrap=i < left)
    return table
