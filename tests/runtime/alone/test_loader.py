"""The branches of the loader that no ordinary file reaches."""

import builtins
import json
import os
import struct

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from recurrent_iree_runtime import _codec, _container, _load, _zip_layout as layout
from runtime import tiny


def changed(path, value):
    """The text of the tiny manifest with one value replaced."""
    document = json.loads(rt.read(tiny.artifact()).manifest.to_json())
    at = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


WRONG = [
    (("members", "manifest.json"), {"sha256": "0" * 64, "size": 1}, "which describes the others"),
    (("states", 0, "shape"), ["time", "time"], "has the dim 'time' more than once"),
    (("entries", 3, "outputs", 0, "from_input"), 3, "from_input is 3; there are 3 inputs"),
    (("entries", 3, "outputs", 0, "shape"), [3], "is input 'p.a' but differs from it"),
    (("entries", 3, "functions", 0, "dims"), {"width": 1}, "uses the unknown dim 'width'"),
    (("entries", 3, "functions"), [], "is empty; an entry of a module needs a function"),
    (("entries", 0, "outputs", 0, "dtype"), "int32", "its leaves are not those of 'chunk'"),
    (("entries", 1, "realization"), "chunks", "of the entry 'chunk' is not 'module'"),
    (("entries", 2, "realization"), "chunks", "its leaves are not|which has no inputs and only"),
    (("entries", 2, "outputs"), [
        {"name": "y", "shape": [], "dtype": "int32", "from_input": None}], "output_tree names"),
    (("members",), {}, "needs the member 'golden.safetensors'"),
    (("versions", "iree"), "x" * 301, "has 301 characters; at most 300 are allowed"),
    (("entries", 0, "inputs", 0, "shape"), [1] * 17, "has 17 items; at most 16 are allowed"),
]  # fmt: skip


@pytest.mark.parametrize("path, value, message", WRONG)
def test_wrong_documents(path, value, message):
    with pytest.raises(rt.NotAnArtifactError, match=message):
        rt.Manifest.from_json(changed(path, value))


def test_an_init_with_results():
    manifest = tiny.manifest()
    leaf = rt.Leaf("y", ("batch", 3), "float32")
    init = rt.Entry("init", "module", (), manifest.entries[2].input_tree, (leaf,), {"leaf": 0},
                    manifest.entries[2].functions)  # fmt: skip
    entries = (*manifest.entries[:2], init, *manifest.entries[3:])
    parts = {"weights.safetensors": rt.write_safetensors({"kernel": tiny.KERNEL})}
    with pytest.raises(rt.NotAnArtifactError, match="which has no inputs and only states"):
        rt.read(rt.container_bytes(rt.pack(tiny.manifest(entries=entries), parts)))


def test_values_that_no_hint_fits():
    assert _codec.encode(int | None, "text") == "text"
    assert _codec.decode(tiny.manifest().__class__ | None, None, "$") is None
    with pytest.raises(rt.NotAnArtifactError, match="expected"):
        _codec.decode(rt.Leaf | None, 3, "$")


def damaged(**parts):
    """A tiny artifact with a directory that claims something else."""
    data = bytearray(tiny.artifact())
    for place, value in parts.values():
        data[place : place + len(value)] = value
    return bytes(data)


def test_damaged_directories():
    data = tiny.artifact()
    end = len(data) - 22
    start = struct.unpack("<I", data[end + 16 : end + 20])[0]
    many = struct.pack("<HH", 65535, 65535)
    cases = [
        ({"count": (end + 8, many)}, "it claims 65535 members"),
        ({"count": (end + 8, struct.pack("<HH", 9, 9))}, "its directory is damaged"),
        ({"mark": (start, b"PK\1\3")}, "its directory is damaged"),
        ({"date": (start + 12, b"\1\1")}, "its directory does not fit its members"),
        ({"local": (10, b"\1")}, "the header of 'manifest.json' is damaged"),
        ({"method": (start + 10, b"\x08")}, "'manifest.json' is compressed"),
    ]
    for parts, message in cases:
        with pytest.raises(rt.IntegrityError, match=message):
            rt.read(damaged(**parts))
    assert layout.read_end(memoryview(b"PK")) is None


