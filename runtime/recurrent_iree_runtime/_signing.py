"""Signatures of artifacts: Ed25519 over the digest of the manifest, which covers every member."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from . import _codec
from ._artifact import ArtifactFile, read
from ._codec import Count, Range, Text
from ._container import FilePath, container_bytes
from ._errors import (
    ArgumentError,
    ArgumentTypeError,
    MissingPackageError,
    NotAnArtifactError,
    UntrustedError,
)
from ._zip_layout import SIGNATURE

INSTALL = "pip install 'recurrent-iree-runtime[signing]'"
LARGEST = 16 << 10

Key = str | os.PathLike[str]
"""A public key: 64 hexadecimal digits, or the path of a PEM file."""


@dataclass(frozen=True)
class Signature:
    """One signature and the public key that it fits, both in hexadecimal."""

    key: Annotated[str, Text(r"[0-9a-f]{64}")]
    signature: Annotated[str, Text(r"[0-9a-f]{128}")]


@dataclass(frozen=True)
class Signatures:
    """The content of the member `signature.json`, sorted by key."""

    signatures: Annotated[tuple[Signature, ...], Count(16)]
    format: Annotated[int, Range(1, 1)] = 1


def signatures_of(artifact: ArtifactFile) -> tuple[Signature, ...]:
    """The signatures that an artifact states, not checked; raises `NotAnArtifactError`."""
    data = artifact.signature
    if data is None:
        return ()
    if len(data) > LARGEST:
        raise NotAnArtifactError(f"{SIGNATURE} has {len(data)} bytes; at most {LARGEST} are read")
    found = _codec.decode(Signatures, _codec.parse(bytes(data), SIGNATURE), f"{SIGNATURE}: $")
    keys = [signature.key for signature in found.signatures]
    if keys != sorted(set(keys)) or _text(found) != bytes(data):
        raise NotAnArtifactError(f"{SIGNATURE} is not in canonical form")
    return found.signatures


def check_signature(artifact: ArtifactFile, trusted_keys: Sequence[Key]) -> str:
    """The trusted key that signed an artifact, in hexadecimal.

    Raises `UntrustedError` if none of the keys did, `MissingPackageError` if the package that
    checks signatures is not installed, and `ArgumentError` for keys that are none.
    """
    trusted = _public_keys(trusted_keys)
    stated = signatures_of(artifact)
    if not stated:
        raise UntrustedError(
            f"{artifact.source} is not signed, and trusted_keys asks for a signature. Get a signed "
            "copy, or sign it with `recurrent-iree sign FILE --key KEY` if you built it"
        )
    known = [signature for signature in stated if signature.key in trusted]
    if not known:
        listed = ", ".join(f"{s.key[:16]}…" for s in stated)
        raise UntrustedError(
            f"{artifact.source} is signed by {listed}, which is none of the {len(trusted)} keys in "
            "trusted_keys"
        )
    for signature in known:
        if not _fits(signature, artifact):
            raise UntrustedError(
                f"{artifact.source} states a signature by {signature.key[:16]}… that does not fit "
                "it: it was changed after it was signed. Get it again from where it was signed"
            )
    return known[0].key


def sign(source: FilePath | bytes | ArtifactFile, key: FilePath) -> bytes:
    """The bytes of the artifact with a signature, in addition to those of other keys.

    `key` is the path of an Ed25519 private key as a PEM file, such as `recurrent-iree keygen` or
    `openssl genpkey -algorithm ed25519` write. Raises `ArgumentError` for another file, and
    `ArtifactError` for an artifact that was changed.

    >>> import recurrent_iree_runtime as rt
    >>> data = rt.sign("model.riree", "release.key")  # doctest: +SKIP
    """
    artifact = source if isinstance(source, ArtifactFile) else read(source)
    artifact.check()
    private = _private_key(key)
    public = _raw(private.public_key()).hex()
    made = Signature(public, private.sign(message(artifact)).hex())
    others = [s for s in signatures_of(artifact) if s.key != public]
    members = {name: bytes(artifact.read_member(name)) for name in artifact.members}
    together = Signatures(tuple(sorted([*others, made], key=lambda s: s.key)))
    return container_bytes({**members, SIGNATURE: _text(together)})


def generate_key() -> tuple[bytes, bytes]:
    """A new private key and its public key, both as PEM text; the private one is not encrypted."""
    _require()
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    pem, plain = forms.Encoding.PEM, forms.NoEncryption()
    return (
        private.private_bytes(pem, forms.PrivateFormat.PKCS8, plain),
        private.public_key().public_bytes(pem, forms.PublicFormat.SubjectPublicKeyInfo),
    )


def message(artifact: ArtifactFile) -> bytes:
    """The bytes that are signed: one line of text with the digest of `manifest.json`."""
    return f"recurrent-iree manifest sha256:{artifact.digest}\n".encode()


def _text(signatures: Signatures) -> bytes:
    return _codec.dump(_codec.encode(Signatures, signatures))


def _require() -> None:
    try:
        import cryptography.exceptions  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f"signatures need the package cryptography, which is not installed: {INSTALL}"
        ) from error


def _fits(signature: Signature, artifact: ArtifactFile) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.key))
        public.verify(bytes.fromhex(signature.signature), message(artifact))
    except (InvalidSignature, ValueError):
        return False
    return True


def _public_keys(given: Iterable[Key]) -> set[str]:
    if isinstance(given, (str, bytes, os.PathLike)) or not isinstance(given, Iterable):
        raise ArgumentTypeError(
            f"trusted_keys is a {type(given).__name__}; expected a list of public keys, each as "
            "64 hexadecimal digits or the path of a PEM file"
        )
    _require()
    keys = {_public_key(key, f"trusted_keys[{i}]") for i, key in enumerate(given)}
    if not keys:
        raise ArgumentError("trusted_keys is empty, so nothing could be trusted; give a key, or "
                            "None to load without a check")  # fmt: skip
    return keys


def _public_key(key: Any, where: str) -> str:
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if isinstance(key, str) and re.fullmatch(r"[0-9a-fA-F]{64}", key):
        return key.lower()
    data = _read_key(key, where)
    try:
        public = forms.load_pem_public_key(data)
    except ValueError as error:
        raise ArgumentError(f"{where}: {key} holds no public key as PEM text") from error
    if not isinstance(public, Ed25519PublicKey):
        raise ArgumentError(f"{where}: {key} is a key of another kind; Ed25519 is needed")
    return _raw(public).hex()


def _private_key(key: Any) -> Any:
    _require()
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    data = _read_key(key, "key")
    try:
        private = forms.load_pem_private_key(data, None)
    except (ValueError, TypeError) as error:
        raise ArgumentError(
            f"key: {key} holds no private key as PEM text without a password; make one with "
            "`recurrent-iree keygen`"
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ArgumentError(f"key: {key} is a key of another kind; Ed25519 is needed")
    return private


def _read_key(key: Any, where: str) -> bytes:
    if not isinstance(key, (str, os.PathLike)):
        raise ArgumentTypeError(
            f"{where} is a {type(key).__name__}; expected the path of a PEM file"
        )
    try:
        with Path(key).open("rb") as file:
            return file.read(LARGEST)
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{where}: {str(key)[:200]} cannot be read: {error}") from error


def _raw(public: Any) -> bytes:
    data: bytes = public.public_bytes_raw()
    return data
