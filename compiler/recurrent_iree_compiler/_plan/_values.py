"""Making StableHLO operations in front of another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recurrent_iree_compiler._mlir import ir


class Values:
    """Makes operations with known sizes at `before`; each method returns the value that is made."""

    def __init__(self, before: Any) -> None:
        self.before = before

    def op(self, name: str, kind: Any, *operands: Any, **attributes: Any) -> Any:
        """``stablehlo.<name>`` with one result of type `kind`."""
        made = ir.Operation.create(
            f"stablehlo.{name}",
            results=[kind],
            operands=list(operands),
            attributes={key: _attribute(value) for key, value in attributes.items()},
            ip=self.before,
        )
        return made.results[0]

    def filled(self, kind: Any, number: int) -> Any:
        """An array of the integer type `kind` with `number` everywhere."""
        element = ir.RankedTensorType(kind).element_type
        bits = int("".join(c for c in str(element) if c.isdigit()))
        most = 2 ** (bits - (not str(element).startswith("u"))) - 1
        return self._constant(kind, str(min(number, most)))

    def zeros(self, kind: Any) -> Any:
        """An array of `kind` with zero everywhere."""
        element = str(ir.RankedTensorType(kind).element_type)
        plain = "false" if element == "i1" else "0.0" if "f" in element else "0"
        return self._constant(kind, "(0.0, 0.0)" if element.startswith("complex") else plain)

    def _constant(self, kind: Any, text: str) -> Any:
        return self.op("constant", kind, value=ir.Attribute.parse(f"dense<{text}> : {kind}"))

    def reshape(self, value: Any, shape: Sequence[int]) -> Any:
        """`value` in another shape with as many elements."""
        return self.op("reshape", _like(value, shape), value)

    def slice(self, value: Any, axis: int, start: int, size: int = 1) -> Any:
        """`size` elements of `value` along `axis`."""
        shape = list(value.type.shape)
        low, high = [0] * len(shape), list(shape)
        low[axis], high[axis], shape[axis] = start, start + size, size
        ones = [1] * len(shape)
        return self.op(
            "slice",
            _like(value, shape),
            value,
            start_indices=low,
            limit_indices=high,
            strides=ones,
        )

    def concatenate(self, parts: Sequence[Any], axis: int) -> Any:
        """`parts`, each one wide along `axis`, side by side."""
        shape = list(parts[0].type.shape)
        shape[axis] = len(parts)
        where = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), axis)
        return self.op("concatenate", _like(parts[0], shape), *parts, dimension=where)

    def compare(self, order: str, left: Any, right: Any) -> Any:
        """Whether integers of `left` are ``GE`` or ``LE`` those of `right`."""
        flag = ir.RankedTensorType.get(left.type.shape, ir.IntegerType.get_signless(1))
        direction = ir.Attribute.parse(f"#stablehlo<comparison_direction {order}>")
        return self.op("compare", flag, left, right, comparison_direction=direction)

    def repeat(self, value: Any, axes: Sequence[int], shape: Sequence[int]) -> Any:
        """`value`, whose axes become `axes`, repeated to `shape`."""
        kind = _like(value, shape)
        return self.op("broadcast_in_dim", kind, value, broadcast_dimensions=list(axes))

    def dynamic_slice(self, value: Any, starts: Sequence[Any], sizes: Sequence[int]) -> Any:
        """`sizes` elements of `value` from `starts` on, moved inside of it if need be."""
        kind = _like(value, sizes)
        return self.op("dynamic_slice", kind, value, *starts, slice_sizes=list(sizes))

    def pad(self, value: Any, axis: int, count: int) -> Any:
        """`value` with `count` zeros behind it along `axis`."""
        shape = list(value.type.shape)
        none, high = [0] * len(shape), [0] * len(shape)
        high[axis], shape[axis] = count, shape[axis] + count
        zero = self.zeros(_like(value, []))
        edges = {"edge_padding_low": none, "edge_padding_high": high, "interior_padding": none}
        return self.op("pad", _like(value, shape), value, zero, **edges)


def _like(value: Any, shape: Sequence[int]) -> Any:
    return ir.RankedTensorType.get(list(shape), value.type.element_type)


def _attribute(value: Any) -> Any:
    return ir.DenseI64ArrayAttr.get(value) if isinstance(value, list) else value
