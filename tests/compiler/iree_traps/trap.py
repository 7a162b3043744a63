"""What IREE 3.13 does wrong and what the design does about it: how the tests here show it.

Each test asserts that the wrong behaviour still shows, so that a new IREE that repairs it fails
here and says which decision can go. A trap that could kill the process runs in one of its own.
"""

import json
import os
import subprocess
import sys

from recurrent_iree_compiler import parse_target
from recurrent_iree_compiler._iree_compile import COMMON_FLAGS
from recurrent_iree_compiler._tools import find_tool

SEARCH = os.pathsep.join(p for p in sys.path if p)

# Runs the function "f" of a module on one device and prints its results as JSON.
_RUN = """
import json, sys
import iree.runtime as rt
import numpy as np
path, driver, script = sys.argv[1:4]
config = rt.Config(driver)
context = rt.SystemContext(config=config)
module = rt.VmModule.copy_buffer(context.instance, open(path, "rb").read())
context.add_vm_module(module)
f = context.modules[module.name]["f"]
device = config.device

def fetched(array, shape, dtype):
    from recurrent_iree_runtime._drivers._iree_arrays import Staging
    (buffer,) = Staging(device, 1).fetch([array._buffer_view])
    return np.array(buffer.map().asarray(shape, np.dtype(dtype)))

exec(script)
"""


def run(tmp_path, text, script, target="cpu", driver="local-sync", flags=None):
    """The JSON that `script` prints, or an answer that starts with "failed:"."""
    source, output = tmp_path / "trap.mlir", tmp_path / "trap.vmfb"
    source.write_text(text)
    flags = (*COMMON_FLAGS, *(parse_target(target).flags if flags is None else flags))
    command = [str(find_tool("iree-compile")), str(source), *flags, "-o", str(output)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if made.returncode != 0:
        return f"failed: compiler: {made.stderr[:300]}"
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(output), driver, script],
        env={**os.environ, "PYTHONPATH": SEARCH},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode != 0:
        return f"failed: {done.returncode}: {done.stderr[-300:]}"
    return json.loads(done.stdout)


def still(shows, decision):
    assert shows, f"IREE fixed it: revisit {decision}"
