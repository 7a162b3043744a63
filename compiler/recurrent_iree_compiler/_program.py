"""The input of the compiler: a program as StableHLO functions, signatures and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recurrent_iree_runtime import ArgumentError, Dim, Entry, Function, Leaf


@dataclass(frozen=True)
class FunctionSource:
    """One function of a program, for one set of sizes.

    `stablehlo` is a module whose public function ``main`` takes the weights in the order of
    `Program.weights`, then the input leaves, then the state leaves, and returns the output leaves
    (without those that are an input) and then the new state leaves.

    Attributes:
        stablehlo: StableHLO portable bytecode, or MLIR text.
        xla: jax.export blobs by the platforms they are for, such as ``"cpu,cuda,tpu"``.
        text: what `stablehlo` holds as MLIR text, if it is at hand: reading bytecode takes time.
    """

    stablehlo: bytes
    xla: Mapping[str, bytes] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True)
class GoldenCase:
    """One call with the results it must give, as computed by the reference.

    Attributes:
        entry: the entry that is called.
        dims: the size of each named dim in this call.
        inputs: the input leaves; for ``chunk`` the states may follow them.
        outputs: all output leaves; the new states may follow them.
        rtol, atol: how far a result may be from its expected value.
    """

    entry: str
    dims: Mapping[str, int]
    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    rtol: float = 1e-4
    atol: float = 1e-5


@dataclass(frozen=True)
class Program:
    """A recurrent program, ready to be compiled for any target.

    Attributes:
        name: what reports and artifacts call it.
        default_entry: the entry that calling the model runs.
        dims: the named dims and their sizes.
        entries: the signatures, each with the symbols of its functions.
        functions: the source of every symbol.
        states: the state slots, if the program can be streamed.
        weights: the arrays by name, in the order in which functions take them.
        goldens: calls with their expected results.
        versions: versions of what made the program, for example ``{"jax": "0.10.2"}``.
        metadata: free text by key.
        captured: what the authoring side found in the program, as JSON for the report.

    Raises:
        ArgumentError: an entry names a function that is missing, or there is one too many.
    """

    name: str
    default_entry: str
    dims: tuple[Dim, ...]
    entries: tuple[Entry, ...]
    functions: Mapping[str, FunctionSource]
    states: tuple[Leaf, ...] = ()
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)
    goldens: Sequence[GoldenCase] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    captured: Mapping[str, Any] = field(default_factory=dict)

    @property
    def any_length(self) -> tuple[str, ...]:
        """The functions that run any number of steps in one call."""
        return tuple(f.symbol for f in self._chunks if "time" not in f.dims)

    @property
    def several_steps(self) -> tuple[str, ...]:
        """The functions that a function of any length makes superfluous."""
        return tuple(f.symbol for f in self._chunks if f.dims.get("time", 0) > 1)

    @property
    def _chunks(self) -> tuple[Function, ...]:
        found = [entry.functions for entry in self.entries if entry.name == "chunk"]
        return found[0] if found else ()

    def __post_init__(self) -> None:
        used = {f.symbol for entry in self.entries for f in entry.functions}
        for symbol in sorted(used - set(self.functions)):
            raise ArgumentError(f"the program {self.name!r} has no function {symbol!r}")
        for symbol in sorted(set(self.functions) - used):
            raise ArgumentError(f"the function {symbol!r} belongs to no entry of {self.name!r}")
        if self.default_entry not in {entry.name for entry in self.entries}:
            raise ArgumentError(f"the default entry {self.default_entry!r} is no entry")
