# SPDX-License-Identifier: MIT
"""Signatures of files: for one message and one purpose, and the same bytes as ssh-keygen's."""

import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.keys.software_authenticator import (
    SoftwareAuthenticator,
    file_signature,
    file_signed_data,
)

from tellin.errors import KeyFileError, UsageError
from tellin.keys import Certificate, PrivateKey
from tellin.keys.file_signatures import FileSignature
from tellin.wire import string

MESSAGE = b"hello\n"
KEYS = {
    "ed25519": PrivateKey.generate("ed25519", comment="me"),
    "ecdsa": PrivateKey.generate("ecdsa", bits=384),
    "rsa": PrivateKey.generate("rsa", bits=2048),
}
ED25519 = KEYS["ed25519"]
AUTHORITY = PrivateKey.generate("ed25519")
each_key = pytest.mark.parametrize("kind", KEYS)


def signed(**changes: Any) -> FileSignature:
    given: dict[str, Any] = {"namespace": "file", **changes}
    return FileSignature.make(given.pop("key", ED25519), given.pop("message", MESSAGE), **given)


@each_key
@pytest.mark.parametrize("hash_name", ["sha512", "sha256"])
def test_a_signature_holds_for_its_message_and_namespace(kind: str, hash_name: str) -> None:
    made = signed(key=KEYS[kind], hash_name=hash_name)
    found = FileSignature.parse(made.to_armor())
    assert found == made
    assert found.key == KEYS[kind].public
    assert found.hash_name == hash_name
    assert found.verify(MESSAGE, namespace="file")
    assert found.verify([MESSAGE[:2], b"", MESSAGE[2:]], namespace="file")
    assert not found.verify(MESSAGE + b"!", namespace="file")
    assert not found.verify(MESSAGE, namespace="git")
    assert not found.verify(MESSAGE, namespace="")


def test_any_byte_changed_is_refused() -> None:
    blob = signed().to_blob()
    for at in range(len(blob)):
        changed = bytearray(blob)
        changed[at] ^= 1
        try:
            found = FileSignature.from_blob(bytes(changed))
        except KeyFileError:
            continue
        assert not found.verify(MESSAGE, namespace="file"), at


def test_r116_every_prefix_and_what_is_behind_is_refused() -> None:
    blob = signed().to_blob()
    for size in range(len(blob)):
        with pytest.raises(KeyFileError):
            FileSignature.from_blob(blob[:size])
    with pytest.raises(KeyFileError):
        FileSignature.from_blob(blob + b"\0")


def test_a_certificate_signs_in_its_name() -> None:
    certificate = Certificate.issue(AUTHORITY, ED25519.public, key_id="x", principals=["me"])
    made = signed(certificate=certificate)
    found = FileSignature.parse(made.to_armor())
    assert found.key == certificate
    assert found.verify(MESSAGE, namespace="file")
    with pytest.raises(UsageError, match="another key"):
        signed(key=KEYS["ecdsa"], certificate=certificate)


@pytest.mark.parametrize("flags", [0, 1])
def test_a_security_key_may_sign_untouched_if_its_owner_has_wished_so(flags: int) -> None:
    token = SoftwareAuthenticator()
    signature = token.sign(file_signed_data(MESSAGE), flags=flags)
    found = FileSignature.parse(file_signature(token.blob, signature))
    assert found.verify(MESSAGE, namespace="file")
    assert not found.verify(b"another", namespace="file")


def test_r047_a_signature_by_rsa_with_sha_1_is_none() -> None:
    key = KEYS["rsa"]
    good = signed(key=key)
    data = b"SSHSIG" + string(b"file") + string(b"") + string(b"sha512")
    from tellin.algorithms.hashing import digest

    data += string(digest("sha512", MESSAGE))
    assert key.public.verify(data, good.signature, algorithm="rsa-sha2-512")
    old = FileSignature(key.public, "file", "sha512", key.sign(data, "ssh-rsa", sha1=True))
    assert not old.verify(MESSAGE, namespace="file")


def with_fields(**changes: bytes) -> bytes:
    fields = {
        "magic": b"SSHSIG\0\0\0\1",
        "key": ED25519.public.blob,
        "namespace": b"file",
        "reserved": b"",
        "hash": b"sha512",
        "signature": signed().signature,
        **changes,
    }
    return fields.pop("magic") + b"".join(map(string, fields.values()))


