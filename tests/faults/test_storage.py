"""Failing and killed writes: the old file or the new one, never a part, and the next call works."""

import contextlib
import errno
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from faults.storage_child import KEY, PAYLOADS, contents, streams
from faults.sweep import FILE

import recurrent_iree_runtime as rt
from recurrent_iree_compiler._cache import Cache

HERE = Path(__file__).resolve().parent
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EMFILE)
PLACES = ("mkstemp", "write", "second write", "flush", "fsync", "chmod", "replace", "close")
CASES = list(itertools.product(PLACES, ERRORS))
OLD, NEW = (rt.container_bytes(members) for members in contents())


class FailingFile:
    """A file whose operation fails once it was called often enough."""

    def __init__(self, file, operation, after, code):
        self._file, self._operation, self._left, self._code = file, operation, after, code

    def __getattr__(self, name):
        if name == self._operation:
            self._left -= 1
            if self._left < 0:
                self._operation = ""
                return self._fail
        return getattr(self._file, name)

    def _fail(self, *args):
        if args:
            self._file.write(bytes(args[0])[: len(args[0]) // 2])
        raise OSError(self._code, os.strerror(self._code))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.close()
        finally:
            self._file.close()


@contextlib.contextmanager
def failing(place, code):
    """Makes one operation of the next write fail, as the system would."""
    with pytest.MonkeyPatch.context() as patch:

        def fail(*args, **kwargs):
            raise OSError(code, os.strerror(code))

        real = os.fdopen
        if place in ("write", "second write", "flush", "close"):
            operation, after = place.split()[-1], int(place == "second write")
            patch.setattr(os, "fdopen", lambda *a: FailingFile(real(*a), operation, after, code))
        else:
            patch.setattr(tempfile if place == "mkstemp" else os, place, fail)
        yield


@pytest.mark.parametrize("there", [True, False], ids=["file there", "no file"])
def test_a_failing_write_of_an_artifact(there, tmp_path, table):
    path = tmp_path / "m.riree"
    for place, code in CASES:
        if there:
            path.write_bytes(OLD)
        with failing(place, code):
            with pytest.raises(rt.StorageError, match="m.riree could not be written") as caught:
                rt.write_container(path, contents()[1])
        assert caught.value.errno == code
        assert os.listdir(tmp_path) == (["m.riree"] if there else [])
        assert not there or path.read_bytes() == OLD
        rt.write_container(path, contents()[1])
        assert path.read_bytes() == NEW
        path.unlink()
    what = f"artifact, a call of the system fails, {'a' if there else 'no'} file there"
    table("storage", what=what, cases=len(CASES), partial=0, next_call="works")


def test_a_failing_write_of_the_cache(tmp_path, table):
    cache = Cache(tmp_path, 1 << 30)
    for place, code in CASES:
        with failing(place, code):
            cache.put(KEY, PAYLOADS[0])
        assert cache.get(KEY) is None
        assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
        cache.put(KEY, PAYLOADS[1])
        assert cache.get(KEY) == PAYLOADS[1]
        cache.path(KEY).unlink()
    table("storage", what="cache, a call of the system fails", cases=len(CASES), partial=0,
          next_call="works")  # fmt: skip


def test_a_failing_write_of_a_snapshot(tmp_path, table):
    path, cases = tmp_path / "s", [case for case in CASES if case[0] != "second write"]
    with rt.load(FILE, "cpu") as model, streams(model) as (old, new):
        kept = old.snapshot(path)
        for place, code in cases:
            with failing(place, code):
                with pytest.raises(rt.StorageError, match="s could not be written") as caught:
                    new.snapshot(path)
            assert caught.value.errno == code
            assert os.listdir(tmp_path) == ["s"] and path.read_bytes() == kept
        new.snapshot(path)
        with model.restore(path.read_bytes()) as restored:
            assert restored.states["n"] == new.states["n"] == 5
    table("storage", what="snapshot, a call of the system fails", cases=len(cases), partial=0,
          next_call="works")  # fmt: skip


def kill_while_writing(kind, folder, wait):
    command = [sys.executable, str(HERE / "storage_child.py"), kind, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.read(2) == b".."
        time.sleep(wait)
        child.send_signal(signal.SIGKILL)
        child.wait()


def killed(kind, folder, times, check):
    draw, left = random.Random(kind), 0
    for _ in range(times):
        kill_while_writing(kind, folder, draw.random() * 0.02)
        check()
        hidden = [p for p in folder.rglob("*.tmp") if p.name[0] == "."]
        left += len(hidden)
        for path in hidden:
            path.unlink()
        found = [p for p in folder.rglob("*") if p.is_file() and p.parent.name != "locks"]
        assert len(found) == 1, "nothing but the file and hidden temporary ones"
    return left


def check_killed(times, tmp_path, table):
    path = tmp_path / "a" / "m.riree"
    path.parent.mkdir()

    def artifact_is_whole():
        assert path.read_bytes() in (OLD, NEW)
        rt.read(path).check()
        rt.write_container(path, contents()[0])

    left = killed("artifact", path.parent, times, artifact_is_whole)
    table("storage", what="artifact, kill -9", cases=times, partial=0, next_call="works",
          hidden_left=left)  # fmt: skip
    cache = Cache(tmp_path / "c", 1 << 30)

    def entry_is_whole():
        assert cache.get(KEY) in PAYLOADS
        with cache.lock(KEY):
            cache.put(KEY, PAYLOADS[0])

    left = killed("cache", tmp_path / "c", times, entry_is_whole)
    table("storage", what="cache, kill -9", cases=times, partial=0, next_call="works",
          hidden_left=left)  # fmt: skip
    check_killed_snapshots(times, tmp_path / "s", table)


def check_killed_snapshots(times, folder, table):
    folder.mkdir()
    with rt.load(FILE, "cpu") as model, streams(model) as (old, new):

        def snapshot_is_whole():
            with model.restore((folder / "s").read_bytes()) as restored:
                assert restored.states["n"] in (0, 5)
            old.snapshot(folder / "s")

        old.snapshot(folder / "s")
        left = killed("snapshot", folder, times, snapshot_is_whole)
    table("storage", what="snapshot, kill -9", cases=times, partial=0, next_call="works",
          hidden_left=left)  # fmt: skip


def test_killed_while_writing(tmp_path, table):
    check_killed(3, tmp_path, table)


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_killed_often_while_writing(tmp_path, table):
    check_killed(100, tmp_path, table)


LIMITED = """
import os, resource, signal, sys
sys.path[:0] = sys.argv[2:]
import recurrent_iree_runtime as rt
from faults.storage_child import contents
path = sys.argv[1]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
before = open(path, "rb").read()
for size in (0, 1, 1000, len(before) // 2, len(before) - 1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        rt.write_container(path, contents()[0])
        raise SystemExit("it was written")
    except rt.StorageError as error:
        assert "could not be written" in str(error), error
    assert open(path, "rb").read() == before and os.listdir(os.path.dirname(path)) == ["m.riree"]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
rt.write_container(path, contents()[1])
rt.read(path).check()
"""


def test_the_system_limits_the_size_of_files(tmp_path, table):
    path = tmp_path / "m.riree"
    path.write_bytes(OLD)
    command = [sys.executable, "-c", LIMITED, str(path), *sys.path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    table("storage", what="artifact, limit of the system", cases=5, partial=0, next_call="works")


DENIED = """
import os, sys
sys.path[:0] = sys.argv[2:]
import recurrent_iree_runtime as rt
from faults.storage_child import contents
new = contents()[1]
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    rt.write_container(sys.argv[1], new)
    raise SystemExit("it was written")
except rt.StorageError as error:
    assert "Permission denied" in str(error), error
try:
    rt.read(sys.argv[1])
    raise SystemExit("it was read")
except rt.ArtifactError as error:
    assert "cannot be read: Permission denied" in str(error), error
"""


def test_no_permission(tmp_path, table):
    folder = tmp_path / "closed"
    folder.mkdir()
    path = folder / "m.riree"
    path.write_bytes(OLD)
    path.chmod(0)
    folder.chmod(0o555)
    for parent in (tmp_path, *list(tmp_path.parents)[:3]):
        if parent.owner() == folder.owner() and str(parent) != tempfile.gettempdir():
            parent.chmod(0o755)
    try:
        command = [sys.executable, "-c", DENIED, str(path), *sys.path]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    finally:
        folder.chmod(0o755)
    assert done.returncode == 0, done.stderr
    path.chmod(0o644)
    assert path.read_bytes() == OLD and os.listdir(folder) == ["m.riree"]
    table("storage", what="artifact, no permission", cases=2, partial=0, next_call="works")


def test_a_full_disk(tmp_path, table):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs is not allowed here; it needs root")
    try:
        path = disk / "m.riree"
        rt.write_container(path, contents()[1])
        (disk / "rest").write_bytes(bytes(40_000))
        with pytest.raises(rt.StorageError, match="No space left on device") as caught:
            rt.write_container(path, contents()[0])
        assert caught.value.errno == errno.ENOSPC
        assert sorted(os.listdir(disk)) == ["m.riree", "rest"] and path.read_bytes() == NEW
        cache = Cache(disk / "cache", 1 << 30)
        cache.put(KEY, PAYLOADS[0])
        assert cache.get(KEY) is None
        (disk / "rest").unlink()
        rt.write_container(path, contents()[1])
        cache.put(KEY, b"small")
        assert cache.get(KEY) == b"small"
    finally:
        subprocess.run(["umount", str(disk)], check=False)
    table("storage", what="artifact and cache, full disk", cases=2, partial=0, next_call="works")
