"""The manifest of an artifact: what is inside, in names, shapes, dtypes and hashes."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from . import _codec
from ._codec import AnyJson, Count, LeftOut, Range, Text
from ._dtypes import DTYPE_NAMES
from ._errors import NotAnArtifactError, VersionError

FORMAT = 1
LARGEST_MANIFEST = 16 << 20

Tree = dict[str, Any]
"""Structure of arguments or results, as JSON: see `_tree.py`."""

Driver = Literal["cpu", "vulkan", "cuda", "vmvx", "hip", "metal", "xla"]

_Word = Annotated[str, Text(r"[A-Za-z_][A-Za-z0-9_]*", 100)]
_Label = Annotated[str, Text(r"[\s\S]*", 300)]
_Symbol = Annotated[str, Text(r"[A-Za-z_][A-Za-z0-9_.-]*", 150)]
_Path = Annotated[str, Text(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*", 200)]
_Dtype = Annotated[str, Text("|".join(DTYPE_NAMES))]
_Size = Annotated[int, Range(0, 1 << 40)]
_Number = Annotated[int, Range(0, 10_000)]
_Target = Annotated[str, Text(r"[a-z0-9_]+(:[A-Za-z0-9_.+-]+)?", 80)]
_Digest = Annotated[str, Text(r"[0-9a-f]{64}")]
_TreeJson = Annotated[Tree, AnyJson]


@dataclass(frozen=True)
class Leaf:
    """One array of a signature; a string in `shape` names a dim."""

    name: _Label
    shape: Annotated[tuple[_Size | _Word, ...], Count(16)]
    dtype: _Dtype
    from_input: _Number | None = None


StateSlot = Leaf
"""One array of state: named, with its shape and dtype."""


@dataclass(frozen=True)
class Dim:
    """A named dim and the sizes it may have; `None` means any length."""

    name: _Word
    sizes: Annotated[tuple[_Size, ...], Count(1000)] | None


@dataclass(frozen=True)
class Function:
    """One compiled function of an entry: its symbol and the sizes it was compiled for.

    `cost` holds estimates: `flops` and `bytes` of one call.
    """

    symbol: _Symbol
    dims: dict[_Word, _Size]
    cost: dict[_Word, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One way to call the program, as functions of the module or as `chunks` of `chunk`."""

    name: _Word
    realization: Literal["module", "chunks"]
    inputs: Annotated[tuple[Leaf, ...], Count(10_000)]
    input_tree: _TreeJson
    outputs: Annotated[tuple[Leaf, ...], Count(10_000)]
    output_tree: _TreeJson
    functions: Annotated[tuple[Function, ...], Count(10_000)]


@dataclass(frozen=True)
class Weight:
    """One array of `weights.safetensors`."""

    name: _Label
    shape: Annotated[tuple[_Size, ...], Count(16)]
    dtype: _Dtype


@dataclass(frozen=True)
class Module:
    """The program compiled for one target, with what the target needs from the machine.

    `needs` holds for example `{"arch": "x86_64", "features": ["avx2"]}`,
    `{"vulkan_target": "llvmpipe"}` or `{"cuda": "sm_80"}`. `abi` says which dtypes have
    another dtype at the edge of the module, for example `{"bool": "int32"}` on Vulkan.
    `iree` is the compiler's version. XLA has one blob per function, in `functions_xla`. `lacks`
    names the functions of the entries that this module does not have.
    """

    target: _Target
    driver: Driver
    member: _Path | None
    needs: dict[_Word, _Label | Annotated[tuple[_Label, ...], Count(1000)]] = field(
        default_factory=dict
    )
    abi: dict[_Dtype, _Dtype] = field(default_factory=dict)
    iree: _Label = ""
    functions_xla: dict[_Symbol, _Path] = field(default_factory=dict)
    lacks: Annotated[tuple[_Symbol, ...], Count(10_000), LeftOut] = ()


@dataclass(frozen=True)
class Golden:
    """Inputs of one call and the outputs it must give; the arrays are in `golden.safetensors`.

    `inputs` are the input leaves and, for `chunk`, optionally the states after them (else the
    initial states are used); `outputs` are the output leaves and optionally the new states.
    """

    entry: _Word
    dims: dict[_Word, _Size]
    inputs: Annotated[tuple[_Label, ...], Count(10_000)]
    outputs: Annotated[tuple[_Label, ...], Count(10_000)]
    rtol: float
    atol: float


@dataclass(frozen=True)
class Member:
    """Hash and size in bytes of one member of the file."""

    sha256: _Digest
    size: _Size


@dataclass(frozen=True)
class Manifest:
    """Everything the runtime must know about an artifact before it runs any of it."""

    name: _Label
    default_entry: _Word
    dims: Annotated[tuple[Dim, ...], Count(100)]
    entries: Annotated[tuple[Entry, ...], Count(100)]
    states: Annotated[tuple[StateSlot, ...], Count(10_000)] = ()
    weights: Annotated[tuple[Weight, ...], Count(10_000)] = ()
    modules: Annotated[tuple[Module, ...], Count(1000)] = ()
    goldens: Annotated[tuple[Golden, ...], Count(10_000)] = ()
    versions: dict[_Word, _Label] = field(default_factory=dict)
    metadata: dict[_Label, Annotated[str, Text(r"[\s\S]*", 100_000)]] = field(default_factory=dict)
    members: Annotated[dict[_Path, Member], Count(10_000)] = field(default_factory=dict)
    format: Annotated[int, Range(0, 1 << 30)] = FORMAT

    def to_json(self) -> bytes:
        """Canonical JSON: the same manifest always gives the same bytes."""
        return _codec.dump(_codec.encode(Manifest, self))

    @staticmethod
    def from_json(data: bytes) -> "Manifest":
        """Read and check a manifest.

        Raises `NotAnArtifactError` with the path of the first thing that is wrong, and
        `VersionError` for a manifest of another format version.
        """
        from ._manifest_check import check_manifest

        if len(data) > LARGEST_MANIFEST:
            raise NotAnArtifactError(
                f"manifest.json has {len(data)} bytes; at most {LARGEST_MANIFEST} are allowed"
            )
        document = _codec.parse(data, "manifest.json")
        _check_format(document)
        manifest = _codec.decode(Manifest, document, "$")
        check_manifest(manifest)
        if manifest.to_json() != bytes(data):
            _codec.refuse("$", "is not in canonical form (sorted keys, no spaces, no key twice)")
        return manifest

    def entry(self, name: str) -> Entry | None:
        """The entry of that name, or `None`."""
        return next((e for e in self.entries if e.name == name), None)

    def seen_by(self, module: Module) -> "Manifest":
        """The manifest with only the functions that `module` has."""
        entries = (
            replace(e, functions=tuple(f for f in e.functions if f.symbol not in module.lacks))
            for e in self.entries
        )
        return replace(self, entries=tuple(entries))

    @property
    def streams(self) -> bool:
        """Whether sessions are possible: there are a `chunk` and an `init` entry."""
        return self.entry("chunk") is not None and self.entry("init") is not None


def _check_format(document: Any) -> None:
    if isinstance(document, dict):
        given = document.get("format")
        if type(given) is int and given != FORMAT:
            raise VersionError(
                f"the artifact has format version {given}; this runtime reads version {FORMAT}. "
                "Rebuild it with `recurrent-iree recompile FILE`, or install the runtime of the "
                "version that wrote it."
            )


def digest(data: bytes | memoryview) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
