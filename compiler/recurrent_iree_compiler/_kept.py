"""Finished artifacts in the cache, for who can name a program by a hash of its content."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ._artifact import Artifact
from ._cache import Cache
from ._options import BuildOptions
from ._targets import parse_target
from ._tools import compiler_version

_PACKAGES = ("recurrent_iree_runtime", "recurrent_iree_compiler", "recurrent_iree")


class KeptArtifacts:
    """Artifacts by key, and what is known of programs before they are traced, as JSON.

    An artifact is kept if every module in it was verified, so that a driver that is installed
    later is not missed. Nothing is kept or found with ``BuildOptions(cache=False)`` or another
    compiler than that of the installed wheel.
    """

    def __init__(self, targets: Sequence[str], options: BuildOptions) -> None:
        self.active = options.cache and options.compiler is None
        self._verify = options.verify
        self._artifacts = Cache(options.folder, options.cache_size, "artifacts-3")
        self._notes = Cache(options.folder, options.cache_size, "notes-2")
        plan = (options.plan, options.verify, [parse_target(t) for t in targets] if targets else [])
        self._with = repr((compiler_version(), code_stamp(), plan))

    def artifact(self, key: str) -> Artifact | None:
        """The artifact kept under `key`."""
        members = self._artifacts.get_parts(self._key(key)) if self.active else None
        return None if members is None else Artifact(members, {})

    def keep(self, key: str, artifact: Artifact) -> bool:
        """Keep `artifact` under `key`, if all of it was verified; says whether it was kept."""
        statuses = {t["verification"]["status"] for t in artifact.report()["targets"]}
        if not self.active or (self._verify and statuses != {"verified"}):
            return False
        self._artifacts.put_parts(self._key(key), artifact.members)
        return True

    def note(self, key: str) -> Any:
        """What `write_note` wrote under `key`, or ``None``."""
        data = self._notes.get(self._key(key)) if self.active else None
        return None if data is None else json.loads(data)

    def write_note(self, key: str, note: Any) -> None:
        """Keep a JSON value."""
        self._notes.put(self._key(key), json.dumps(note).encode())

    def _key(self, key: str) -> str:
        return hashlib.sha256(f"{key}\n{self._with}".encode()).hexdigest()


@cache
def code_stamp() -> str:
    """A hash of names, sizes and times of our own source files: changed code finds nothing."""
    state = hashlib.sha256()
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for path in sorted(Path(folder).rglob("*.py")):
                info = path.stat()
                state.update(f"{path} {info.st_size} {info.st_mtime_ns}\n".encode())
    return state.hexdigest()