@pytest.mark.parametrize(
    "changes",
    [
        {"magic": b"SSHSIG\0\0\0\2"},
        {"magic": b"SSHSIH\0\0\0\1"},
        {"magic": b""},
        {"key": b""},
        {"key": b"no key"},
        {"key": string(b"ssh-dss")},
        {"namespace": b""},
        {"namespace": b"a\0b"},
        {"namespace": b"\xff"},
        {"hash": b"sha1"},
        {"hash": b"md5"},
        {"hash": b""},
    ],
    ids=range(12),
)
def test_what_is_no_signature_is_refused(changes: dict[str, bytes]) -> None:
    assert FileSignature.from_blob(with_fields()).verify(MESSAGE, namespace="file")
    with pytest.raises(KeyFileError):
        FileSignature.from_blob(with_fields(**changes))


def test_what_is_reserved_is_not_signed_here_and_not_looked_at() -> None:
    found = FileSignature.from_blob(with_fields(reserved=b"something"))
    assert found.verify(MESSAGE, namespace="file")


ARMOR = signed().to_armor()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x" + ARMOR,
        ARMOR.replace(b"END", b"EMD"),
        ARMOR.replace(b"-----\nU1NI", b"-----\n!1NI"),
        ARMOR[:60],
        b"-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n",
        ARMOR + bytes(1 << 20),
    ],
    ids=range(7),
)
def test_an_armour_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(KeyFileError):
        FileSignature.parse(data)


@pytest.mark.parametrize(
    "changes", [{"namespace": ""}, {"namespace": "a\0"}, {"hash_name": "sha1"}], ids=range(3)
)
def test_what_cannot_be_signed_is_said(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        signed(**changes)


# ssh-keygen


def keygen(*arguments: Any, data: bytes = MESSAGE) -> tuple[int, str]:
    done = subprocess.run(["ssh-keygen", *arguments], input=data, capture_output=True, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()


@pytest.mark.peer("ssh-keygen")
@each_key
@pytest.mark.parametrize("hash_name", ["sha512", "sha256"])
def test_ssh_keygen_signs_the_same_bytes(kind: str, hash_name: str, tmp_path: Path) -> None:
    key = KEYS[kind]
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_bytes(key.to_openssh())
    path.with_suffix(".pub").write_text(key.public.to_line() + "\n")
    status, text = keygen(
        *("-q", "-Y", "sign", "-f", path, "-n", "file", "-O", f"hashalg={hash_name}")
    )
    assert status == 0, text
    theirs = FileSignature.parse(text[text.index("-----BEGIN") :].encode())
    assert theirs.verify(MESSAGE, namespace="file")
    ours = signed(key=key, hash_name=hash_name)
    if kind != "ecdsa":  # whose signatures are never the same
        assert ours == theirs
        assert ours.to_armor().decode() in text


@pytest.mark.peer("ssh-keygen")
@each_key
@pytest.mark.parametrize("way", ["key", "certificate"])
def test_ssh_keygen_takes_what_is_signed_here(kind: str, way: str, tmp_path: Path) -> None:
    key = KEYS[kind]
    certificate = Certificate.issue(AUTHORITY, key.public, key_id="x", principals=["me"])
    made = signed(key=key, certificate=certificate if way == "certificate" else None)
    path = tmp_path / "signature"
    path.write_bytes(made.to_armor())
    check = ("-Y", "check-novalidate", "-n", "file", "-s", path)
    status, text = keygen(*check)
    assert status == 0, text
    assert key.public.fingerprint() in text
    assert keygen(*check, data=b"another")[0] != 0
    allowed = tmp_path / "allowed"
    word = "cert-authority " if way == "certificate" else ""
    line = (AUTHORITY if way == "certificate" else key).public.to_line()
    allowed.write_text(f"me {word}{line}\n")
    status, text = keygen(*("-Y", "verify", "-f", allowed, "-I", "me", "-n", "file", "-s", path))
    assert status == 0, text


def test_the_armour_has_lines_of_seventy() -> None:
    begin, *lines, end = ARMOR.decode().splitlines()
    assert (begin, end) == ("-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----")
    assert {len(line) for line in lines[:-1]} == {70}
    assert base64.b64decode("".join(lines)) == signed().to_blob()
