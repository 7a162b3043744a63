"""What importing the runtime brings in, and what it exports."""

import subprocess
import sys

import recurrent_iree_runtime as rt


def loaded(code):
    text = f"import sys\n{code}\nprint(*sorted(m for m in sys.modules if '.' not in m))\n"
    text += "print('iree.compiler' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    names, compiler = done.stdout.splitlines()[-2:]
    return set(names.split()), compiler == "True"


FORBIDDEN = {"jax", "jaxlib", "click", "rich", "safetensors", "recurrent_iree",
             "recurrent_iree_compiler"}  # fmt: skip


def test_importing_needs_neither_jax_nor_the_compiler():
    before, _ = loaded("")
    after, compiler = loaded("import recurrent_iree_runtime as rt; rt.devices()")
    assert not compiler
    assert not after & FORBIDDEN
    outside = {m for m in after - before if m not in sys.stdlib_module_names and m[0] != "_"}
    assert outside <= {"numpy", "iree", "ml_dtypes", "recurrent_iree_runtime"}


def test_asyncio_is_left_to_those_who_await():
    after, _ = loaded("import recurrent_iree_runtime as rt; rt.devices()")
    assert "asyncio" not in after


def test_the_command_line_neither():
    after, compiler = loaded("import recurrent_iree_runtime._cli as c; c.main(['devices'])")
    assert not compiler and not after & FORBIDDEN


NAMES = """
ArgumentError ArgumentTypeError ArraySpec ArtifactError ArtifactFile Batcher CompileError
CompilerCrashError CompilerTimeoutError Container DeviceError DeviceInfo DeviceLostError Dim Driver
DriverMissingError Entry Executable FORMAT FakeDriver Function GOLDEN_PERIOD Golden IntegrityError
Layer LayerAttributeError LayerRuntimeError Leaf Manifest Member MissingPackageError Model Module
NoVariantError NotAnArtifactError RecurrentIreeError Session Signature SignatureError State
StateError StateSlot StorageError Stream Tree UnknownTargetError UnsupportedError
UntrustedError VerificationError VerifyReport VerifyRow
VersionError Weight check_signature check_tree container_bytes devices digest dtype_name
dtype_of flatten generate_key iree_version leaf_paths load pack read read_container
read_safetensors sign stored_tensors tree_of unflatten write_atomic
write_container write_safetensors
""".split()


def test_public_names():
    import types

    public = {
        n for n in dir(rt) if n[0] != "_" and not isinstance(getattr(rt, n), types.ModuleType)
    }
    assert public == set(NAMES)


def test_every_error_is_in_one_tree():
    for name in NAMES:
        thing = getattr(rt, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            assert issubclass(thing, rt.RecurrentIreeError)
