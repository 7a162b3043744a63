"""Finding the artifact of a program that was built before, without building it again.

What capture makes of a program follows from its traces. So the sizes that it was traced for are
noted, and later the traces for the same sizes must be equal to find the artifact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from recurrent_iree_compiler import Artifact, BuildOptions, Event, KeptArtifacts, Progress
from recurrent_iree_runtime import read_safetensors

from ._fingerprint import NoFingerprint, fingerprint_of, trace_fingerprint
from ._gradients import gradient_program
from ._layer import describe_layer
from ._program import Program
from ._streaming import Streaming

if TYPE_CHECKING:
    from ._capture import Lowered


class Known:
    """The artifacts of one program, made with one set of choices, in the cache.

    Args:
        program: not yet traced.
        choices: whatever else the artifact depends on, as plain values.
        targets, options: as for `build`.
    """

    def __init__(
        self,
        program: Program,
        choices: Mapping[str, Any],
        targets: Sequence[str],
        options: BuildOptions,
    ) -> None:
        self._program = program
        self._given = dict(program.weights)
        self._hashing: Future[str | None] | None = None
        self._kept = KeptArtifacts(targets, options)
        self._form = self._first_key(choices) if self._kept.active else None

    def find(self, progress: Progress | None) -> Artifact | None:
        """The artifact, if there is one for exactly this program."""
        hint = self._kept.note(self._form) if self._form else None
        artifact = self._guessed(hint) if hint else None
        if artifact is None and self._form:
            note = self._kept.note(self._start or "") if hint else None
            key = self._key(note) if note else None
            artifact = self._kept.artifact(key) if key else None
        if artifact is not None and progress is not None:
            for number, target in enumerate(artifact.targets, 1):
                progress(Event(target, "cached", "", number, len(artifact.targets)))
                progress(Event(target, "done", "verified", number, len(artifact.targets)))
        return artifact

    def _guessed(self, hint: Mapping[str, Any]) -> Artifact | None:
        """The artifact of the last program of this form, if this is the same program.

        It is read, and the weights are compared with its weights, while this thread traces.
        """
        with ThreadPoolExecutor(1) as pool:
            guess = pool.submit(self._kept.artifact, hint["key"])
            self._hashing = pool.submit(self._start_like, hint.get("start"), guess)
            key = self._key(hint["note"])
            return guess.result() if key == hint["key"] else None

    def _start_like(self, start: str | None, guess: Future[Artifact | None]) -> str | None:
        """`start`, which an artifact was built with, if the weights are its weights."""
        artifact = guess.result() if start else None
        same = artifact is not None and _holds(artifact, self._given)
        return start if same else self._hash()

    def keep(self, artifact: Artifact, lowered: Lowered) -> None:
        """Keep what was built of the program, now that it is traced."""
        sizes = _sizes(self._program)
        back = lowered.backward
        back_sizes = _sizes(back.program) if back is not None else []
        if not self._form or sizes is None or back_sizes is None:
            return
        note: dict[str, Any] = {
            "sizes": sizes,
            "loops": list(lowered.time_loops),
            "reason": lowered.streaming,
        }
        if back is not None:
            note["backward"] = [back.dims, back.shapes, back_sizes]
        key = self._key(note, back and back.program)
        if key and self._kept.keep(key, artifact):
            self._kept.write_note(self._start or "", note)
            start = self._start if _holds(artifact, self._given) else None
            self._kept.write_note(self._form, {"key": key, "note": note, "start": start})

    @property
    def _start(self) -> str | None:
        """What is known of the program before it is traced, its weights included."""
        if self._hashing is None:
            self._hashing = Future()
            self._hashing.set_result(self._hash())
        return self._hashing.result()

    def _hash(self) -> str | None:
        try:
            return fingerprint_of(self._form, self._given)
        except NoFingerprint:
            return None

    def _first_key(self, choices: Mapping[str, Any]) -> str | None:
        """What is known of the program before it is traced, but for the values of its weights."""
        program = self._program
        layer = type(program.layer)
        stateful = getattr(program.layer, "state_variables", None)
        if stateful:
            return None
        try:
            return fingerprint_of(
                dict(choices),
                [str(leaf) for leaf in program.leaves],
                [str(program.structure), f"{layer.__module__}.{layer.__qualname__}"],
                program.names,
                {name: f"{w.dtype}{w.shape}" for name, w in program.weights.items()},
                [jax.__version__, repr(sorted(jax.config.values.items()))],
            )
        except NoFingerprint:
            return None

    def _backward(self, dims: Any, shapes: Any) -> Program:
        """The backward pass, which rules of derivatives decide, too."""
        try:
            return gradient_program(self._program, dims, [tuple(shape) for shape in shapes])
        except Exception as error:  # whatever the user's rules raise
            raise NoFingerprint(str(error)) from error

    def _key(self, note: Mapping[str, Any], back: Program | None = None) -> str | None:
        program = self._program
        try:
            traces = [trace_fingerprint(program, sizes) for sizes in note["sizes"]]
            if "backward" in note:
                *made_with, sizes = note["backward"]
                back = back or self._backward(*made_with)
                traces += [trace_fingerprint(back, each) for each in sizes]
            layer = describe_layer(program, Streaming(tuple(note["loops"]), note["reason"]))
            return fingerprint_of(self._start, traces, layer) if self._start else None
        except NoFingerprint:
            return None


def _holds(artifact: Artifact, weights: Mapping[str, np.ndarray]) -> bool:
    """Whether `artifact` stores just these arrays, bit by bit: comparing is faster than hashing."""
    data = artifact.members.get("weights.safetensors")
    stored = read_safetensors(data, "weights.safetensors") if data else {}
    return all(name in stored and _same(stored[name], w) for name, w in weights.items())


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    word = np.uint64 if a.nbytes % 8 == 0 else np.uint8
    left, right = (np.ascontiguousarray(x).reshape(-1).view(word) for x in (a, b))
    return np.array_equal(left, right)


def _sizes(program: Program) -> list[dict[str, int]] | None:
    """What `program` was traced for; ``None`` if a size was a symbol."""
    sizes = [dict(key) for key in program.traces]
    return None if any(not isinstance(n, int) for s in sizes for n in s.values()) else sizes