def test_files_that_are_too_large_or_change(tmp_path, monkeypatch):
    path = tmp_path / "tiny.riree"
    path.write_bytes(tiny.artifact())
    with monkeypatch.context() as patch:
        patch.setattr(layout, "LARGEST_FILE", 100)
        with pytest.raises(rt.NotAnArtifactError, match="artifacts have less than 4 GiB"):
            rt.read(path)
        with pytest.raises(rt.ArgumentError, match="4 GiB or more; keep the weights apart"):
            tiny.artifact()
    with monkeypatch.context() as patch:
        patch.setattr(_container, "LARGEST_MANIFEST", 100)
        with pytest.raises(rt.ArgumentError, match="the manifest has .* bytes; at most 100 fit"):
            tiny.artifact()
    with monkeypatch.context() as patch:

        def no_memory(size):
            raise MemoryError

        patch.setattr(_container, "_aligned", no_memory)
        with pytest.raises(rt.ArtifactError, match="does not fit into the memory"):
            rt.read(path)
    with monkeypatch.context() as patch:
        grown = os.stat(path)
        sizes = list(grown)
        sizes[6] -= 1
        patch.setattr(_container.os, "fstat", lambda handle: os.stat_result(sizes))
        with pytest.raises(rt.IntegrityError, match="was changed while it was read"):
            rt.read(path)
    with pytest.raises(rt.NotAnArtifactError, match="is not a regular file"):
        rt.read("/dev/null")


def test_an_interrupt_leaves_no_file(tmp_path):
    def pieces():
        yield b"some"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rt.write_atomic(tmp_path / "file", pieces())
    assert list(tmp_path.iterdir()) == []


def test_a_member_of_another_size():
    manifest = tiny.manifest()
    members = rt.pack(manifest, {"weights.safetensors": rt.write_safetensors({})})
    members["weights.safetensors"] += b" "
    with pytest.raises(rt.IntegrityError, match="'weights.safetensors' does not have the hash or"):
        rt.read(rt.container_bytes(members))


def test_placing_loads_what_it_measures(monkeypatch):
    """A queue that was measured and not chosen is given back; one never measured is loaded."""
    from pathlib import Path

    from recurrent_iree_runtime._placement import Placement

    file = Path(__file__).parents[1] / "data" / "tiny.riree"
    closed = []

    def place(manifest, goldens, load_on):
        for uri in ("local-sync", "local-task"):
            executable = load_on(uri)
            assert load_on(uri) is executable
            close = executable.close
            executable.close = lambda uri=uri, close=close: closed.append(uri) or close()
        return {"whole": Placement("local-sync", "a test"), "stream": Placement("local-sync", "")}

    monkeypatch.setattr(_load, "place", place)
    with rt.load(file, device="cpu") as model:
        assert closed == ["local-task"]
        x = np.ones((1, 5, 3), np.float32)
        np.testing.assert_allclose(model(x), tiny.steps(x)[0], rtol=1e-5)
    monkeypatch.setattr(_load, "place", lambda manifest, goldens, load_on: {})
    with rt.load(file, device="cpu") as model:
        np.testing.assert_allclose(model(x), tiny.steps(x)[0], rtol=1e-5)


def test_a_file_that_ends_early(tmp_path, monkeypatch):
    path = tmp_path / "tiny.riree"
    path.write_bytes(tiny.artifact())
    opened = builtins.open

    def cut(name, mode):
        file = opened(name, mode)
        os.truncate(path, 1000)
        return file

    sizes = list(os.stat(path))
    monkeypatch.setattr(_container, "open", cut, raising=False)
    monkeypatch.setattr(_container.os, "fstat", lambda handle: os.stat_result(sizes))
    with pytest.raises(rt.IntegrityError, match="was changed while it was read; load it again"):
        rt.read(path)
