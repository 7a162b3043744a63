"""`recurrent-iree recompile`: an artifact for other targets, or for the IREE that is here."""

import json
from collections.abc import Mapping
from pathlib import Path

import click
import jax.export

import recurrent_iree_runtime as rt
from recurrent_iree_compiler import FunctionSource, GoldenCase, Program, build
from recurrent_iree_runtime._text import size_text

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
    file.check()
    targets = targets or tuple(module.target for module in file.manifest.modules)
    output = output or Path(artifact)
    with TargetBars(targets, quiet) as bars:
        made = build(program_of(file), targets, progress=bars.show)
    made.save(output)
    if not quiet:
        click.echo(f"{output}  {size_text(made.size)}  {', '.join(targets)}")


def program_of(file: rt.ArtifactFile) -> Program:
    """The program that an artifact carries, as the compiler takes it."""
    manifest, tensors = file.manifest, file.goldens()
    symbols = [f.symbol for entry in manifest.entries for f in entry.functions]
    return Program(
        name=manifest.name,
        default_entry=manifest.default_entry,
        dims=manifest.dims,
        entries=manifest.entries,
        functions={symbol: _source(file, symbol) for symbol in symbols},
        states=manifest.states,
        weights=file.weights(),
        goldens=tuple(_golden(golden, tensors) for golden in manifest.goldens),
        versions=manifest.versions,
        metadata=manifest.metadata,
        captured=json.loads(bytes(file.read_member("report.json"))).get("program", {}),
    )


def _source(file: rt.ArtifactFile, symbol: str) -> FunctionSource:
    names = {m.functions_xla[symbol] for m in file.manifest.modules if symbol in m.functions_xla}
    blobs = [bytes(file.read_member(name)) for name in sorted(names)]
    platforms = [jax.export.deserialize(bytearray(blob)).platforms for blob in blobs]
    return FunctionSource(
        bytes(file.read_member(f"program/{symbol}.stablehlo")),
        {",".join(where): blob for where, blob in zip(platforms, blobs, strict=True)},
    )


def _golden(golden: rt.Golden, tensors: Mapping) -> GoldenCase:
    inputs = tuple(tensors[key] for key in golden.inputs)
    outputs = tuple(tensors[key] for key in golden.outputs)
    return GoldenCase(golden.entry, golden.dims, inputs, outputs, golden.rtol, golden.atol)
