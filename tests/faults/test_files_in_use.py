"""Files that change while they are read or in use, in processes that a bus error would kill."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from faults.sweep import FILE

import recurrent_iree_runtime as rt
from runtime import tiny

CHANGES = {
    "truncated to nothing": "open(path, 'r+b').truncate(0)",
    "truncated in the middle": "open(path, 'r+b').truncate(os.path.getsize(path) // 2)",
    "overwritten with zeros": "file = open(path, 'r+b'); file.write(bytes(os.path.getsize(path)))",
    "overwritten with garbage": "open(path, 'r+b').write(os.urandom(os.path.getsize(path)))",
    "replaced": "open(path + '2', 'wb').write(b'other'); os.replace(path + '2', path)",
    "deleted": "os.unlink(path)",
    "grown": "open(path, 'ab').write(bytes(1 << 20))",
}
CODE = """
import gc, os, sys
import numpy as np
import recurrent_iree_runtime as rt
artifact, weights, device = sys.argv[1:]
x = np.linspace(-1, 1, 60, dtype=np.float32).reshape(1, 20, 3)
read = rt.read(artifact)
model = rt.load(artifact, device, weights=weights)
stream = model.session(batch=1)
before = model(x), stream.run(x)
for path in (artifact, weights):
    change(path)
gc.collect()
stream.reset()
assert np.array_equal(model(x), before[0])
assert np.array_equal(stream.run(x), before[1])
assert model.verify().ok
read.check()
with rt.load(read, device) as again:
    assert np.array_equal(again(x), before[0])
model.close()
"""


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_changes_while_it_is_loaded(name, tmp_path, table):
    paths = tmp_path / "m.riree", tmp_path / "w.safetensors"
    paths[0].write_bytes(FILE.read_bytes())
    paths[1].write_bytes(rt.write_safetensors({"kernel": tiny.KERNEL}))
    body = f"def change(path):\n    {CHANGES[name]}\n{textwrap.dedent(CODE)}"
    for device in ("cpu:local-sync", "cpu:local-task"):
        for path, data in zip(paths, (FILE.read_bytes(), None), strict=True):
            path.write_bytes(data or rt.write_safetensors({"kernel": tiny.KERNEL}))
        command = [sys.executable, "-W", "ignore", "-c", body, *map(str, paths), device]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, (device, done.returncode, done.stderr[-1000:])
    table("files in use", what=f"{name} while loaded", cases=2, crashes=0, wrong=0)


class Shrinking:
    """A file that has fewer bytes than it said, or fails, or grows while it is read."""

    def __init__(self, file, fault):
        self._file, self._fault = file, fault

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def readinto(self, memory):
        if isinstance(self._fault, Exception):
            raise self._fault
        if self._fault == "shrinks":
            return self._file.readinto(memory[: len(memory) // 2])
        return self._file.readinto(memory)

    def read(self, size=-1):
        return b"x" if self._fault == "grows" and size == 1 else self._file.read(size)


FAULTS = [
    (OSError(5, "Input/output error"), rt.ArtifactError, "cannot be read: Input/output error"),
    (OSError(116, "Stale file handle"), rt.ArtifactError, "cannot be read: Stale file handle"),
    (MemoryError(), rt.ArtifactError, "does not fit into the memory of this machine"),
    ("shrinks", rt.IntegrityError, "was changed while it was read; load it again"),
    ("grows", rt.IntegrityError, "was changed while it was read; load it again"),
]


@pytest.mark.parametrize("fault, error, message", FAULTS, ids=lambda x: str(x)[:20])
def test_reading_fails(fault, error, message, monkeypatch, table):
    import builtins

    real = open
    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", lambda *a: Shrinking(real(*a), fault))
        with pytest.raises(error, match=message):
            rt.load(FILE, "cpu")
    with rt.load(FILE, "cpu") as model:
        assert model.verify().ok
    table("files in use", what=f"reading: {fault or type(fault).__name__}", cases=1, crashes=0,
          wrong=0)  # fmt: skip


def test_weights_that_cannot_be_read(tmp_path):
    with pytest.raises(rt.ArtifactError, match="none.safetensors cannot be read: No such file"):
        rt.load(FILE, "cpu", weights=tmp_path / "none.safetensors")
    good = rt.write_safetensors({"kernel": tiny.KERNEL})
    for data in (b"", good[:20], good[:-1], good + b"x", bytes(1000)):
        (tmp_path / "w.safetensors").write_bytes(data)
        with pytest.raises(rt.ArtifactError):
            rt.load(FILE, "cpu", weights=tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes(good)
    with rt.load(FILE, "cpu", weights=tmp_path / "w.safetensors") as model:
        x = np.ones((1, 4, 3), np.float32)
        np.testing.assert_allclose(model(x), tiny.steps(x)[0], atol=1e-6)
