"""`load`: from a file to a model on a device."""

from collections.abc import Mapping, Sequence

import numpy as np

from ._artifact import ArtifactFile, Weights, read
from ._container import FilePath
from ._devices import DeviceInfo, make_driver
from ._drivers._base import Driver, Executable
from ._kept import keeps_memory
from ._manifest import Module
from ._model import Model
from ._placement import SYNC, TASK, place
from ._runner import Runner
from ._signing import Key, check_signature
from ._variants import choose_device


def load(
    source: FilePath | bytes | ArtifactFile,
    device: str | Driver = "auto",
    *,
    weights: FilePath | Mapping[str, np.ndarray] | None = None,
    trusted_keys: Sequence[Key] | None = None,
    keep_memory: bool | None = None,
) -> Model:
    """Load an artifact on a device.

    Args:
        source: path of a `.riree` file, its bytes, or what `read` returned.
        device: `"auto"`, a name that `devices()` lists, or a `Driver` such as `FakeDriver`.
        weights: other weights for the program, as a `.safetensors` file or a dict of arrays;
            names, shapes and dtypes must be those of the artifact.
        trusted_keys: public keys, as 64 hexadecimal digits or paths of PEM files; one of them must
            have signed the artifact. `None` asks for no signature. It says nothing of `weights`.
        keep_memory: whether the device keeps the memory that calls need for the next ones, up to
            512 MiB, until the last model that is loaded so is closed; on CPUs only. `None` does
            it for artifacts with gradients, whose calls are a fifth faster so, and for those with
            functions of known sizes whose inputs and outputs have 16 MiB or more.

    Raises:
        ArtifactError: the file is no artifact, was changed, or is of another version.
        UntrustedError: a signature was asked for, and there is none that fits.
        MissingPackageError: a signature was asked for, and nothing here can check it.
        DeviceError: no such device, its driver is missing, or no module fits it.

    Example:
        >>> import recurrent_iree_runtime as rt
        >>> model = rt.load("tiny.riree", device="cpu")  # doctest: +SKIP
    """
    artifact = source if isinstance(source, ArtifactFile) else read(source)
    if trusted_keys is not None:
        check_signature(artifact, trusted_keys)
    arrays = artifact.own_weights(weights)
    if isinstance(device, Driver):
        return _load_on_driver(artifact, device, arrays)
    info, module = choose_device(artifact.manifest, device)
    artifact = artifact.seen_by(module)
    if keep_memory is None:
        keep_memory = keeps_memory(artifact.manifest)
    if module.driver == "cpu" and info.name == "cpu":
        return _load_on_cpu(artifact, info, module, arrays, keep_memory)
    uri = info.name.partition(":")[2] if module.driver == "cpu" else None

    def open_runner(weights: Weights) -> Runner:
        executable = make_driver(info, uri, keep_memory).load(module, artifact.read_member, weights)
        return Runner(artifact.manifest, {"whole": executable, "stream": executable})

    return Model(artifact, info, open_runner, arrays)


def _load_on_driver(artifact: ArtifactFile, driver: Driver, arrays: Weights) -> Model:
    info = DeviceInfo(driver.name, driver.name, driver.description, True, "given by the caller")
    module = next((m for m in artifact.manifest.modules if m.driver == driver.name), None)
    artifact = artifact.seen_by(module)

    def open_runner(weights: Weights) -> Runner:
        executable = driver.load(module, artifact.read_member, weights)
        return Runner(artifact.manifest, {"whole": executable, "stream": executable})

    return Model(artifact, info, open_runner, arrays)


def _load_on_cpu(
    artifact: ArtifactFile, info: DeviceInfo, module: Module, arrays: Weights, keep_memory: bool
) -> Model:
    first: dict[str, Executable] = {}

    def load_on(uri: str) -> Executable:
        if uri not in first:
            driver = make_driver(info, uri, keep_memory)
            first[uri] = driver.load(module, artifact.read_member, arrays)
        return first[uri]

    placements = place(artifact.manifest, artifact.goldens, load_on)
    used = {p.uri for p in placements.values()} or {SYNC}
    for uri in (SYNC, TASK):
        if uri in first and uri not in used:
            first.pop(uri).close()

    def open_runner(weights: Weights) -> Runner:
        executables: dict[str, Executable] = {}
        for uri in sorted(used):
            kept = first.pop(uri, None)  # placing the groups has loaded it
            executables[uri] = kept or make_driver(info, uri, keep_memory).load(
                module, artifact.read_member, weights
            )
        groups = {group: executables[p.uri] for group, p in placements.items()}
        default = next(iter(executables.values()))
        return Runner(artifact.manifest, {"whole": default, "stream": default, **groups})

    listed = "; ".join(f"{group}: {p.uri}, {p.reason}" for group, p in sorted(placements.items()))
    chosen = DeviceInfo(info.name, info.driver, info.description, True, f"{info.reason}; {listed}")
    return Model(artifact, chosen, open_runner, arrays)
