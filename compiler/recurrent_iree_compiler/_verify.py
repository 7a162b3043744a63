"""Verification: each module that can run here is run, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from recurrent_iree_runtime import Manifest, Module, container_bytes, pack

from ._process import Limits, run_limited
from ._report import Verification
from ._targets import Target

_DEVICES = {"cpu": "cpu:local-sync", "xla": "xla"}
_IMPOSSIBLE = {"hip", "metal"}
_ATTEMPTS = 2


def verify_target(members: Mapping[str, bytes], target: Target, limits: Limits) -> Verification:
    """Run the golden calls of an artifact on the module of one target.

    A module that kills its process, hangs, or gives other numbers has failed. A device that is lost
    is tried once more, since software Vulkan drivers lose theirs under load.
    """
    manifest = Manifest.from_json(members["manifest.json"])
    if not manifest.goldens:
        return Verification("not run", "the program has no golden calls")
    module = next(m for m in manifest.modules if m.target == target.name)
    if target.driver in _IMPOSSIBLE:
        return Verification("not run", f"the runtime has no driver {target.driver!r} yet")
    with tempfile.TemporaryDirectory(prefix="recurrent-iree-") as folder:
        path = Path(folder) / "one.riree"
        path.write_bytes(container_bytes(_only(members, manifest, module)))
        device = target.name if ":" in target.name and target.driver == "xla" else target.driver
        device = _DEVICES.get(device, device)
        result = _run(path, device, limits)
        for _ in range(_ATTEMPTS - 1):
            if result.status == "failed" and "lost" in result.reason:
                result = _run(path, device, limits)
    return result


def _only(members: Mapping[str, bytes], manifest: Manifest, module: Module) -> dict[str, bytes]:
    """The artifact with one module, so that the runtime has no choice."""
    kept = {module.member, *module.functions_xla.values()} - {None}
    kept |= {"weights.safetensors", "golden.safetensors", "report.json"}
    rest = {name: data for name, data in members.items() if name in kept}
    return pack(replace(manifest, modules=(module,)), rest, manifest.members)


def _run(path: Path, device: str, limits: Limits) -> Verification:
    command = [sys.executable, "-m", "recurrent_iree_compiler._verify_child", str(path), device]
    search = os.pathsep.join(p for p in sys.path if p)
    done = run_limited(command, path.parent, limits, environment={"PYTHONPATH": search})
    if done.code is None:
        return Verification("failed", f"its golden calls took more than {limits.seconds:g} s")
    if done.code < 0:
        return Verification("failed", f"its process died with {signal.Signals(-done.code).name}")
    lines = done.output.strip().splitlines()
    if done.code != 0 or not lines:
        last = (done.errors.strip().splitlines() or ["no message"])[-1]
        return Verification("failed", f"its process ended with status {done.code}: {last}")
    return Verification(**json.loads(lines[-1]))
