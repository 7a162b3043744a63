"""A thread waits for the pool of threads under SCHED_BATCH, and then has its policy back."""

import os

import pytest

from recurrent_iree_runtime._drivers import _iree_wait
from recurrent_iree_runtime._drivers._iree_wait import wait_patiently

pytestmark = pytest.mark.skipif(
    not hasattr(os, "SCHED_BATCH"), reason="this system has no policy SCHED_BATCH"
)


def test_the_policy_is_that_of_the_call_alone():
    seen = []
    wait_patiently(lambda *given: seen.append((os.sched_getscheduler(0), given)), 1, 2)
    assert seen == [(os.SCHED_BATCH, (1, 2))]
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_it_is_given_back_after_an_error():
    def fail():
        raise ValueError

    with pytest.raises(ValueError):
        wait_patiently(fail)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_policy_of_the_caller_is_kept():
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        wait_patiently(lambda: None)
        assert os.sched_getscheduler(0) == os.SCHED_BATCH
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def test_a_system_that_forbids_it_is_left_alone(monkeypatch):
    def refuse(*given):
        raise PermissionError

    _iree_wait._can_be_patient.cache_clear()
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    seen = []
    wait_patiently(lambda: seen.append(os.sched_getscheduler(0)))
    assert seen == [os.SCHED_OTHER]
    _iree_wait._can_be_patient.cache_clear()
