"""What a driver is: it loads modules, and binds their functions for calls.

Driver.load(module, ...) -> Executable      one context on the device, with its weights
Executable.bind(signature) -> Call          one function, everything precomputed
Call(inputs, states) -> outputs, states     NumPy in and out; states stay on the device
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recurrent_iree_runtime._manifest import Module


@dataclass(frozen=True)
class ArraySpec:
    """An array at the edge of a function; `None` in `shape` is a size known only at run time.

    `view` is the shape that callers see, if it lacks one of the function's axes, of length 1.
    """

    shape: tuple[int | None, ...]
    dtype: str
    view: tuple[int | None, ...] | None = None

    @property
    def seen(self) -> tuple[int | None, ...]:
        """The shape that callers see."""
        return self.shape if self.view is None else self.view


@dataclass(frozen=True)
class Signature:
    """One function: inputs and states go in, outputs and new states come out."""

    symbol: str
    inputs: tuple[ArraySpec, ...]
    states_in: tuple[ArraySpec, ...]
    outputs: tuple[ArraySpec, ...]
    states_out: tuple[ArraySpec, ...]
    flops: float | None = None


Buffer = Any
"""An array on the device. Opaque: only the executable that made it can read it."""

Call = Callable[[Sequence[np.ndarray], Sequence[Buffer]], tuple[list[np.ndarray], list[Buffer]]]
"""A bound function.

It takes C-contiguous host arrays of the signature's dtypes, and states that an earlier call or
`to_device` returned; these states are consumed: the device may have overwritten them. The outputs
are new host arrays, never views of device memory. One call runs at a time per executable.
"""


class Executable(ABC):
    """A module on a device, with its weights."""

    @abstractmethod
    def bind(self, signature: Signature) -> Call:
        """The function as a `Call`. Raises `ArtifactError` if the module does not have it."""

    @abstractmethod
    def to_device(self, arrays: Sequence[np.ndarray], specs: Sequence[ArraySpec]) -> list[Buffer]:
        """Copy states to the device."""

    @abstractmethod
    def to_host(self, states: Sequence[Buffer], specs: Sequence[ArraySpec]) -> list[np.ndarray]:
        """Copy states to the host; the result shares no memory with the device."""

    def bind_states(
        self, specs: Sequence[ArraySpec]
    ) -> tuple[Callable[[Sequence[np.ndarray]], list[Buffer]],
               Callable[[Sequence[Buffer]], list[np.ndarray]]]:  # fmt: skip
        """`to_device` and `to_host` for these states; override it to precompute what they need."""
        return (lambda arrays: self.to_device(arrays, specs),
                lambda states: self.to_host(states, specs))  # fmt: skip

    @abstractmethod
    def close(self) -> None:
        """Give the context and its weights back; calling it again does nothing."""


class Driver(ABC):
    """One way to run modules on one device.

    A driver opens in its constructor or on first use. Subclass it to run artifacts on something
    else; `FakeDriver` is the smallest example.
    """

    name: str = ""
    description: str = ""

    @abstractmethod
    def load(
        self,
        module: Module | None,
        read_member: Callable[[str], memoryview],
        weights: Mapping[str, np.ndarray],
    ) -> Executable:
        """Put a module and its weights on the device.

        `read_member` returns the checked bytes of a member of the artifact. Raises a
        `DeviceError`, `ArtifactError` or `VersionError`.
        """

    def close(self) -> None:  # noqa: B027
        """Give the device back, where that means something."""
