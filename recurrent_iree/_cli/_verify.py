"""`recurrent-iree verify`: the golden calls of an artifact, on one device after another."""

import dataclasses
import json
from typing import Any

import click

import recurrent_iree_runtime as rt
from recurrent_iree_runtime.command_line import VERIFY_HEADERS, verify_rows

from ._options import artifact_argument, console, devices_option, make_table, usable_devices


@click.command()
@artifact_argument
@devices_option
@click.option(
    "--trusted-key",
    "trusted_keys",
    multiple=True,
    metavar="KEY",
    help="Refuse an artifact that none of these public keys signed; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def verify(
    artifact: str, devices: tuple[str, ...], trusted_keys: tuple[str, ...], as_json: bool
) -> None:
    """Run the golden calls of ARTIFACT and compare with what XLA gave when it was built.

    The exit status is 1 if any output is beyond its tolerance.

    \b
    Examples:
      recurrent-iree verify model.riree
      recurrent-iree verify model.riree --device cpu --device vulkan
      recurrent-iree verify model.riree --trusted-key release.key.pub
    """
    file = rt.read(artifact)
    file.check()
    reports = []
    for device in devices or usable_devices(file.manifest):
        with rt.load(file, device=device, trusted_keys=trusted_keys or None) as model:
            reports.append(model.verify())
    if as_json:
        click.echo(json.dumps([_as_json(report) for report in reports], indent=2))
    else:
        table = make_table(VERIFY_HEADERS, left=3)
        for report in reports:
            for row in verify_rows(report):
                table.add_row(*row, style=None if row[-1] == "ok" else "red")
        console().print(table)
    for report in reports:
        report.raise_if_failed()


def _as_json(report: rt.VerifyReport) -> dict[str, Any]:
    rows = [{**dataclasses.asdict(row), "dims": dict(row.dims)} for row in report.rows]
    return {"name": report.name, "device": report.device, "ok": report.ok, "rows": rows}
