"""Calls a module from several threads at once, on a pool of a given size; see `test_sharing.py`.

``python sharing_child.py MODULE ARRAYS WORKERS THREADS CALLS``; ARRAYS has the arguments
``a0, a1, …`` and the results ``r0, r1, …`` of each call. Errors tell the longest call in seconds.
"""

import sys
import threading
import time

import numpy as np
from iree.runtime import Config, SystemContext, VmModule, flags

path, arrays, workers, threads, calls = sys.argv[1:]
flags.parse_flags(f"--task_topology_group_count={workers}")
given = np.load(arrays)
arguments = [given[f"a{n}"] for n in range(sum(name[0] == "a" for name in given))]
expected = [given[f"r{n}"] for n in range(sum(name[0] == "r" for name in given))]
config = Config("local-task")
wrong, seconds = [], []


def work():
    context = SystemContext(config=config)
    with open(path, "rb") as file:
        module = VmModule.copy_buffer(context.instance, file.read())
    context.add_vm_module(module)
    main = context.modules[module.name]["main"]
    for _ in range(int(calls)):
        start = time.monotonic()
        made = main(*arguments)
        seconds.append(time.monotonic() - start)
        made = made if isinstance(made, (tuple, list)) else [made]
        for a, b in zip(made, expected, strict=True):
            if not np.array_equal(a.to_host(), b):
                wrong.append(threading.current_thread().name)


crowd = [threading.Thread(target=work) for _ in range(int(threads))]
for one in crowd:
    one.start()
for one in crowd:
    one.join()
assert not wrong, wrong
print(max(seconds), file=sys.stderr)
print("ok")
