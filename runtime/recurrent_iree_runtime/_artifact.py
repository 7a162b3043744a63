"""An artifact that was read and whose members are checked before they are used."""

import copy
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ._container import Container, FilePath, read_container
from ._errors import ArgumentTypeError, ArtifactError, IntegrityError
from ._manifest import LARGEST_MANIFEST, Manifest, Module, digest
from ._repeats import golden_inputs
from ._safetensors import check_arrays, read_safetensors
from ._storage import pack_weights, read_storage, unpack
from ._zip_layout import FIRST, SIGNATURE

Weights = Mapping[str, np.ndarray]


class ArtifactFile:
    """A `.riree` artifact: its manifest, and its members on demand.

    >>> import recurrent_iree_runtime as rt
    >>> m = rt.Manifest(name="m", default_entry="main", dims=(), entries=())
    >>> rt.read(rt.container_bytes(rt.pack(m, {})))
    Traceback (most recent call last):
    recurrent_iree_runtime._errors.NotAnArtifactError: manifest.json: $.default_entry is 'main', \
which is no entry
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._checked: set[str] = set()
        self._weights: Weights | None = None
        self.source = container.source
        self.size = container.size
        text = container.member("manifest.json")
        if len(text) > LARGEST_MANIFEST or not self._manifest_is_intact(text):
            self._changed("manifest.json")
        self.digest = digest(text)
        self.manifest = Manifest.from_json(bytes(text))
        self.storage = read_storage(self.manifest)
        self.signature = self._signature()
        self._check_table()

    def seen_by(self, module: Module | None) -> "ArtifactFile":
        """The same file, with a manifest of only the functions that `module` has."""
        if module is None or not module.lacks:
            return self
        seen = copy.copy(self)
        seen.manifest = self.manifest.seen_by(module)
        return seen

    def _manifest_is_intact(self, text: memoryview) -> bool:
        return bytes(self._container.member("manifest.sha256")) == digest(text).encode()

    def _signature(self) -> memoryview | None:
        """The member that the manifest cannot list, because it is made from the manifest."""
        if SIGNATURE not in self._container.names:
            return None
        if not self._container.fits_checksum(SIGNATURE):
            self._changed(SIGNATURE)
        return self._container.member(SIGNATURE)

    def _check_table(self) -> None:
        listed = self.manifest.members
        for name in self._container.names:
            if name not in listed and name not in FIRST:
                raise IntegrityError(f"{self.source} has the member {name!r}, which is not listed")
        for name, member in listed.items():
            if len(self._container.member(name)) != member.size:
                self._changed(name)

    def _changed(self, name: str) -> None:
        raise IntegrityError(
            f"{self.source} was changed after it was written: {name!r} does not have the hash or "
            "size that the artifact states. Copy the file again from where it was built."
        )

    @property
    def members(self) -> dict[str, int]:
        """Member name -> size in bytes, in the order of the file."""
        return {name: len(self._container.member(name)) for name in self._container.names}

    def read_member(self, name: str) -> memoryview:
        """The bytes of a member, read-only, after their SHA-256 was checked.

        Raises `IntegrityError` if they are not those that were written.
        """
        data = self._container.member(name)
        if name not in self._checked and name in self.manifest.members:
            if digest(data) != self.manifest.members[name].sha256:
                self._changed(name)
            self._checked.add(name)
        return data

    def check(self) -> None:
        """Check every member against its hash."""
        for name in self._container.names:
            self.read_member(name)

    def weights(self) -> Weights:
        """The arrays of `weights.safetensors` as they are stored, read-only, checked."""
        if self._weights is None:
            found = self._arrays("weights.safetensors") if self.manifest.weights else {}
            self._weights = self._in_order(found, f"{self.source}: weights.safetensors")
        return self._weights

    def goldens(self) -> Mapping[str, np.ndarray]:
        """The arrays of golden calls by their keys; empty if the artifact has none."""
        if "golden.safetensors" not in self.manifest.members:
            return {}
        stored = self._arrays("golden.safetensors")
        return stored | golden_inputs(self.manifest, stored)

    def _arrays(self, name: str) -> dict[str, np.ndarray]:
        return read_safetensors(self.read_member(name), f"{self.source}: {name}")

    def own_weights(self, weights: FilePath | Weights | None) -> Weights:
        """The user's weights as they are stored, after a check; else the artifact's.

        Raises `ArtifactError` for weights that do not fit the program.
        """
        if weights is None:
            return self.weights()
        if isinstance(weights, (str, os.PathLike)):
            try:
                data = Path(weights).read_bytes()
            except OSError as error:
                raise ArtifactError(f"{weights} cannot be read: {error.strerror}") from error
            weights = read_safetensors(data, str(weights))
            source = "the file of weights"
        elif isinstance(weights, Mapping):
            weights = {name: np.array(array, order="C") for name, array in weights.items()}
            source = "weights="
        else:
            raise ArgumentTypeError(
                f"weights is a {type(weights).__name__}; expected the path of a .safetensors file "
                "or a dict of arrays by name"
            )
        return self._in_order(pack_weights(self.storage, weights, source), source)

    def unpacked(self, weights: Weights) -> Weights:
        """Stored weights as callers see them: float32, whatever the file holds."""
        return unpack(self.storage, weights) if self.storage.weights else weights

    def _in_order(self, weights: Weights, source: str) -> Weights:
        """`weights`, checked, in the order of the manifest: functions of XLA take them so."""
        wanted = {w.name: (w.shape, w.dtype) for w in self.manifest.weights}
        check_arrays(weights, wanted, source)
        return {name: weights[name] for name in wanted}


def read(source: FilePath | bytes) -> ArtifactFile:
    """Read an artifact without loading any of it on a device.

    `source` is a path or the bytes of the file. Raises `NotAnArtifactError`, `IntegrityError`,
    `VersionError`, or `ArtifactError` if the file cannot be read.
    """
    if not isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)):
        raise ArgumentTypeError(
            f"the artifact is given as a {type(source).__name__}; expected a path or bytes"
        )
    return ArtifactFile(read_container(source))
