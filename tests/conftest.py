"""What every test shares: devices that a machine may lack.

Tests marked ``vulkan`` or ``cuda`` are skipped where there is no such device, with the sentence
that says what is missing. ``RIREE_REQUIRE=vulkan`` (or ``cuda``, or both with a comma) makes them
fail instead: CI sets it, so that a driver which stops working cannot go unnoticed.
"""

import functools
import gc
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if importlib.util.find_spec("hypothesis"):  # the environment with the runtime alone has none
    from hypothesis import settings

    settings.register_profile("untimed", settings.default, deadline=None)
    settings.load_profile("untimed")

# Tests compare with XLA on the CPU; looking for a TPU or GPU costs seconds and prints warnings.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# XLA compiles thousands of small programs here. What one process compiled is found by the others,
# and by the next run of the tests.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / "build/xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# The emitters that XLA:CPU had before compile such programs in two thirds of the time, most of
# which is spent on MLIR's contexts. `XLA_FLAGS= make test` takes those of today.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

MISSING = {
    "vulkan": "no Vulkan device: install the Debian packages mesa-vulkan-drivers and libvulkan1",
    "cuda": "no CUDA device: this needs an NVIDIA GPU with its driver (libcuda.so.1)",
}


@functools.cache
def has_device(driver: str) -> bool:
    """Whether IREE finds at least one device of ``driver`` on this machine."""
    from iree.runtime import get_driver

    try:
        return bool(get_driver(driver).query_available_devices())
    except (RuntimeError, ValueError):
        return False


def pytest_runtest_setup(item: pytest.Item) -> None:
    required = os.environ.get("RIREE_REQUIRE", "").split(",")
    for driver, sentence in MISSING.items():
        if item.get_closest_marker(driver) is None or has_device(driver):
            continue
        if driver in required:
            pytest.fail(f"{sentence} (required by RIREE_REQUIRE)", pytrace=False)
        pytest.skip(sentence)


@pytest.fixture(autouse=True, scope="module")
def no_programs_of_other_files() -> Iterator[None]:
    """JAX keeps every program: gigabytes by the end of a run, which slow whatever comes last."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


@pytest.fixture(autouse=True, scope="module")
def no_vulkan_device_left_open() -> Iterator[None]:
    """Mesa's driver keeps the machine busy for as long as a device is open: fail who leaves one."""
    yield
    devices = sys.modules.get("recurrent_iree_runtime._drivers._iree_devices")
    if devices is not None:
        gc.collect()
        left = [uri for uri in devices._devices if uri.startswith("vulkan")]
        assert not left, f"close the models of this file: {left} is still open"
