"""`recurrent-iree devices`: what this machine has, and why the rest is missing."""

import dataclasses
import json

import click

import recurrent_iree_runtime as rt

from ._options import console, make_table


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def devices(as_json: bool) -> None:
    """List the devices of this machine and say why the others are missing.

    \b
    Examples:
      recurrent-iree devices
      recurrent-iree devices --json | jq -r '.[] | select(.available) | .name'
    """
    found = rt.devices()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(device) for device in found], indent=2))
        return
    table = make_table(["device", "here", "what, or why not"], left=3)
    table.columns[2].no_wrap = False
    for device in found:
        here = "[green]yes[/]" if device.available else "[red]no[/]"
        # What the driver itself said, in brackets, is in the JSON.
        table.add_row(device.name, here, device.description or device.reason.partition(" (")[0])
    console().print(table)
