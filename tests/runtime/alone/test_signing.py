"""Signatures: what signs, what is refused, and that nothing is skipped without cryptography."""

import subprocess
import sys
from pathlib import Path

import pytest

import recurrent_iree_runtime as rt
from recurrent_iree_runtime import _signing
from runtime import tiny

try:
    import cryptography  # noqa: F401
except ImportError:
    HAS_CRYPTOGRAPHY = False
else:
    HAS_CRYPTOGRAPHY = True

needs_cryptography = pytest.mark.skipif(
    not HAS_CRYPTOGRAPHY, reason=f"cryptography is not installed: {_signing.INSTALL}"
)


@pytest.fixture(scope="module")
def data():
    return tiny.artifact()


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Two pairs of key files, and what is no key."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("a", "b"):
        private, public = rt.generate_key()
        (folder / name).write_bytes(private)
        (folder / f"{name}.pub").write_bytes(public)
    return folder


def load(data, *trusted):
    return rt.load(data, tiny.fake_driver(), trusted_keys=list(trusted))


@needs_cryptography
def test_a_signed_artifact_loads(data, keys):
    signed = rt.sign(data, keys / "a")
    with load(signed, keys / "a.pub") as model:
        assert model.verify().ok
    with rt.load(signed, tiny.fake_driver()) as model:
        assert model.verify().ok
    assert rt.read(signed).manifest == rt.read(data).manifest
    assert rt.sign(data, keys / "a") == signed, "the same key and artifact give the same bytes"
    rt.read(signed).check()


@needs_cryptography
def test_keys_in_hexadecimal(data, keys):
    signed = rt.read(rt.sign(data, str(keys / "a")))
    (signature,) = _signing.signatures_of(signed)
    assert rt.check_signature(signed, [signature.key.upper()]) == signature.key
    assert rt.check_signature(signed, [str(keys / "b.pub"), signature.key]) == signature.key


@needs_cryptography
def test_several_signatures(data, keys):
    both = rt.sign(rt.sign(data, keys / "a"), keys / "b")
    assert both == rt.sign(rt.sign(data, keys / "b"), keys / "a")
    assert rt.sign(both, keys / "a") == both
    for name in ("a.pub", "b.pub"):
        rt.check_signature(rt.read(both), [keys / name])


@needs_cryptography
def test_openssl_can_check_a_signature(data, keys, tmp_path):
    from shutil import which

    if which("openssl") is None:
        pytest.skip("the command openssl is not installed")
    signed = rt.read(rt.sign(data, keys / "a"))
    (signature,) = _signing.signatures_of(signed)
    (tmp_path / "message").write_bytes(_signing.message(signed))
    (tmp_path / "signature").write_bytes(bytes.fromhex(signature.signature))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(keys / "a.pub"),
               "-rawin", "-in", "message", "-sigfile", "signature"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Verified Successfully" in done.stdout, done.stderr


@needs_cryptography
def test_no_signature(data, keys):
    with pytest.raises(rt.UntrustedError, match="is not signed, and trusted_keys asks.*--key KEY"):
        load(data, keys / "a.pub")


@needs_cryptography
def test_another_key(data, keys):
    with pytest.raises(rt.UntrustedError, match="which is none of the 1 keys in trusted_keys"):
        load(rt.sign(data, keys / "b"), keys / "a.pub")


def resigned(data, manifest_name):
    """A signed artifact whose manifest was changed, with the signature of the old one."""
    artifact = rt.read(data)
    kept = {n: bytes(artifact.read_member(n)) for n in artifact.manifest.members}
    signature = bytes(artifact.signature or b"")
    changed = rt.pack(tiny.manifest((), tiny.golden()[0], name=manifest_name), kept)
    return rt.container_bytes({**changed, "signature.json": signature})


@needs_cryptography
def test_a_signature_of_another_manifest(data, keys):
    signed = rt.sign(data, keys / "a")
    assert resigned(signed, "tiny") == signed
    with pytest.raises(rt.UntrustedError, match="does not fit it: it was changed after"):
        load(resigned(signed, "other"), keys / "a.pub")
    rt.load(resigned(signed, "other"), tiny.fake_driver()).close()


@needs_cryptography
def test_a_member_changed_under_a_signed_manifest(data, keys):
    changed = bytearray(rt.sign(data, keys / "a"))
    changed[changed.index(tiny.KERNEL.tobytes())] ^= 1
    with pytest.raises(rt.IntegrityError, match="'weights.safetensors' does not have the hash"):
        load(bytes(changed), keys / "a.pub")


