"""The one tree of errors of recurrent-iree.

The runtime holds the whole tree because it is the only package that the other two may import.
Each class also derives from the built-in exception that the field expects, so that
``except ValueError`` keeps working.

    RecurrentIreeError
    ├── ArgumentError (ValueError)          an argument has a value that cannot work
    │   └── SignatureError                  inputs of a compiled entry: name, count, shape, dtype
    ├── ArgumentTypeError (TypeError)       an argument has a type that cannot work
    ├── LayerAttributeError (AttributeError)  a property that this layer does not have (yet)
    ├── LayerRuntimeError (RuntimeError)    a layer method called too early
    ├── StateError (RuntimeError)           a consumed state, a closed session, misuse of threads
    ├── ArtifactError (ValueError)          the file cannot be used
    │   ├── NotAnArtifactError              it is no .riree file
    │   ├── IntegrityError                  its bytes changed since it was written
    │   ├── VersionError                    another format version or another IREE
    │   └── UntrustedError                  it is not signed by a key that is trusted
    ├── DeviceError (RuntimeError)          the device cannot be used
    │   ├── DriverMissingError              no driver, or no such device
    │   ├── NoVariantError                  the artifact holds no module for this device
    │   └── DeviceLostError                 it stopped working while running
    ├── CompileError (RuntimeError)         the program could not be compiled
    │   ├── UnsupportedError                known to be miscompiled or unsupported: refused
    │   ├── UnknownTargetError (ValueError) no such target
    │   ├── CompilerTimeoutError            stopped at its time limit
    │   └── CompilerCrashError              died, or ran out of memory
    ├── MissingPackageError (ImportError)   something optional is needed and not installed
    ├── VerificationError (RuntimeError)    a module does not give the expected numbers
    └── StorageError (OSError)              a file could not be written (disk full, no permission)

A message says what is wrong, which argument, what was given, what was expected and what to do.
The error of IREE or JAX underneath, if any, is the ``__cause__``.
"""


class RecurrentIreeError(Exception):
    """The root: every error that recurrent-iree raises on purpose."""


class ArgumentError(RecurrentIreeError, ValueError):
    """An argument has a value that cannot work."""


class SignatureError(ArgumentError):
    """The inputs of a compiled entry do not fit its signature."""


class ArgumentTypeError(RecurrentIreeError, TypeError):
    """An argument has a type that cannot work."""


class LayerAttributeError(RecurrentIreeError, AttributeError):
    """A property that this layer does not have, or not yet."""


class LayerRuntimeError(RecurrentIreeError, RuntimeError):
    """A layer method was called before the layer was ready for it."""


class StateError(RecurrentIreeError, RuntimeError):
    """A state or session was used after it was consumed or closed, or by two threads at once."""


class ArtifactError(RecurrentIreeError, ValueError):
    """The artifact cannot be used."""


class NotAnArtifactError(ArtifactError):
    """The file is not a .riree artifact."""


class IntegrityError(ArtifactError):
    """The bytes of the artifact are not those that were written."""


class VersionError(ArtifactError):
    """The artifact has another format version, or was compiled for another IREE."""


class UntrustedError(ArtifactError):
    """The artifact is not signed by a key that the caller trusts."""


class DeviceError(RecurrentIreeError, RuntimeError):
    """The device cannot be used."""


class DriverMissingError(DeviceError):
    """The driver of the device is not installed, or there is no such device."""


class NoVariantError(DeviceError):
    """The artifact holds no module that this device can run."""


class DeviceLostError(DeviceError):
    """The device stopped working during a call."""


class CompileError(RecurrentIreeError, RuntimeError):
    """The program could not be compiled."""


class UnsupportedError(CompileError):
    """The program needs something that is missing or known to be miscompiled; it is refused."""


class UnknownTargetError(CompileError, ValueError):
    """There is no target of that name."""


class CompilerTimeoutError(CompileError):
    """The compiler was stopped at its time limit."""


class CompilerCrashError(CompileError):
    """The compiler died, or needed more memory than its limit."""


class MissingPackageError(RecurrentIreeError, ImportError):
    """A package that is not always needed is needed here, and not installed."""


class VerificationError(RecurrentIreeError, RuntimeError):
    """A compiled module does not give the expected numbers."""


class StorageError(RecurrentIreeError, OSError):
    """A file could not be written; nothing half-written is left behind."""
