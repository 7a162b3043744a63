"""What the artifact says about the layer that it was compiled from: `metadata["layer"]`."""

from dataclasses import dataclass
from typing import Annotated, Any

from ._codec import AnyJson, Count, Range, decode, parse, refuse
from ._errors import LayerAttributeError
from ._manifest import Manifest

KEY = "layer"

_Name = Annotated[str, Count(300)]
_Size = Annotated[int, Range(0, 1 << 40)]


@dataclass(frozen=True)
class LayerState:
    """One state of the layer: its shape without the batch, and the slot of a stream that holds it.

    There is no slot if the program cannot be streamed, or starts from something else.
    """

    shape: Annotated[tuple[_Size, ...], Count(16)]
    dtype: _Name
    slot: _Name | None


@dataclass(frozen=True)
class LayerFacts:
    """The layer: names of weights in the order of `get_weights`, of positional arguments, …"""

    class_name: _Name
    name: _Name
    config: Annotated[Any, AnyJson]
    weights: Annotated[tuple[_Name, ...], Count(100_000)]
    parameters: Annotated[tuple[_Name, ...], Count(100)]
    flags: dict[_Name, bool]
    cell: _Name | None
    takes_constants: bool
    states: Annotated[tuple[LayerState, ...], Count(10_000)]
    starts_at_zero: bool

    @property
    def slots(self) -> list[str] | None:
        """The slots of all states; `None` if a state has none."""
        slots = [state.slot for state in self.states if state.slot is not None]
        return slots if len(slots) == len(self.states) else None


def read_facts(manifest: Manifest) -> LayerFacts:
    """The facts, checked against the manifest.

    Raises `LayerAttributeError` for a program that is no layer, `NotAnArtifactError` for facts that
    do not fit it.
    """
    text = manifest.metadata.get(KEY)
    if text is None:
        raise LayerAttributeError(
            f"{manifest.name!r} was not compiled from a layer, so there is no model.layer; call "
            "the model itself, or compile a layer of recurrent_iree.layers"
        )
    where = f'manifest.json: $.metadata["{KEY}"]'
    document = parse(text.encode("ascii", "replace"), where)
    facts: LayerFacts = decode(LayerFacts, document, f"{where}: $")
    _check(facts, manifest, f"{where}: $")
    return facts


def _check(facts: LayerFacts, manifest: Manifest, where: str) -> None:
    weights = {weight.name for weight in manifest.weights}
    for name in facts.weights:
        if name not in weights:
            refuse(where, f"names the weight {name!r}, which the artifact does not have")
    if len(set(facts.weights)) != len(facts.weights):
        refuse(where, "names a weight twice")
    slots = {slot.name: slot for slot in manifest.states}
    for state in facts.states:
        if state.slot is None:
            continue
        slot = slots.get(state.slot)
        if slot is None or slot.dtype != state.dtype or slot.shape[1:] != state.shape:
            refuse(where, f"names the state {state.slot!r}, which the artifact does not have so")