@needs_cryptography
def test_one_bit_of_the_signature(data, keys):
    signed = rt.sign(data, keys / "a")
    members = {n: bytes(rt.read(signed)._container.member(n)) for n in rt.read(signed).members}
    text = members["signature.json"]
    at = text.index(b'"signature":"') + 13
    digit = b"0" if text[at : at + 1] != b"0" else b"1"
    members["signature.json"] = text[:at] + digit + text[at + 1 :]
    with pytest.raises(rt.UntrustedError, match="does not fit it"):
        load(rt.container_bytes(members), keys / "a.pub")
    accident = bytearray(signed)
    accident[signed.index(text) + at] ^= 1
    with pytest.raises(rt.IntegrityError, match="'signature.json' does not have the hash"):
        rt.read(bytes(accident))


ROW = f'{{"key":"{"a" * 64}","signature":"{"b" * 128}"}}'
MALFORMED = [
    (b"", "is not JSON"),
    (b"[]", r"signature.json: \$ is \[\]; expected an object"),
    (b'{"format":2,"signatures":[]}', r"signature.json: \$.format is 2; expected 1 to 1"),
    (b'{"format":1}', r"signature.json: \$ has no key 'signatures'"),
    (b'{"format":1,"signatures":[{}]}', r"signature.json: \$.signatures\[0\] has no key 'key'"),
    (b'{"format": 1,"signatures":[]}', "not in canonical form"),
    (f'{{"format":1,"signatures":[{ROW},{ROW}]}}'.encode(), "not in canonical form"),
    (f'{{"format":1,"signatures":[{",".join([ROW] * 17)}]}}'.encode(), "has 17 items; at most 16"),
    (b" " * 20_000, "has 20000 bytes; at most 16384 are read"),
]


@pytest.mark.parametrize("text, message", MALFORMED)
def test_malformed_signatures(data, text, message):
    artifact = rt.read(rt.container_bytes({**tiny.members(), "signature.json": text}))
    with pytest.raises(rt.NotAnArtifactError, match=message):
        _signing.signatures_of(artifact)


def other_kind():
    """A public key that is for agreeing on secrets, not for signing."""
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    public = X25519PrivateKey.generate().public_key()
    return public.public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)


@needs_cryptography
def test_keys_that_are_none(data, keys, tmp_path):
    (tmp_path / "text").write_text("hello")
    (tmp_path / "x25519").write_bytes(other_kind())
    wrong = [
        ([], rt.ArgumentError, "trusted_keys is empty"),
        ("a" * 64, rt.ArgumentTypeError, "trusted_keys is a str; expected a list"),
        (3, rt.ArgumentTypeError, "trusted_keys is a int; expected a list"),
        ([3], rt.ArgumentTypeError, r"trusted_keys\[0\] is a int; expected the path"),
        ([tmp_path / "none"], rt.ArgumentError, r"trusted_keys\[0\]: .* cannot be read"),
        (["\0"], rt.ArgumentError, r"trusted_keys\[0\]: .* cannot be read"),
        ([tmp_path / "text"], rt.ArgumentError, r"trusted_keys\[0\]: .* holds no public key"),
        ([keys / "a"], rt.ArgumentError, r"trusted_keys\[0\]: .* holds no public key"),
        ([tmp_path / "x25519"], rt.ArgumentError, r"is a key of another kind; Ed25519 is needed"),
    ]
    for given, error, message in wrong:
        with pytest.raises(error, match=message):
            rt.load(data, tiny.fake_driver(), trusted_keys=given)
    with pytest.raises(rt.ArgumentError, match="holds no private key as PEM text"):
        rt.sign(data, keys / "a.pub")


def test_without_cryptography_nothing_is_skipped(data, monkeypatch):
    for name in ("cryptography", "cryptography.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(rt.MissingPackageError, match=r"pip install 'recurrent-iree-runtime\[sign"):
        load(data, "a" * 64)
    with pytest.raises(rt.MissingPackageError, match="signatures need the package cryptography"):
        rt.sign(data, Path("key"))
    assert issubclass(rt.MissingPackageError, ImportError)


def test_signing_is_not_imported_by_default():
    code = "import sys, recurrent_iree_runtime; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_members_that_pack_makes_cannot_be_given(data):
    for name in ("manifest.json", "manifest.sha256", "signature.json"):
        with pytest.raises(rt.ArgumentError, match=f"'{name}' is made by pack"):
            rt.pack(tiny.manifest(), {name: b""})
