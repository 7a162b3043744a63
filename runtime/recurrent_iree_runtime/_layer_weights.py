"""The weights of a compiled layer, in the order and with the methods of Keras."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ._dtypes import dtype_of
from ._errors import ArgumentError
from ._layer_facts import LayerFacts
from ._storage import seen

if TYPE_CHECKING:
    from ._model import Model


class LayerWeight:
    """One weight: `name`, `shape`, `dtype`, `numpy()`, `assign(array)`."""

    def __init__(self, owner: "LayerWeights", name: str, shape: tuple[int, ...], dtype: str):
        self._owner, self.name, self.shape = owner, name, shape
        self.dtype = dtype_of(dtype)

    def numpy(self) -> np.ndarray:
        """A copy of the array."""
        return np.array(self._owner.model.current_weights[self.name])

    def assign(self, value: Any) -> None:
        """Replace the array by one of the same shape."""
        self._owner.assign({self.name: value})

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype)

    def __repr__(self) -> str:
        return f"<LayerWeight {self.name!r} {self.dtype}{list(self.shape)}>"


class LayerWeights:
    """The part of `Layer` that owns the weights; they are shared with the model."""

    _facts: LayerFacts
    name: str
    model: "Model"

    @property
    def weights(self) -> list[LayerWeight]:
        """All weights."""
        shapes = seen(self.model.manifest, self.model.artifact.storage)
        return [LayerWeight(self, name, *shapes[name]) for name in self._facts.weights]

    variables = weights

    @property
    def weight_names(self) -> list[str]:
        """One unique name per weight, such as `lstm/kernel`, in the order of `weights`."""
        return list(self._facts.weights)

    def get_weights(self) -> list[np.ndarray]:
        """NumPy copies of the weights."""
        return [weight.numpy() for weight in self.weights]

    def set_weights(self, weights: Iterable[Any]) -> None:
        """Replace the weights, in the model and in all its sessions; nothing is recompiled.

        Raises `ArgumentError` for a wrong number or shape; nothing is changed then.
        """
        arrays, wanted = list(weights), self.weights
        if len(arrays) != len(wanted):
            raise ArgumentError(
                f"`set_weights` got {len(arrays)} arrays, but layer `{self.name}` has "
                f"{len(wanted)} weights: {', '.join(self.weight_names) or 'none'}."
            )
        self.assign({w.name: array for w, array in zip(wanted, arrays, strict=True)})

    def assign(self, arrays: dict[str, Any]) -> None:
        """Replace some weights, by name."""
        known = {weight.name: weight for weight in self.weights}
        checked = {}
        for name, value in arrays.items():
            if tuple(np.shape(value)) != known[name].shape:
                raise ArgumentError(
                    f"`set_weights`: weight `{name}` has shape {known[name].shape}, got an array "
                    f"of shape {tuple(np.shape(value))}."
                )
            checked[name] = np.asarray(value).astype(known[name].dtype)
        self.model.set_weights({**self.model.stored_weights, **checked})

    def count_params(self) -> int:
        """The number of scalars in the weights."""
        return sum(math.prod(weight.shape) for weight in self.weights)
