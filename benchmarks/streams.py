"""Streams served per second: a batcher, one call per stream, and ONNX Runtime by hand.

Every way serves the same LSTM steps for the same streams and must give the same numbers. The ways
take turns, so that a slow moment of the machine hits all of them; the table has medians.

    pip install -e ".[benchmarks]"
    python -m benchmarks.streams --streams 32 --hidden 128

It prints the table, and writes it with the machine into `--out`, if that is given.

Ways of serving, all on one thread of compute unless --threads says otherwise:
    sessions       model.session(batch=1) per stream, one call each
    batcher        batcher.step(streams, frames): one call for all that are ready
    threads        stream.step(frame) from a thread per stream
    tasks          await stream.astep(frame) from a task per stream
    ort one        ONNX Runtime, one call per stream, states kept by hand
    ort stacked    ONNX Runtime, frames and states gathered and scattered by hand
"""

import argparse
import asyncio
import datetime
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import recurrent_iree as ri
import recurrent_iree_runtime as rt
from benchmarks._streams_report import markdown, rows, write
from benchmarks.rivals._machine import describe

Ticks = list[tuple[np.ndarray, np.ndarray]]
"""For each tick: which streams are ready, and their frames."""


def onnx_lstm(layer: Any, features: int, hidden: int) -> bytes:
    """One step of the layer as an ONNX model with any batch."""
    kernel, recurrent, bias = layer.get_weights()

    def gates(array: np.ndarray) -> np.ndarray:
        i, f, c, o = np.split(array, 4, axis=-1)
        return np.concatenate([i, o, f, c], axis=-1)

    weights = {
        "W": gates(kernel).T[None],
        "R": gates(recurrent).T[None],
        "B": np.concatenate([gates(bias), np.zeros(4 * hidden, np.float32)])[None],
    }
    node = helper.make_node(
        "LSTM", ["x", "W", "R", "B", "", "h", "c"], ["", "h1", "c1"], hidden_size=hidden
    )

    def edge(name: str, size: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "batch", size])

    graph = helper.make_graph(
        [node],
        "lstm",
        [edge("x", features), edge("h", hidden), edge("c", hidden)],
        [edge("h1", hidden), edge("c1", hidden)],
        [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


class Ort:
    """ONNX Runtime with the states of all streams in two arrays."""

    def __init__(self, model: bytes, streams: int, hidden: int, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        self.h = np.zeros((streams, hidden), np.float32)
        self.c = np.zeros((streams, hidden), np.float32)

    def reset(self) -> None:
        self.h[:] = self.c[:] = 0

    def step(self, ready: np.ndarray, frames: np.ndarray) -> np.ndarray:
        given = {"x": frames[None], "h": self.h[ready][None], "c": self.c[ready][None]}
        h, c = self.session.run(None, given)
        self.h[ready], self.c[ready] = h[0], c[0]
        return h[0]

    def one_by_one(self, ready: np.ndarray, frames: np.ndarray) -> np.ndarray:
        some = [self.step(ready[i : i + 1], frames[i : i + 1]) for i in range(len(ready))]
        return np.concatenate(some)


Way = tuple[Callable[[], None], Callable[[Ticks], list[np.ndarray]]]
"""How to start afresh, and how to serve ticks: an array of outputs for each."""


def ways(model: rt.Model, ort: Ort, streams: int, max_wait: float) -> Iterator[tuple[str, Way]]:
    """Every way of serving by its name."""
    sessions = [model.session(batch=1) for _ in range(streams)]

    def by_sessions(ticks: Ticks) -> list[np.ndarray]:
        return [
            np.concatenate([sessions[i].step(frames[k : k + 1]) for k, i in enumerate(ready)])
            for ready, frames in ticks
        ]

    yield "sessions", (lambda: _each(sessions), by_sessions)
    batcher = model.batcher(max_streams=streams)
    group = [batcher.stream() for _ in range(streams)]

    def by_batcher(ticks: Ticks) -> list[np.ndarray]:
        return [batcher.step([group[i] for i in ready], frames) for ready, frames in ticks]

    yield "batcher", (lambda: _each(group), by_batcher)
    shared = model.batcher(max_streams=streams, max_wait=max_wait)
    members = [shared.stream() for _ in range(streams)]
    yield "threads", (lambda: _each(members), lambda ticks: _by_threads(members, ticks))
    yield "tasks", (lambda: _each(members), lambda ticks: asyncio.run(_by_tasks(members, ticks)))
    yield "ort one", (ort.reset, lambda ticks: [ort.one_by_one(*tick) for tick in ticks])
    yield "ort stacked", (ort.reset, lambda ticks: [ort.step(*tick) for tick in ticks])


def _each(streams: list[Any]) -> None:
    for stream in streams:
        stream.reset()


def _places(ticks: Ticks, count: int) -> list[list[tuple[int, int]]]:
    """For each stream, the ticks in which it is ready, and its place in them."""
    places: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for number, (ready, _) in enumerate(ticks):
        for place, stream in enumerate(ready):
            places[stream].append((number, place))
    return places


def _room(ticks: Ticks, hidden: int) -> list[np.ndarray]:
    return [np.empty((len(ready), hidden), np.float32) for ready, _ in ticks]


def _by_threads(streams: list[rt.Stream], ticks: Ticks) -> list[np.ndarray]:
    found = _room(ticks, streams[0].states["loop0/carry0"].size)

    def work(stream: rt.Stream, places: list[tuple[int, int]]) -> None:
        for number, place in places:
            found[number][place] = stream.step(ticks[number][1][place])

    places = _places(ticks, len(streams))
    threads = [threading.Thread(target=work, args=p) for p in zip(streams, places, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


async def _by_tasks(streams: list[rt.Stream], ticks: Ticks) -> list[np.ndarray]:
    found = _room(ticks, streams[0].states["loop0/carry0"].size)

    async def work(stream: rt.Stream, places: list[tuple[int, int]]) -> None:
        for number, place in places:
            found[number][place] = await stream.astep(ticks[number][1][place])

    places = _places(ticks, len(streams))
    await asyncio.gather(*[work(*pair) for pair in zip(streams, places, strict=True)])
    return found


def load(options: argparse.Namespace, sizes: str) -> tuple[rt.Model, Ort]:
    """The same layer for both."""
    layer = ri.layers.LSTM(
        options.hidden, return_sequences=True, recurrent_activation="sigmoid", name="lstm"
    )
    inputs = ri.spec(f"batch={sizes}", "time=1", options.features)
    artifact = ri.compile(layer, inputs, targets=["cpu"])
    onnx_model = onnx_lstm(layer, options.features, options.hidden)
    return (
        rt.load(artifact.to_bytes(), device=options.device),
        Ort(onnx_model, options.streams, options.hidden, options.threads),
    )


def measure(
    contenders: dict[str, Way], ticks: Ticks, rounds: int
) -> dict[str, tuple[float, list[np.ndarray]]]:
    """Median steps per second of each way, in turns, and what it computed."""
    steps = sum(len(ready) for ready, _ in ticks)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    outputs: dict[str, list[np.ndarray]] = {}
    for _ in range(rounds):
        for name, (reset, serve) in contenders.items():
            reset()
            start = time.perf_counter()
            outputs[name] = serve(ticks)
            rates[name].append(steps / (time.perf_counter() - start))
    return {name: (statistics.median(rates[name][1:]), outputs[name]) for name in contenders}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--features", type=int, default=40)
    parser.add_argument("--ticks", type=int, default=50, help="steps of each stream per round")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1, help="compute threads of ONNX Runtime")
    parser.add_argument("--device", default="cpu:local-sync")
    parser.add_argument("--max-wait", type=float, default=0.0, help="of threads and tasks, seconds")
    parser.add_argument("--sizes", default="1,4,8,16,24", help="batches to compile for")
    parser.add_argument("--out", type=Path, help="a folder for the results")
    options = parser.parse_args()
    machine = describe()
    given = {int(size) for size in options.sizes.split(",")}
    sizes = "|".join(str(size) for size in sorted({*given, options.streams}))
    model, ort = load(options, sizes)
    contenders = dict(ways(model, ort, options.streams, options.max_wait))
    random, found = np.random.default_rng(0), []
    for title, chance in (("all streams ready", 1.0), ("each ready half of the time", 0.5)):
        ticks: Ticks = []
        for _ in range(options.ticks):
            ready = np.flatnonzero(random.random(options.streams) < chance)
            shape = (len(ready), options.features)
            ticks.append((ready, random.standard_normal(shape).astype(np.float32)))
        ticks = [tick for tick in ticks if len(tick[0])]
        found += rows(title, measure(contenders, ticks, options.rounds))
    result = {
        "what": f"LSTM({options.hidden}) on {options.features} features, {options.streams} streams",
        "settings": f"{options.device}, batches of {sizes}, ONNX Runtime with {options.threads} "
        f"thread, steps of threads and tasks wait {options.max_wait * 1e3:g} ms for others",
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "iree": rt.iree_version(),
        "onnxruntime": onnxruntime.__version__,
        "rounds": options.rounds - 1,
        "rows": found,
    }
    print(markdown(result))
    if options.out:
        write(result, options.out)


if __name__ == "__main__":
    main()
