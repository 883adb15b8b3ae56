# SPDX-License-Identifier: MIT
"""Keys of every kind in files of every format: made by one ssh-keygen, read and shown alike by the other."""

import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tests.keys.software_authenticator import SoftwareAuthenticator

from tellin.keys import PrivateKey
from tellin.programs.command import start

pytestmark = pytest.mark.peer("openssh")

KINDS = ["ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa-2048", "mldsa44-ed25519"]
FORMATS = ["RFC4716", "PKCS8", "PEM"]
PASSPHRASES = {"plain": "", "encrypted": "a passphrase"}
# What must be equal byte for byte; {} is the passphrase of the file.
SHOWN: list[list[str]] = [
    ["-l"],
    ["-l", "-E", "md5"],
    ["-l", "-v"],
    ["-B"],
    ["-y", "-P", "{}"],
    ["-y", "-P", "wrong one"],
    ["-e", "-P", "{}"],
    ["-e", "-m", "PKCS8", "-P", "{}"],
    ["-e", "-m", "PEM", "-P", "{}"],
]
SAVED = """\
Key has comment 'a comment'
Your identification has been saved with the new passphrase.
"""
Answer = tuple[int, str, str]
Ours = Callable[..., Answer]


@pytest.fixture
def ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Ours:
    """Our ssh-keygen, in this process and in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Answer:
        status = start(["ssh-keygen", *arguments])
        captured = capfd.readouterr()
        return status, captured.out, captured.err.replace("\r\n", "\n")

    return run


def theirs(*arguments: str) -> Answer:
    """OpenSSH's, where the test has gone to."""
    done = subprocess.run(
        ["ssh-keygen", *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode().replace("\r\n", "\n")


@cache
def peer_types() -> frozenset[str]:
    """The types of keys that the OpenSSH here knows."""
    said = subprocess.run(["ssh", "-Q", "key"], capture_output=True, text=True, check=True)
    return frozenset(said.stdout.split())


def made_by(run: Ours, kind: str, form: str, passphrase: str) -> None:
    name, _, bits = kind.partition("-") if kind in KINDS[1:5] else (kind, "", "")
    size = ["-b", bits] if bits else []
    what = ["-q", "-t", name, *size, "-m", form, "-N", passphrase, "-a", "1", "-C", "a comment"]
    assert run(*what, "-f", "key") == (0, "", "")


def known_to_the_peer(kind: str, form: str, maker: str) -> bool:
    if kind == "mldsa44-ed25519":
        return "ssh-mldsa44-ed25519@openssh.com" in peer_types()
    # OpenSSH reads Ed25519 in PKCS #8 since 10.1, and makes such files since then.
    newer = "ssh-mldsa44-ed25519@openssh.com" in peer_types()
    return newer or (kind, form, maker) != ("ed25519", "PKCS8", "ours")


def shown_alike(ours: Ours, passphrase: str) -> None:
    for words in SHOWN:
        arguments = [word.format(passphrase) for word in words]
        if words[:1] == ["-e"] and "wrong" not in words:
            # A key that has no such form is refused by both, whatever form the newer one knows.
            answer = theirs(*arguments, "-f", "key")
            if "unsupported key type" in answer[2]:
                continue
        told, expected = (run(*arguments, "-f", "key") for run in (ours, theirs))
        if expected[2].endswith("error in libcrypto\n"):
            # What OpenSSL makes of a passphrase that does not fit.
            assert told[:2] == expected[:2], words
        elif "-v" in words:
            # With -v OpenSSH also tells on standard error what it tried.
            assert told[:2] == expected[:2], words
        else:
            assert told == expected, words


@pytest.mark.parametrize("maker", ["ours", "theirs"])
@pytest.mark.parametrize("passphrase", PASSPHRASES.values(), ids=PASSPHRASES)
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_whoever_made_a_key_both_show_the_same(
    ours: Ours, kind: str, form: str, passphrase: str, maker: str
) -> None:
    if not known_to_the_peer(kind, form, maker):
        # Read back here alone then.
        made_by(ours, kind, form, passphrase)
        status, line, _ = ours("-y", "-P", passphrase, "-f", "key")
        assert (status, line.split()[:2]) == (0, Path("key.pub").read_text().split()[:2])
        return
    made_by(ours if maker == "ours" else theirs, kind, form, passphrase)
    assert theirs("-y", "-P", passphrase, "-f", "key")[0] == 0
    shown_alike(ours, passphrase)
    # The same of the private file by itself, which may hide the comment and the key.
    Path("key.pub").unlink()
    shown_alike(ours, passphrase)


@pytest.mark.parametrize(
    ("kind", "form"),
    # The OpenSSH of Debian 12 has no other form of Ed25519.
    [("ed25519", "RFC4716"), *((kind, form) for kind in KINDS[1:5] for form in FORMATS)],
)
def test_a_public_key_in_any_format_is_brought_back_by_either(
    ours: Ours, kind: str, form: str
) -> None:
    made_by(ours, kind, "RFC4716", "")
    line = " ".join(Path("key.pub").read_text().split()[:2]) + "\n"
    for writer in (ours, theirs):
        status, written, _ = writer("-e", "-m", form, "-f", "key.pub")
        assert status == 0
        Path("written").write_text(written)
        for other in FORMATS:
            answer = theirs("-i", "-m", other, "-f", "written")
            assert ours("-i", "-m", other, "-f", "written") == answer
            # What OpenSSH writes of ECDSA in PEM it reads as PKCS #8 alone.
            assert answer in {(0, line, ""), (255, "", answer[2])}
        # Without -m ours takes any of them.
        assert ours("-i", "-f", "written") == (0, line, "")


@pytest.mark.parametrize("passphrase", PASSPHRASES.values(), ids=PASSPHRASES)
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_the_file_of_a_security_key_is_shown_and_sealed_by_either(
    ours: Ours, kind: str, passphrase: str
) -> None:
    token = SoftwareAuthenticator("ed25519" if kind == "ed25519" else "ecdsa")
    for sealer in (ours, theirs):
        Path("key.pub").write_text(f"{token.line} token\n")
        Path("key").touch(0o600)
        Path("key").write_bytes(token.private_file())
        sealed = sealer("-p", "-P", "", "-N", passphrase, "-a", "1", "-f", "key")
        assert (sealed[0], sealed[2]) == (0, "")
        assert theirs("-y", "-P", passphrase, "-f", "key")[1].startswith(token.line)
        shown_alike(ours, passphrase)
        Path("key.pub").unlink()
        shown_alike(ours, passphrase)


@pytest.mark.parametrize("cipher", ["aes256-ctr", "aes256-gcm@openssh.com", "3des-cbc"])
def test_a_passphrase_is_changed_by_either_and_taken_by_the_other(ours: Ours, cipher: str) -> None:
    made_by(ours, "ed25519", "RFC4716", "one passphrase")
    line = Path("key.pub").read_text()
    old = "one passphrase"
    for number, changer in enumerate((theirs, ours, theirs)):
        new = f"passphrase {number}"
        said = changer("-p", "-P", old, "-N", new, "-Z", cipher, "-a", "2", "-f", "key")
        assert said == (
            0,
            SAVED,
            "",
        )
        for reader in (ours, theirs):
            assert reader("-y", "-P", new, "-f", "key") == (0, line, "")
            assert reader("-y", "-P", old, "-f", "key")[0] == 255
        old = new


@pytest.mark.parametrize("form", FORMATS)
def test_a_key_goes_from_format_to_format_by_either(ours: Ours, form: str) -> None:
    key = PrivateKey.generate("ecdsa", comment="me")
    for changer, reader in ((ours, theirs), (theirs, ours)):
        descriptor = os.open("key", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.to_openssh())
        changed = changer("-p", "-P", "", "-N", "the new one", "-m", form, "-f", "key")
        assert (changed[0], changed[2]) == (0, "")
        status, line, _ = reader("-y", "-P", "the new one", "-f", "key")
        assert (status, line.split()[1]) == (0, key.public.to_line().split()[1])
