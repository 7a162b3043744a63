"""The rows as ONNX models, for ONNX Runtime and OpenVINO: one LSTM, GRU or RNN operator."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ._cells import weights_of
from ._work import Work

# cell -> operator, its gates as positions in ours (None: unused), attributes
_FORMS = {
    "lstm": ("LSTM", (0, 3, 1, 2), {}),
    "peephole": ("LSTM", (0, 3, 1, 2), {}),
    "coupled_gates": ("LSTM", (0, 2, None, 1), {"input_forget": 1}),
    "gru": ("GRU", (0, 1, 2), {"linear_before_reset": 1}),
    "simple_rnn": ("RNN", (0,), {}),
}


def state_names(work: Work) -> list[str]:
    """The states that the operator of the row has."""
    return ["h", "c"] if _FORMS[work.cell][0] == "LSTM" else ["h"]


def model_of(work: Work) -> ModelProto | None:
    """Inputs ``x [time, batch, width]`` and, for a step, states ``[1, batch, width]``."""
    if work.cell not in _FORMS or work.kind == "gradients":
        return None
    operator, gates, attributes = _FORMS[work.cell]
    constants = _constants(work, gates)
    is_step = work.kind == "step"
    states = state_names(work)
    peep = ["peep"] if "peep" in constants else []
    initial = [f"{s}_in" for s in states] if is_step else ([""] * len(states) if peep else [])
    inputs = ["x", "kernel", "recurrent", "bias", *([""] if initial else []), *initial, *peep]
    outputs = ["y", *(states if is_step else [])]
    node = helper.make_node(operator, inputs, outputs, hidden_size=work.width, **attributes)
    state_shape = [1, work.batch, work.width]
    taken = {"x": [work.steps, work.batch, work.width]}
    given = {"y": [work.steps, 1, work.batch, work.width]}
    if is_step:
        taken |= {f"{s}_in": state_shape for s in states}
        given |= {s: state_shape for s in states}
    graph = helper.make_graph(
        [node],
        work.cell,
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in taken.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in given.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _constants(work: Work, gates: tuple[int | None, ...]) -> dict[str, np.ndarray]:
    w, h = weights_of(work), work.width

    def order(x: np.ndarray) -> np.ndarray:
        zero = np.zeros_like(x[..., :h])
        parts = [zero if g is None else x[..., g * h : (g + 1) * h] for g in gates]
        return np.concatenate(parts, axis=-1)

    recurrent_bias = w.get("recurrent_bias", np.zeros_like(w["bias"]))
    constants = {
        "kernel": np.ascontiguousarray(order(w["kernel"]).T[None]),
        "recurrent": np.ascontiguousarray(order(w["recurrent"]).T[None]),
        "bias": np.concatenate([order(w["bias"]), order(recurrent_bias)])[None],
    }
    if work.cell == "peephole":
        constants["peep"] = np.concatenate([w["peep_i"], w["peep_o"], w["peep_f"]])[None]
    return constants
