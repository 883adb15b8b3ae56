# SPDX-License-Identifier: MIT
"""A security key in software: it signs as CTAP 2 has it, by code of its own and none of tellin's.

OpenSSH's ssh-keygen and sshd judge what it makes, so what tellin says of the same bytes has a measure.
"""

import base64
import hashlib
import json
import struct
from typing import Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

PRESENT, VERIFIED, EXTENDED = 0x01, 0x04, 0x80
ED25519, ECDSA = "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"
WEBAUTHN = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com"


def put(*parts: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def number(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big")


class SoftwareAuthenticator:
    """One key; ``blob`` is its public half, as it stands in a .pub file."""

    def __init__(
        self, kind: Literal["ed25519", "ecdsa"] = "ed25519", application: bytes = b"ssh:"
    ) -> None:
        self.application = application
        self.counter = 41
        if kind == "ed25519":
            self.key_type = ED25519
            self._ed25519 = Ed25519PrivateKey.generate()
            fields = [self._ed25519.public_key().public_bytes_raw()]
        else:
            self.key_type = ECDSA
            self._ecdsa = ec.generate_private_key(ec.SECP256R1())
            at = self._ecdsa.public_key().public_numbers()
            point = b"\4" + at.x.to_bytes(32, "big") + at.y.to_bytes(32, "big")
            fields = [b"nistp256", point]
        self.fields = put(*fields, application)
        self.blob = put(self.key_type.encode()) + self.fields

    @property
    def line(self) -> str:
        return f"{self.key_type} {base64.b64encode(self.blob).decode()}"

    def private_file(self, comment: str = "token") -> bytes:
        """An openssh-key-v1 file: all it holds is a handle."""
        rest = bytes((PRESENT,)) + put(b"a handle", b"")
        body = b"\1\2\3\4" * 2 + put(self.key_type.encode()) + self.fields + rest
        body += put(comment.encode())
        body += bytes(range(1, 1 + -len(body) % 8))
        head = b"openssh-key-v1\0" + put(b"none", b"none", b"") + struct.pack(">I", 1)
        text = base64.encodebytes(head + put(self.blob) + put(body)).replace(b"\n", b"")
        lines = [text[at : at + 70] for at in range(0, len(text), 70)]
        begin, end = (
            f"-----{word} OPENSSH PRIVATE KEY-----".encode() for word in ("BEGIN", "END")
        )
        return b"\n".join([begin, *lines, end, b""])

    def sign(self, data: bytes, *, flags: int = PRESENT) -> bytes:
        """A signature blob."""
        self.counter += 1
        head = hashlib.sha256(self.application).digest()
        tail = struct.pack(">BI", flags, self.counter)
        signature = self._raw(head + tail + hashlib.sha256(data).digest())
        return put(self.key_type.encode(), signature) + tail

    def sign_in_browser(
        self,
        data: bytes,
        *,
        origin: str = "https://example.org",
        flags: int = PRESENT,
        extensions: bytes = b"",
        kind: str = "webauthn.get",
    ) -> bytes:
        """A signature blob by way of Web Authentication."""
        self.counter += 1
        challenge = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
        said = {"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": False}
        client_data = json.dumps(said, separators=(",", ":")).encode()
        head = hashlib.sha256(self.application).digest()
        tail = struct.pack(">BI", flags, self.counter)
        message = head + tail + extensions + hashlib.sha256(client_data).digest()
        behind = put(origin.encode(), client_data, extensions)
        return put(WEBAUTHN.encode(), self._raw(message)) + tail + behind

    def _raw(self, message: bytes) -> bytes:
        if self.key_type == ED25519:
            return self._ed25519.sign(message)
        r, s = decode_dss_signature(self._ecdsa.sign(message, ec.ECDSA(hashes.SHA256())))
        return put(number(r), number(s))


def file_signature(blob: bytes, signature: bytes, namespace: bytes = b"file") -> bytes:
    """The armoured file that ``ssh-keygen -Y verify`` reads (OpenSSH PROTOCOL.sshsig)."""
    raw = b"SSHSIG" + struct.pack(">I", 1) + put(blob, namespace, b"", b"sha512", signature)
    text = base64.encodebytes(raw).replace(b"\n", b"")
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    return b"\n".join(
        [b"-----BEGIN SSH SIGNATURE-----", *lines, b"-----END SSH SIGNATURE-----", b""]
    )


def file_signed_data(message: bytes, namespace: bytes = b"file") -> bytes:
    """What such a signature is over."""
    return b"SSHSIG" + put(namespace, b"", b"sha512", hashlib.sha512(message).digest())
