# SPDX-License-Identifier: MIT
"""Keys in PEM armour, by way of PyCA: PKCS #1, SEC 1, PKCS #8 and SubjectPublicKeyInfo.

Imported only for such a file: the library's reader costs more than all the rest of a start.
"""

import binascii
import re
from collections.abc import Iterator
from typing import Any, Final

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from tellin.errors import KeyFileError, UsageError, WrongPassphrase
from tellin.keys import ecdsa
from tellin.keys.engines import Secret, engine_of
from tellin.keys.kinds import KINDS, Kind

_PRIVATE: Final = re.compile(
    rb"^-----BEGIN ((?:RSA |EC |DSA |ENCRYPTED |)PRIVATE KEY)-----[ \t]*\r?\n", re.MULTILINE
)
_PUBLIC: Final = re.compile(rb"^-----BEGIN ((?:RSA |)PUBLIC KEY)-----[ \t]*\r?\n", re.MULTILINE)
_LEGACY_ENCRYPTED: Final = b"Proc-Type: 4,ENCRYPTED"

# Work that a stranger's file may cost: less than a second of PBKDF2, or 256 MiB of scrypt.
_MOST_ITERATIONS: Final = 1_000_000
_MOST_SCRYPT_BYTES: Final = 256 * 1024 * 1024
_SCRYPT: Final = bytes.fromhex("2b06010401da47040b")

# What the library raises for files it cannot read. InternalError is what it makes of an Ed448 key
# of a wrong length, as of every word of OpenSSL's that it did not expect.
_REFUSALS: Final = (ValueError, TypeError, UnsupportedAlgorithm, InternalError)


def _kind_of(native: object) -> Kind:
    match native:
        case Ed25519PrivateKey() | Ed25519PublicKey():
            return KINDS["ssh-ed25519"]
        case rsa.RSAPrivateKey() | rsa.RSAPublicKey():
            return KINDS["ssh-rsa"]
        case ec.EllipticCurvePrivateKey() | ec.EllipticCurvePublicKey():
            return ecdsa.kind_of_native(native)
        case _:
            raise KeyFileError("a kind of key that SSH has no use for")


def _block(data: bytes, begin: re.Pattern[bytes]) -> tuple[str, bytes, bytes]:
    """Label, whole armour and body of the first block that begins as ``begin`` says."""
    found = begin.search(data)
    if found is None:
        raise KeyFileError("no PEM armour of a kind that is known")
    label = found[1].decode("ascii")
    end = f"-----END {label}-----".encode("ascii")
    at = data.find(b"\n" + end, found.end() - 1)
    if at < 0:
        raise KeyFileError(f"a {label} without its end")
    return label, data[found.start() : at + 1] + end + b"\n", data[found.end() : at + 1]


def read_private(data: bytes, passphrase: bytes | None) -> Secret:
    """The first private key in ``data``; text before and after its armour is passed over."""
    label, armour, body = _block(data, _PRIVATE)
    sealed = label.startswith("ENCRYPTED")
    encrypted = sealed or _LEGACY_ENCRYPTED in body
    if encrypted and not passphrase:
        raise WrongPassphrase("a passphrase is needed to decrypt private key")
    password = passphrase if encrypted else None
    try:
        # unsafe_skip: both primes would be tested, for seconds; adopt() checks the numbers.
        native: object = (
            serialization.load_der_private_key(
                _judged(body), password, unsafe_skip_rsa_key_validation=True
            )
            if sealed
            else serialization.load_pem_private_key(
                armour, password, unsafe_skip_rsa_key_validation=True
            )
        )
    except _REFUSALS as error:
        if encrypted:
            raise WrongPassphrase("incorrect passphrase supplied to decrypt private key") from None
        raise KeyFileError(f"a damaged or unknown {label}: {_short(error)}") from None
    kind = _kind_of(native)
    return engine_of(kind).adopt(kind, native)


def _short(error: BaseException) -> str:
    return str(error).partition("\n")[0].partition(". ")[0][:200]


