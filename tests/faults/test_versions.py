"""Artifacts of other versions: refused before they run, with the command that rebuilds them."""

import hashlib
import json
from dataclasses import replace

import pytest
from faults.hostile import rehashed
from faults.sweep import FILE

import recurrent_iree_runtime as rt

HERE = rt.iree_version()
MAJOR, MINOR = (int(part) for part in HERE.split(".")[:2])
REBUILD = "recurrent-iree recompile FILE"


def members():
    artifact = rt.read(FILE)
    return {name: bytes(artifact.read_member(name)) for name in artifact.members}


@pytest.mark.parametrize("version", [0, 2, 3, 1000])
def test_another_format(version):
    document = json.loads(members()["manifest.json"])
    data = rehashed(members(), {**document, "format": version, "something": "new"})
    for use in (rt.read, lambda data: rt.load(data, "cpu")):
        with pytest.raises(rt.VersionError, match=f"format version {version};.*{REBUILD}"):
            use(data)


def compiled_by(iree):
    """The artifact as another IREE would have made it."""
    manifest = rt.read(FILE).manifest
    modules = tuple(replace(m, iree=iree) for m in manifest.modules)
    kept = {k: v for k, v in members().items() if not k.startswith("manifest.")}
    return rt.container_bytes(rt.pack(replace(manifest, modules=modules), kept))


OTHERS = [f"{MAJOR}.{MINOR - 1}.0", f"{MAJOR}.{MINOR + 1}.0", f"{MAJOR + 1}.{MINOR}.0", "unknown"]


@pytest.mark.parametrize("iree", OTHERS)
@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_another_iree(iree, device):
    data = compiled_by(iree)
    with pytest.raises(rt.VersionError, match=f"compiled by IREE {iree}; this.*{REBUILD}"):
        rt.load(data, device)
    artifact = rt.read(data)
    artifact.check()
    assert artifact.weights() and artifact.goldens(), "its parts can be read, to rebuild it"


def test_another_patch_release_runs():
    with rt.load(compiled_by(f"{MAJOR}.{MINOR}.99"), "cpu") as model:
        assert model.verify().ok


def test_the_better_module_is_of_another_iree():
    manifest = rt.read(FILE).manifest
    first = manifest.modules[0]
    old = replace(first, target=first.target + ".old", iree=OTHERS[0])
    kept = {k: v for k, v in members().items() if not k.startswith("manifest.")}
    data = rt.container_bytes(rt.pack(replace(manifest, modules=(old, *manifest.modules)), kept))
    with rt.load(data, "cpu") as model:
        assert model.verify().ok


def test_a_signature_of_a_later_format():
    text = b'{"format":2,"signatures":[]}'
    data = rt.container_bytes({**members(), "signature.json": text})
    assert hashlib.sha256(bytes(rt.read(data).signature or b"")).digest()
    with pytest.raises(rt.NotAnArtifactError, match=r"signature.json: \$.format is 2"):
        from recurrent_iree_runtime._signing import signatures_of

        signatures_of(rt.read(data))
