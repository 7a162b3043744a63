"""Conversions between element types, with the rounding and saturation of XLA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._writer import compute_dtype, is_float, vector

if TYPE_CHECKING:
    from ._elementwise import Lanes

_BITS = {"i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64}
# The largest float32 and float64 up to the top of each integer type.
_TOP_F32 = {"i8": 127.0, "i16": 32767.0, "i32": 2147483520.0, "i64": 9223371487098961920.0}
_TOP_F64 = {"i8": 127.0, "i16": 32767.0, "i32": 2147483647.0, "i64": 9223372036854774784.0}
_TOP_UNSIGNED = {"i8": 255.0, "i16": 65535.0, "i32": 4294967040.0, "i64": 18446742974197923840.0}
_TOP_UNSIGNED_F64 = {
    "i8": 255.0,
    "i16": 65535.0,
    "i32": 4294967295.0,
    "i64": 18446744073709549568.0,
}


def convert(lanes: Lanes, source: str, target: str, x: str) -> str:
    """`x`, in registers as `source`, in registers as `target`.

    A conversion to float16 rounds when it is stored, not before: it keeps more than was asked for.
    """
    a, b = compute_dtype(source), compute_dtype(target)
    if target in ("bf16", "f16"):
        x = convert(lanes, source, "f32", x) if a != "f32" else x
        return _rounded_to_bf16(lanes, x) if target == "bf16" else x
    if target == "i1":
        zero = lanes.constant(0, a)
        return lanes.compare("une" if is_float(a) else "ne", a, x, zero)
    if a == b:
        return x
    if is_float(a) and is_float(b):
        return _cast(lanes, "arith.extf" if b == "f64" else "arith.truncf", a, b, x)
    if is_float(a):
        return _float_to_int(lanes, a, target, x)
    unsigned = source.startswith("u") or source == "i1"
    if is_float(b):
        return _cast(lanes, "arith.uitofp" if unsigned else "arith.sitofp", a, b, x)
    if _BITS[a] > _BITS[b]:
        return _cast(lanes, "arith.trunci", a, b, x)
    return _cast(lanes, "arith.extui" if unsigned else "arith.extsi", a, b, x)


def _rounded_to_bf16(lanes: Lanes, x: str) -> str:
    """Through the bits, because a pair of truncf and extf is folded away by the compiler."""
    short = lanes.w.op(f"arith.truncf {x} : {lanes.kind('f32')} to {vector('bf16', lanes.count)}")
    bits = lanes.w.op(
        f"arith.bitcast {short} : {vector('bf16', lanes.count)} to {lanes.kind('i16')}"
    )
    wide = lanes.w.op(f"arith.extui {bits} : {lanes.kind('i16')} to {lanes.kind('i32')}")
    high = lanes.op("arith.shli", "i32", wide, lanes.constant(16, "i32"))
    return lanes.w.op(f"arith.bitcast {high} : {lanes.kind('i32')} to {lanes.kind('f32')}")


def narrow(lanes: Lanes, storage: str, x: str) -> str:
    """`x` as it is stored: from its type in registers to `storage`."""
    if storage in ("bf16", "f16"):
        return _raw(lanes, "arith.truncf", "f32", storage, x)
    if storage == "i1":
        return _raw(lanes, "arith.extui", "i1", "i8", x)
    return x


def widen(lanes: Lanes, storage: str, x: str) -> str:
    """`x` as it is in registers: from `storage` to its type in registers."""
    if storage in ("bf16", "f16"):
        return _raw(lanes, "arith.extf", storage, "f32", x)
    if storage == "i1":
        return lanes.compare("ne", "i8", x, lanes.constant(0, "i8"))
    return x


def _cast(lanes: Lanes, name: str, a: str, b: str, x: str) -> str:
    return lanes.w.op(f"{name} {x} : {lanes.kind(a)} to {lanes.kind(b)}")


def _raw(lanes: Lanes, name: str, a: str, b: str, x: str) -> str:
    return lanes.w.op(f"{name} {x} : {vector(a, lanes.count)} to {vector(b, lanes.count)}")


def _float_to_int(lanes: Lanes, a: str, target: str, x: str) -> str:
    """Towards zero; out of range saturates, NaN gives zero."""
    b = compute_dtype(target)
    unsigned = target.startswith("u")
    if a == "f64":
        top = (_TOP_UNSIGNED_F64 if unsigned else _TOP_F64)[b]
    else:
        top = (_TOP_UNSIGNED if unsigned else _TOP_F32)[b]
    low = 0.0 if unsigned else -float(2 ** (_BITS[b] - 1))
    high = lanes.constant(top, a)
    clamped = lanes.op("arith.maximumf", a, x, lanes.constant(low, a))
    clamped = lanes.op("arith.minimumf", a, clamped, high)
    nan = lanes.compare("uno", a, x, x)
    clamped = lanes.select(a, nan, lanes.constant(0, a), clamped)
    number = _cast(lanes, "arith.fptoui" if unsigned else "arith.fptosi", a, b, clamped)
    most = (2 ** _BITS[b] - 1) if unsigned else 2 ** (_BITS[b] - 1) - 1
    over = lanes.compare("ogt", a, x, high)
    return lanes.select(b, over, lanes.constant(most, b), number)
