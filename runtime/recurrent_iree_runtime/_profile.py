"""Where the time of a call goes: each dispatch, as IREE's own tools measure it.

IREE's Python bindings cannot profile. Its wheel has `iree-benchmark-module`, which writes a
profile, and `iree-profile`, which reads one.
"""

import importlib.util
import json
import math
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ._artifact import ArtifactFile
from ._chunks import chunk_functions, split
from ._devices import DeviceInfo, make_driver
from ._drivers._iree import IreeDriver
from ._drivers._iree_arrays import to_plain
from ._dtypes import dtype_name
from ._entry_plan import EntryPlan
from ._errors import ArgumentError, DeviceError, MissingPackageError
from ._manifest import Entry, Function, Manifest, Module
from ._runner import STREAM
from ._safetensors import write_safetensors
from ._snapshot import sized
from ._text import table_text, time_text
from ._variants import choose_device

_SECONDS = 0.3
_LONGEST = 300
_ELEMENTS = {"float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16", "bool": "i8"}


@dataclass(frozen=True)
class DispatchTime:
    """One dispatch of a function: how often a call runs it, and its times in seconds."""

    name: str
    per_call: int
    mean: float
    shortest: float
    share: float


@dataclass(frozen=True)
class Profile:
    """The dispatches of one function on a device, those that take longest first."""

    device: str
    function: str
    calls: int
    dispatches: tuple[DispatchTime, ...] = ()
    error: str = ""

    def text(self) -> str:
        """A table."""
        if self.error:
            return f"profile of {self.device}: {self.error}"
        total = sum(d.mean * d.per_call for d in self.dispatches)
        title = f"{self.function} on {self.device}: {time_text(total)} in dispatches per call"
        headers = ["dispatch", "per call", "mean", "shortest", "share"]
        cells = [
            [d.name, str(d.per_call), time_text(d.mean), time_text(d.shortest), f"{d.share:.0%}"]
            for d in self.dispatches
        ]
        return f"{title}\n{table_text(headers, cells, right='|'.join(headers[1:]))}"


def find_tool(name: str) -> Path:
    """A tool of IREE's runtime wheel; raises `MissingPackageError` if it is not there."""
    found = importlib.util.find_spec("iree._runtime_libs")
    folders = (found.submodule_search_locations or []) if found else []
    for folder in folders:
        for path in (Path(folder, name), Path(folder, f"{name}.exe")):
            if path.is_file():
                return path
    raise MissingPackageError(
        f"the tool {name} is missing: profiling needs the tools of the wheel iree-base-runtime. "
        "Install it with: pip install --force-reinstall iree-base-runtime"
    )


def profile(
    artifact: ArtifactFile, device: str, entry: Entry, inputs: Sequence[np.ndarray]
) -> list[Profile]:
    """The dispatches of each compiled function that a call of `entry` uses.

    Runs the functions alone, some tenths of a second each, on zeros and the initial states' shapes.
    Raises `MissingPackageError` if IREE's tools are missing, `DeviceError` if they fail.
    """
    info, module = choose_device(artifact.manifest, device)
    artifact = artifact.seen_by(module)
    if module.driver == "xla" or module.member is None:
        raise ArgumentError("only IREE can be profiled; for XLA use jax.profiler")
    tools = find_tool("iree-benchmark-module"), find_tool("iree-profile")
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "m.vmfb").write_bytes(artifact.read_member(module.member))
        weights = {k: to_plain(a, module.abi.get(dtype_name(a.dtype)))
                   for k, a in artifact.weights().items()}  # fmt: skip
        (folder / "w.safetensors").write_bytes(write_safetensors(weights))
        for owner, function in functions_of(artifact.manifest, entry, inputs):
            command = [str(tools[0]), "--module=m.vmfb", f"--function={function.symbol}",
                       f"--device={_uri(info, module)}", f"--benchmark_min_time={_SECONDS}s",
                       *(["--parameters=weights=w.safetensors"] if weights else []),
                       f"--device_profiling_mode={_mode(module)}",
                       "--device_profiling_output=p.ireeprof",
                       *_inputs(artifact.manifest, owner, function, module)]  # fmt: skip
            _run(command, folder)
            rows = _run([str(tools[1]), "dispatch", "--format=jsonl", "p.ireeprof"], folder)
            found.append(_read(rows, info.name, function.symbol))
    return found


