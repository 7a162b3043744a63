"""`recompile`: the program that an artifact carries, compiled again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recurrent_iree_runtime import ArtifactError, ArtifactFile, Golden, Module, read

from ._artifact import Artifact
from ._build import build
from ._options import BuildOptions, Progress
from ._package import blob_platforms
from ._program import FunctionSource, GoldenCase, Program


def recompile(
    source: str | os.PathLike[str] | bytes | ArtifactFile,
    targets: Sequence[str] | None = None,
    *,
    options: BuildOptions | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Compile an artifact again, for the IREE that is installed or for other targets.

    The StableHLO, weights and golden calls inside are all that it takes: neither the layer or
    function that the program was written as, nor JAX. Blobs for XLA are carried over as they are.
    The result is not signed.

    Args:
        source: path of a `.riree` file, its bytes, or what `recurrent_iree_runtime.read` returned.
            It may have been made by another version of IREE.
        targets: as for `build`; by default those of the artifact.
        options, progress: as for `build`.

    Returns:
        The new artifact, in memory. With the same IREE and targets its bytes are the same, but for
        a signature.

    Raises:
        ArtifactError: the file is no artifact, or was changed.
        UnsupportedError: a target of XLA for a platform that the artifact has no blob for.
        Everything that `build` raises.

    Example:
        >>> recompile("model.riree", ["cpu:aarch64"]).save("phone.riree")  # doctest: +SKIP
    """
    file = source if isinstance(source, ArtifactFile) else read(source)
    file.check()
    targets = targets or [module.target for module in file.manifest.modules]
    return build(program_of(file), targets, options=options, progress=progress)


def program_of(file: ArtifactFile) -> Program:
    """The program that an artifact carries, as `build` takes it."""
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
        captured=_captured(file),
    )


def _captured(file: ArtifactFile) -> Mapping[str, Any]:
    """What the authoring side found in the program, if the artifact has a report of it."""
    if "report.json" not in file.members:
        return {}
    try:
        found = json.loads(bytes(file.read_member("report.json")))["program"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _source(file: ArtifactFile, symbol: str) -> FunctionSource:
    member = f"program/{symbol}.stablehlo"
    if member not in file.members:
        raise ArtifactError(
            f"{file.source} carries no StableHLO of {symbol!r}, so it cannot be compiled again; "
            "compile it from where it was written"
        )
    blobs = {
        ",".join(_platforms(module, symbol)): bytes(file.read_member(module.functions_xla[symbol]))
        for module in file.manifest.modules
        if symbol in module.functions_xla
    }
    return FunctionSource(bytes(file.read_member(member)), blobs)


def _platforms(module: Module, symbol: str) -> tuple[str, ...]:
    """What the module's blob of a function is exported for."""
    stated = module.needs.get("platforms") or module.target.partition(":")[2]
    return blob_platforms(module.functions_xla[symbol], symbol) or (
        (stated,) if isinstance(stated, str) else stated
    )


def _golden(golden: Golden, tensors: Mapping[str, np.ndarray]) -> GoldenCase:
    inputs = tuple(tensors[key] for key in golden.inputs)
    outputs = tuple(tensors[key] for key in golden.outputs)
    return GoldenCase(golden.entry, golden.dims, inputs, outputs, golden.rtol, golden.atol)
