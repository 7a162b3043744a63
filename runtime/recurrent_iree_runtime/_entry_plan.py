"""How one entry is called: arguments to arrays, sizes to a compiled function, results to a tree."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._coerce import coerce, ready, shape_text
from ._dtypes import dtype_of
from ._errors import SignatureError
from ._manifest import Entry, Function, Leaf
from ._tree import flatten, unflattener


class EntryPlan:
    """Everything about an entry that does not depend on the arguments, computed once."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.name = entry.name
        body = entry.input_tree["dict"]
        self._positional: list[dict[str, Any]] = body["args"]["tuple"]
        self._keywords: dict[str, Any] = body["kwargs"]["dict"]
        self.parameters = [self._parameter(i, tree) for i, tree in enumerate(self._positional)]
        self.flat = not self._keywords and [t.get("leaf") for t in self._positional] == list(
            range(len(entry.inputs))
        )
        self.unflatten = unflattener(entry.output_tree)
        self.single = entry.output_tree == {"leaf": 0}
        self._dtypes = [dtype_of(leaf.dtype) for leaf in entry.inputs]
        self._passed = [(i, leaf.from_input) for i, leaf in enumerate(entry.outputs)
                        if leaf.from_input is not None]  # fmt: skip
        self.plain_result = self.single and not self._passed
        """Whether the result is the one computed array."""
        self.computed = tuple(leaf for leaf in entry.outputs if leaf.from_input is None)

    def _parameter(self, i: int, tree: dict[str, Any]) -> str:
        """The name of a positional parameter: the word that its first leaf's name starts with."""
        leaf = next(iter(re.findall(r"'leaf': (\d+)", str(tree))), None)
        word = re.match(r"[A-Za-z_]\w*", self.entry.inputs[int(leaf)].name) if leaf else None
        return word.group(0) if word else f"argument {i}"

    def values(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[Any]:
        """One value per input leaf; raises `SignatureError` for a wrong count or name."""
        if self.flat and not kwargs and len(args) == len(self.parameters):
            return args
        args = self._by_position(args, kwargs)
        kwargs = {k: v for k, v in kwargs.items() if k in self._keywords}
        tree = {"dict": {"args": {"tuple": self._positional}, "kwargs": {"dict": self._keywords}}}
        for name in self._keywords:
            if name not in kwargs:
                raise SignatureError(f"{self.name!r} needs the argument {name}=; {self.usage()}")
        found: list[Any] = flatten(tree, {"args": args, "kwargs": kwargs}, "the call")
        return found

    def _by_position(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        if len(args) > len(self.parameters):
            raise SignatureError(
                f"{self.name!r} takes {len(self.parameters)} positional arguments; {len(args)} "
                f"were given; {self.usage()}"
            )
        rest = self.parameters[len(args) :]
        for name in kwargs:
            if name in self._keywords or (name in rest and self.parameters.count(name) == 1):
                continue
            problem = "was given twice" if name in self.parameters else "is unknown"
            raise SignatureError(f"the argument {name!r} of {self.name!r} {problem}; "
                                 f"{self.usage()}")  # fmt: skip
        missing = [name for name in rest if name not in kwargs]
        if missing:
            raise SignatureError(
                f"{self.name!r} needs {len(self.parameters)} arguments; {', '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} missing; {self.usage()}"
            )
        return (*args, *[kwargs[name] for name in rest])

    def usage(self) -> str:
        """The signature for a message."""
        names = [*self.parameters, *[f"{k}=" for k in self._keywords]]
        leaves = ", ".join(f"{x.name}: {x.dtype}{shape_text(x.shape)}" for x in self.entry.inputs)
        return f"call it as ({', '.join(names)}) with {leaves or 'no arrays'}"

    def exact(self, values: Sequence[Any]) -> bool:
        """Whether every value is an array that can go to the device as it is."""
        for value, dtype in zip(values, self._dtypes, strict=True):
            if type(value) is not np.ndarray or value.dtype != dtype:
                return False
            if not value.flags.c_contiguous:
                return False
        return True

    def arrays(self, values: Sequence[Any], leaves: Sequence[Leaf]) -> list[np.ndarray]:
        """The values as arrays that fit the dtypes and ranks; raises `SignatureError`."""
        pairs = zip(values, leaves, strict=True)
        return [coerce(value, leaf, self.where(leaf)) for value, leaf in pairs]

    def ready(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The arrays as they go to the device, once their sizes are known to be right."""
        return [ready(a, leaf) for a, leaf in zip(arrays, self.entry.inputs, strict=True)]

    def where(self, leaf: Leaf) -> str:
        """How messages name an argument."""
        return f"the argument {leaf.name!r} of {self.name!r}"

    def dims(self, arrays: Sequence[np.ndarray], leaves: Sequence[Leaf]) -> dict[str, int]:
        """Sizes of the named dims; raises `SignatureError` where a size does not fit."""
        found: dict[str, tuple[int, str]] = {}
        for array, leaf in zip(arrays, leaves, strict=True):
            for axis, (size, want) in enumerate(zip(array.shape, leaf.shape, strict=True)):
                if isinstance(want, int):
                    if size != want:
                        raise SignatureError(
                            f"{self.where(leaf)} has shape {list(array.shape)}; expected "
                            f"{shape_text(leaf.shape)}: axis {axis} is {size} instead of {want}"
                        )
                elif found.setdefault(want, (size, leaf.name))[0] != size:
                    raise SignatureError(
                        f"{self.where(leaf)} has {want} {size} (axis {axis}), but "
                        f"{found[want][1]!r} has {want} {found[want][0]}; they must be equal"
                    )
        return {name: size for name, (size, _) in found.items()}

    def function(self, dims: Mapping[str, int]) -> Function:
        """The function that was compiled for these sizes; raises `SignatureError` if none was."""
        for function in self.entry.functions:
            if all(dims.get(name, size) == size for name, size in function.dims.items()):
                return function
        raise SignatureError(self.no_function(dims, self.entry.functions))

    def check_steps(self, function: Function, dims: Mapping[str, int]) -> None:
        """Raise `SignatureError` for no steps where an output is that of the last step."""
        if "time" in function.dims or dims.get("time") != 0:
            return
        if any("time" not in leaf.shape for leaf in self.computed):
            timed = " and ".join(repr(x.name) for x in self.entry.inputs if "time" in x.shape)
            raise SignatureError(
                f"{self.name!r} was called with time 0; expected at least 1 step in {timed}, "
                "because an output has no axis of time"
            )

    def no_function(self, dims: Mapping[str, int], functions: Sequence[Function]) -> str:
        """The message for sizes that were not compiled."""
        given = ", ".join(f"{k} {v}" for k, v in sorted(dims.items()))
        have = sorted({", ".join(f"{k} {v}" for k, v in sorted(f.dims.items())) for f in functions})
        sized = [x.name for x in self.entry.inputs if any(name in dims for name in x.shape)]
        names = " and ".join(map(repr, sized)) or "it"
        return (
            f"{self.name!r} was called with {given}; it was compiled for {' or '.join(have[:12])}. "
            f"Give {names} one of these sizes, or compile the program for yours"
        )

    def complete(self, computed: list[Any], arrays: Sequence[np.ndarray]) -> list[Any]:
        """All output leaves: the computed ones, and copies of inputs that come out unchanged."""
        for i, source in self._passed:
            computed.insert(i, ready(arrays[source], self.entry.inputs[source]).copy())
        return computed

    def result(self, computed: list[Any], arrays: Sequence[np.ndarray]) -> Any:
        """What the user gets."""
        if self._passed:
            computed = self.complete(computed, arrays)
        return computed[0] if self.single else self.unflatten(computed)
