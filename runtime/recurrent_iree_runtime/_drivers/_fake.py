"""A driver in memory, for tests of programs that use artifacts: no IREE, no device."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from recurrent_iree_runtime._dtypes import dtype_of
from recurrent_iree_runtime._errors import ArtifactError
from recurrent_iree_runtime._manifest import Module

from ._base import ArraySpec, Buffer, Call, Driver, Executable, Signature


class FakeDriver(Driver):
    """Runs Python functions in the place of compiled ones.

    `functions` has a callable for each symbol of the manifest. It is given the input arrays, then
    the state arrays, and returns a list of the output arrays and the new state arrays. An
    exception that it raises comes out as it is, so that faults can be tried.

    >>> import numpy as np
    >>> driver = FakeDriver(functions={"double": lambda x: [2 * x]})
    """

    name = "fake"
    description = "Python functions, for tests"

    def __init__(self, functions: Mapping[str, Callable[..., Sequence[Any]]]) -> None:
        self.functions = dict(functions)
        self.calls: list[str] = []
        """Symbols in the order in which they were called."""
        self.loads = 0
        """How often a module was loaded."""

    def load(
        self,
        module: Module | None,
        read_member: Callable[[str], memoryview],
        weights: Mapping[str, np.ndarray],
    ) -> "FakeExecutable":
        """Nothing is loaded; `module` may be `None`."""
        self.loads += 1
        return FakeExecutable(self)


class FakeExecutable(Executable):
    """The functions of a `FakeDriver`."""

    def __init__(self, driver: FakeDriver) -> None:
        self._driver = driver

    def bind(self, signature: Signature) -> Call:
        """A call that checks what the Python function returns."""
        function = self._driver.functions.get(signature.symbol)
        if function is None:
            raise ArtifactError(f"FakeDriver has no function for the symbol {signature.symbol!r}")

        def call(
            inputs: Sequence[np.ndarray], states: Sequence[Buffer]
        ) -> tuple[list[np.ndarray], list[Buffer]]:
            self._driver.calls.append(signature.symbol)
            shaped = [
                np.array(a).reshape([-1 if n is None else n for n in spec.shape])
                for a, spec in zip(inputs, signature.inputs, strict=True)
            ]
            results = list(function(*shaped, *[np.array(s) for s in states]))
            specs = [*signature.outputs, *signature.states_out]
            arrays = [_fit(r, s, signature.symbol) for r, s in zip(results, specs, strict=True)]
            return arrays[: len(signature.outputs)], arrays[len(signature.outputs) :]

        return call

    def to_device(self, arrays: Sequence[np.ndarray], specs: Sequence[ArraySpec]) -> list[Buffer]:
        """Copies of the arrays."""
        return [np.array(array) for array in arrays]

    def to_host(self, states: Sequence[Buffer], specs: Sequence[ArraySpec]) -> list[np.ndarray]:
        """Copies of the states."""
        return [np.array(state) for state in states]

    def close(self) -> None:
        """Nothing to give back."""


def _fit(result: Any, spec: ArraySpec, symbol: str) -> np.ndarray:
    array = np.array(result, dtype=dtype_of(spec.dtype))
    sizes = array.shape if len(array.shape) == len(spec.seen) else (0,) * len(spec.seen)
    shape = [n if want is None else want for want, n in zip(spec.seen, sizes, strict=True)]
    if array.size != int(np.prod(shape)):
        raise ArtifactError(
            f"the fake function {symbol!r} returned shape {array.shape}; expected {spec.seen}"
        )
    return array.reshape(shape)
