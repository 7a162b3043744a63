"""A loaded artifact: its entries are called with NumPy arrays."""

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import numpy as np

from . import _process
from ._artifact import ArtifactFile, Weights
from ._batcher import Batcher
from ._chunks import chunk_functions, run_chunks
from ._container import FilePath
from ._devices import DeviceInfo
from ._entry_plan import EntryPlan
from ._errors import ArgumentError, DeviceLostError, StateError
from ._gradients import GRADIENTS, gradient_values
from ._layer import Layer
from ._manifest import Entry
from ._runner import Runner, UsesRunner
from ._session import Session
from ._snapshot import read_snapshot
from ._state import State, expect_state
from ._streams import Streams
from ._verify import VerifyReport, verify


class Model:
    """A program on a device. Made by `load`; usable from several threads at once.

    Calling the model runs its default entry on the whole input. `session()` gives a stream whose
    state stays on the device. A device that was lost is opened anew by the next call.
    """

    def __init__(
        self,
        artifact: ArtifactFile,
        device: DeviceInfo,
        open_runner: Callable[[Weights], Runner],
        weights: Weights,
    ) -> None:
        self.artifact = artifact
        self.manifest = artifact.manifest
        self.name = self.manifest.name
        self.device = device
        self._open_runner = open_runner
        self._weights = weights
        self._runner: Runner | None = None
        self._gone = ""
        self._lock = threading.Lock()
        self._replacing = threading.Lock()
        self._sessions: weakref.WeakSet[UsesRunner] = weakref.WeakSet()
        self._executor: ThreadPoolExecutor | None = None
        self._plans = {entry.name: EntryPlan(entry) for entry in self.manifest.entries}
        self._default = self._plans[self.manifest.default_entry]
        self._shortcuts: dict[Any, Any] = {}
        self._layer: Layer | None = None
        self._streams = (
            Streams(self.manifest, self._plans["chunk"], self._plans["init"])
            if self.manifest.streams
            else None
        )
        self.runner()
        _process.register(self)

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Entry name -> its signature."""
        return MappingProxyType({name: plan.entry for name, plan in self._plans.items()})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the default entry (`sequence` or `main`) on NumPy arrays, or pytrees of them.

        Raises `SignatureError` for arguments that do not fit.
        """
        return self._run(self._default, args, kwargs)

    def run(self, entry: str, /, *args: Any, **kwargs: Any) -> Any:
        """Run an entry by name. `chunk` starts from the initial states, which `init` returns."""
        return self._run(self.plan(entry), args, kwargs)

    def gradients(self, /, *args: Any, cotangents: Any = None, **kwargs: Any) -> Any:
        """The outputs, and the gradients for the inputs and the weights.

        `cotangents` has the structure of the outputs: how much the loss changes with each number
        of them. `None` stands for zeros, and for outputs that are not of floats; it may be left
        out if the program returns one number. The result is a namedtuple: `outputs`, `inputs` (a
        gradient for each positional argument, `None` where it is not of floats), `keywords` (the
        same for keyword arguments) and `weights`, by name.

        Raises `ArgumentError` for an artifact that was compiled without gradients, and
        `SignatureError` for arguments that do not fit.
        """
        plan = self._plans.get(GRADIENTS)
        if plan is None:
            raise ArgumentError(
                f"{self.name!r} was compiled without gradients; compile it with "
                f'entry=["{self.manifest.default_entry}", "{GRADIENTS}"]'
            )
        return self._run_values(plan, gradient_values(plan, args, kwargs, cotangents))

    def plan(self, entry: str) -> EntryPlan:
        """How an entry is called; raises `ArgumentError` for an unknown name."""
        plan = self._plans.get(entry)
        if plan is None:
            raise ArgumentError(
                f"{self.name!r} has no entry {entry!r}; it has {', '.join(self._plans)}"
            )
        return plan

    def _run(self, plan: EntryPlan, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if plan.name == "init":
            return self._initial_arrays(args, kwargs)
        return self._run_values(plan, plan.values(args, kwargs))

    def _run_values(self, plan: EntryPlan, values: Sequence[Any]) -> Any:
        if plan.exact(values):
            key = (plan.name, *[value.shape for value in values])
            shortcut = self._shortcuts.get(key)
            if shortcut is not None and shortcut[0] is self._runner:
                return plan.result(self._guard(shortcut[0], shortcut[1], values), values)
            arrays = list(values)
            plan.arrays(values, plan.entry.inputs)
        else:
            key, arrays = None, plan.arrays(values, plan.entry.inputs)
        dims = plan.dims(arrays, plan.entry.inputs)
        runner = self.runner()
        if plan.entry.realization == "chunks" or plan.name == "chunk":
            outputs = self._guard(
                runner, lambda given: self.whole(runner, plan, given, dims), arrays
            )
        else:
            function = plan.function(dims)
            plan.check_steps(function, dims)
            call = runner.call(plan.entry, function)
            arrays = plan.ready(arrays)
            if key is not None and len(self._shortcuts) < 256:
                self._shortcuts[key] = (runner, lambda given: call(given, ())[0])
            outputs = self._guard(runner, lambda given: call(given, ())[0], arrays)
        return plan.result(outputs, arrays)

    def whole(
        self, runner: Runner, plan: EntryPlan, arrays: Sequence[np.ndarray], dims: dict[str, int]
    ) -> list[np.ndarray]:
        """The computed outputs of a complete call made of chunks, from the initial states."""
        streams = self.streams()
        chunk_functions(plan, streams.chunk, dims)
        states = streams.initial(runner, streams.init_for(dims), "whole")
        return run_chunks(runner, plan, streams.chunk, arrays, dims, states, "whole")[0]

    def _guard(self, runner: Runner, call: Callable[[Any], Any], given: Any) -> Any:
        try:
            return call(given)
        except DeviceLostError:
            self.lost(runner)
            raise

    def _initial_arrays(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if args:
            raise ArgumentError("'init' takes no arrays; give sizes by name, for example batch=1")
        return self.initial_state(**kwargs).to_host()

    def session(self, batch: int | None = None, **dims: int) -> Session:
        """A stream of its own, whose state stays on the device.

        `batch`, and other dims of the states, choose among the compiled sizes; they may be left
        out where there is only one. Raises `ArgumentError` for a size that was not compiled.
        """
        function = self.streams().init_function({"batch": batch, **dims})
        return self._opened(lambda: Session(self, function))

    def restore(self, snapshot: bytes) -> Session:
        """A new session that goes on from a snapshot, also after the device was lost.

        Raises as `Session.restore`, and `ArgumentError` for sizes that were not compiled.
        """
        dims, states = read_snapshot(snapshot, self.manifest)
        session = self.session(**dims)
        session.set_states(states)
        return session

    def batcher(self, max_streams: int, max_wait: float = 0.0) -> Batcher:
        """Many streams whose steps run together: `batcher.stream()` opens one.

        `max_streams` may be open at once. A step waits up to `max_wait` seconds for steps of other
        streams to join it. Raises `StateError` for a program that cannot be streamed, or whose
        rows cannot be told apart.
        """
        return self._opened(lambda: Batcher(self, max_streams, max_wait))

    def _opened(self, make: Callable[[], Any]) -> Any:
        with self._replacing:
            opened = make()
            with self._lock:
                self._sessions.add(opened)
        return opened

    @property
    def layer(self) -> Layer:
        """The layer that the program was compiled from, with the methods of a Keras layer.

        Raises `LayerAttributeError` for an artifact that was compiled from a function.
        """
        if self._layer is None:
            self._layer = Layer(self)
        return self._layer

    @property
    def current_weights(self) -> Weights:
        """The weights by name, in float32 where they are stored in less; do not write to them."""
        return self.artifact.unpacked(self._weights)

    @property
    def stored_weights(self) -> Weights:
        """The weights by name as they are on the device; do not write to them."""
        return self._weights

    def get_weights(self) -> dict[str, np.ndarray]:
        """Copies of the weights by name."""
        return {name: np.array(array) for name, array in self.current_weights.items()}

    def set_weights(self, weights: FilePath | Weights) -> None:
        """Replace the weights, as a `.safetensors` file or a dict of arrays; nothing is recompiled.

        Names, shapes and dtypes must be those of the artifact, else `ArtifactError` is raised and
        nothing changes. What the artifact stores in bfloat16 or int8 is given in float32. Calls
        that run now end with the old weights, sessions keep their states.
        """
        arrays = self.artifact.own_weights(weights)
        with self._replacing:
            old = self.runner()
            new = self._open_runner(arrays)
            with self._lock:
                if self._gone:
                    raise StateError(self._gone)
                self._weights = arrays
                if self._runner is old:  # else the device was lost meanwhile
                    self._runner = new.instead_of(old)
                opened = list(self._sessions)
            for session in opened:
                session.adopt(old, new)
            self._shortcuts.clear()

    def executor(self) -> ThreadPoolExecutor:
        """The threads on which `astep` waits."""
        with self._lock:
            if self._gone:
                raise StateError(self._gone)
            if self._executor is None:
                self._executor = ThreadPoolExecutor(4, thread_name_prefix="recurrent-iree")
            return self._executor

    def initial_state(self, batch: int | None = None, **dims: int) -> State:
        """The initial states on the device, for `advance`: state in, new state out."""
        streams, runner = self.streams(), self.runner()
        function = streams.init_function({"batch": batch, **dims})
        buffers = self._guard(runner, lambda f: streams.initial(runner, f), function)
        return State(self, runner, function, buffers)

    def advance(self, state: State, /, *args: Any, **kwargs: Any) -> tuple[Any, State]:
        """Run a chunk of any length from a state, which is consumed: `(outputs, new state)`."""
        streams, runner = self.streams(), self.runner()
        expect_state(state)._peek(self, runner)
        plan = streams.chunk
        arrays = plan.arrays(plan.values(args, kwargs), plan.entry.inputs)
        dims = {**state._function.dims, **plan.dims(arrays, plan.entry.inputs)}
        buffers = state._take(self, runner)
        outputs, new = self._guard(
            runner, lambda given: run_chunks(runner, plan, plan, given, dims, buffers), arrays
        )
        return plan.result(outputs, arrays), State(self, runner, state._function, new)

    def _state_to_host(self, state: State) -> dict[str, np.ndarray]:
        buffers = state._peek(self, self.runner())
        return self.streams().to_host(state._runner, state._function, buffers)

    def _state_clone(self, state: State) -> State:
        arrays = self._state_to_host(state)
        buffers = self.streams().to_device(state._runner, state._function, arrays)
        return State(self, state._runner, state._function, buffers)

    def streams(self) -> Streams:
        """The parts that sessions need; raises `StateError` if the program cannot be streamed."""
        if self._streams is None:
            raise StateError(
                f"{self.name!r} cannot be streamed: it has no chunk and init entry. Compile a "
                "program whose specs name the dim 'time' and whose output is causal"
            )
        return self._streams

    def runner(self) -> Runner:
        """The loaded module; loaded again after the device was lost."""
        runner = self._runner
        if runner is None:
            with self._lock:
                if self._gone:
                    raise StateError(self._gone)
                if self._runner is None:
                    self._runner = self._open_runner(self._weights)
                runner = self._runner
        return runner

    def lost(self, runner: Runner) -> None:
        """Drop a module after its device was lost; the next call loads it anew."""
        with self._lock:
            if self._runner is not None and self._runner.home is runner.home:
                self._runner = None
            opened = list(self._sessions)
        for session in opened:
            session.lose(runner)

    def verify(self) -> VerifyReport:
        """Run the artifact's golden calls on this device and compare; raises nothing for them."""
        return verify(self)

    def close(self) -> None:
        """Free the module and the states of its sessions; a closed model raises `StateError`."""
        self._end(f"the model {self.name!r} was closed; load the artifact again")

    def abandon(self, why: str) -> None:
        """Make every further use raise `StateError` with this reason; nothing is freed."""
        self._lock, self._replacing = threading.Lock(), threading.Lock()
        _process.leak(self._runner)
        self._gone, self._runner, self._executor = why, None, None
        for session in list(self._sessions):
            session.abandon(why)

    def _end(self, why: str) -> None:
        with self._lock:
            runner, self._runner = self._runner, None
            executor, self._executor = self._executor, None
            self._gone = self._gone or why
            opened = list(self._sessions)
        for session in opened:
            session.close()
        if executor is not None:
            executor.shutdown(wait=False)
        if runner is not None:
            runner.close()
        self._shortcuts.clear()

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Model {self.name!r} on {self.device.name}: {', '.join(self._plans)}>"
