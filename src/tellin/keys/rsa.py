# SPDX-License-Identifier: MIT
"""RSA signatures of RFC 8332 (PKCS #1 v1.5 with SHA-2) by way of PyCA."""

from typing import Any, Final

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from tellin.errors import KeyFileError, SignatureFailed
from tellin.keys.kinds import Kind, Rsa
from tellin.wire import Cursor, mpint, string

_EXPONENT: Final = 65537
_PADDING: Final = PKCS1v15()
_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha512": hashes.SHA512(),
    "sha256": hashes.SHA256(),
    # Reached only by callers that allow SHA-1 in so many words.
    "sha1": hashes.SHA1(),  # noqa: S303
}


# What the library raises where the machine's policy forbids a hash: SHA-1 on many (FIPS 140).
_FORBIDDEN: Final = (UnsupportedAlgorithm, InternalError)


class RsaVerifier:
    """Checks signatures."""

    def __init__(self, native: rsa.RSAPublicKey) -> None:
        self.native = native
        self._size = (native.key_size + 7) // 8

    def verify(self, signature: bytes, data: bytes, hash_name: str) -> bool:
        """One number as long as the modulus, as bare bytes."""
        if not 0 < len(signature) <= self._size:
            return False
        # Some signers drop leading zero bytes; OpenSSH puts them back, and so do we.
        whole = signature.rjust(self._size, b"\0")
        try:
            self.native.verify(whole, data, _PADDING, _HASHES[hash_name])
        except (InvalidSignature, *_FORBIDDEN):
            return False
        return True


def _blob(native: rsa.RSAPublicKey) -> bytes:
    public = native.public_numbers()
    return string(b"ssh-rsa") + mpint(public.e) + mpint(public.n)


class RsaSecret:
    """Modulus, exponents and the two primes."""

    key_type = "ssh-rsa"

    def __init__(self, native: rsa.RSAPrivateKey) -> None:
        self.native = native
        self.public_blob = _blob(native.public_key())
        self._verifier = RsaVerifier(native.public_key())

    def sign(self, data: bytes, hash_name: str) -> bytes:
        """As long as the modulus, and checked; SignatureFailed where there is none."""
        try:
            signature = self.native.sign(data, _PADDING, _HASHES[hash_name])
        except _FORBIDDEN as error:
            raise SignatureFailed(f"this machine does not sign by RSA and {hash_name}") from error
        # A signature with one fault in its arithmetic gives a prime away to whoever sees it,
        # and such faults happen in the field: none leaves unchecked (R044).
        if not self._verifier.verify(signature, data, hash_name):
            raise SignatureFailed("the RSA signature just made is faulty and was thrown away")
        return signature

    def fields(self) -> bytes:
        """n, e, d, the inverse of q modulo p, p, q."""
        numbers = self.native.private_numbers()
        public = numbers.public_numbers
        parts = (public.n, public.e, numbers.d, numbers.iqmp, numbers.p, numbers.q)
        return b"".join(map(mpint, parts))


def verifier(kind: Kind, blob: bytes) -> RsaVerifier:
    """The public key of a blob."""
    cursor = Cursor(blob)
    cursor.string()
    exponent = cursor.mpint()
    return RsaVerifier(rsa.RSAPublicNumbers(exponent, cursor.mpint()).public_key())


def _check(numbers: rsa.RSAPrivateNumbers) -> None:
    # The library would also test both primes, which costs seconds for a large key. A file with
    # false primes can only make signatures that fail, and those are held back.
    n, e = numbers.public_numbers.n, numbers.public_numbers.e
    d, p, q = numbers.d, numbers.p, numbers.q
    Rsa.judge(modulus=n, exponent=e)
    fits = (
        min(p, q) > 2
        and p != q
        and p * q == n
        and 0 < d < n
        and e * d % (p - 1) == 1
        and e * d % (q - 1) == 1
        and 0 < numbers.iqmp < p
        and numbers.iqmp * q % p == 1
        and numbers.dmp1 == d % (p - 1)
        and numbers.dmq1 == d % (q - 1)
    )
    if not fits:
        raise KeyFileError("the numbers of an RSA key do not belong together")


def read_secret(kind: Kind, cursor: Cursor) -> RsaSecret:
    """Six numbers in the order of OpenSSH: n, e, d, the inverse of q, p, q."""
    n, e, d, iqmp, p, q = (cursor.mpint() for _ in range(6))
    Rsa.judge(modulus=n, exponent=e)
    if min(p, q) < 3 or d < 1:
        raise KeyFileError("the numbers of an RSA key do not belong together")
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=iqmp,
        public_numbers=rsa.RSAPublicNumbers(e, n),
    )
    _check(numbers)
    return RsaSecret(_native(numbers))


def _native(numbers: rsa.RSAPrivateNumbers) -> rsa.RSAPrivateKey:
    try:
        return numbers.private_key(unsafe_skip_rsa_key_validation=True)
    except ValueError as error:
        raise KeyFileError(f"an RSA key that does not compute: {error}") from None


def generate(kind: Kind, bits: int) -> RsaSecret:
    """A new key."""
    return RsaSecret(rsa.generate_private_key(_EXPONENT, bits))


def public_blob(kind: Kind, native: Any) -> bytes:
    """The blob of a public key that the library has read."""
    public = native.public_numbers()
    Rsa.judge(modulus=public.n, exponent=public.e)
    return _blob(native)


def adopt(kind: Kind, native: Any) -> RsaSecret:
    """A key that the library has read."""
    _check(native.private_numbers())
    return RsaSecret(native)
