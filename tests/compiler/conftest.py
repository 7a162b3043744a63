"""Fixtures of the compiler's tests: options with a cache of their own."""

import pytest

from recurrent_iree_compiler import BuildOptions


@pytest.fixture
def options(tmp_path):
    """Options whose cache is empty and private to the test."""
    return BuildOptions(cache_dir=tmp_path / "cache", time_limit=120)


@pytest.fixture
def fake_compiler(tmp_path):
    """Writes a shell script that stands in for iree-compile; returns its path."""

    def write(body):
        path = tmp_path / "fake-compile"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    return write
