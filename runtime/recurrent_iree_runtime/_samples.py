"""Inputs to try an entry with."""

import numpy as np

from ._artifact import ArtifactFile
from ._dtypes import dtype_of
from ._manifest import Entry, Leaf, Manifest


def sample_inputs(artifact: ArtifactFile, entry: Entry) -> list[np.ndarray]:
    """Inputs of the largest golden call of an entry, else random ones of compiled sizes."""
    goldens = [g for g in artifact.manifest.goldens if g.entry == entry.name]
    tensors = artifact.goldens() if goldens else {}
    count, best = len(entry.inputs), None
    for golden in goldens:
        arrays = [tensors[key] for key in golden.inputs[:count] if key in tensors]
        size = sum(array.nbytes for array in arrays)
        if len(arrays) == count and (best is None or size > best[0]):
            best = (size, arrays)
    if best is not None:
        return best[1]
    sizes = _sizes(artifact.manifest, entry)
    random = np.random.default_rng(0)
    return [_random(random, leaf, sizes) for leaf in entry.inputs]


def _sizes(manifest: Manifest, entry: Entry) -> dict[str, int]:
    sizes = {dim.name: (dim.sizes or (64,))[0] for dim in manifest.dims}
    return {**sizes, **(entry.functions[0].dims if entry.functions else {})}


def _random(random: np.random.Generator, leaf: Leaf, sizes: dict[str, int]) -> np.ndarray:
    shape = [n if isinstance(n, int) else sizes[n] for n in leaf.shape]
    dtype = dtype_of(leaf.dtype)
    if dtype.kind in "biu":
        return random.integers(0, 2, shape).astype(dtype)
    return random.standard_normal(shape).astype(dtype)
