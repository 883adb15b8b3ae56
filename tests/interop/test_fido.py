# SPDX-License-Identifier: MIT
"""Keys in FIDO security keys: made, fetched, signing in the client, in the agent and for files."""

import asyncio
import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from tests.interop.agents import SECONDS, TELLIN, RunningAgent
from tests.interop.pairs import ALL_SERVERS
from tests.interop.peers import Server

import tellin
from tellin.keys import load_private_key, load_public_key
from tellin.keys.token_keys import secret_of
from tellin.wire import Cursor

pytestmark = pytest.mark.peer("fido2")
KINDS = pytest.mark.parametrize("kind", ["ed25519-sk", "ecdsa-sk"])
PIN = "123456"


class Desk:
    """A person with a security key: a folder, and what programs are told when they ask."""

    def __init__(self, directory: Path, token: "SoftwareToken") -> None:
        self.directory = directory
        self.token = token
        self.environment = {
            **{n: v for n, v in os.environ.items() if not n.startswith(("SSH_", "DISPLAY"))},
            "SSH_SK_PROVIDER": token.path,
        }
        self.answers(PIN)

    def answers(self, *words: str) -> None:
        """What is typed at each question, the last one for ever."""
        program, left = self.directory / "askpass", self.directory / "answers"
        left.write_text("".join(f"{word}\n" for word in words))
        program.write_text(
            f'#!/bin/sh\necho "$SSH_ASKPASS_PROMPT|$1" >> {self.directory}/asked\n'
            f"head -n 1 {left}\n"
            f'[ "$(wc -l < {left})" -gt 1 ] && sed -i 1d {left}; exit 0\n'
        )
        program.chmod(0o755)
        self.environment |= {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}

    @property
    def asked(self) -> list[str]:
        place = self.directory / "asked"
        return place.read_text().splitlines() if place.exists() else []

    def run(self, *words: str | Path, check: bool = True, **more: str) -> "Done":
        done = subprocess.run(
            [*TELLIN, *map(str, words)],
            env={**self.environment, **more},
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    def make(self, kind: str, *options: str, name: str = "key") -> Path:
        words = [word for option in options for word in ("-O", option)]
        self.run("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", name, *words)
        return self.directory / name


Done = subprocess.CompletedProcess[str]

# Where the package is missing, the mark above skips; the names are still to be there.
try:
    from tests.software_token import SoftwareToken
except ModuleNotFoundError:
    SoftwareToken = None  # type: ignore[assignment,misc]


@pytest.fixture
def desk(home: Path) -> Iterator[Desk]:
    with SoftwareToken() as token:
        yield Desk(home, token)


@pytest.fixture
def guarded(home: Path) -> Iterator[Desk]:
    """The same with a PIN."""
    with SoftwareToken(pin=PIN) as token:
        yield Desk(home, token)


@KINDS
@pytest.mark.peer("ssh-keygen")
def test_a_key_is_made_and_openssh_reads_its_files(desk: Desk, kind: str) -> None:
    said = desk.run("ssh-keygen", "-t", kind, "-N", "", "-C", "me@here", "-f", "key").stdout
    assert said.splitlines()[:2] == [
        f"Generating public/private {kind} key pair.",
        "You may need to touch your authenticator to authorize key generation.",
    ]
    assert f"[{kind.upper()} 256]" in said
    assert desk.token.touches == 1
    shown = subprocess.run(
        ["ssh-keygen", "-y", "-f", desk.directory / "key"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown == (desk.directory / "key.pub").read_text()
    assert shown.endswith(" me@here\n")
    assert oct((desk.directory / "key").stat().st_mode)[-3:] == "600"


@KINDS
@pytest.mark.parametrize(
    "server", [pytest.param("sshd", marks=pytest.mark.peer("sshd")), "tellin"]
)
def test_ssh_logs_in_by_a_touch(desk: Desk, kind: str, server: str, tmp_path: Path) -> None:
    key = desk.make(kind)
    client = RunningAgent("tellin", desk.directory, SSH_SK_PROVIDER=desk.token.path)
    client.environment.pop("SSH_AUTH_SOCK")
    try:
        with _server(server, tmp_path, key) as serving:
            before = desk.token.touches
            done = client.logs_in("tellin", serving.target, "-i", str(key))
            assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
            fingerprint = load_public_key(Path(f"{key}.pub").read_bytes()).fingerprint()
            assert f"Confirm user presence for key {kind.upper()} {fingerprint}" in done.stderr
            assert desk.token.touches == before + 1
            # Where the security key is may stand in the configuration, and that comes first.
            del client.environment["SSH_SK_PROVIDER"]
            place = ("-o", f"SecurityKeyProvider={desk.token.path}")
            done = client.logs_in("tellin", serving.target, "-i", str(key), *place)
            assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
            assert desk.token.touches == before + 2
            client.environment["SSH_SK_PROVIDER"] = desk.token.path
            place = ("-o", "SecurityKeyProvider=/nonexistent")
            done = client.logs_in("tellin", serving.target, "-i", str(key), *place)
            assert (done.returncode, desk.token.touches) == (255, before + 2)
            # Nobody touches it: the login fails, and says why.
            desk.token.is_touched = False
            done = client.logs_in("tellin", serving.target, "-i", str(key))
            assert done.returncode == 255
            assert "nobody touched the security key" in done.stderr
    finally:
        client.stop()


@contextmanager
def _server(name: str, directory: Path, key: Path) -> Iterator[Server]:
    """One that lets nobody in but the owner of ``key``."""
    with ALL_SERVERS[name](directory) as server:
        (server.directory / "authorized_keys").write_bytes(Path(f"{key}.pub").read_bytes())
        yield server


@pytest.mark.peer("sshd")
def test_the_library_logs_in_by_a_touch(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = desk.make("ed25519-sk")
    monkeypatch.setenv("SSH_SK_PROVIDER", desk.token.path)
    known = tmp_path / "known"
    with _server("sshd", tmp_path, key) as serving:
        target = serving.target
        known.write_text(target.known_hosts(), "ascii")

        async def log_in() -> str:
            async with tellin.connect(
                target.host,
                port=target.port,
                user=target.user,
                known_hosts=known,
                keys=[key],
                config=None,
            ) as connection:
                return (await connection.run("echo in")).stdout

        before = desk.token.touches
        assert asyncio.run(log_in()) == "in\n"
        assert desk.token.touches == before + 1


@KINDS
@pytest.mark.parametrize(
    "user", ["tellin", pytest.param("openssh", marks=pytest.mark.peer("openssh"))]
)
@pytest.mark.peer("sshd")
def test_the_agent_signs_by_a_touch(desk: Desk, kind: str, user: str, tmp_path: Path) -> None:
    key = desk.make(kind)
    surroundings = {n: desk.environment[n] for n in ("SSH_ASKPASS", "SSH_ASKPASS_REQUIRE")}
    agent = RunningAgent("tellin", desk.directory, "-P", "/dev/pts/*", **surroundings)
    agent.environment["SSH_SK_PROVIDER"] = desk.token.path
    try:
        said = agent.add(user, "-S", desk.token.path, key).stderr
        assert said.startswith("Identity added: ")
        with _server("sshd", tmp_path, key) as serving:
            done = agent.logs_in(user, serving.target)
        assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
        told = [line for line in desk.asked if "Confirm user presence" in line]
        assert told
        assert told[0].startswith("none|")
    finally:
        agent.stop()


@pytest.mark.peer("sshd")
def test_verify_required_asks_for_the_pin_and_proves_it(guarded: Desk, tmp_path: Path) -> None:
    key = guarded.make("ed25519-sk", "verify-required")
    public = Path(f"{key}.pub").read_text()
    client = RunningAgent("tellin", guarded.directory, SSH_SK_PROVIDER=guarded.token.path)
    client.environment.pop("SSH_AUTH_SOCK")
    client.environment |= {n: v for n, v in guarded.environment.items() if n.startswith("SSH_")}
    try:
        with _server("sshd", tmp_path, key) as serving:
            (serving.directory / "authorized_keys").write_text(f"verify-required {public}")
            guarded.answers("000000", PIN)
            done = client.logs_in("tellin", serving.target, "-i", str(key), batch="no")
            assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
            assert sum("Enter PIN for ED25519-SK key" in line for line in guarded.asked) == 2
            assert guarded.token.retries == 8
            batch = client.logs_in("tellin", serving.target, "-i", str(key))
            assert batch.returncode == 255
            assert "wants its PIN" in batch.stderr
    finally:
        client.stop()


@pytest.mark.peer("ssh-keygen")
def test_resident_keys_are_fetched_again(guarded: Desk) -> None:
    first = guarded.make("ed25519-sk", "resident", name="first")
    second = guarded.make("ecdsa-sk", "resident", "application=ssh:work", "user=me", name="second")
    elsewhere = guarded.directory / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [*TELLIN, "ssh-keygen", "-K", "-N", ""],
        cwd=elsewhere,
        env=guarded.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = {path.name for path in elsewhere.iterdir() if path.suffix != ".pub"}
    assert names == {"id_ed25519_sk_rk", "id_ecdsa_sk_rk_work_me"}
    for made, name in ((first, "id_ed25519_sk_rk"), (second, "id_ecdsa_sk_rk_work_me")):
        again = load_private_key((elsewhere / name).read_bytes())
        assert again.encode() == load_private_key(made.read_bytes()).encode()
    assert (elsewhere / "id_ecdsa_sk_rk_work_me.pub").read_text().endswith(" ssh:work\n")
    assert "Saved ECDSA-SK key ssh:work to id_ecdsa_sk_rk_work_me" in done.stdout


def test_ssh_add_gives_resident_keys_to_the_agent(guarded: Desk) -> None:
    guarded.make("ed25519-sk", "resident")
    agent = RunningAgent("tellin", guarded.directory, "-P", "/dev/pts/*")
    agent.environment |= {n: v for n, v in guarded.environment.items() if n.startswith("SSH_")}
    agent.environment["SSH_AUTH_SOCK"] = str(agent.path)
    try:
        said = agent.add("tellin", "-K", "-t", "60").stderr
        key = load_public_key((guarded.directory / "key.pub").read_bytes())
        assert said.splitlines() == [
            f"Resident identity added: {key.key_type} {key.fingerprint()}",
            "Lifetime set to 60 seconds",
        ]
        assert key.fingerprint() in agent.add("tellin", "-l").stdout
    finally:
        agent.stop()


def test_a_second_resident_key_for_the_same_user_is_asked_about(guarded: Desk) -> None:
    guarded.make("ed25519-sk", "resident")
    done = guarded.run(
        "ssh-keygen", "-t", "ed25519-sk", "-O", "resident", "-N", "", "-f", "other", check=False
    )
    assert done.returncode == 255
    assert "A resident key scoped to 'ssh:' with user id '' already exists." in done.stdout
    assert len(guarded.token.credentials) == 1


def test_r189_a_user_id_is_not_cut_off_to_be_anothers(guarded: Desk) -> None:
    """The key of whoever has the same first 32 letters would be overwritten."""
    longest = "u" * 31
    guarded.make("ed25519-sk", "resident", f"user={longest}")
    done = guarded.run(
        "ssh-keygen", "-t", "ed25519-sk", "-O", "resident", "-O", f"user={longest}x",
        "-N", "", "-f", "other", check=False,
    )  # fmt: skip
    assert done.returncode == 255
    assert "Key enrollment failed: a user id of 32 bytes, where 31 are room for" in done.stderr
    assert [dict(one.user)["id"].rstrip(b"\0") for one in guarded.token.credentials] == [
        longest.encode()
    ]


def test_wrong_pins_are_counted_by_us_before_the_token_locks(guarded: Desk) -> None:
    guarded.answers("000000")
    done = guarded.run(
        "ssh-keygen", "-t", "ed25519-sk", "-O", "resident", "-N", "", "-f", "key", check=False
    )
    assert done.returncode == 255
    assert "Too many incorrect PINs" in done.stderr
    assert guarded.token.retries == 5
    assert not (guarded.directory / "key").exists()


def test_what_the_security_key_attests_is_written(desk: Desk) -> None:
    (desk.directory / "challenge").write_bytes(b"c" * 32)
    desk.make("ecdsa-sk", "challenge=challenge", "write-attestation=attested")
    cursor = Cursor((desk.directory / "attested").read_bytes())
    assert cursor.string() == b"ssh-sk-attest-v01"
    certificate = x509.load_der_x509_certificate(cursor.string())
    signature, wrapped = cursor.string(), cursor.string()
    assert (cursor.uint32(), cursor.string(), cursor.remaining()) == (0, b"", 0)
    from fido2 import cbor

    data = cbor.decode(wrapped)
    signer = certificate.public_key()
    assert isinstance(signer, ec.EllipticCurvePublicKey)
    signed = data + hashlib.sha256(b"c" * 32).digest()
    signer.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    assert data[:32] == hashlib.sha256(b"ssh:").digest()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("application=https://example.org", 'must begin with "ssh:"'),
        ("nonsense", 'Option "nonsense" is unsupported'),
        ("challenge=/nonexistent", "Unable to load challenge"),
        ("device=/nonexistent", "Key enrollment failed"),
    ],
)
def test_options_that_there_are_not_make_no_key(desk: Desk, option: str, words: str) -> None:
    done = desk.run(
        *("ssh-keygen", "-t", "ecdsa-sk", "-N", "", "-f", "key", "-O", option),
        check=False,
        SSH_SK_PROVIDER="internal",
    )
    assert done.returncode == 255
    assert words in done.stderr
    assert not desk.token.credentials
    assert not (desk.directory / "key").exists()


def test_flags_of_a_key_are_changed_by_p(desk: Desk) -> None:
    key = desk.make("ed25519-sk", "no-touch-required")
    assert secret_of(load_private_key(key.read_bytes())).flags == 0
    words = ("ssh-keygen", "-p", "-f", "key", "-N", "")
    desk.run(*words, "-O", "touch-required", "-O", "verify-required")
    assert secret_of(load_private_key(key.read_bytes())).flags == 5
    desk.run(*words, "-O", "no-verify-required")
    assert secret_of(load_private_key(key.read_bytes())).flags == 1


@KINDS
@pytest.mark.peer("ssh-keygen")
def test_files_are_signed_and_openssh_believes_it(desk: Desk, kind: str) -> None:
    key = desk.make(kind)
    (desk.directory / "letter").write_text("hello\n")
    desk.run("ssh-keygen", "-Y", "sign", "-f", key, "-n", "file", "letter")
    with (desk.directory / "letter").open("rb") as letter:
        done = subprocess.run(
            ["ssh-keygen", "-Y", "check-novalidate", "-n", "file", "-s", "letter.sig"],
            cwd=desk.directory,
            stdin=letter,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert f'Good "file" signature with {kind.upper()} key' in done.stdout


def test_r073_a_key_that_asks_for_no_touch_signs_without_one(desk: Desk) -> None:
    key = desk.make("ed25519-sk", "no-touch-required")
    (desk.directory / "letter").write_text("hello\n")
    before = desk.token.touches
    desk.run("ssh-keygen", "-Y", "sign", "-f", key, "-n", "file", "letter")
    assert desk.token.touches == before


def test_a_library_is_no_way_to_a_security_key(desk: Desk) -> None:
    """Whatever OpenSSH would load there, no program of ours does (R151)."""
    done = desk.run(
        *("ssh-keygen", "-t", "ed25519-sk", "-N", "", "-f", "key", "-w", "/etc/passwd"),
        check=False,
    )
    assert done.returncode == 255
    assert "/etc/passwd is no device" in done.stderr


def test_without_a_security_key_and_without_the_package_it_says_so(desk: Desk) -> None:
    words = ("ssh-keygen", "-t", "ed25519-sk", "-N", "", "-f", "key")
    if not list(Path("/dev").glob("hidraw*")):
        done = desk.run(*words, check=False, SSH_SK_PROVIDER="internal")
        assert (done.returncode, done.stderr.strip()) == (
            255,
            "Key enrollment failed: no security key is there",
        )
    (desk.directory / "fido2.py").write_text("raise ImportError")
    done = desk.run(*words, check=False, PYTHONPATH=str(desk.directory))
    assert done.returncode == 255
    assert "the package fido2" in done.stderr
