"""`recurrent-iree recompile`: an artifact for other targets, or for the IREE that is here."""

from pathlib import Path

import click

import recurrent_iree_runtime as rt
from recurrent_iree_compiler import recompile as recompile_artifact
from recurrent_iree_runtime.command_line import size_text

from ._compile import TargetBars
from ._options import artifact_argument


@click.command()
@artifact_argument
@click.option(
    "--target",
    "targets",
    multiple=True,
    help="May be repeated; default: the targets that the artifact has.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write; default: ARTIFACT itself.",
)
@click.option("--quiet", is_flag=True, help="No progress, no summary.")
def recompile(
    artifact: str, targets: tuple[str, ...], output: Path | None, quiet: bool
) -> None:
    """Compile the program that ARTIFACT carries again; what it was written in is not needed.

    For another version of IREE, or for other targets. The new modules are compared with the
    golden calls of ARTIFACT.

    \b
    Examples:
      recurrent-iree recompile old.riree
      recurrent-iree recompile model.riree --target cpu:aarch64 --target vulkan -o phone.riree
    """
    file = rt.read(artifact)
    targets = targets or tuple(module.target for module in file.manifest.modules)
    output = output or Path(artifact)
    with TargetBars(targets, quiet) as bars:
        made = recompile_artifact(file, targets, progress=bars.show)
    made.save(output)
    if not quiet:
        click.echo(f"{output}  {size_text(made.size)}  {', '.join(targets)}")
