# SPDX-License-Identifier: MIT
"""Signatures of files and other messages by SSH keys (OpenSSH PROTOCOL.sshsig).

Every signature is for a namespace, a word such as ``file`` or ``git``: what somebody signed for one
purpose is worth nothing for another. Who is allowed to sign is said elsewhere
(`tellin.config.allowed_signers`).
"""

import binascii
from collections.abc import Iterable
from typing import Final

from cryptography.hazmat.primitives import hashes

from tellin.algorithms.hashing import HASHES
from tellin.errors import KeyFileError, MalformedPacket, UsageError
from tellin.keys.certificates import Certificate, is_certificate_type
from tellin.keys.private import Signer
from tellin.keys.public import PublicKey
from tellin.wire import Cursor, Record, string

HASH_NAMES: Final = ("sha512", "sha256")
_BEGIN: Final = b"-----BEGIN SSH SIGNATURE-----"
_END: Final = b"-----END SSH SIGNATURE-----"
_MAGIC: Final = b"SSHSIG"
_VERSION: Final = 1
_LINE: Final = 70
# The longest honest one is by an RSA key of 16384 bits in a certificate of another such.
_MOST_BYTES: Final = 1 << 18

Message = bytes | Iterable[bytes]
"""What is signed, whole or in pieces."""


class FileSignature(Record):
    """One signature; it says itself by which key, which may be a certificate's."""

    key: PublicKey | Certificate
    namespace: str
    hash_name: str
    signature: bytes

    @classmethod
    def parse(cls, data: bytes) -> "FileSignature":
        """The signature in its armour, as ``ssh-keygen -Y sign`` writes it; raises KeyFileError."""
        if len(data) > 2 * _MOST_BYTES:
            raise KeyFileError(f"{len(data)} bytes are too many for a signature")
        if not data.startswith(_BEGIN):
            raise KeyFileError("Couldn't parse signature: missing header")
        body, end, _ = data[len(_BEGIN) :].partition(b"\n" + _END)
        if not end:
            raise KeyFileError("Couldn't parse signature: missing footer")
        try:
            raw = binascii.a2b_base64(b"".join(body.split()), strict_mode=True)
        except binascii.Error:
            raise KeyFileError("Couldn't parse signature: its base64 is damaged") from None
        return cls.from_blob(raw)

    @classmethod
    def from_blob(cls, blob: bytes) -> "FileSignature":
        """The signature without its armour; raises KeyFileError."""
        cursor = Cursor(blob)
        try:
            if cursor.take(min(len(_MAGIC), len(blob))) != _MAGIC:
                raise KeyFileError("Couldn't parse signature: it is none")
            version = cursor.uint32()
            if version != _VERSION:
                raise KeyFileError(f"a signature of the unknown version {version}")
            key, namespace = cursor.string(), cursor.text()
            cursor.string()  # reserved
            hash_name, signature = cursor.text(), cursor.string()
            cursor.end("a signature")
        except MalformedPacket as error:
            raise KeyFileError(f"a damaged signature: {error}") from None
        if not namespace or "\0" in namespace:
            raise KeyFileError("a signature for no namespace")
        if hash_name not in HASH_NAMES:
            raise KeyFileError(f"a signature over the unsupported hash {hash_name[:64]!r}")
        return cls(_key_of(key), namespace, hash_name, signature)

    @classmethod
    def make(
        cls,
        signer: Signer,
        message: Message,
        *,
        namespace: str,
        hash_name: str = "sha512",
        certificate: Certificate | None = None,
    ) -> "FileSignature":
        """Sign a message; with ``certificate``, which must be for the signer's key, in its name."""
        if not namespace or "\0" in namespace:
            raise UsageError("a signature needs a namespace, such as file")
        if hash_name not in HASH_NAMES:
            raise UsageError(f"no hash for signatures is called {hash_name!r}")
        if certificate is not None and certificate.key != signer.public:
            raise UsageError("the certificate is for another key than the one that signs")
        data = _signed_data(namespace, hash_name, message)
        signature = signer.sign(data, signer.public.signature_algorithms[0])
        return cls(certificate or signer.public, namespace, hash_name, signature)

    def to_blob(self) -> bytes:
        """The signature without its armour."""
        return (
            _MAGIC
            + _VERSION.to_bytes(4, "big")
            + string(self.key.blob)
            + string(self.namespace.encode("utf-8"))
            + string(b"")
            + string(self.hash_name.encode("ascii"))
            + string(self.signature)
        )

    def to_armor(self) -> bytes:
        """The signature as a file."""
        encoded = binascii.b2a_base64(self.to_blob(), newline=False)
        lines = [encoded[at : at + _LINE] for at in range(0, len(encoded), _LINE)]
        return b"\n".join([_BEGIN, *lines, _END, b""])

    def verify(self, message: Message, *, namespace: str) -> bool:
        """Whether the signature holds for this message in this namespace.

        It does not say that its key may sign anything. A security key's touch is not asked for:
        OpenSSH makes and takes such signatures without one, if its owner has wished so.
        """
        if self.namespace != namespace:
            return False
        key = self.key.key if isinstance(self.key, Certificate) else self.key
        # SHA-1 is no algorithm of any key here: RSA signs by SHA-2 (PROTOCOL.sshsig section 2).
        algorithm = _algorithm_of(self.signature)
        if algorithm not in key.signature_algorithms:
            return False
        data = _signed_data(namespace, self.hash_name, message)
        return key.verify(data, self.signature, algorithm=algorithm, touch_required=False)


def _key_of(blob: bytes) -> PublicKey | Certificate:
    try:
        key_type = Cursor(blob).string().decode("ascii", "replace")
    except MalformedPacket:
        raise KeyFileError("a signature without a key") from None
    if is_certificate_type(key_type):
        return Certificate.from_blob(blob)
    return PublicKey.from_blob(blob)


def _algorithm_of(signature: bytes) -> str:
    try:
        return Cursor(signature).string().decode("ascii", "replace")
    except MalformedPacket:
        return ""


def _signed_data(namespace: str, hash_name: str, message: Message) -> bytes:
    running = hashes.Hash(HASHES[hash_name])
    for piece in (message,) if isinstance(message, bytes) else message:
        running.update(piece)
    return (
        _MAGIC
        + string(namespace.encode("utf-8"))
        + string(b"")
        + string(hash_name.encode("ascii"))
        + string(running.finalize())
    )


def sign(
    signer: Signer,
    message: Message,
    *,
    namespace: str = "file",
    hash_name: str = "sha512",
    certificate: Certificate | None = None,
) -> bytes:
    """A signature over a message, as the file that ``ssh-keygen -Y sign`` makes (PROTOCOL.sshsig).

    ``message`` is bytes, or pieces of them. ``namespace`` says what the signature is for, so that one
    for a file is none for an e-mail; ``hash_name`` is sha512 or sha256. Raises UsageError and what the
    signer raises.
    """
    made = FileSignature.make(
        signer, message, namespace=namespace, hash_name=hash_name, certificate=certificate
    )
    return made.to_armor()


def verify(
    signature: bytes,
    message: Message,
    keys: Iterable[PublicKey],
    *,
    namespace: str = "file",
) -> PublicKey | None:
    """Which of ``keys`` has signed a message for ``namespace``; None if it was none of them.

    ``signature`` is the file of ``sign``. A certificate is none of the keys: for those, and for who
    may sign what until when, see `FileSignature` and allowed signers. Raises KeyFileError for what is
    no signature.
    """
    made = FileSignature.parse(signature)
    trusted = next((key for key in keys if key == made.key), None)
    return trusted if trusted is not None and made.verify(message, namespace=namespace) else None
