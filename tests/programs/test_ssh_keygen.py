# SPDX-License-Identifier: MIT
"""ssh-keygen: what it makes, what it says, and that OpenSSH's says the same."""

import binascii
import contextlib
import os
import pty
import pwd
import resource
import select
import signal
import stat
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tellin.keys import PrivateKey, PublicKey, load_private_key, load_public_key, randomart
from tellin.programs.command import start
from tellin.programs.keygen import asking as keygen_asking
from tellin.programs.keygen import files as keygen_files
from tellin.runtime import prompts

TELLIN = Path(sys.executable).with_name("tellin")
Answer = tuple[int, str, str]
Run = Callable[..., Answer]


@pytest.fixture
def keygen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    """Run our ssh-keygen in this process, in ``tmp_path``, with ``typed`` as its standard input."""
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str | Path, typed: str = "") -> Answer:
        with _standard_input(typed):
            status = start(["ssh-keygen", *map(str, arguments)])
        captured = capfd.readouterr()
        # Lines of standard error end in CR LF; what is to the byte is tested with processes.
        return status, captured.out, captured.err.replace("\r\n", "\n")

    return run


@contextlib.contextmanager
def _standard_input(text: str) -> Iterator[None]:
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    before = os.dup(0)
    os.dup2(reading, 0)
    os.close(reading)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


