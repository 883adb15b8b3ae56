# SPDX-License-Identifier: MIT
"""A passphrase that is made into a key while the program is still being loaded."""

import subprocess
import sys
from pathlib import Path

import bcrypt
import pytest

from tellin.errors import UsageError
from tellin.keys import PrivateKey, load_private_key
from tellin.keys.stretching import Stretching
from tellin.programs.command import start
from tellin.programs.keygen import ahead

TELLIN = Path(sys.executable).with_name("tellin")
KEYGEN = "/usr/local/bin/ssh-keygen"
ORDERS = {
    "as a program": (["tellin", "ssh-keygen", "-N", "word"], (b"word", 16)),
    "by its name": ([KEYGEN, "-t", "rsa", "-N", "word", "-q", "-f", "x"], (b"word", 16)),
    "with rounds": ([KEYGEN, "-a", "3", "-N", "word"], (b"word", 3)),
    "a letter for a passphrase": ([KEYGEN, "-C", "-p", "-N", "-a"], (b"-a", 16)),
    "no UTF-8": ([KEYGEN, "-N", "\udce9"], (b"\xe9", 16)),
    "no passphrase": ([KEYGEN, "-N", ""], None),
    "another mode": ([KEYGEN, "-p", "-N", "word"], None),
    "another cipher": ([KEYGEN, "-Z", "3des-cbc", "-N", "word"], None),
    "another format": ([KEYGEN, "-m", "PEM", "-N", "word"], None),
    "no rounds": ([KEYGEN, "-a", "0", "-N", "word"], None),
    "rounds that are none": ([KEYGEN, "-a", "x", "-N", "word"], None),
    "rounds beyond measure": ([KEYGEN, "-a", "9" * 5000, "-N", "word"], None),
    "no value": ([KEYGEN, "-t", "rsa", "-N"], None),
    "another program": (["tellin", "ssh", "-N", "host"], None),
    "nothing": (["tellin"], None),
}


@pytest.fixture(autouse=True)
def nothing_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_begun", [])


@pytest.mark.parametrize("name", ORDERS)
def test_only_what_will_be_needed_is_begun(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    argv, expected = ORDERS[name]
    asked: list[tuple[bytes, int]] = []

    def kdf(passphrase: bytes, salt: bytes, size: int, rounds: int, **_: bool) -> bytes:
        assert len(salt) == 16
        asked.append((passphrase, rounds))
        return bytes(size)

    monkeypatch.setattr(bcrypt, "kdf", kdf)
    ahead.begin(list(argv))
    if expected is None:
        assert not asked
        assert ahead._begun == []
    else:
        assert ahead._begun[0].result() == bytes(48)
        assert asked == [expected]


def test_a_key_is_sealed_by_what_was_begun() -> None:
    key = PrivateKey.generate("ed25519", comment="me")
    begun = Stretching(b"word", salt=b"s" * 16, rounds=2, size=48)
    data = key.to_openssh(b"word", rounds=2, stretched=begun)
    assert load_private_key(data, b"word").encode() == key.encode()
    for changes in ({"rounds": 3}, {"cipher": "aes128-ctr"}):
        with pytest.raises(UsageError, match="stretched"):
            key.to_openssh(b"word", **{"rounds": 2, "stretched": begun, **changes})
    with pytest.raises(UsageError, match="stretched"):
        key.to_openssh(b"another", rounds=2, stretched=begun)


def test_what_was_begun_serves_once() -> None:
    ahead.begin([KEYGEN, "-a", "1", "-N", "word"])
    first = ahead.stretching(b"word", 1)
    second = ahead.stretching(b"word", 1)
    assert first.salt != second.salt
    assert first.result() != second.result()
    ahead.begin([KEYGEN, "-a", "1", "-N", "word"])
    assert ahead.stretching(b"another", 1).fits(b"another", rounds=1, size=48)


def test_whoever_waits_hears_of_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def kdf(*_: object, **__: object) -> bytes:
        raise ValueError("out of order")

    monkeypatch.setattr(bcrypt, "kdf", kdf)
    begun = Stretching(b"word", salt=b"s" * 16, rounds=2, size=48)
    with pytest.raises(ValueError, match="out of order"):
        begun.result()
    assert "word" not in repr(begun)


def test_the_program_seals_with_the_passphrase_of_its_command_line(tmp_path: Path) -> None:
    salts = set()
    for name, arguments in {
        "apart": ["-N", "pass word", "-a", "2"],
        "attached": ["-Npass word", "-a2"],
        "with a mode": ["-t", "ecdsa", "-N", "pass word", "-a", "2", "-Z", "aes128-ctr"],
    }.items():
        path = tmp_path / name
        command = [TELLIN, "ssh-keygen", "-q", "-f", path, *arguments]
        subprocess.run(command, check=True, timeout=100)
        data = path.read_bytes()
        assert load_private_key(data, b"pass word")
        salts.add(data[:200])
    assert len(salts) == 3


def test_a_refused_command_line_is_refused_whatever_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = ["ssh-keygen", "-a", "1", "-N", "word", "-t", "nonsense", "-f", "x"]
    ahead.begin(argv)
    assert start(argv) == 255
    assert capfd.readouterr().err == "unknown key type nonsense\r\n"
    assert list(tmp_path.iterdir()) == []
