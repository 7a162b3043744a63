"""Loads conformance cases and compares results with them; `data/README.md` is the format."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

FIELDS = {
    "format", "api", "name", "source", "what", "tags", "cell", "cell_config", "weights", "call",
    "script", "hints", "expect", "gradients", "rtol", "atol",
}  # fmt: skip
GRADIENT_FIELDS = {"loss", "weights", "expect", "rtol", "atol", "at"}


@dataclass(frozen=True)
class Fn:
    """``{"$fn": name, "config": …}``: a function of the format document."""

    name: str
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Regularizer:
    """``{"$regularizer": kind, "factor": f}``."""

    kind: str
    factor: float


@dataclass(frozen=True)
class Case:
    """One recorded call with every value decoded."""

    path: Path
    api: str
    name: str
    source: str
    what: str
    tags: tuple[str, ...]
    cell: str
    cell_config: dict[str, Any]
    call: dict[str, Any]
    expect: Any
    rtol: float
    atol: float
    weights: list[np.ndarray] | None = None
    script: list[dict[str, Any]] | None = None
    hints: dict[str, Any] = field(default_factory=dict)
    gradients: dict[str, Any] | None = None
    wide: bool = False

    def precision(self) -> AbstractContextManager[Any]:
        """A context with 64-bit types where the arrays of the case have them."""
        return jax.enable_x64(True) if self.wide else nullcontext()

    @property
    def raises(self) -> dict[str, Any] | None:
        """The error that is expected, or None."""
        found = isinstance(self.expect, dict) and "raises" in self.expect
        return self.expect if found else None


def find(folder: Path) -> list[Path]:
    """The JSON files of the cases under ``folder`` (or its subfolder ``cases``)."""
    root = folder / "cases" if (folder / "cases").is_dir() else folder
    return sorted(root.glob("*/*.json"))


def load(path: Path) -> Case:
    """Read one case; anything that the format does not know is an error."""
    raw = json.loads(path.read_text())
    arrays_path = path.with_suffix(".npz")
    arrays = dict(np.load(arrays_path)) if arrays_path.exists() else {}
    only(raw, FIELDS, f"case {path.stem}")
    assert raw["format"] == 1, f"{path}: format {raw['format']} is unknown"
    values = {key: _decode(value, arrays) for key, value in raw.items() if key != "format"}
    values["tags"] = tuple(values["tags"])
    if values.get("gradients"):
        only(values["gradients"], GRADIENT_FIELDS, f"gradients of {path.stem}")
    wide = any(array.dtype in (np.float64, np.complex128) for array in arrays.values())
    return Case(path=path, wide=wide, **{k: v for k, v in values.items() if v is not None})


def _decode(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    special = {key for key in value if key.startswith("$")}
    if not special:
        return {key: _decode(item, arrays) for key, item in value.items()}
    if special == {"$npz"}:
        return arrays[only(value, {"$npz"}, "$npz")["$npz"]]
    if special == {"$tuple"}:
        return tuple(_decode(only(value, {"$tuple"}, "$tuple")["$tuple"], arrays))
    if special == {"$fn"}:
        only(value, {"$fn", "config"}, "$fn")
        return Fn(value["$fn"], _decode(value.get("config", {}), arrays))
    if special == {"$regularizer"}:
        only(value, {"$regularizer", "factor"}, "$regularizer")
        return Regularizer(value["$regularizer"], value["factor"])
    raise AssertionError(f"unknown notation {sorted(special)}")


def only(mapping: dict[str, Any], known: Iterable[str], what: str) -> dict[str, Any]:
    """``mapping``, if every key is known."""
    unknown = set(mapping) - set(known)
    assert not unknown, f"{what} has unknown keys {sorted(unknown)}"
    return mapping


def config(case: Case, *keys: str, optional: Iterable[str] = ()) -> dict[str, Any]:
    """``cell_config`` of the case, with exactly these keys."""
    found = only(case.cell_config, {*keys, *optional}, f"cell_config of {case.cell}")
    missing = set(keys) - set(found)
    assert not missing, f"cell_config of {case.cell} lacks {sorted(missing)}"
    return found


def check_equal(got: Any, want: Any, rtol: float, atol: float, where: str = "result") -> None:
    """Compare by the rules of the format: structure, shapes, exact integers, close floats."""
    if want is None:
        assert got is None, f"{where}: expected nothing, got {type(got).__name__}"
    elif isinstance(want, dict):
        assert isinstance(got, dict) and set(got) == set(want), (
            f"{where}: expected the keys {sorted(want)}, got {got!r:.200}"
        )
        for key in want:
            check_equal(got[key], want[key], rtol, atol, f"{where}.{key}")
    elif isinstance(want, list | tuple):
        assert isinstance(got, list | tuple) and len(got) == len(want), (
            f"{where}: expected {len(want)} items, got {got!r:.200}"
        )
        for index, item in enumerate(want):
            check_equal(got[index], item, rtol, atol, f"{where}[{index}]")
    else:
        _check_array(np.asarray(got), np.asarray(want), rtol, atol, where)


def _check_array(got: np.ndarray, want: np.ndarray, rtol: float, atol: float, where: str) -> None:
    assert got.shape == want.shape, f"{where}: shape {got.shape}, expected {want.shape}"
    if not jnp.issubdtype(want.dtype, np.inexact):
        assert not jnp.issubdtype(got.dtype, np.inexact), f"{where}: {got.dtype}, not an integer"
        np.testing.assert_array_equal(got, want, err_msg=where)
        return
    got, want = got.astype(np.float64), want.astype(np.float64)
    allowed = atol + rtol * np.abs(want)
    bad = ~(np.abs(got - want) <= allowed)
    assert not bad.any(), (
        f"{where}: {bad.sum()} of {bad.size} values differ, e.g. got {got[bad][0]!r}, expected "
        f"{want[bad][0]!r} (largest difference {np.abs(got - want).max():.3g})"
    )


def check_raises(case: Case, call: Callable[[], Any], expect: dict[str, Any] | None = None) -> None:
    """Run ``call`` and require the recorded error, when called or when computed."""
    expect = expect or case.raises
    assert expect is not None
    only(expect, {"raises", "why", "also_accept"}, "expect")
    accepted = {expect["raises"], *expect.get("also_accept", ())}
    try:
        jax.block_until_ready(call())
    except Exception as error:
        names = {cls.__name__ for cls in type(error).__mro__}
        assert "*" in accepted or names & accepted, (
            f"expected {sorted(accepted)}, got {type(error).__name__}: {error}"
        )
        return
    raise AssertionError(f"expected {sorted(accepted)} ({expect.get('why')}), got no error")


def weighted_loss(kind: str, result: Any, weights: Any) -> jax.Array:
    """The loss of the format over the leaves that count."""
    assert kind in ("sum(w*y)", "sum(w*y*y)"), f"unknown loss {kind}"
    if weights is None:
        return jnp.zeros(())
    if isinstance(weights, dict):
        assert set(weights) <= set(result), f"weights {sorted(weights)} of {sorted(result)}"
        return sum((weighted_loss(kind, result[k], weights[k]) for k in weights), jnp.zeros(()))
    if isinstance(weights, list | tuple):
        pairs = zip(result, weights, strict=True)
        return sum((weighted_loss(kind, y, w) for y, w in pairs), jnp.zeros(()))
    assert jnp.shape(result) == weights.shape, f"{jnp.shape(result)} has weights {weights.shape}"
    return jnp.sum(weights * result if kind == "sum(w*y)" else weights * result * result)


def check_gradients(
    case: Case, function: Callable[[dict[str, Any]], Any], arguments: dict[str, Any]
) -> None:
    """Compare the gradients of the case's loss over ``function(arguments)``."""
    want = case.gradients
    assert want is not None
    only(want["expect"], arguments, "gradients.expect")
    given = {name: arguments[name] for name in want["expect"]}

    def loss(given: dict[str, Any]) -> jax.Array:
        return weighted_loss(want["loss"], function({**arguments, **given}), want["weights"])

    got = jax.grad(loss, allow_int=True)(given)
    got = jax.tree.map(_without_float0, got, given)
    for name, expected in want["expect"].items():
        check_equal(got[name], expected, want["rtol"], want["atol"], f"gradient of {name}")


def _without_float0(gradient: Any, argument: Any) -> Any:
    if gradient.dtype != jax.dtypes.float0:
        return gradient
    return np.zeros(np.shape(argument), np.asarray(argument).dtype)


def as_jax(tree: Any) -> Any:
    """Every NumPy array as a JAX array."""
    return jax.tree.map(jnp.asarray, tree)