def put(path: Path, data: bytes) -> Path:
    path.touch(0o600)
    path.write_bytes(data)
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- making --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "key_type", "bits", "named"),
    [
        ([], "ssh-ed25519", 256, "ed25519"),
        (["-t", "ed25519"], "ssh-ed25519", 256, "ed25519"),
        (["-t", "ED25519", "-b", "77"], "ssh-ed25519", 256, "ED25519"),
        (["-tssh-ed25519"], "ssh-ed25519", 256, "ssh-ed25519"),
        (["-t", "ecdsa"], "ecdsa-sha2-nistp256", 256, "ecdsa"),
        (["-t", "ecdsa", "-b", "521"], "ecdsa-sha2-nistp521", 521, "ecdsa"),
        (
            ["-t", "ecdsa-sha2-nistp384"],
            "ecdsa-sha2-nistp384",
            384,
            "ecdsa-sha2-nistp384",
        ),
        (["-trsa", "-b2048"], "ssh-rsa", 2048, "rsa"),
        (["-t", "rsa-sha2-512", "-b", "2048"], "ssh-rsa", 2048, "rsa-sha2-512"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_key_is_made_and_told_of_as_openssh_tells(
    keygen: Run, tmp_path: Path, *, arguments: list[str], key_type: str, bits: int, named: str
) -> None:
    status, said, complained = keygen(*arguments, "-N", "", "-C", "me too", "-f", "new")
    key = load_private_key((tmp_path / "new").read_bytes())
    assert (key.public.key_type, key.public.bits, key.comment) == (key_type, bits, "me too")
    line = (tmp_path / "new.pub").read_text()
    assert line == key.public.to_line() + "\n"
    assert (mode(tmp_path / "new"), mode(tmp_path / "new.pub")) == (0o600, 0o644)
    assert (status, complained) == (0, "")
    assert said == (
        f"Generating public/private {named} key pair.\n"
        "Your identification has been saved in new\n"
        "Your public key has been saved in new.pub\n"
        "The key fingerprint is:\n"
        f"{key.public.fingerprint()} me too\n"
        "The key's randomart image is:\n"
        f"{randomart(key.public)}\n"
    )


def test_quiet_says_nothing(keygen: Run, tmp_path: Path) -> None:
    assert keygen("-qN", "", "-f", "new", "-C", "") == (0, "", "")
    # OpenSSH writes the blank also before no comment.
    assert (tmp_path / "new.pub").read_text().endswith(" \n")


def test_the_comment_is_user_at_host_unless_given(keygen: Run, tmp_path: Path) -> None:
    assert keygen("-q", "-N", "", "-f", "new")[0] == 0
    name = load_public_key((tmp_path / "new.pub").read_bytes()).comment
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True)
    assert name == f"{user.stdout.strip()}@{os.uname().nodename}"


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["-t", "dsa"], 255, "unknown key type dsa"),
        (["-t", "rsa", "-b", "1024"], 255, "Invalid RSA key length: minimum is 2048 bits"),
        (["-t", "rsa", "-b", "16385"], 255, "Invalid RSA key length: maximum is 16384 bits"),
        (
            ["-t", "ecdsa", "-b", "300"],
            255,
            "Invalid ECDSA key length: valid lengths are 256, 384 or 521 bits",
        ),
        (["-b", "many"], 255, "Bits has bad value many (invalid)"),
        (["-b", "-5"], 255, "Bits has bad value -5 (too small)"),
        (["-b", "9" * 5000], 255, "Bits has bad value " + "9" * 5000 + " (invalid)"),
        (["-b", "99999999999"], 255, "Bits has bad value 99999999999 (too large)"),
        (["-a", "0"], 255, "Invalid number: 0 (too small)"),
        (["-a", "x"], 255, "Invalid number: x (invalid)"),
        (["-Z", "rot13"], 255, "Invalid OpenSSH-format cipher 'rot13'"),
        (["-m", "XML"], 255, 'Unsupported conversion format "XML"'),
        (["-E", "crc32"], 255, 'Invalid hash algorithm "crc32"'),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_what_makes_no_key_is_refused(
    keygen: Run, tmp_path: Path, arguments: list[str], status: int, complaint: str
) -> None:
    got = keygen("-f", "new", "-N", "", *arguments)
    assert (got[0], got[2]) == (status, complaint + "\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (["-x"], "unknown option -- x"),
        (["--help"], "unknown option -- -"),
        (["-b"], "option requires an argument -- b"),
        (["word"], "Too many arguments."),
        (["-q", "--", "-q"], "Too many arguments."),
        (["-p", "-c"], "Can only have one of -p and -c."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_line_that_is_none_gets_the_usage(
    keygen: Run, arguments: list[str], first: str
) -> None:
    status, said, complained = keygen(*arguments)
    assert (status, said) == (1, "")
    assert complained.splitlines()[0] == first
    assert complained.splitlines()[1].startswith("usage: ssh-keygen ")
    assert "ssh-keygen -e" in complained


def test_an_old_key_is_replaced_only_with_consent(keygen: Run, tmp_path: Path) -> None:
    path = put(tmp_path / "old", b"old")
    for answer in ("", "n\n", "no\n", "\n"):
        status, said, _ = keygen("-t", "ed25519", "-N", "", "-f", "old", typed=answer)
        assert status == 1
        assert said.endswith("old already exists.\nOverwrite (y/n)? ")
        assert path.read_bytes() == b"old"
    # A key written over a file that all may read must not be readable for a moment.
    path.chmod(0o644)
    assert keygen("-N", "", "-f", "old", typed="yes\n")[0] == 0
    assert load_private_key(path.read_bytes())
    assert mode(path) == 0o600


def test_the_file_is_asked_for_with_the_default_of_its_kind(keygen: Run, tmp_path: Path) -> None:
    status, said, _ = keygen("-t", "ecdsa", "-N", "", typed=f"{tmp_path}/asked\n")
    assert status == 0
    assert "Enter file in which to save the key (" in said
    assert "/.ssh/id_ecdsa): " in said
    assert (tmp_path / "asked").exists()
    # At the end of the input nothing is made.
    status, said, _ = keygen("-N", "")
    assert status == 1
    assert said.endswith("/.ssh/id_ed25519): ")


def test_passphrases_come_from_standard_input_without_a_terminal(
    tmp_path: Path,
) -> None:
    path = tmp_path / "new"
    done = subprocess.run(
        [TELLIN, "ssh-keygen", "-q", "-a", "1", "-f", path],
        input="one\ntwo\nthe same\nthe same\n",
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
        env=_no_askpass(),
    )
    assert done.returncode == 0, done.stderr
    question = f'Enter passphrase for "{path}" (empty for no passphrase): '
    again = "Enter same passphrase again: "
    assert done.stderr == (question + again) * 2
    assert done.stdout == "Passphrases do not match.  Try again.\n"
    assert load_private_key(path.read_bytes(), b"the same")


def _no_askpass() -> dict[str, str]:
    gone = {"DISPLAY", "WAYLAND_DISPLAY", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE"}
    return {name: value for name, value in os.environ.items() if name not in gone}


@pytest.mark.parametrize("passphrase", ["a", "abcd"])
def test_a_passphrase_too_short_for_the_old_formats_is_refused(
    keygen: Run, tmp_path: Path, passphrase: str
) -> None:
    for form in ("PEM", "PKCS8"):
        got = keygen("-q", "-t", "ecdsa", "-N", passphrase, "-m", form, "-f", "new")
        assert got[0] == 1
        assert got[2] == (
            'Saving key "new" failed: passphrase is too short (minimum five characters)\n'
        )
    assert list(tmp_path.iterdir()) == []


def test_formats_and_ciphers_are_those_asked_for(keygen: Run, tmp_path: Path) -> None:
    begins = {
        ("ecdsa", "PEM", ""): b"-----BEGIN EC PRIVATE KEY-----",
        ("ecdsa", "pkcs8", ""): b"-----BEGIN PRIVATE KEY-----",
        ("ecdsa", "PKCS8", "passphrase"): b"-----BEGIN ENCRYPTED PRIVATE KEY-----",
        ("ecdsa", "RFC4716", ""): b"-----BEGIN OPENSSH PRIVATE KEY-----",
        ("ed25519", "PEM", ""): b"-----BEGIN OPENSSH PRIVATE KEY-----",
        ("ed25519", "PKCS8", ""): b"-----BEGIN PRIVATE KEY-----",
    }
    for number, ((kind, form, passphrase), begin) in enumerate(begins.items()):
        path = tmp_path / str(number)
        assert keygen("-q", "-t", kind, "-m", form, "-N", passphrase, "-f", path)[0] == 0
        assert path.read_bytes().startswith(begin + b"\n")
    path = tmp_path / "gcm"
    arguments = ["-q", "-N", "x", "-a", "2", "-Z", "aes128-gcm@openssh.com", "-f", str(path)]
    assert keygen(*arguments)[0] == 0
    raw = binascii.a2b_base64(b"".join(path.read_bytes().splitlines()[1:-1]))
    assert b"aes128-gcm@openssh.com" in raw
    assert b"\0\0\0\2\0\0\0\1" in raw


# --- writing (case 287, R120) --------------------------------------------------------------------


def test_case_287_a_directory_that_is_not_there_is_told_of(keygen: Run, tmp_path: Path) -> None:
    got = keygen("-q", "-N", "", "-f", "/nonexistent/new")
    assert (got[0], got[2]) == (
        1,
        'Saving key "/nonexistent/new" failed: No such file or directory\n',
    )
    (tmp_path / "directory").mkdir()
    got = keygen("-q", "-N", "", "-f", "directory", typed="y\n")
    assert (got[0], got[2]) == (1, 'Saving key "directory" failed: Is a directory\n')


@contextlib.contextmanager
def _full_disk(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_case_287_a_full_disk_leaves_the_old_key_and_nothing_else(tmp_path: Path) -> None:
    path = put(tmp_path / "key", b"old")
    with _full_disk(100), pytest.raises(OSError, match="large"):
        keygen_files.write(str(path), b"x" * 1000, mode=0o600, replace=True)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_case_287_a_new_key_does_not_replace_one_that_came_up_meanwhile(tmp_path: Path) -> None:
    path = put(tmp_path / "key", b"of another process")
    with pytest.raises(FileExistsError):
        keygen_files.write(str(path), b"ours", mode=0o600, replace=False)
    assert path.read_bytes() == b"of another process"
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_r120_a_private_key_is_never_readable_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # R120: the mode is given to open() itself, whatever the umask is, and nothing is followed.
    seen: list[tuple[int, int]] = []
    real = os.open

    def watched(path: str, flags: int, *rest: int) -> int:
        descriptor = real(path, flags, *rest)
        seen.append((flags & os.O_EXCL, stat.S_IMODE(os.fstat(descriptor).st_mode)))
        return descriptor

    monkeypatch.setattr(os, "open", watched)
    before = os.umask(0)
    try:
        keygen_files.write(str(tmp_path / "key"), b"secret", mode=0o600, replace=False)
    finally:
        os.umask(before)
    assert seen == [(os.O_EXCL, 0o600)]
    assert mode(tmp_path / "key") == 0o600


def test_a_link_is_kept_and_its_target_replaced(keygen: Run, tmp_path: Path) -> None:
    key = PrivateKey.generate("ed25519", comment="old")
    put(tmp_path / "real", key.to_openssh()).chmod(0o400)
    (tmp_path / "link").symlink_to("real")
    assert keygen("-q", "-c", "-C", "new", "-f", "link")[0] == 0
    assert (tmp_path / "link").is_symlink()
    assert load_private_key((tmp_path / "real").read_bytes()).comment == "new"
    assert mode(tmp_path / "real") == 0o400


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    keygen_files.write(str(fifo), b"a key", mode=0o600, replace=True)
    assert os.read(reading, 100) == b"a key"
    os.close(reading)
    assert stat.S_ISFIFO(fifo.stat().st_mode)


# --- reading (case 283) --------------------------------------------------------------------------

BOX = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
Permissions {mode} for 'key' are too open.
It is required that your private key files are NOT accessible by others.
This private key will be ignored.
"""


@pytest.mark.parametrize("bits", [0o644, 0o640, 0o604, 0o601, 0o660])
def test_case_283_a_private_key_that_others_may_touch_is_not_used(
    keygen: Run, tmp_path: Path, bits: int
) -> None:
    put(tmp_path / "key", PrivateKey.generate("ed25519").to_openssh()).chmod(bits)
    status, said, complained = keygen("-y", "-f", "key")
    assert (status, said) == (255, "")
    assert complained == BOX.format(mode=f"{bits:04o}") + 'Load key "key": bad permissions\n'


def test_case_283_a_private_key_of_another_user_is_not_used(
    keygen: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "key", PrivateKey.generate("ed25519").to_openssh())
    owner = os.getuid() + 4000
    real = os.fstat

    def of_another(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        return os.stat_result((*found[:4], owner, *found[5:]))

    monkeypatch.setattr(keygen_files.os, "fstat", of_another)
    monkeypatch.setattr(keygen_files.os, "getuid", lambda: owner + 1)
    status, said, complained = keygen("-y", "-f", "key")
    assert (status, said) == (255, "")
    assert f"'key' belongs to user {owner}" in complained
    assert complained.endswith('Load key "key": bad permissions\n')


def test_a_damaged_key_is_told_of_with_its_cause(keygen: Run, tmp_path: Path) -> None:
    data = PrivateKey.generate("ed25519").to_openssh()
    put(tmp_path / "key", data.replace(b"END", b"FIN"))
    got = keygen("-y", "-f", "key")
    assert got == (255, "", 'Load key "key": an openssh-key-v1 armour without its end\n')


def test_file_names_cannot_steer_the_terminal(keygen: Run, tmp_path: Path) -> None:
    name = "\x1b[2Jkey"
    put(tmp_path / name, b"no key")
    for arguments in (["-y"], ["-l"], ["-p"], ["-c"], ["-e"], ["-im", "PKCS8"]):
        _, said, complained = keygen(*arguments, "-f", name)
        assert "\x1b" not in said + complained
        assert "\\033[2Jkey" in said + complained


def test_a_stranger_with_many_rounds_needs_consent(keygen: Run, tmp_path: Path) -> None:
    # R074: -a says how much work is bearable.
    # Making such a file would take half a minute: the number alone is changed.
    raw = binascii.a2b_base64(
        b"".join(PrivateKey.generate("ed25519").to_openssh(b"x", rounds=3).splitlines()[1:-1])
    )
    begin_line, end_line = (f"-----{word} OPENSSH PRIVATE KEY-----" for word in ("BEGIN", "END"))
    raw = raw.replace(b"\0\0\0\3\0\0\0\1", b"\0\0\x08\1\0\0\0\1")
    encoded = binascii.b2a_base64(raw, newline=False).decode()
    put(tmp_path / "key", f"{begin_line}\n{encoded}\n{end_line}\n".encode())
    begin = time.process_time()
    status, _, complained = keygen("-y", "-P", "x", "-f", "key")
    assert time.process_time() - begin < 1
    assert status == 255
    assert "2049 rounds, where 2048 are allowed" in complained


# --- host keys -----------------------------------------------------------------------------------


def test_missing_host_keys_are_made_and_present_ones_kept(keygen: Run, tmp_path: Path) -> None:
    place = tmp_path / "etc" / "ssh"
    place.mkdir(parents=True)
    (place / "ssh_host_ecdsa_key").write_bytes(b"")
    status, said, complained = keygen("-A", "-f", tmp_path)
    assert (status, complained) == (0, "")
    assert said == "ssh-keygen: generating new host keys: RSA ECDSA ED25519 \n"
    made = {entry.name: entry.read_bytes() for entry in place.iterdir()}
    assert sorted(made) == sorted(
        f"ssh_host_{kind}_key{end}" for kind in ("rsa", "ecdsa", "ed25519") for end in ("", ".pub")
    )
    for kind in ("rsa", "ecdsa", "ed25519"):
        key = load_private_key(made[f"ssh_host_{kind}_key"])
        assert key.public == load_public_key(made[f"ssh_host_{kind}_key.pub"])
        assert key.public.kind == kind.upper()
    assert mode(place / "ssh_host_rsa_key") == 0o600
    assert keygen("-A", "-f", tmp_path) == (0, "", "")
    (place / "ssh_host_ed25519_key").unlink()
    assert keygen("-A", "-f", tmp_path) == (
        0,
        "ssh-keygen: generating new host keys: ED25519 \n",
        "",
    )
    changed = {entry.name for entry in place.iterdir() if entry.read_bytes() != made[entry.name]}
    assert changed == {"ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"}


def test_host_keys_that_cannot_be_written_are_told_of(keygen: Run) -> None:
    status, _, complained = keygen("-q", "-A", "-f", "/nonexistent")
    assert status == 1
    assert len(complained.splitlines()) == 3
    assert "/nonexistent/etc/ssh/ssh_host_rsa_key: " in complained


# --- changing ------------------------------------------------------------------------------------


def test_a_passphrase_is_changed_and_taken_off(keygen: Run, tmp_path: Path) -> None:
    key = PrivateKey.generate("ed25519", comment="me")
    path = put(tmp_path / "key", key.to_openssh())
    done = "Key has comment 'me'\nYour identification has been saved with the new passphrase.\n"
    assert keygen("-p", "-f", "key", "-P", "", "-N", "one", "-a", "1") == (0, done, "")
    assert load_private_key(path.read_bytes(), b"one").encode() == key.encode()
    got = keygen("-p", "-f", "key", "-P", "wrong", "-N", "two")
    assert got == (
        255,
        "",
        "Failed to load key key: incorrect passphrase supplied to decrypt private key\n",
    )
    assert load_private_key(path.read_bytes(), b"one").encode() == key.encode()
    assert keygen("-p", "-f", "key", "-P", "one", "-N", "") == (0, done, "")
    assert load_private_key(path.read_bytes()).encode() == key.encode()
    assert load_private_key(path.read_bytes()).comment == "me"
    assert mode(path) == 0o600


def test_a_key_is_brought_into_another_format(keygen: Run, tmp_path: Path) -> None:
    key = PrivateKey.generate("ecdsa", comment="me")
    path = put(tmp_path / "key", key.to_openssh())
    for form in ("PEM", "PKCS8", "RFC4716"):
        assert keygen("-p", "-f", "key", "-P", "", "-N", "", "-m", form)[0] == 0
        assert load_private_key(path.read_bytes()).encode() == key.encode()


def test_a_comment_is_changed_in_both_files(keygen: Run, tmp_path: Path) -> None:
    key = PrivateKey.generate("ed25519", comment="old one")
    path = put(tmp_path / "key", key.to_openssh(b"x", rounds=1))
    got = keygen("-c", "-f", "key", "-P", "x", "-C", "new one", "-a", "1")
    assert got == (0, "Old comment: old one\nComment 'new one' applied\n", "")
    assert load_private_key(path.read_bytes(), b"x").comment == "new one"
    assert (tmp_path / "key.pub").read_text().endswith(" new one\n")
    got = keygen("-c", "-f", "key", "-P", "x", "-a", "1", typed="typed one\n")
    assert got == (0, "Old comment: new one\nNew comment: Comment 'typed one' applied\n", "")
    got = keygen("-c", "-f", "key", "-P", "x", "-C", "", "-a", "1")
    assert got == (0, "Old comment: typed one\nComment removed\n", "")
    assert keygen("-c", "-f", "key", "-P", "x", "-a", "1")[0] == 1
    assert load_private_key(path.read_bytes(), b"x").comment == ""


# --- beside OpenSSH ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exhibits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of key files of all sorts, made by OpenSSH."""
    place = tmp_path_factory.mktemp("exhibits")

    def make(name: str, *arguments: str) -> None:
        command = ["ssh-keygen", "-q", *arguments, "-f", name]
        subprocess.run(command, cwd=place, check=True, capture_output=True)

    make("plain", "-t", "ed25519", "-N", "", "-C", "a comment")
    make("sealed", "-t", "ed25519", "-N", "secret", "-C", "sealed comment", "-a", "1")
    make("ecdsa", "-t", "ecdsa", "-b", "521", "-N", "", "-C", "")
    make("pem", "-t", "ecdsa", "-N", "", "-m", "PEM", "-C", "of pem")
    make("rsa", "-t", "rsa", "-b", "2048", "-N", "secret", "-m", "PKCS8", "-C", "of rsa")
    for name in ("plain", "sealed", "ecdsa", "pem", "rsa"):
        (place / f"bare-{name}").write_bytes((place / name).read_bytes())
        (place / f"bare-{name}").chmod(0o600)
    (place / "open").write_bytes((place / "plain").read_bytes())
    (place / "open").chmod(0o644)
    public = (place / "plain.pub").read_text().strip()
    key_type, blob, _ = public.split(" ", 2)
    rsa = (place / "rsa.pub").read_text().strip()
    (place / "many").write_text(
        f'# a comment\n\nhost.example {public}\nfrom="a b",command="echo \\"x y\\"" {rsa}\n'
        f"junk\nhost {key_type} {blob}\n  {public}  \n@revoked * {public}\n{public}\twith\ttabs\n"
    )
    (place / "odd").write_bytes(f"{key_type} {blob} a\tb\033c\351 \u00e9 ".encode("latin-1"))
    for name in ("ecdsa", "pem", "rsa"):
        for form in ("RFC4716", "PKCS8", "PEM"):
            exported = subprocess.run(
                ["ssh-keygen", "-e", "-m", form, "-f", f"{name}.pub"],
                cwd=place,
                check=True,
                capture_output=True,
            )
            (place / f"{name}.{form}").write_bytes(exported.stdout)
    (place / "empty").touch()
    (place / "directory").mkdir()
    return place


FILES = [
    *("plain", "plain.pub", "sealed", "sealed.pub", "ecdsa", "ecdsa.pub", "pem", "pem.pub"),
    *("rsa", "rsa.pub", "bare-plain", "bare-sealed", "bare-ecdsa", "bare-pem", "bare-rsa"),
    *("open", "many", "odd", "empty", "directory", "missing"),
]
SHOWING = [
    *(["-l"], ["-lE", "md5"], ["-l", "-E", "SHA512"], ["-lEsha1"], ["-B"]),
    *(["-y", "-P", ""], ["-y", "-P", "secret"], ["-y", "-P", "wrong"]),
    *(["-e", "-P", ""], ["-e", "-m", "RFC4716", "-P", "secret"], ["-em", "PEM", "-P", ""]),
]


def openssh(place: Path, arguments: Sequence[str]) -> Answer:
    done = subprocess.run(
        ["ssh-keygen", *arguments],
        cwd=place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return (
        done.returncode,
        done.stdout.decode("utf-8", "replace"),
        done.stderr.decode("utf-8", "replace").replace("\r\n", "\n"),
    )


@pytest.mark.peer("openssh")
@pytest.mark.parametrize("arguments", SHOWING, ids=" ".join)
def test_every_file_is_shown_as_openssh_shows_it(
    keygen: Run, exhibits: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(exhibits)
    for name in FILES:
        command = [*arguments, "-f", name]
        ours, theirs = keygen(*command), openssh(exhibits, command)
        if theirs[2].endswith("error in libcrypto\n"):
            # What OpenSSL makes of a file that is no key; ours says what is wrong.
            assert ours[:2] == theirs[:2]
            assert ours[2].startswith(f'Load key "{name}": ')
        else:
            assert ours == theirs, command


@pytest.mark.peer("openssh")
@pytest.mark.parametrize("arguments", [["-lv"], ["-lvE", "md5"], ["-Bv"]], ids=" ".join)
def test_every_picture_is_that_of_openssh(
    keygen: Run, exhibits: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(exhibits)
    for name in FILES:
        command = [*arguments, "-f", name]
        # With -v OpenSSH also tells on standard error what it tried.
        assert keygen(*command)[:2] == openssh(exhibits, command)[:2], command


@pytest.mark.peer("openssh")
@pytest.mark.parametrize("form", ["RFC4716", "PKCS8", "PEM"])
def test_other_formats_are_read_and_written_as_openssh_does(
    keygen: Run, exhibits: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.chdir(exhibits)
    for name in ("ecdsa", "pem", "rsa"):
        written = (exhibits / f"{name}.{form}").read_text()
        assert keygen("-e", "-m", form, "-f", f"{name}.pub") == (0, written, "")
        line = " ".join((exhibits / f"{name}.pub").read_text().split()[:2])
        arguments = ["-i", "-m", form, "-f", f"{name}.{form}"]
        assert keygen(*arguments) == openssh(exhibits, arguments)
        assert keygen("-i", "-f", "-", typed=written) == (0, f"{line}\n", "")


def test_a_file_to_import_that_holds_no_key_is_refused(keygen: Run, tmp_path: Path) -> None:
    put(tmp_path / "words", b"some words")
    status, said, complained = keygen("-i", "-f", "words")
    assert (status, said) == (255, "")
    assert complained == "do_convert_from_ssh2: parse key: invalid format\n"
    status, said, complained = keygen("-i", "-m", "PKCS8", "-f", "words")
    assert (status, said) == (255, "")
    assert complained == "do_convert_from_pkcs8: words is not a recognised public key format\n"


def test_ed25519_has_no_pem_form_but_a_pkcs8_one(keygen: Run, tmp_path: Path) -> None:
    key = PrivateKey.generate("ed25519")
    put(tmp_path / "key", key.to_openssh())
    assert keygen("-e", "-m", "PEM", "-f", "key") == (
        255,
        "",
        "do_convert_to_pem: unsupported key type ED25519\n",
    )
    status, said, _ = keygen("-e", "-m", "PKCS8", "-f", "key")
    assert (status, load_public_key(said.encode())) == (0, key.public)


def test_keys_are_read_from_standard_input(keygen: Run) -> None:
    key = PrivateKey.generate("ed25519", comment="me").public
    shown = f"256 {key.fingerprint()} me (ED25519)\n"
    assert keygen("-l", "-f", "-", typed=key.to_line()) == (0, shown, "")
    got = keygen("-l", "-f", "-", typed="words\n")
    assert got == (255, "", "(stdin) is not a public key file.\n")


@pytest.mark.peer("openssh")
@pytest.mark.parametrize(
    "arguments",
    [
        ["-t", "nonsense", "-f", "x"],
        ["-q", "-N", "", "-f", "/nonexistent/x"],
        ["-p", "-f", "missing"],
        ["-p", "-f", "sealed", "-P", "wrong", "-N", "x"],
        ["-p", "-f", "open", "-P", "", "-N", ""],
        ["-c", "-f", "sealed", "-P", "wrong", "-C", "x"],
        ["-c", "-f", "rsa", "-P", "wrong", "-C", "x"],
        ["-c", "-f", "pem", "-m", "PEM", "-C", "x"],
        ["-Z", "nonsense"],
        ["-a", "0"],
        ["-m", "nonsense"],
        ["-E", "nonsense"],
        ["-b", "0"],
    ],
    ids=" ".join,
)
def test_refusals_are_those_of_openssh_to_the_byte(exhibits: Path, arguments: list[str]) -> None:
    answers = [
        subprocess.run(
            [*program, *arguments],
            cwd=exhibits,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        for program in (["ssh-keygen"], [TELLIN, "ssh-keygen"])
    ]
    theirs, ours = ((done.returncode, done.stdout, done.stderr) for done in answers)
    assert ours == theirs


# --- prompts -------------------------------------------------------------------------------------


class Terminal:
    """A process of ours on a terminal of its own, and somebody who types there."""

    def __init__(self, *arguments: str | Path, environment: dict[str, str] | None = None) -> None:
        self.master, slave = pty.openpty()
        self.before = termios.tcgetattr(self.master)
        become = (
            "import fcntl, os, sys, termios; os.setsid();"
            " fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", become, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment or _no_askpass(),
        )
        os.close(slave)
        self.seen = ""

    def expect(self, text: str, *, after: int = 0) -> None:
        deadline = time.monotonic() + 20
        while text not in self.seen[after:]:
            assert time.monotonic() < deadline, self.seen
            ready, _, _ = select.select([self.master], [], [], 0.2)
            if ready:
                try:
                    piece = os.read(self.master, 4096)
                except OSError:
                    piece = b""
                assert piece, f"the terminal closed after {self.seen!r}"
                self.seen += piece.decode()

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for_echo(self, *, on: bool) -> None:
        deadline = time.monotonic() + 20
        while bool(termios.tcgetattr(self.master)[3] & termios.ECHO) is not on:
            assert time.monotonic() < deadline, self.seen
            time.sleep(0.01)

    def end(self) -> int:
        # What it still prints must be read, or it waits for ever.
        deadline = time.monotonic() + 20
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.seen
            ready, _, _ = select.select([self.master], [], [], 0.05)
            if ready:
                with contextlib.suppress(OSError):
                    self.seen += os.read(self.master, 4096).decode()
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_terminal(*arguments: str | Path, **more: dict[str, str]) -> Terminal:
        opened.append(Terminal(*arguments, **more))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.close()


OpenTerminal = Callable[..., Terminal]


def test_a_passphrase_is_typed_unseen(terminal: OpenTerminal, tmp_path: Path) -> None:
    one = terminal(TELLIN, "ssh-keygen", "-q", "-a", "1", "-f", tmp_path / "new")
    one.expect("(empty for no passphrase): ")
    one.wait_for_echo(on=False)
    one.type("pass word\n")
    one.expect("\nEnter same passphrase again: ")
    one.wait_for_echo(on=False)
    one.type("pass word\n")
    assert one.end() == 0
    assert "pass word" not in one.seen
    assert termios.tcgetattr(one.master)[3] == one.before[3]
    assert load_private_key((tmp_path / "new").read_bytes(), b"pass word")


def test_an_encrypted_key_is_opened_by_what_is_typed(
    terminal: OpenTerminal, tmp_path: Path
) -> None:
    key = PrivateKey.generate("ed25519")
    path = put(tmp_path / "key", key.to_openssh(b"x y", rounds=1))
    one = terminal(TELLIN, "ssh-keygen", "-y", "-f", path)
    one.expect(f'Enter passphrase for "{path}": ')
    one.wait_for_echo(on=False)
    one.type("x y\n")
    one.expect(key.public.to_line())
    assert one.end() == 0


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT], ids=str
)
def test_a_signal_ends_the_question_and_the_echo_comes_back(
    terminal: OpenTerminal, tmp_path: Path, number: signal.Signals
) -> None:
    one = terminal(TELLIN, "ssh-keygen", "-q", "-f", tmp_path / "new")
    one.expect("(empty for no passphrase): ")
    one.wait_for_echo(on=False)
    # No core file from SIGQUIT.
    resource.prlimit(one.process.pid, resource.RLIMIT_CORE, (0, 0))
    one.process.send_signal(number)
    status = one.end()
    assert status == (130 if number is signal.SIGINT else -number)
    assert termios.tcgetattr(one.master)[3] == one.before[3]
    assert list(tmp_path.iterdir()) == []


def test_control_c_ends_the_question_too(terminal: OpenTerminal, tmp_path: Path) -> None:
    one = terminal(TELLIN, "ssh-keygen", "-q", "-f", tmp_path / "new")
    one.expect("(empty for no passphrase): ")
    one.wait_for_echo(on=False)
    one.type("half a passphrase\x03")
    assert one.end() == 130
    assert termios.tcgetattr(one.master)[3] == one.before[3]


def test_a_stopped_question_is_asked_again(terminal: OpenTerminal, tmp_path: Path) -> None:
    one = terminal(TELLIN, "ssh-keygen", "-q", "-a", "1", "-f", tmp_path / "new")
    question = "(empty for no passphrase): "
    one.expect(question)
    one.wait_for_echo(on=False)
    # A session leader without a parent in its session is never stopped by the terminal, so
    # stopping shows here as asking once more.
    one.process.send_signal(signal.SIGTSTP)
    one.expect(question, after=one.seen.index(question) + len(question))
    one.wait_for_echo(on=False)
    one.type("x\n")
    one.expect("again: ")
    one.wait_for_echo(on=False)
    one.type("x\n")
    assert one.end() == 0
    assert load_private_key((tmp_path / "new").read_bytes(), b"x")


def askpass(path: Path, text: str, status: int = 0) -> Path:
    path.write_text(
        f'#!/bin/sh\nprintf \'%s|%s\\n\' "$1" "$SSH_ASKPASS_PROMPT" >>{path}.log\n'
        f"printf '%s' '{text}'\nexit {status}\n"
    )
    path.chmod(0o700)
    return path


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({"SSH_ASKPASS_REQUIRE": "force"}, True),
        ({"SSH_ASKPASS_REQUIRE": "FORCE", "DISPLAY": ":0"}, True),
        ({"SSH_ASKPASS_REQUIRE": "prefer", "DISPLAY": ":0"}, True),
        ({"SSH_ASKPASS_REQUIRE": "prefer", "WAYLAND_DISPLAY": "w"}, True),
        ({"SSH_ASKPASS_REQUIRE": "prefer"}, False),
        ({"SSH_ASKPASS_REQUIRE": "never", "DISPLAY": ":0"}, False),
        ({"DISPLAY": ":0"}, True),
        ({"DISPLAY": ""}, False),
        ({}, False),
    ],
    ids=lambda value: (
        " ".join(f"{a}={b}" for a, b in value.items()) or "nothing"
        if isinstance(value, dict)
        else ""
    ),
)
def test_the_askpass_program_is_asked_when_openssh_would(
    tmp_path: Path, environment: dict[str, str], asked: bool
) -> None:
    program = askpass(tmp_path / "askpass", "from the program\r\nmore")
    with _standard_input("from the input\n"):
        answer = prompts.ask(
            "Question? ",
            standard_input=True,
            environment={"SSH_ASKPASS": str(program), **environment},
        )
    if asked:
        assert answer == "from the program"
        assert (tmp_path / "askpass.log").read_text() == "Question? |\n"
    else:
        # Whoever runs the tests may have a terminal; then it would be asked.
        assert not (tmp_path / "askpass.log").exists()
        assert answer == "from the input"


@pytest.fixture(autouse=True)
def _no_terminal_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the terminal that the tests may be run on."""
    real = os.open

    def without_terminal(path: str, flags: int, *rest: int, **more: int) -> int:
        if path == "/dev/tty":
            raise OSError(6, "No such device or address")
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(prompts.os, "open", without_terminal)


def test_an_askpass_program_that_says_no_is_no_answer(tmp_path: Path) -> None:
    force = {"SSH_ASKPASS_REQUIRE": "force"}
    no = askpass(tmp_path / "no", "an answer", status=1)
    assert prompts.ask("?", environment={"SSH_ASKPASS": str(no), **force}) is None
    gone = {"SSH_ASKPASS": "/nonexistent/askpass", **force}
    assert prompts.ask("?", environment=gone) is None
    yes = askpass(tmp_path / "yes", "")
    confirming = {"SSH_ASKPASS": str(yes), **force}
    assert prompts.ask("Really\0?", confirm=True, environment=confirming) == ""
    assert (tmp_path / "yes.log").read_text() == "Really?|confirm\n"


def test_without_anybody_to_ask_there_is_no_answer() -> None:
    with _standard_input("not for this"):
        assert prompts.ask("?", environment={}) is None
    with _standard_input(""):
        assert prompts.ask("?", standard_input=True, environment={}) is None


def test_lines_are_bounded_and_end_as_they_end() -> None:
    from tellin.errors import UsageError

    with _standard_input("a\r\n\nb\udce9".encode("utf-8", "surrogateescape").decode("latin-1")):
        assert prompts.read_line(0) == b"a"
        assert prompts.read_line(0) == b""
        assert prompts.read_line(0) is not None
        assert prompts.read_line(0) is None
    with _standard_input("x" * (prompts.MOST_BYTES + 1)), pytest.raises(UsageError):
        prompts.read_line(0)
    with _standard_input("x" * prompts.MOST_BYTES + "\n"):
        assert prompts.read_line(0) == b"x" * prompts.MOST_BYTES


def test_prompts_work_in_a_thread_that_has_no_signals() -> None:
    from threading import Thread

    answers: list[str | None] = []
    with _standard_input("an answer\n"):
        thread = Thread(
            target=lambda: answers.append(prompts.ask("?", standard_input=True, environment={}))
        )
        thread.start()
        thread.join()
    assert answers == ["an answer"]


def test_a_public_key_made_here_is_one_line_of_known_form(keygen: Run, tmp_path: Path) -> None:
    assert keygen("-q", "-N", "", "-f", "new", "-C", "me")[0] == 0
    text = (tmp_path / "new.pub").read_text()
    assert text.count("\n") == 1
    assert PublicKey.from_line(text).comment == "me"


def test_a_new_passphrase_is_asked_for_twice(keygen: Run, tmp_path: Path) -> None:
    path = put(tmp_path / "key", PrivateKey.generate("ed25519").to_openssh())
    before = path.read_bytes()
    status, said, asked = keygen("-p", "-f", "key", typed="one\ntwo\n")
    assert status == 1
    assert said == "Key has comment ''\nPass phrases do not match.  Try again.\n"
    question = "Enter new passphrase (empty for no passphrase): "
    assert asked == question + "Enter same passphrase again: "
    assert path.read_bytes() == before
    assert keygen("-p", "-a", "1", "-f", "key", typed="one\none\n")[0] == 0
    assert load_private_key(path.read_bytes(), b"one")
    # The old one is asked for before.
    status, _, asked = keygen("-p", "-a", "1", "-f", "key", typed="one\n\n\n")
    assert (status, asked.startswith("Enter old passphrase: ")) == (0, True)
    assert load_private_key(path.read_bytes())


def test_the_users_directory_is_made_for_the_first_key(
    keygen: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = keygen_asking.account()
    at_home = pwd.struct_passwd((*user[:5], str(tmp_path), user.pw_shell))
    monkeypatch.setattr(keygen_asking.pwd, "getpwuid", lambda number: at_home)
    status, said, _ = keygen("-N", "", "-C", "", typed="\n")
    assert status == 0
    assert f"(\n{tmp_path}/.ssh/id_ed25519): ".replace("\n", "") in said
    assert f"Created directory '{tmp_path}/.ssh'.\n" in said
    assert mode(tmp_path / ".ssh") == 0o700
    assert load_private_key((tmp_path / ".ssh" / "id_ed25519").read_bytes())
    # Without the file's name the default is also what is read.
    assert keygen("-y", typed="\n")[0] == 0
    at_home = pwd.struct_passwd((*user[:5], "/nonexistent", user.pw_shell))
    status, _, complained = keygen("-q", "-N", "", typed="\n")
    assert status == 1
    assert "Could not create directory '/nonexistent/.ssh'" in complained


def test_a_user_without_an_entry_is_told_so(keygen: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(number: int) -> pwd.struct_passwd:
        raise KeyError(number)

    monkeypatch.setattr(keygen_asking.pwd, "getpwuid", nobody)
    assert keygen("-l") == (255, "", f"No user exists for uid {os.getuid()}\n")


def test_case_286_a_file_replaced_while_it_is_read_is_read_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Case 286
    path = put(tmp_path / "key", b"the first one, whole")
    real = os.read

    def in_small_pieces(descriptor: int, size: int) -> bytes:
        keygen_files.write(str(path), b"the second one", mode=0o600, replace=True)
        return real(descriptor, min(size, 5))

    monkeypatch.setattr(keygen_files.os, "read", in_small_pieces)
    assert keygen_files.read_private(str(path)) == b"the first one, whole"
    assert path.read_bytes() == b"the second one"
