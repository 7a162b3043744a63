"""Which module of an artifact runs on which device; IREE itself does not check."""

from dataclasses import replace

from ._cpu import LEVELS, host_architecture, host_features, host_level, missing_features
from ._devices import DeviceInfo, devices, find_device, gpu_index
from ._drivers._iree_devices import cuda_capability, vulkan_mismatch
from ._errors import DriverMissingError, NoVariantError, VersionError
from ._manifest import Manifest, Module
from ._versions import check_iree


def misfit(module: Module, info: DeviceInfo) -> str | None:
    """Why a module cannot run on a device, as the end of a sentence; `None` if it can."""
    needs = module.needs
    if module.driver != info.driver:
        return f"it is for {module.driver}"
    if module.driver == "cpu":
        return _cpu_misfit(module)
    if module.driver == "vulkan":
        target = str(needs.get("vulkan_target") or module.target.partition(":")[2])
        return vulkan_mismatch(target, info.description)
    if module.driver == "cuda":
        wanted = str(needs.get("cuda") or "").removeprefix("sm_")
        have = cuda_capability(gpu_index(info))
        if wanted.isdecimal() and have is not None and have < int(wanted):
            return f"it needs a GPU of sm_{wanted}, and this one is sm_{have}"
    if module.driver == "xla":
        return _xla_misfit(module, info.name.partition(":")[2])
    return None


def _xla_misfit(module: Module, platform: str) -> str | None:
    """Without a platform, the driver compares the blob with what JAX has."""
    stated = module.needs.get("platforms") or module.target.partition(":")[2]
    platforms = (stated,) if isinstance(stated, str) else stated
    if platform and any(platforms) and platform not in platforms:
        return f"it is exported for {', '.join(platforms)}"
    return None


def _cpu_misfit(module: Module) -> str | None:
    architecture = module.needs.get("arch")
    if architecture and architecture != host_architecture():
        return f"it is for {architecture}, and this processor is {host_architecture()}"
    features = module.needs.get("features") or ()
    missing = missing_features((features,) if isinstance(features, str) else features)
    if missing:
        listed = ", ".join(missing[:6]) + (" and more" if len(missing) > 6 else "")
        if host_features() is None:
            return f"it needs {listed}, and this system does not tell what its processor has"
        return f"it needs {listed}, and this processor ({host_level()}) does not have it"
    return None


def _rank(module: Module) -> tuple[int, str]:
    """Among modules that fit, the one that uses most of the device is best."""
    features = module.needs.get("features") or ()
    count = len(spelled_out(features)) if not isinstance(features, str) else 1
    cuda = str(module.needs.get("cuda") or "").removeprefix("sm_")
    return count + (int(cuda) if cuda.isdecimal() else 0), module.target


def spelled_out(features: tuple[str, ...]) -> set[str]:
    """The features, with x86-64 levels spelled out."""
    return {name for feature in features for name in LEVELS.get(feature, {feature})}


def choose_module(manifest: Manifest, info: DeviceInfo) -> Module:
    """The best module for a device.

    Raises `NoVariantError` with the reason for each module, or `VersionError` if the only ones
    that fit were compiled for another IREE.
    """
    reasons, outdated, fitting = [], [], []
    for module in manifest.modules:
        why = misfit(module, info)
        if why is not None:
            reasons.append(f"{module.target}: {why}")
            continue
        try:
            check_iree(module, manifest.name)
            fitting.append(module)
        except VersionError as error:
            outdated.append(error)
    if fitting:
        return max(fitting, key=_rank)
    if outdated:
        raise outdated[0]
    listed = "; ".join(reasons) or "it holds no modules at all"
    raise NoVariantError(
        f"no module of {manifest.name!r} runs on {info.name!r} ({info.description}): {listed}. "
        f"Compile the program again with a target for this device, for example {info.driver!r}."
    )


def why_chosen(manifest: Manifest, info: DeviceInfo, module: Module) -> str:
    """The module that runs, and what speaks against the others of its driver."""
    text = f"runs the module {module.target!r}"
    others = [m for m in manifest.modules if m is not module and m.driver == module.driver]
    reasons = {other.target: misfit(other, info) for other in others}
    less = [target for target, why in reasons.items() if why is None]
    if less:
        text += f", which uses more of the device than {', '.join(less)}"
    return text + "".join(f"; not {t}: {why}" for t, why in reasons.items() if why is not None)


_ORDER = ("cuda", "hip", "metal", "vulkan", "cpu", "software", "xla", "vmvx")


def choose_device(manifest: Manifest, device: str) -> tuple[DeviceInfo, Module]:
    """The device and the module to run on it; `device.reason` says why.

    `"auto"` takes the first that fits of: a GPU by CUDA, HIP, Metal or Vulkan, the processor,
    software Vulkan, XLA, vmvx.
    """
    if device != "auto":
        info = find_device(device)
        module = choose_module(manifest, info)
        return replace(info, reason=f"asked for; {why_chosen(manifest, info, module)}"), module
    tried: list[str] = []
    outdated: VersionError | None = None
    for info in sorted(_candidates(manifest), key=_place):
        if not info.available:
            tried.append(f"{info.driver}: {info.reason}")
            continue
        try:
            module = choose_module(manifest, info)
        except NoVariantError as error:
            tried.append(f"{info.name}: {error}")
        except VersionError as error:
            outdated = error
        else:
            skipped = f"; not {'; not '.join(tried)}" if tried else ""
            text = f"the first of {', '.join(_ORDER)} that fits{skipped}"
            return replace(info, reason=f"{text}; {why_chosen(manifest, info, module)}"), module
    if outdated is not None:
        raise outdated
    if not manifest.modules:
        raise NoVariantError(f"{manifest.name!r} holds no modules; compile it with targets")
    raise DriverMissingError(f"no device here runs {manifest.name!r}: " + "; ".join(tried))


def _candidates(manifest: Manifest) -> list[DeviceInfo]:
    wanted = {module.driver for module in manifest.modules}
    return [d for d in devices() if d.driver in wanted and not d.name.startswith("cpu:")]


def _place(info: DeviceInfo) -> int:
    return _ORDER.index("software" if info.is_software else info.driver)
