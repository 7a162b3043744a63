"""The file format: layout, reproducibility, refusal of everything that was not written so."""

import io
import os
import struct
import zipfile

import pytest

import recurrent_iree_runtime as rt
from runtime import tiny


@pytest.fixture(scope="module")
def members():
    return tiny.members()


@pytest.fixture(scope="module")
def data(members):
    return rt.container_bytes(members)


def test_it_is_a_stored_zip_with_aligned_members(data, members):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[:2] == ["manifest.json", "manifest.sha256"]
        assert archive.namelist()[2:] == sorted(set(members) - set(archive.namelist()[:2]))
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            name, extra = struct.unpack_from("<HH", data, info.header_offset + 26)
            assert (info.header_offset + 30 + name + extra) % 64 == 0


def test_the_same_members_give_the_same_bytes(data, members):
    assert rt.container_bytes(dict(reversed(members.items()))) == data


def test_members_start_at_multiples_of_64_in_memory(data):
    import numpy as np

    container = rt.read_container(data)
    for name in container.names:
        view = container.member(name)
        assert view.readonly
        if len(view):
            assert np.frombuffer(view, np.uint8).ctypes.data % 64 == 0


def test_read_gives_checked_members(data, members):
    artifact = rt.read(data)
    assert {name: bytes(artifact.read_member(name)) for name in artifact.members} == members
    assert artifact.manifest.members["report.json"].size == 2
    assert artifact.weights()["kernel"].tolist() == tiny.KERNEL.tolist()


def rezip(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def patched(data, old, new):
    assert old in data
    return data.replace(old, new)


ATTACKS = {
    "appended": lambda d, m: d + b"x",
    "prepended": lambda d, m: b"x" + d,
    "prepended header": lambda d, m: d[:64] + d,
    "truncated": lambda d, m: d[:-30],
    "half": lambda d, m: d[: len(d) // 2],
    "first byte only": lambda d, m: d[:1],
    "empty": lambda d, m: b"",
    "compressed": lambda d, m: rezip(m.items(), zipfile.ZIP_DEFLATED),
    "repacked": lambda d, m: rezip(m.items()),
    "parent folder": lambda d, m: patched(d, b"report.json", b"../port.jso"),
    "absolute": lambda d, m: patched(d, b"report.json", b"/eport.json"),
    "renamed": lambda d, m: patched(d, b"report.json", b"seport.json"),
    "no manifest": lambda d, m: patched(d, b"manifest.json", b"manifest.jsom"),
    "text": lambda d, m: b"#!/bin/sh\necho hello\n",
    "other zip": lambda d, m: rezip([("a.txt", "a")]),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_other_bytes_are_refused(name, data, members):
    with pytest.raises(rt.ArtifactError):
        rt.read(ATTACKS[name](data, members))


def test_a_member_twice_is_refused(data, members):
    with pytest.warns(UserWarning, match="Duplicate name"):
        doubled = rezip([*members.items(), ("report.json", b"{}")])
    with pytest.raises(rt.IntegrityError, match="two members of one name"):
        rt.read(doubled)


def test_overlapping_members_are_refused(data):
    start = data.rindex(b"PK\1\2")
    offset = struct.unpack_from("<I", data, start + 42)[0]
    changed = bytearray(data)
    struct.pack_into("<I", changed, start + 42, offset - 64)
    with pytest.raises(rt.IntegrityError, match="directory does not fit"):
        rt.read(changed)


def test_an_unlisted_member_is_refused(members):
    with pytest.raises(rt.IntegrityError, match="'extra.bin', which is not listed"):
        rt.read(rt.container_bytes({**members, "extra.bin": b"x"}))


def test_a_missing_member_is_refused(members):
    less = {name: content for name, content in members.items() if name != "report.json"}
    with pytest.raises(rt.IntegrityError, match="'report.json' is missing"):
        rt.read(rt.container_bytes(less))


def test_changed_weights_are_refused_when_they_are_used(members):
    data = bytearray(rt.container_bytes(members))
    at = data.index(tiny.KERNEL.tobytes())
    data[at] ^= 1
    artifact = rt.read(data)
    with pytest.raises(rt.IntegrityError, match=r"'weights.safetensors' does not have the hash"):
        artifact.weights()
    with pytest.raises(rt.IntegrityError):
        artifact.check()


def test_a_changed_manifest_is_refused(members):
    changed = {**members, "manifest.json": members["manifest.json"].replace(b"tiny", b"tinz")}
    with pytest.raises(rt.IntegrityError, match="manifest.json"):
        rt.read(rt.container_bytes(changed))


def test_a_claimed_huge_member_allocates_nothing(data):
    changed = bytearray(data)
    start = data.rindex(b"PK\1\2")
    struct.pack_into("<II", changed, start + 20, 0xFFFFFFF0, 0xFFFFFFF0)
    with pytest.raises(rt.IntegrityError):
        rt.read(changed)


def test_the_file_may_change_after_it_was_read(data, tmp_path):
    path = tmp_path / "m.riree"
    path.write_bytes(data)
    artifact = rt.read(path)
    with open(path, "r+b") as file:
        file.truncate(10)
    artifact.check()
    path.unlink()
    artifact.check()


def test_unreadable_paths(tmp_path):
    with pytest.raises(rt.ArtifactError, match="cannot be read: No such file"):
        rt.read(tmp_path / "none.riree")
    with pytest.raises(rt.ArtifactError, match="cannot be read: Is a directory"):
        rt.read(tmp_path)
    with pytest.raises(rt.NotAnArtifactError, match="not a regular file"):
        rt.read("/dev/null")
    with pytest.raises(rt.ArgumentTypeError, match="given as a int; expected a path or bytes"):
        rt.read(3)  # pyright: ignore[reportArgumentType]


def test_write_is_all_or_nothing(members, tmp_path, monkeypatch):
    path = tmp_path / "m.riree"
    rt.write_container(path, members)
    before = path.read_bytes()
    assert before == rt.container_bytes(members)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(rt.StorageError, match="could not be written: No space left") as caught:
        rt.write_container(path, {**members, "report.json": b"changed"})
    assert caught.value.errno == 28
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.riree"]


def test_write_into_a_missing_folder(members, tmp_path):
    with pytest.raises(rt.StorageError, match="No such file or directory"):
        rt.write_container(tmp_path / "none" / "m.riree", members)


def test_the_written_file_has_ordinary_permissions(members, tmp_path):
    path = tmp_path / "m.riree"
    mask = os.umask(0o022)
    try:
        rt.write_container(path, members)
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o644


def test_bad_member_names_are_not_written():
    with pytest.raises(rt.ArgumentError, match="cannot be a member name"):
        rt.container_bytes({"../x": b""})
