"""The thin runtime of recurrent-iree artifacts."""

from ._artifact import (
    ArtifactFile as ArtifactFile,
    read as read,
)
from ._batcher import Batcher as Batcher
from ._container import (
    Container as Container,
    container_bytes as container_bytes,
    pack as pack,
    read_container as read_container,
    write_atomic as write_atomic,
    write_container as write_container,
)
from ._devices import (
    DeviceInfo as DeviceInfo,
    devices as devices,
)
from ._drivers._base import (
    ArraySpec as ArraySpec,
    Driver as Driver,
    Executable as Executable,
    Signature as Signature,
)
from ._drivers._fake import FakeDriver as FakeDriver
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
    MissingPackageError as MissingPackageError,
    NotAnArtifactError as NotAnArtifactError,
    NoVariantError as NoVariantError,
    RecurrentIreeError as RecurrentIreeError,
    SignatureError as SignatureError,
    StateError as StateError,
    StorageError as StorageError,
    UnknownTargetError as UnknownTargetError,
    UnsupportedError as UnsupportedError,
    UntrustedError as UntrustedError,
    VerificationError as VerificationError,
    VersionError as VersionError,
)
from ._layer import Layer as Layer
from ._load import load as load
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
    digest as digest,
)
from ._model import Model as Model
from ._repeats import (
    GOLDEN_PERIOD as GOLDEN_PERIOD,
    stored_tensors as stored_tensors,
)
from ._safetensors import (
    read_safetensors as read_safetensors,
    write_safetensors as write_safetensors,
)
from ._session import Session as Session
from ._signing import (
    check_signature as check_signature,
    generate_key as generate_key,
    sign as sign,
)
from ._state import State as State
from ._stream import Stream as Stream
from ._tree import (
    check_tree as check_tree,
    flatten as flatten,
    leaf_paths as leaf_paths,
    tree_of as tree_of,
    unflatten as unflatten,
)
from ._verify import (
    VerifyReport as VerifyReport,
    VerifyRow as VerifyRow,
)
from ._versions import iree_version as iree_version
