"""`load`: from a file to a model on a device."""

from collections.abc import Mapping

import numpy as np

from ._artifact import ArtifactFile, read
from ._container import FilePath
from ._devices import DeviceInfo, make_driver
from ._drivers._base import Driver, Executable
from ._manifest import Module
from ._model import Model
from ._placement import SYNC, TASK, place
from ._runner import Runner
from ._variants import choose_device


def load(
    source: FilePath | bytes | ArtifactFile,
    device: str | Driver = "auto",
    *,
    weights: FilePath | Mapping[str, np.ndarray] | None = None,
) -> Model:
    """Load an artifact on a device.

    Args:
        source: path of a `.riree` file, its bytes, or what `read` returned.
        device: `"auto"`, a name that `devices()` lists, or a `Driver` such as `FakeDriver`.
        weights: other weights for the program, as a `.safetensors` file or a dict of arrays;
            names, shapes and dtypes must be those of the artifact.

    Raises:
        ArtifactError: the file is no artifact, was changed, or is of another version.
        DeviceError: no such device, its driver is missing, or no module fits it.

    Example:
        >>> import recurrent_iree_runtime as rt
        >>> model = rt.load("tiny.riree", device="cpu")  # doctest: +SKIP
    """
    artifact = source if isinstance(source, ArtifactFile) else read(source)
    arrays = artifact.own_weights(weights)
    if isinstance(device, Driver):
        return _load_on_driver(artifact, device, arrays)
    info, module = choose_device(artifact.manifest, device)
    if module.driver == "cpu" and info.name == "cpu":
        return _load_on_cpu(artifact, info, module, arrays)
    uri = info.name.partition(":")[2] if module.driver == "cpu" else None

    def open_runner() -> Runner:
        executable = make_driver(info, uri).load(module, artifact.read_member, arrays)
        return Runner(artifact.manifest, {"whole": executable, "stream": executable})

    return Model(artifact, info, open_runner)


def _load_on_driver(
    artifact: ArtifactFile, driver: Driver, arrays: Mapping[str, np.ndarray]
) -> Model:
    info = DeviceInfo(driver.name, driver.name, driver.description, True, "given by the caller")
    module = next((m for m in artifact.manifest.modules if m.driver == driver.name), None)

    def open_runner() -> Runner:
        executable = driver.load(module, artifact.read_member, arrays)
        return Runner(artifact.manifest, {"whole": executable, "stream": executable})

    return Model(artifact, info, open_runner)


def _load_on_cpu(
    artifact: ArtifactFile, info: DeviceInfo, module: Module, arrays: Mapping[str, np.ndarray]
) -> Model:
    loaded: dict[str, Executable] = {}

    def load_on(uri: str) -> Executable:
        if uri not in loaded:
            loaded[uri] = make_driver(info, uri).load(module, artifact.read_member, arrays)
        return loaded[uri]

    placements = place(artifact.manifest, artifact.goldens, load_on)
    used = {p.uri for p in placements.values()} or {SYNC}
    for uri in (SYNC, TASK):
        if uri in loaded and uri not in used:
            loaded.pop(uri).close()
    first = dict(loaded)

    def open_runner() -> Runner:
        loaded.clear()
        loaded.update(first)
        first.clear()
        executables = {group: load_on(p.uri) for group, p in placements.items()}
        default = next(iter(executables.values()), None) or load_on(SYNC)
        return Runner(artifact.manifest, {"whole": default, "stream": default, **executables})

    listed = "; ".join(f"{group}: {p.uri}, {p.reason}" for group, p in sorted(placements.items()))
    chosen = DeviceInfo(info.name, info.driver, info.description, True, f"{info.reason}; {listed}")
    return Model(artifact, chosen, open_runner)
