"""The thin runtime of recurrent-iree artifacts."""

from ._container import (
    Container as Container,
    container_bytes as container_bytes,
    pack as pack,
    read_container as read_container,
    write_atomic as write_atomic,
    write_container as write_container,
)
from ._dtypes import (
    dtype_name as dtype_name,
    dtype_of as dtype_of,
)
from ._errors import (
    ArgumentError as ArgumentError,
    ArgumentTypeError as ArgumentTypeError,
    ArtifactError as ArtifactError,
    CompileError as CompileError,
    CompilerCrashError as CompilerCrashError,
    CompilerTimeoutError as CompilerTimeoutError,
    DeviceError as DeviceError,
    DeviceLostError as DeviceLostError,
    DriverMissingError as DriverMissingError,
    IntegrityError as IntegrityError,
    LayerAttributeError as LayerAttributeError,
    LayerRuntimeError as LayerRuntimeError,
    NotAnArtifactError as NotAnArtifactError,
    NoVariantError as NoVariantError,
    RecurrentIreeError as RecurrentIreeError,
    SignatureError as SignatureError,
    StateError as StateError,
    StorageError as StorageError,
    UnknownTargetError as UnknownTargetError,
    UnsupportedError as UnsupportedError,
    VerificationError as VerificationError,
    VersionError as VersionError,
)
from ._manifest import (
    FORMAT as FORMAT,
    Dim as Dim,
    Entry as Entry,
    Function as Function,
    Golden as Golden,
    Leaf as Leaf,
    Manifest as Manifest,
    Member as Member,
    Module as Module,
    StateSlot as StateSlot,
    Tree as Tree,
    Weight as Weight,
)
from ._tree import (
    check_tree as check_tree,
    flatten as flatten,
    leaf_paths as leaf_paths,
    tree_of as tree_of,
    unflatten as unflatten,
)
