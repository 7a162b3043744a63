"""Initializers by name. Their protocol is that of JAX: ``(key, shape, dtype) -> array``.

The built-in ones draw with NumPy from the bits of the key: building a layer then compiles nothing,
and the same key gives the same weights on every machine.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

from ._registry import from_config, register

Initializer = Callable[[Any, tuple[int, ...], Any], Any]


class _Configured:
    """An initializer that is fully described by its attributes."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(vars(self))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), tuple(sorted(vars(self).items()))))


@register
class Constant(_Configured):
    """Every element is `value`."""

    def __init__(self, value: float = 0.0):
        self.value = value

    def __call__(self, key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
        return jnp.full(shape, self.value, dtype)


@register
class RandomUniform(_Configured):
    """Uniform between `minval` and `maxval`."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05):
        self.minval = minval
        self.maxval = maxval

    def __call__(self, key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
        return jnp.asarray(generator(key).uniform(self.minval, self.maxval, shape), dtype)


@register
class RandomNormal(_Configured):
    """Normal with `mean` and `stddev`."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05):
        self.mean = mean
        self.stddev = stddev

    def __call__(self, key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
        return jnp.asarray(generator(key).normal(self.mean, self.stddev, shape), dtype)


@register
class VarianceScaling(_Configured):
    """Zero mean and variance `scale / n`, with n the fan-in, the fan-out or their mean (`mode`)."""

    def __init__(
        self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal"
    ):
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ArgumentError(f"`mode` must be fan_in, fan_out or fan_avg, got {mode!r}.")
        if distribution not in ("truncated_normal", "uniform"):
            raise ArgumentError(
                f"`distribution` must be truncated_normal or uniform, got {distribution!r}."
            )
        self.scale = scale
        self.mode = mode
        self.distribution = distribution

    def __call__(self, key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
        fan_in, fan_out = _fans(shape)
        fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
        variance = self.scale / max(1.0, fans[self.mode])
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return jnp.asarray(generator(key).uniform(-limit, limit, shape), dtype)
        # A normal cut at two deviations has 0.8796 of the deviation of the uncut one.
        return jnp.asarray(
            _truncated_normal(generator(key), shape) * math.sqrt(variance) / 0.87962566103423978,
            dtype,
        )


@register
class Orthogonal(_Configured):
    """A matrix with orthonormal rows or columns, times `gain`; leading axes are one."""

    def __init__(self, gain: float = 1.0):
        self.gain = gain

    def __call__(self, key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
        if len(shape) < 2:
            raise ArgumentError(f"an orthogonal weight needs rank 2 or more, got shape {shape}.")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        size = (max(rows, columns), min(rows, columns))
        q, r = np.linalg.qr(generator(key).normal(size=size))
        q = q * np.sign(np.diag(r))
        matrix = q.T if rows < columns else q
        return jnp.asarray(self.gain * matrix.reshape(shape), dtype)


INITIALIZERS: dict[str, Initializer] = {
    "zeros": Constant(0.0),
    "ones": Constant(1.0),
    "uniform": RandomUniform(),
    "random_uniform": RandomUniform(),
    "normal": RandomNormal(),
    "random_normal": RandomNormal(),
    "glorot_uniform": VarianceScaling(1.0, "fan_avg", "uniform"),
    "glorot_normal": VarianceScaling(1.0, "fan_avg", "truncated_normal"),
    "he_uniform": VarianceScaling(2.0, "fan_in", "uniform"),
    "he_normal": VarianceScaling(2.0, "fan_in", "truncated_normal"),
    "lecun_uniform": VarianceScaling(1.0, "fan_in", "uniform"),
    "lecun_normal": VarianceScaling(1.0, "fan_in", "truncated_normal"),
    "orthogonal": Orthogonal(),
}


def get_initializer(identifier: Any) -> Initializer:
    """The initializer of a name or configuration; a function as it is; glorot_uniform for None.

    Raises:
        ArgumentError: (a ValueError) unknown name.
        ArgumentTypeError: (a TypeError) neither a name, a configuration nor a function.

    >>> import jax
    >>> from recurrent_iree.layers import get_initializer
    >>> get_initializer("ones")(jax.random.key(0), (2,), "float32").tolist()
    [1.0, 1.0]
    """
    if identifier is None:
        identifier = "glorot_uniform"
    if isinstance(identifier, str):
        if identifier not in INITIALIZERS:
            raise ArgumentError(
                f"unknown initializer {identifier!r}: expected one of {', '.join(INITIALIZERS)}, "
                "or a function (key, shape, dtype) -> array such as those of jax.nn.initializers."
            )
        return INITIALIZERS[identifier]
    if isinstance(identifier, Mapping):
        return from_config(identifier)
    if not callable(identifier):
        raise ArgumentTypeError(
            f"an initializer must be a name or a function, got {type(identifier).__name__}."
        )
    return identifier


def initializer_config(initializer: Initializer) -> Any:
    """The name of a known initializer, else its configuration, else the function itself."""
    for name, known in INITIALIZERS.items():
        if known == initializer:
            return name
    if isinstance(initializer, _Configured):
        return {"class_name": type(initializer).__name__, "config": initializer.get_config()}
    return initializer


def generator(key: Any) -> np.random.Generator:
    """A NumPy generator seeded with the bits of a JAX key."""
    if isinstance(key, Tracer):
        raise ArgumentError(
            "the built-in initializers draw with NumPy and cannot run inside jit or vmap: call "
            "`init_weights` outside, or use initializers of jax.nn.initializers."
        )
    words = np.asarray(jax.random.key_data(key) if _typed(key) else key).ravel()
    return np.random.default_rng(np.random.SeedSequence([int(word) for word in words]))


def _typed(key: Any) -> bool:
    return hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)


def _truncated_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    values = rng.normal(size=shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.normal(size=int(outside.sum()))
    return values


def _fans(shape: tuple[int, ...]) -> tuple[float, float]:
    if len(shape) < 2:
        size = float(math.prod(shape))
        return size, size
    field = math.prod(shape[:-2])
    return float(shape[-2] * field), float(shape[-1] * field)