def _judged(body: bytes) -> bytes:
    """The DER inside an ENCRYPTED PRIVATE KEY, if decrypting it costs a bearable amount of work."""
    # SEQUENCE { SEQUENCE { method, parameters }, OCTET STRING }. The count of iterations is an
    # INTEGER somewhere in the parameters, whatever the method is.
    numbers: list[int] = []
    scrypt = False
    try:
        der = binascii.a2b_base64(b"".join(body.split()), strict_mode=True)
        _, start, end = _header(der, 0, len(der))
        _, start, end = _header(der, start, end)
        for tag, value in _leaves(der, start, end, depth=0):
            if tag == 2:
                numbers.append(int.from_bytes(value[:9], "big"))
            scrypt = scrypt or (tag == 6 and value == _SCRYPT)
    except (binascii.Error, IndexError):
        raise KeyFileError("a damaged ENCRYPTED PRIVATE KEY") from None
    if scrypt and len(numbers) >= 3:
        cost, block, parallel = numbers[:3]
        if 128 * cost * block * parallel > _MOST_SCRYPT_BYTES:
            raise KeyFileError("an encrypted key that asks for too much memory")
    if max(numbers, default=0) > _MOST_ITERATIONS:
        raise KeyFileError(f"an encrypted key of more than {_MOST_ITERATIONS} iterations")
    return der


def _header(der: bytes, at: int, limit: int) -> tuple[int, int, int]:
    tag, size, at = der[at], der[at + 1], at + 2
    if size >= 0x80:
        octets = size & 0x7F
        if not 1 <= octets <= 4:
            raise IndexError
        size = int.from_bytes(der[at : at + octets], "big")
        at += octets
    if at + size > limit:
        raise IndexError
    return tag, at, at + size


def _leaves(der: bytes, at: int, end: int, *, depth: int) -> Iterator[tuple[int, bytes]]:
    # Real parameters nest four deep; the bound keeps a made-up file from exhausting the stack.
    if depth > 8:
        raise IndexError
    while at < end:
        tag, start, at = _header(der, at, end)
        if tag & 0x20:
            yield from _leaves(der, start, at, depth=depth + 1)
        else:
            yield tag, der[start:at]


def write_private(native: Any, passphrase: bytes | None, *, traditional: bool) -> bytes:
    """PKCS #8, or if ``traditional`` the older form of the key's kind: PKCS #1 or SEC 1."""
    if traditional and isinstance(native, Ed25519PrivateKey):
        raise UsageError("an Ed25519 key has no PEM form but PKCS #8")
    form = (
        serialization.PrivateFormat.TraditionalOpenSSL
        if traditional
        else serialization.PrivateFormat.PKCS8
    )
    protection: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    try:
        written: bytes = native.private_bytes(serialization.Encoding.PEM, form, protection)
    except ValueError as error:
        raise UsageError(f"the key cannot be written: {_short(error)}") from None
    return written


def read_public(data: bytes) -> bytes:
    """The blob of the first public key in ``data``."""
    _, armour, _ = _block(data, _PUBLIC)
    try:
        native = serialization.load_pem_public_key(armour)
    except _REFUSALS as error:
        raise KeyFileError(f"a damaged or unknown public key: {_short(error)}") from None
    kind = _kind_of(native)
    return engine_of(kind).public_blob(kind, native)


def write_public(native: Any, *, traditional: bool) -> bytes:
    """SubjectPublicKeyInfo, or if ``traditional`` and RSA the older PKCS #1."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    if traditional and isinstance(native, rsa.RSAPublicKey):
        form = serialization.PublicFormat.PKCS1
    written: bytes = native.public_bytes(serialization.Encoding.PEM, form)
    return written


def read_x509(data: bytes) -> bytes:
    """The blob of the key in an X.509 certificate (DER), as tokens keep it; who signed it says nothing."""
    from cryptography.x509 import load_der_x509_certificate  # noqa: PLC0415  (tokens only)

    try:
        native = load_der_x509_certificate(data).public_key()
    except _REFUSALS as error:
        raise KeyFileError(f"a damaged or unknown certificate: {_short(error)}") from None
    kind = _kind_of(native)
    return engine_of(kind).public_blob(kind, native)
