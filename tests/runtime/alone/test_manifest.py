"""The manifest is read strictly: every surprise is named by its place."""

import json

import pytest

import recurrent_iree_runtime as rt
from runtime import tiny


def document():
    return json.loads(rt.read(tiny.artifact()).manifest.to_json())


def parse(doc):
    text = json.dumps(doc, sort_keys=True, separators=(",", ":"))
    return rt.Manifest.from_json(text.encode())


def test_round_trip_is_byte_exact():
    manifest = rt.read(tiny.artifact()).manifest
    assert rt.Manifest.from_json(manifest.to_json()) == manifest
    assert rt.Manifest.from_json(manifest.to_json()).to_json() == manifest.to_json()


def change(path, value):
    doc = document()
    at = doc
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return doc


WRONG = [
    (("name",), 3, r"\$\.name is 3; expected a string"),
    (("surprise",), 3, r"\$ has the unknown key 'surprise'"),
    (("entries", 0, "inputs", 0, "shape", 1), -1, r"shape\[1\] is -1; expected 0 to"),
    (("entries", 0, "inputs", 0, "shape", 1), 1 << 41, r"shape\[1\] is 2199023255552"),
    (("entries", 0, "inputs", 0, "shape", 1), True, r"shape\[1\] is True; expected an integer"),
    (("entries", 0, "inputs", 0, "shape", 1), 1.5, r"shape\[1\] is 1.5; expected an integer"),
    (("entries", 0, "inputs", 0, "shape", 1), "width", r"uses the unknown dim 'width'"),
    (("entries", 0, "inputs", 0, "dtype"), "object", r"dtype is 'object'; expected text"),
    (("entries", 0, "input_tree"), {"leaf": 1}, r"input_tree names the leaves \[1\]"),
    (("entries", 0, "input_tree"), {"leaf": 0}, r"is not \{args: tuple, kwargs: dict\}"),
    (("entries", 0, "output_tree"), {"set": []}, r"expected leaf, list, tuple"),
    (("entries", 0, "realization"), "magic", r"realization is 'magic'"),
    (("entries", 1, "functions", 0, "dims", "time"), 0, r"no size of at least 1 for 'time'"),
    (("entries", 1, "functions", 0, "dims"), {"time": 1}, r"has no size for 'batch', wh"),
    (("entries", 2, "functions", 0, "dims"), {}, r"has no size for 'batch', which 'h' has"),
    (("entries", 1, "name"), "sequence", r"\$\.entries has 'sequence' twice"),
    (("entries", 2, "name"), "start", r"there is no chunk and init entry"),
    (("default_entry",), "main", r"default_entry is 'main', which is no entry"),
    (("weights", 0, "shape"), "big", r"weights\[0\]\.shape is 'big'; expected an array"),
    (("members", "../x"), {"sha256": "0" * 64, "size": 1}, r"members key is '\.\./x'"),
    (("members", "report.json", "sha256"), "abc", r"sha256 is 'abc'; expected text"),
    (("goldens", 0, "rtol"), -1.0, r"goldens\[0\] has a negative tolerance"),
    (("goldens", 0, "inputs"), [], r"has 0 inputs and 1 outputs"),
    (("metadata",), [], r"metadata is \[\]; expected an object"),
    (("modules",), [{}], r"modules\[0\] has no key 'target'"),
]


@pytest.mark.parametrize("path, value, message", WRONG)
def test_wrong_documents(path, value, message):
    with pytest.raises(rt.NotAnArtifactError, match=message):
        parse(change(path, value))


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[1,2", b"\xff", b'{"a":' + b"[" * 100_000, b"NaN", b"1" * 5000, b"null", b"[]"],
)
def test_other_text(text):
    with pytest.raises(rt.NotAnArtifactError):
        rt.Manifest.from_json(text)


def test_not_canonical_text():
    spaced = json.dumps(document(), sort_keys=True).encode()
    with pytest.raises(rt.NotAnArtifactError, match="canonical form"):
        rt.Manifest.from_json(spaced)


def test_a_key_given_twice():
    text = rt.read(tiny.artifact()).manifest.to_json()
    with pytest.raises(rt.NotAnArtifactError, match="canonical form"):
        rt.Manifest.from_json(text[:-1] + b',"name":"tiny"}')


def test_another_format_version_names_the_command():
    doc = document()
    doc["format"] = 2
    doc["new_key"] = 1
    with pytest.raises(rt.VersionError, match=r"format version 2.*recurrent-iree recompile FILE"):
        parse(doc)


def test_a_manifest_that_is_too_long():
    with pytest.raises(rt.NotAnArtifactError, match="at most"):
        rt.Manifest.from_json(b" " * (17 << 20))


def module(**changes):
    parts = {"target": "cpu", "driver": "cpu", "member": "modules/cpu.vmfb"}
    return rt.Module(**{**parts, **changes})


@pytest.mark.parametrize(
    "given, message",
    [
        (module(), r"'modules/cpu.vmfb', which is not listed"),
        (module(member=None), r"member must be null for xla"),
        (module(driver="xla", target="xla", member=None), r"has no blob for"),
        (
            module(driver="xla", target="xla", member=None, lacks=("nothing",)),
            r"lacks names 'nothing', which is no function",
        ),
        (module(target="CPU!"), r"target is 'CPU!'"),
    ],
)
def test_wrong_modules(given, message):
    manifest = tiny.manifest([given])
    with pytest.raises(rt.NotAnArtifactError, match=message):
        rt.Manifest.from_json(manifest.to_json())