def functions_of(
    manifest: Manifest, entry: Entry, inputs: Sequence[np.ndarray]
) -> list[tuple[Entry, Function]]:
    """The compiled functions that a call uses, each once, with their entries."""
    plan = EntryPlan(entry)
    dims = plan.dims(plan.arrays(inputs, entry.inputs), entry.inputs)
    if entry.realization == "module" and entry.name != "chunk":
        return [(entry, plan.function(dims))]
    chunk = manifest.entry("chunk")
    assert chunk is not None  # the manifest was checked
    functions = chunk_functions(plan, EntryPlan(chunk), dims)
    pieces = split(dims.get("time", 1), functions, entry.name)
    used = {f.symbol: replace(f, dims={"time": steps, **f.dims}) for f, steps in pieces}
    return [(chunk, function) for function in used.values()]


def _uri(info: DeviceInfo, module: Module) -> str:
    queue = info.name.partition(":")[2] if module.driver == "cpu" else ""
    driver = make_driver(info, queue or None)
    assert isinstance(driver, IreeDriver)
    return driver.uri


def _mode(module: Module) -> str:
    """On the processor IREE times dispatches on the host, elsewhere on the device."""
    return "host-execution" if module.driver in ("cpu", "vmvx") else "dispatch-events"


def _inputs(manifest: Manifest, entry: Entry, function: Function, module: Module) -> list[str]:
    """Zeros for every argument, as IREE's tools write them."""
    states = manifest.states if entry.name in STREAM else ()
    flags = []
    for leaf in (*entry.inputs, *states):
        shape = sized(leaf, function.dims).shape
        dtype = module.abi.get(leaf.dtype, leaf.dtype)
        element = _ELEMENTS.get(dtype, dtype.replace("uint", "i").replace("int", "i"))
        flags.append("--input=" + "x".join([*map(str, shape), element]) + "=0")
    return flags


def _run(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=_LONGEST, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"{Path(command[0]).name} did not end in {_LONGEST} seconds") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise DeviceError(
            f"{Path(command[0]).name} failed with exit status {done.returncode}: {last[:300]}"
        )
    return done.stdout


def _read(rows: str, device: str, function: str) -> Profile:
    """The groups of a profile; a profile without any times is an error of the driver."""
    documents: list[Mapping[str, Any]] = [json.loads(line) for line in rows.splitlines() if line]
    groups = [
        d
        for d in documents
        if d.get("type") in ("host_dispatch_group", "dispatch_group")
        and d.get("time_ns_available", True)
        and d.get("count")
    ]
    calls = math.gcd(*[int(group["count"]) for group in groups])
    total = sum(float(group["total_ns"]) for group in groups) or 1.0
    times = [
        DispatchTime(
            name=str(group["key"]).removeprefix(f"{function}_"),
            per_call=int(group["count"]) // calls,
            mean=float(group["avg_ns"]) * 1e-9,
            shortest=float(group["min_ns"]) * 1e-9,
            share=float(group["total_ns"]) / total,
        )
        for group in groups
    ]
    error = "" if times else f"the driver gave no times for the dispatches of {function}"
    by_time = sorted(times, key=lambda time: -time.share)
    return Profile(device, function, calls, tuple(by_time), error)


def profiles(
    artifact: ArtifactFile,
    devices: Sequence[str],
    entry: Entry,
    inputs: Sequence[np.ndarray],
    say: Callable[[str], None],
) -> tuple[Profile, ...]:
    """Profiles on several devices; one that cannot be profiled gets its error."""
    found: list[Profile] = []
    for device in devices:
        say(f"profile {device}")
        try:
            found += profile(artifact, device, entry, inputs)
        except (ArgumentError, DeviceError) as error:
            found.append(Profile(device, "", 0, (), str(error)))
    return tuple(found)
