"""Compiles the rows with this project, in a process that measures nothing else."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

import recurrent_iree as ri
from recurrent_iree_compiler import BuildOptions

from ._cells import inputs_of, weights_of
from ._jax_programs import loss, program
from ._work import CLASSIC, Work


class Builder:
    """Builds each row twice: with nothing in the cache, and the same again in the same process.

    The program and its weights are made before the clock starts: for a layer of 1024 units their
    initial values alone take a second.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options = BuildOptions(cache_dir=folder / "cache")

    def build(self, work: Work) -> dict[str, Any]:
        """The path of the artifact, seconds of both builds, and how its loops run."""
        name = hashlib.sha256(work.name.encode()).hexdigest()[:12]
        path = self.folder / f"{name}.riree"
        made, (given, choices) = self._prepared(work)
        jax.clear_caches()
        started = time.perf_counter()
        artifact = ri.compile(made, *given, **choices)
        cold = time.perf_counter() - started
        ri.compile(made, *given, **choices)
        cached = time.perf_counter() - started - cold
        artifact.save(path)
        forms = [r for t in artifact.report()["targets"] for r in t.get("recurrences", ())]
        return {
            "path": str(path),
            "cold": cold,
            "cached": cached,
            "bytes": artifact.size,
            "forms": sorted({f"{r['form']}: {r['reason']}" for r in forms}),
        }

    def _prepared(self, work: Work) -> tuple[Any, tuple[list[Any], dict[str, Any]]]:
        """The program, and the arguments of `ri.compile` after it."""
        specs = [_spec(work, i, x) for i, x in enumerate(inputs_of(work))]
        choices: dict[str, Any] = {"options": self.options}
        if work.kind == "gradients":
            return loss(work), ([weights_of(work), *specs], {**choices, "entry": "gradients"})
        if work.cell in CLASSIC:
            return _layer(work), (specs, choices)
        return program(work), ([weights_of(work), *specs], choices)


def _spec(work: Work, place: int, x: np.ndarray) -> Any:
    sizes = [f"batch={work.batch}", *x.shape[1:]]
    if place == 0 and work.cell != "decoder":
        sizes[1] = f"time={work.steps}"
    return ri.spec(*sizes)


def _layer(work: Work) -> Any:
    """The layer as its users write it, batch first, with the weights of the row."""
    kinds = {"lstm": ri.layers.LSTM, "gru": ri.layers.GRU, "simple_rnn": ri.layers.SimpleRNN}
    layer = kinds[work.cell](work.width, return_sequences=True, name=work.cell)
    layer.build((work.batch, work.steps, work.width))
    w = weights_of(work)
    bias = w["bias"]
    if work.cell == "gru":
        bias = np.stack([bias, w["recurrent_bias"]])
    layer.set_weights([w["kernel"], w["recurrent"], bias])
    return layer
