"""Which versions of IREE a module runs on."""

import re
from importlib.metadata import PackageNotFoundError, version

from ._errors import VersionError
from ._manifest import Module


def iree_version() -> str:
    """The version of the installed IREE runtime."""
    try:
        return version("iree-base-runtime")
    except PackageNotFoundError:
        import iree.runtime.version

        return str(getattr(iree.runtime.version, "VERSION", "unknown"))


def _minor(text: str) -> tuple[str, str] | None:
    match = re.match(r"(\d+)\.(\d+)", text)
    return (match.group(1), match.group(2)) if match else None


def check_iree(module: Module, name: str) -> None:
    """Refuse, with `VersionError`, a module of another IREE; minor releases may differ in ABI."""
    if module.driver == "xla" or not module.iree:
        return
    here = iree_version()
    if _minor(module.iree) != _minor(here):
        raise VersionError(
            f"the module {module.target!r} of {name!r} was compiled by IREE {module.iree}; this "
            f"runtime is IREE {here}. Rebuild the artifact with `recurrent-iree recompile FILE`, "
            f"or install iree-base-runtime=={module.iree}."
        )
