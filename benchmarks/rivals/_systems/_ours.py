"""This project: the artifact that the builder made, by the runtime alone (no JAX here)."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np

import recurrent_iree_runtime as rt
from benchmarks.rivals._cells import inputs_of
from benchmarks.rivals._work import Work

from ._base import CHECKED_STEPS, NotSupportedError, System, Variant, flat, streamed


class Ours(System):
    """On one core on the calling thread; on more, what the runtime chooses, and both by force."""

    def versions(self) -> dict[str, str]:
        iree = version("iree-base-runtime")
        return {"recurrent-iree": version("recurrent-iree-runtime"), "iree-base-runtime": iree}

    def variants(self, work: Work, artifact: str | None) -> dict[str, Variant]:
        if artifact is None:
            raise NotSupportedError("it was not built")
        devices = ["cpu:local-sync"] if self.threads == 1 else ["cpu", "cpu:local-task"]
        models = {device: rt.load(artifact, device=device) for device in devices}
        make = {"sequence": _whole, "step": _step, "gradients": _gradients}[work.kind]
        return {device: make(work, model) for device, model in models.items()}


def _whole(work: Work, model: rt.Model) -> Variant:
    inputs = inputs_of(work)

    def run() -> Any:
        return model(*inputs)

    return Variant(run, lambda: np.asarray(run()))


def _gradients(work: Work, model: rt.Model) -> Variant:
    inputs = inputs_of(work)

    def run() -> Any:
        return model.gradients(*inputs)

    def check() -> np.ndarray:
        found = run()
        weights = {name.removeprefix("arg0/"): g for name, g in found.weights.items()}
        return flat({**weights, "inputs": found.inputs[0]})

    return Variant(run, check)


def _step(work: Work, model: rt.Model) -> Variant:
    x = np.ascontiguousarray(inputs_of(work)[0][:, 0])
    session = model.session(batch=work.batch)

    def run() -> Any:
        return session.step(x)

    def check() -> np.ndarray:
        session.reset()
        return streamed([run() for _ in range(CHECKED_STEPS)])

    return Variant(run, check)


def make(threads: int) -> System:
    return Ours(threads)
