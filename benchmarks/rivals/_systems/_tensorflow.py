"""TensorFlow: Keras layers in a tf.function, with and without XLA, and LiteRT."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from benchmarks.rivals._cells import inputs_of, weights_of  # noqa: E402
from benchmarks.rivals._work import CLASSIC, Work  # noqa: E402

from ._base import NotSupportedError, System, Variant  # noqa: E402

_LAYERS = {"lstm": tf.keras.layers.LSTM, "gru": tf.keras.layers.GRU,
           "simple_rnn": tf.keras.layers.SimpleRNN}  # fmt: skip


class TensorFlow(System):
    """Whole sequences of the three cells that Keras has."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)

    def versions(self) -> dict[str, str]:
        return {"tensorflow": tf.__version__}

    def variants(self, work: Work, artifact: str | None) -> dict[str, Variant]:
        if work.cell not in CLASSIC or work.kind != "sequence":
            raise NotSupportedError("only sequences of Keras' own cells are measured")
        layer = _LAYERS[work.cell](work.width, return_sequences=True)
        x = inputs_of(work)[0]
        layer.build(x.shape)
        w = weights_of(work)
        bias = w["bias"]
        if work.cell == "gru":
            bias = np.stack([bias, w["recurrent_bias"]])
        layer.set_weights([w["kernel"], w["recurrent"], bias])
        found = {"tf.function": _function(layer, x, False), "XLA": _function(layer, x, True)}
        lite = _lite(layer, x, self.threads)
        return found if lite is None else {**found, "LiteRT": lite}


def _function(layer: Any, x: np.ndarray, jit: bool) -> Variant:
    given = tf.constant(x)
    call = tf.function(layer, jit_compile=jit).get_concrete_function(given)
    return Variant(lambda: call(given), lambda: call(given).numpy())


def _lite(layer: Any, x: np.ndarray, threads: int) -> Variant | None:
    """What the converter makes of the layer, or `None` where it cannot convert it."""
    given = tf.keras.Input(x.shape[1:], batch_size=x.shape[0])
    try:
        converter = tf.lite.TFLiteConverter.from_keras_model(tf.keras.Model(given, layer(given)))
        interpreter = tf.lite.Interpreter(model_content=converter.convert(), num_threads=threads)
        interpreter.allocate_tensors()
    except (AttributeError, RuntimeError, ValueError, tf.errors.OpError):
        return None
    target = interpreter.get_input_details()[0]["index"]
    source = interpreter.get_output_details()[0]["index"]

    def run() -> Any:
        interpreter.set_tensor(target, x)
        interpreter.invoke()
        return interpreter.get_tensor(source)

    return Variant(run, run)


def make(threads: int) -> System:
    return TensorFlow(threads)
