"""Whether a model's device keeps the memory of a call for the next one, if the caller does not say.

It pays where calls need much memory of the same sizes each time: the C library gives such blocks
back to the system, which clears and maps every page anew at the next call.
"""

import math

from ._dtypes import dtype_of
from ._gradients import GRADIENTS
from ._manifest import Entry, Function, Manifest
from ._runner import signature_of

LARGE = 16 << 20
"""Bytes of the inputs and outputs of a call; the blocks of smaller ones the C library keeps."""


def keeps_memory(manifest: Manifest) -> bool:
    """Whether there are gradients, or functions of known sizes whose calls need much memory."""
    return any(
        entry.name == GRADIENTS or any(_bytes(manifest, entry, f) >= LARGE for f in entry.functions)
        for entry in manifest.entries
    )


def _bytes(manifest: Manifest, entry: Entry, function: Function) -> int:
    """Of what goes in and out of a call; 0 if a size is known only then."""
    signature = signature_of(manifest, entry, function)
    total = 0
    for spec in (*signature.inputs, *signature.outputs):
        if any(size is None for size in spec.shape):
            return 0
        sizes = (size for size in spec.shape if size is not None)
        total += math.prod(sizes) * dtype_of(spec.dtype).itemsize
    return total
