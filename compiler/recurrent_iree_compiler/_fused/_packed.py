"""Packing weights before the dispatch, so that a step reads them in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ._ir import Value
from ._lines import Lines, tensor
from ._pack_kernel import PackKernel
from ._packing import Pack


@dataclass
class PackWriter:
    """Writes to `w` what packs the values called `names`; `executables` has what it dispatches."""

    w: Lines
    names: Mapping[tuple[str, Value], str]
    executables: dict[str, str] = field(default_factory=dict)

    def pack(self, pack: Pack) -> str:
        """One flat tensor: ``[outer][tiles][contracted][gates][lanes]`` for each segment."""
        dtype, flat_shape = pack.buffer.storage, (pack.buffer.length,)
        if pack.is_in_order:
            value = pack.gates[0].value
            return self.w.reshape(self.names[pack.source, value], value.shape, flat_shape, dtype)
        kernel = PackKernel(pack)
        self.executables[kernel.symbol] = kernel.text
        names = [self.names[pack.source, value] for value in kernel.values]
        shapes = [value.shape for value in kernel.values]
        if kernel.joined:
            sizes = [(value.size,) for value in kernel.values]
            flat = [
                self.w.reshape(name, shape, size, dtype)
                for name, shape, size in zip(names, shapes, sizes, strict=True)
            ]
            names, shapes = [self.w.concatenate(flat, sizes, 0, dtype)], [tuple(kernel.sizes())]
        kinds = ", ".join(tensor(shape, dtype) for shape in shapes)
        made = tensor(flat_shape, dtype)
        run = f"@{kernel.symbol}::@{kernel.symbol}_run"
        return self.w.op(f"flow.dispatch {run}({', '.join(names)}) : ({kinds}) -> {made}")
