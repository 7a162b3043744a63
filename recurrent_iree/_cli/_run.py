"""`recurrent-iree run`: call an entry with arrays from files."""

import click

from recurrent_iree_runtime.command_line import run_entry

from ._options import artifact_argument


@click.command()
@artifact_argument
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="[NAME=]FILE",
    help="An input: .npy files in the order of the signature, NAME=FILE.npy, or an .npz file "
    "with all of them by name; may be repeated.",
)
@click.option("--output", metavar="FILE", help="Write the outputs to this .npz (or .npy).")
@click.option("--entry", metavar="NAME", help="The entry to run; default: the default entry.")
@click.option("--device", default="auto", show_default=True, help="Where to run.")
@click.option("--weights", metavar="FILE", help="Other weights, as .safetensors.")
def run(
    artifact: str,
    inputs: tuple[str, ...],
    output: str | None,
    entry: str | None,
    device: str,
    weights: str | None,
) -> None:
    """Run an entry of ARTIFACT on arrays from .npy and .npz files.

    \b
    Examples:
      recurrent-iree run model.riree --input x.npy --output y.npz
      recurrent-iree run model.riree --input x=x.npy --input mask=m.npy --device vulkan
    """
    run_entry(artifact, inputs, output=output, entry=entry, device=device, weights=weights)
