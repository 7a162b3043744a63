"""ONNX Runtime: its LSTM, GRU and RNN kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks.rivals._cells import inputs_of
from benchmarks.rivals._onnx_models import model_of, state_names
from benchmarks.rivals._work import Work

from ._base import CHECKED_STEPS, NotSupportedError, System, Variant, streamed


class OnnxRuntime(System):
    """With threads that spin while they wait, and with threads that sleep."""

    def versions(self) -> dict[str, str]:
        return {"onnxruntime": ort.__version__}

    def variants(self, work: Work, artifact: str | None) -> dict[str, Variant]:
        model = model_of(work)
        if model is None:
            raise NotSupportedError("no operator of ONNX is this cell")
        code = model.SerializeToString()
        spins = {"": "1"} if self.threads == 1 else {"spinning": "1", "not spinning": "0"}
        sessions = {name or "default": self._session(code, spin) for name, spin in spins.items()}
        make = _step if work.kind == "step" else _whole
        return {name: make(work, session) for name, session in sessions.items()}

    def _session(self, code: bytes, spin: str) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", spin)
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return ort.InferenceSession(code, options, providers=["CPUExecutionProvider"])


def _whole(work: Work, session: ort.InferenceSession) -> Variant:
    x = np.ascontiguousarray(inputs_of(work)[0].swapaxes(0, 1))
    feeds = {"x": x}

    def run() -> Any:
        return session.run(["y"], feeds)[0]

    return Variant(run, lambda: run()[:, 0].swapaxes(0, 1))


def _step(work: Work, session: ort.InferenceSession) -> Variant:
    x = np.ascontiguousarray(inputs_of(work)[0].swapaxes(0, 1))
    names = state_names(work)
    zeros = {f"{name}_in": np.zeros((1, work.batch, work.width), np.float32) for name in names}
    feeds, outputs = {"x": x, **zeros}, ["y", *names]

    def run() -> Any:
        y, *states = session.run(outputs, feeds)
        for name, state in zip(names, states, strict=True):
            feeds[f"{name}_in"] = state
        return y

    def check() -> np.ndarray:
        feeds.update(zeros)
        return streamed([run() for _ in range(CHECKED_STEPS)])

    return Variant(run, check)


def make(threads: int) -> System:
    return OnnxRuntime(threads)
