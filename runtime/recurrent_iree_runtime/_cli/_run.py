"""`run`: call an entry with arrays from files."""

import argparse
import os
from collections.abc import Sequence
from typing import Any

from recurrent_iree_runtime._arrays_io import gather_inputs, write_arrays
from recurrent_iree_runtime._errors import ArgumentError
from recurrent_iree_runtime._load import load
from recurrent_iree_runtime._text import table_text
from recurrent_iree_runtime._tree import flatten, unflatten

from ._common import add_command, add_file


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = add_command(
        commands,
        "run",
        "run an entry of an artifact on arrays from .npy and .npz files",
        "  recurrent-iree-runtime run model.riree --input x.npy --output y.npz\n"
        "  recurrent-iree-runtime run model.riree --input x=x.npy --input mask=m.npy\n"
        "  recurrent-iree-runtime run model.riree --input all.npz --device vulkan",
    )
    add_file(parser)
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help="an input: .npy files in the order of the signature, NAME=FILE.npy, or an .npz "
        "file with all of them by name; may be repeated",
    )
    parser.add_argument("--output", metavar="FILE", help="write the outputs to this .npz (or .npy)")
    parser.add_argument("--entry", metavar="NAME", help="the entry to run (default: the default)")
    parser.add_argument("--device", default="auto", help="where to run (default: auto)")
    parser.add_argument("--weights", metavar="FILE", help="other weights, as .safetensors")
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    run_entry(
        options.file,
        options.input,
        output=options.output,
        entry=options.entry,
        device=options.device,
        weights=options.weights,
    )
    return 0


def run_entry(
    file: str | os.PathLike[str],
    inputs: Sequence[str],
    *,
    output: str | None = None,
    entry: str | None = None,
    device: str = "auto",
    weights: str | None = None,
) -> None:
    """Call an entry of an artifact, print a table of its outputs, and write them if asked to.

    Args:
        file: the artifact.
        inputs: ``FILE.npy`` in the order of the signature, ``NAME=FILE.npy``, or one ``FILE.npz``.
        output: where to write the outputs, as ``.npz`` or ``.npy``.
        entry: its name; by default the default entry.
        device: where to run.
        weights: a file of other weights, as ``.safetensors``.

    Raises:
        ArgumentError: a file that cannot be read as an array, or an entry that has no inputs.
        Everything that `recurrent_iree_runtime.load` and a call raise.

    Example:
        >>> run_entry("model.riree", ["x.npy"], output="y.npz")  # doctest: +SKIP
    """
    with load(file, device, weights=weights) as model:
        name = entry or model.manifest.default_entry
        taken = model.plan(name).entry
        if name == "init":
            raise ArgumentError("'init' has no inputs to run; open a session in Python instead")
        parts = unflatten(taken.input_tree, gather_inputs(taken, inputs))
        result = model.run(name, *parts["args"], **parts["kwargs"])
        leaves = flatten(taken.output_tree, result, "the result")
        names = _names([leaf.name for leaf in taken.outputs])
        arrays = dict(zip(names, leaves, strict=True))
        if output:
            write_arrays(output, arrays)
        print(f"{model.name}, entry {name!r}, on {model.device.name} ({model.device.description})")
        rows = [[n, str(a.dtype), str(list(a.shape)), _range(a)] for n, a in arrays.items()]
        print(table_text(["output", "dtype", "shape", "range"], rows))


def _names(names: list[str]) -> list[str]:
    """Each name once; empty and repeated ones get a number."""
    result: list[str] = []
    for i, name in enumerate(names):
        plain = name or f"output{i}"
        result.append(plain if plain not in result else f"{plain}_{i}")
    return result


def _range(array: Any) -> str:
    if array.size == 0:
        return "empty"
    if array.dtype.kind == "c":
        return "complex"
    wide = array.astype("float64")
    return f"{wide.min():.6g} to {wide.max():.6g}"
