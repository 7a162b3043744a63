"""Waiting for IREE's pool of threads without standing in its way.

A thread that waits for ``local-task`` is woken by a worker, and spins until that worker has left
the function that woke it. On Linux the woken thread may take the worker's core at once, and spin
there until the next tick of the scheduler, some milliseconds later. A thread of the policy
``SCHED_BATCH`` never takes a core from another one when it is woken, so it waits under that policy.
"""

import os
from collections.abc import Callable
from functools import cache
from typing import Any


def wait_patiently(invoke: Callable[..., Any], *arguments: Any) -> None:
    """``invoke(*arguments)`` under ``SCHED_BATCH``; a thread of a policy of its own keeps that."""
    if not _can_be_patient() or os.sched_getscheduler(0) != os.SCHED_OTHER:
        invoke(*arguments)
        return
    parameter = os.sched_param(0)
    os.sched_setscheduler(0, os.SCHED_BATCH, parameter)
    try:
        invoke(*arguments)
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, parameter)


@cache
def _can_be_patient() -> bool:
    """Whether the system has the policy and lets a thread go there and back."""
    if not hasattr(os, "SCHED_BATCH"):
        return False
    try:
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except OSError:
        return False
    return True
