"""The JSON schema in docs/ is that of the code, and manifests follow it."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

import recurrent_iree_runtime as rt
from recurrent_iree_runtime import _schema
from runtime import tiny

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "tests" / "runtime" / "data" / "tiny.riree"
HOW = "run: python -m recurrent_iree_runtime._schema > docs/manifest.schema.json"


@pytest.fixture(scope="module")
def validator():
    schema = json.loads((ROOT / "docs" / "manifest.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_is_byte_for_byte_that_of_the_code():
    text = (ROOT / "docs" / "manifest.schema.json").read_text()
    assert text == _schema.schema_text(), HOW
    command = [sys.executable, "-m", "recurrent_iree_runtime._schema"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, text, "")


def test_manifests_follow_it(validator):
    for manifest in (rt.read(FILE).manifest, rt.read(tiny.artifact()).manifest):
        validator.validate(json.loads(manifest.to_json()))


def test_the_bytes_of_a_manifest_do_not_change():
    """An old runtime must be able to read what a new one writes: change this only with FORMAT."""
    manifest = rt.Manifest(
        name="m",
        default_entry="main",
        dims=(rt.Dim("time", None),),
        entries=(
            rt.Entry(
                "main",
                "module",
                (rt.Leaf("x", ("time", 2), "float32"),),
                rt.tree_of({"args": (0,), "kwargs": {}})[0],
                (rt.Leaf("y", ("time", 2), "float32", 0),),
                {"leaf": 0},
                (rt.Function("main_t4", {"time": 4}, {"flops": 8}),),
            ),
        ),
        metadata={"ä": "\n"},
    )
    assert manifest.to_json() == (
        b'{"default_entry":"main","dims":[{"name":"time","sizes":null}],"entries":[{"functions":['
        b'{"cost":{"flops":8.0},"dims":{"time":4},"symbol":"main_t4"}],"input_tree":{"dict":{'
        b'"args":{"tuple":[{"leaf":0}]},"kwargs":{"dict":{}}}},"inputs":[{"dtype":"float32",'
        b'"from_input":null,"name":"x","shape":["time",2]}],"name":"main","output_tree":{"leaf":0},'
        b'"outputs":[{"dtype":"float32","from_input":0,"name":"y","shape":["time",2]}],'
        b'"realization":"module"}],"format":1,"goldens":[],"members":{},"metadata":{"\\u00e4":"\\n"},'
        b'"modules":[],"name":"m","states":[],"versions":{},"weights":[]}'
    )
    assert rt.Manifest.from_json(manifest.to_json()) is not None


@pytest.mark.parametrize("key, value", [("name", 3), ("format", 2), ("surprise", 1)])
def test_wrong_manifests_do_not(validator, key, value):
    document = json.loads(rt.read(FILE).manifest.to_json())
    document[key] = value
    assert list(validator.iter_errors(document))
