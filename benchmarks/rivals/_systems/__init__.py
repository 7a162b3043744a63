"""The systems by name; each module is imported only in the process of its system."""

from __future__ import annotations

from importlib import import_module

from ._base import System

OURS = "recurrent-iree"
NAMES = {
    OURS: "_ours",
    "onnxruntime": "_onnxruntime",
    "openvino": "_openvino",
    "torch": "_torch",
    "xla": "_xla",
    "tensorflow": "_tensorflow",
}


def open_system(name: str, threads: int) -> System:
    """Import a system in this process; raises `ImportError` if it is not installed."""
    return import_module(f"{__name__}.{NAMES[name]}").make(threads)
