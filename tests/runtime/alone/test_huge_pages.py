"""Huge pages for weights: which memory is asked for, and that nothing changes in it."""

import mmap
import sys

import numpy as np
import pytest

from recurrent_iree_runtime._drivers import _iree_pages as pages

MB = 1 << 20


def test_only_large_new_ranges_are_left():
    before = [(0, 10 * MB), (30 * MB, 31 * MB), (100 * MB, 110 * MB)]
    after = [(0, 12 * MB), (20 * MB, 50 * MB), (100 * MB, 110 * MB), (200 * MB, 207 * MB)]
    assert pages.without(after, before) == [(20 * MB, 30 * MB), (31 * MB, 50 * MB)]
    assert pages.without(before, []) == [(0, 10 * MB), (100 * MB, 110 * MB)]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
def test_memory_keeps_its_bytes():
    memory = mmap.mmap(-1, 24 * MB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    array = np.frombuffer(memory, np.uint8)
    array[::4096] = np.arange(array[::4096].size) % 251
    copy = array.copy()
    start = array.ctypes.data
    pages.collapse([(start, start + array.size), (start + 5, start + 7)])
    np.testing.assert_array_equal(array, copy)


def test_what_is_mapped_for_large_weights_is_collapsed(monkeypatch):
    asked = []
    ranges = iter([[(0, 4 * MB)], [(0, 4 * MB), (8 * MB, 24 * MB)]] * 2)
    monkeypatch.setattr(pages, "_allowed", lambda: True)
    monkeypatch.setattr(pages, "_mapped", lambda: next(ranges))
    monkeypatch.setattr(pages, "collapse", asked.append)
    with pages.huge_pages({"w": np.zeros(MB, np.float32)}):
        pass
    assert asked == []
    with pages.huge_pages({"w": np.zeros(4 * MB, np.float32)}):
        pass
    assert asked == [[(8 * MB, 24 * MB)]]


@pytest.mark.parametrize(("setting", "allowed"), [("always [madvise] never", True), ("[never]", 0)])
def test_the_system_may_say_no(setting, allowed, monkeypatch):
    monkeypatch.setattr(pages.Path, "read_text", lambda *_, **__: setting)
    assert pages._allowed() == (bool(allowed) and sys.platform.startswith("linux"))


def test_systems_without_the_files_do_nothing(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(pages.Path, "read_text", missing)
    assert not pages._allowed() and pages._mapped() == []
    monkeypatch.setattr(pages.sys, "platform", "darwin")
    assert not pages._allowed()
