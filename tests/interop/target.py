# SPDX-License-Identifier: MIT
"""What every peer is told: where a server is, who logs in, with which key, and what came of it."""

import base64
import hashlib
import os
import pwd
import socket
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

LOOPBACK = "127.0.0.1"
CURVES = {"ecdsa256": ec.SECP256R1, "ecdsa384": ec.SECP384R1, "ecdsa521": ec.SECP521R1}
KEY_KINDS = ("ed25519", *CURVES, "rsa")


@dataclass(frozen=True)
class KeyFile:
    """A private key in a file of OpenSSH's format, with its public line in ``path.pub``."""

    path: Path
    public: str

    @property
    def key_type(self) -> str:
        return self.public.split()[0]

    @property
    def blob(self) -> bytes:
        return base64.b64decode(self.public.split()[1])

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.blob).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def make_key(path: Path, kind: str = "ed25519") -> KeyFile:
    """Make a key by PyCA alone, so that a fault of tellin's own keys cannot hide on both sides."""
    private: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if kind == "ed25519":
        private = ed25519.Ed25519PrivateKey.generate()
    elif kind == "rsa":
        private = rsa.generate_private_key(65537, 3072)
    else:
        private = ec.generate_private_key(CURVES[kind]())
    text = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = (
        private.public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode()
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
    path.with_name(path.name + ".pub").write_text(public + "\n", "ascii")
    return KeyFile(path, public)


def free_port() -> int:
    """A loopback port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def my_name() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


@dataclass(frozen=True)
class Target:
    """A server as a client needs to know it; any server of ours can be described by one too."""

    port: int
    user: str
    host_keys: tuple[str, ...]
    identity: KeyFile | None = None
    password: str | None = None
    host: str = LOOPBACK

    def known_hosts(self) -> str:
        """The lines of a known_hosts file."""
        name = self.host if self.port == 22 else f"[{self.host}]:{self.port}"
        return "".join(f"{name} {' '.join(line.split()[:2])}\n" for line in self.host_keys)

    def host_key(self, key_type: str = "") -> str:
        """The public line of the host key of ``key_type``, or the first."""
        for line in self.host_keys:
            if not key_type or line.split()[0] == key_type:
                return line
        raise LookupError(f"the server has no {key_type} host key")


@dataclass(frozen=True)
class Algorithms:
    """One name a kind, or "" for whatever the two agree on by themselves."""

    kex: str = ""
    host_key: str = ""
    cipher: str = ""
    mac: str = ""
    compression: str = ""

    def __bool__(self) -> bool:
        return self != Algorithms()


@dataclass(frozen=True)
class Completed:
    """How a client's run ended; ``signal`` only from clients that tell it apart from a status."""

    status: int
    stdout: bytes
    stderr: bytes
    signal: str | None = None
    facts: dict[str, object] = field(default_factory=dict)
