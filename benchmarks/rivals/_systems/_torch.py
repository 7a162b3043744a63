"""PyTorch: nn.LSTM, GRU and RNN; other cells as a loop, eager and by torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.rivals._cells import CELLS, inputs_of, weights_of
from benchmarks.rivals._work import CLASSIC, Work

from ._base import CHECKED_STEPS, NotSupportedError, System, Variant, flat, streamed

_CLASSES = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "simple_rnn": torch.nn.RNN}
_GATES = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2), "simple_rnn": (0,)}


class TorchOps:
    """The functions that cells use, in PyTorch."""

    sigmoid, tanh, rsqrt = staticmethod(torch.sigmoid), staticmethod(torch.tanh), torch.rsqrt
    einsum = staticmethod(torch.einsum)

    @staticmethod
    def softmax(x: Any) -> Any:
        return torch.softmax(x, -1)

    @staticmethod
    def split(x: Any, count: int) -> Any:
        return torch.chunk(x, count, -1)

    @staticmethod
    def join(parts: list[Any]) -> Any:
        return torch.cat(parts, -1)

    @staticmethod
    def mean(x: Any) -> Any:
        return x.mean(-1, keepdim=True)

    @staticmethod
    def take(table: Any, index: Any) -> Any:
        return table[index]

    @staticmethod
    def argmax(x: Any) -> Any:
        return torch.argmax(x, -1)


class Torch(System):
    """Without autograd, but for gradients."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        torch.set_num_threads(threads)

    def versions(self) -> dict[str, str]:
        return {"torch": torch.__version__}

    def variants(self, work: Work, artifact: str | None) -> dict[str, Variant]:
        if work.cell in CLASSIC:
            make = {"sequence": _whole, "step": _step, "gradients": _gradients}[work.kind]
            return {"nn": make(work, _module(work))}
        if work.kind != "sequence":
            raise NotSupportedError("only whole sequences are measured")
        loops = {"eager": _loop(work, CELLS[work.cell].step)}
        compiled = torch.compile(CELLS[work.cell].step, dynamic=False)
        loops["compiled step"] = _loop(work, compiled)
        return loops


def _module(work: Work) -> Any:
    """The layer with our weights, whose gates are in another order."""
    module = _CLASSES[work.cell](work.width, work.width)
    w, gates, h = weights_of(work), _GATES[work.cell], work.width

    def order(x: np.ndarray) -> Any:
        parts = [x[..., g * h : (g + 1) * h] for g in gates]
        return torch.from_numpy(np.ascontiguousarray(np.concatenate(parts, -1).T))

    with torch.no_grad():
        module.weight_ih_l0.copy_(order(w["kernel"]))
        module.weight_hh_l0.copy_(order(w["recurrent"]))
        module.bias_ih_l0.copy_(order(w["bias"]))
        module.bias_hh_l0.copy_(order(w.get("recurrent_bias", np.zeros_like(w["bias"]))))
    return module


def _time_major(work: Work) -> Any:
    return torch.from_numpy(np.ascontiguousarray(inputs_of(work)[0].swapaxes(0, 1)))


def _whole(work: Work, module: Any) -> Variant:
    x = _time_major(work)

    def run() -> Any:
        with torch.inference_mode():
            return module(x)[0]

    return Variant(run, lambda: run().numpy().swapaxes(0, 1))


def _step(work: Work, module: Any) -> Variant:
    x, states = _time_major(work), None

    def run() -> Any:
        nonlocal states
        with torch.inference_mode():
            y, states = module(x, states)
        return y

    def check() -> np.ndarray:
        nonlocal states
        states = None
        return streamed([run().numpy() for _ in range(CHECKED_STEPS)])

    return Variant(run, check)


def _gradients(work: Work, module: Any) -> Variant:
    x = _time_major(work).requires_grad_()
    parameters = [x, module.weight_ih_l0, module.weight_hh_l0, module.bias_ih_l0]

    def run() -> Any:
        return torch.autograd.grad((module(x)[0] ** 2).mean(), parameters)

    def check() -> np.ndarray:
        inputs, kernel, recurrent, bias = (g.numpy() for g in run())
        found = {"kernel": kernel.T, "recurrent": recurrent.T, "bias": bias}
        return flat({**found, "inputs": inputs.swapaxes(0, 1)})

    return Variant(run, check)


def _loop(work: Work, step: Callable[..., Any]) -> Variant:
    w = {name: torch.from_numpy(array) for name, array in weights_of(work).items()}
    x, *rest = (torch.from_numpy(array) for array in inputs_of(work))
    if work.cell == "decoder":
        return _decoder(work, step, w, x)
    cell = CELLS[work.cell]
    xs, memory = x.transpose(0, 1).contiguous(), rest[0] if rest else None

    def run() -> Any:
        with torch.inference_mode():
            states = [torch.zeros(work.batch, work.width)] * cell.states
            outputs = []
            for z in cell.project(TorchOps, w, xs).unbind(0):
                states, y = step(TorchOps, w, states, z, memory)
                outputs.append(y)
            return torch.stack(outputs)

    return Variant(run, lambda: run().numpy().swapaxes(0, 1))


def _decoder(work: Work, step: Callable[..., Any], w: dict[str, Any], state: Any) -> Variant:
    def run() -> Any:
        with torch.inference_mode():
            states = [state, torch.ones(work.batch, dtype=torch.int64)]
            emitted = torch.zeros(work.steps, work.batch, dtype=torch.int32)
            running = torch.ones(work.batch, dtype=torch.bool)
            for i in range(work.steps):
                states, word = step(TorchOps, w, states, None, None)
                emitted[i] = word * running
                running = running & (word != 0)
                if not running.any():
                    break
            return emitted

    return Variant(run, lambda: run().numpy().T)


def make(threads: int) -> System:
    return Torch(threads)
