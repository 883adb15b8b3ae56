# SPDX-License-Identifier: MIT
"""Keys made here are read by OpenSSH's ssh-keygen, and the other way round, in every kind and format."""

import subprocess
from pathlib import Path

import pytest

from tellin.keys import PrivateKey, load_private_key, load_public_key
from tellin.keys.encryption import FILE_CIPHERS

pytestmark = pytest.mark.peer("openssh")

KINDS = [("ed25519", 256), ("ecdsa", 256), ("ecdsa", 384), ("ecdsa", 521), ("rsa", 2048)]
each_kind = pytest.mark.parametrize(("kind", "bits"), KINDS)
PASSPHRASE = "a long passphrase"


def keygen(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["ssh-keygen", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def put(path: Path, data: bytes) -> Path:
    path.touch(0o600)
    path.write_bytes(data)
    return path


def passphrases() -> list[str]:
    return ["", PASSPHRASE]


@each_kind
@pytest.mark.parametrize("passphrase", passphrases(), ids=["plain", "encrypted"])
@pytest.mark.parametrize("form", ["to_openssh", "to_pkcs8", "to_pem"])
def test_openssh_reads_what_is_made_here(
    tmp_path: Path, kind: str, bits: int, passphrase: str, form: str
) -> None:
    if kind == "ed25519" and form != "to_openssh":
        pytest.skip("OpenSSH reads Ed25519 in PKCS #8 since 9.6 only, and in PEM never")
    key = PrivateKey.generate(kind, bits=bits)
    path = put(tmp_path / "key", getattr(key, form)(passphrase.encode() or None))
    assert keygen("-y", "-P", passphrase, "-f", path).rstrip("\n") == key.public.to_line()


@each_kind
@pytest.mark.parametrize("passphrase", passphrases(), ids=["plain", "encrypted"])
@pytest.mark.parametrize("form", ["RFC4716", "PKCS8", "PEM"])
def test_what_openssh_makes_is_read_here(
    tmp_path: Path, kind: str, bits: int, passphrase: str, form: str
) -> None:
    path = tmp_path / "key"
    keygen(
        "-q", "-t", kind, "-b", str(bits), "-m", form, "-N", passphrase, "-C", "a b", "-f", path
    )
    key = load_private_key(path.read_bytes(), passphrase.encode() or None)
    public = load_public_key(path.with_suffix(".pub").read_bytes())
    assert key.public == public
    assert public.to_line() + "\n" == path.with_suffix(".pub").read_text()
    if path.read_bytes().startswith(b"-----BEGIN OPENSSH"):
        assert key.comment == "a b"


@pytest.mark.parametrize("cipher", list(FILE_CIPHERS))
def test_every_cipher_is_that_of_openssh(tmp_path: Path, cipher: str) -> None:
    theirs = tmp_path / "theirs"
    keygen("-q", "-t", "ed25519", "-Z", cipher, "-a", "3", "-N", PASSPHRASE, "-f", theirs)
    key = load_private_key(theirs.read_bytes(), PASSPHRASE.encode())
    assert key.public == load_public_key(theirs.with_suffix(".pub").read_bytes())
    ours = put(tmp_path / "ours", key.to_openssh(PASSPHRASE.encode(), cipher=cipher, rounds=3))
    assert keygen("-y", "-P", PASSPHRASE, "-f", ours).rstrip("\n") == key.public.to_line()


def test_no_cipher_of_openssh_is_missing() -> None:
    done = subprocess.run(["ssh", "-Q", "cipher"], capture_output=True, text=True, check=True)
    # Another name for aes256-cbc, from before RFC 4253.
    names = set(done.stdout.split()) - {"rijndael-cbc@lysator.liu.se"}
    assert names <= set(FILE_CIPHERS)


@each_kind
def test_signatures_are_taken_by_openssh(tmp_path: Path, kind: str, bits: int) -> None:
    # ssh-keygen checks SSHSIG files; what is signed in them is laid out in PROTOCOL.sshsig.
    import binascii
    import hashlib

    from tellin.wire import string

    key = PrivateKey.generate(kind, bits=bits)
    message = b"a message\n"
    algorithm = key.public.signature_algorithms[0]
    body = string(b"file") + string(b"") + string(b"sha512")
    signed = b"SSHSIG" + body + string(hashlib.sha512(message).digest())
    blob = (
        b"SSHSIG"
        + (1).to_bytes(4, "big")
        + string(key.public.blob)
        + body
        + string(key.sign(signed, algorithm))
    )
    armoured = binascii.b2a_base64(blob, newline=False).decode()
    lines = [armoured[at : at + 70] for at in range(0, len(armoured), 70)]
    signature = tmp_path / "signature"
    signature.write_text(
        "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])
    )
    done = subprocess.run(
        ["ssh-keygen", "-Y", "check-novalidate", "-n", "file", "-s", signature],
        input=message,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert key.public.fingerprint() in done.stdout.decode()


@each_kind
def test_signatures_of_openssh_are_taken_here(tmp_path: Path, kind: str, bits: int) -> None:
    import binascii
    import hashlib

    from tellin.wire import Cursor, string

    key = PrivateKey.generate(kind, bits=bits)
    path = put(tmp_path / "key", key.to_openssh())
    message = tmp_path / "message"
    message.write_bytes(b"a message\n")
    keygen("-q", "-Y", "sign", "-f", path, "-n", "file", message)
    lines = (tmp_path / "message.sig").read_bytes().splitlines()[1:-1]
    cursor = Cursor(binascii.a2b_base64(b"".join(lines)))
    assert cursor.take(6) == b"SSHSIG"
    assert cursor.uint32() == 1
    assert cursor.string() == key.public.blob
    namespace, reserved, hash_name = cursor.string(), cursor.string(), cursor.string()
    signature = cursor.string()
    signed = (
        b"SSHSIG"
        + string(namespace)
        + string(reserved)
        + string(hash_name)
        + string(hashlib.new(hash_name.decode(), message.read_bytes()).digest())
    )
    algorithm = Cursor(signature).string().decode()
    assert key.public.verify(signed, signature, algorithm=algorithm)
    assert not key.public.verify(signed + b"!", signature, algorithm=algorithm)
