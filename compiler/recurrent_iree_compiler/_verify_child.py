"""Run in a process of its own: load an artifact on one device and compare its golden calls.

The process is started while the module is still compiled. It imports what it needs, and waits for
a line with the path of the artifact and the device.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module

import recurrent_iree_runtime as rt


def main() -> None:
    """Print one JSON line: ``status`` and ``reason``."""
    if sys.argv[1] != "xla":
        import_module("iree.runtime")
    line = sys.stdin.readline()
    if not line:  # nothing is to be verified
        return
    path, device = json.loads(line)
    try:
        with rt.load(path, device=device) as model:
            report = model.verify()
            report.raise_if_failed()
        answer = {"status": "verified", "reason": "", "calls": len(report.rows)}
    except rt.DriverMissingError:
        answer = {"status": "not run", "reason": f"there is no device {device!r} here"}
    except rt.NoVariantError as error:
        answer = {"status": "not run", "reason": _misfit(path, str(error))}
    except rt.RecurrentIreeError as error:
        answer = {"status": "failed", "reason": str(error)}
    print(json.dumps(answer))


def _misfit(path: str, message: str) -> str:
    """What does not fit, out of a message that was written for users of the artifact."""
    target = rt.read(path).manifest.modules[0].target
    return message.partition(f"{target}: ")[2].partition(". Compile")[0] or message


if __name__ == "__main__":
    main()
