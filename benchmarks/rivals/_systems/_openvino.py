"""OpenVINO: the ONNX models, compiled for latency."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov

from benchmarks.rivals._cells import inputs_of
from benchmarks.rivals._onnx_models import model_of, state_names
from benchmarks.rivals._work import Work

from ._base import CHECKED_STEPS, NotSupportedError, System, Variant, streamed


class OpenVino(System):
    """In f32 (its default on some processors is bf16), one stream, latency first."""

    def versions(self) -> dict[str, str]:
        return {"openvino": ov.__version__.split("-")[0]}

    def variants(self, work: Work, artifact: str | None) -> dict[str, Variant]:
        model = model_of(work)
        if model is None:
            raise NotSupportedError("no operator of ONNX is this cell")
        core = ov.Core()
        settings = {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        try:
            read = core.read_model(model.SerializeToString())
            request = core.compile_model(read, "CPU", settings).create_infer_request()
        except RuntimeError as error:
            raise NotSupportedError("OpenVINO cannot import the model") from error
        return {"latency": _variant(work, request)}


def _variant(work: Work, request: Any) -> Variant:
    x = np.ascontiguousarray(inputs_of(work)[0].swapaxes(0, 1))
    names = state_names(work) if work.kind == "step" else []
    zeros = {f"{name}_in": np.zeros((1, work.batch, work.width), np.float32) for name in names}
    feeds = {"x": x, **zeros}
    request.set_tensors({name: ov.Tensor(array) for name, array in feeds.items()})
    given = {name: request.get_tensor(f"{name}_in").data for name in names}
    made = {name: request.get_tensor(name).data for name in names}
    y = request.get_tensor("y").data

    def run() -> Any:
        request.infer()
        for name in names:
            np.copyto(given[name], made[name])
        return y

    def check() -> np.ndarray:
        for name in names:
            given[name][...] = 0
        if work.kind == "step":
            return streamed([run().copy() for _ in range(CHECKED_STEPS)])
        return run()[:, 0].swapaxes(0, 1).copy()

    return Variant(run, check)


def make(threads: int) -> System:
    return OpenVino(threads)
