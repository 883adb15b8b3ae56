# SPDX-License-Identifier: MIT
"""What an error of the library tells: the first cause, its stage, what was tried, and what to do."""

import asyncio
import contextlib
import os
import pwd
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.library import (
    HOST_KEY,
    OTHER_KEY,
    PATIENCE,
    USER_KEY,
    awaited,
    connected,
    connecting,
    serving,
)

import tellin
from tellin.client import attempt as attempt_room
from tellin.errors import SignatureFailed
from tellin.keys import PrivateKey, PublicKey

RSA_KEY = PrivateKey.generate("rsa", bits=2048, comment="rsa")


class Token:
    """A key that a program reaches by itself."""

    def __init__(self, key: PrivateKey, before: Callable[[], object]) -> None:
        self.public: PublicKey = key.public
        self._key = key
        self._before = before

    def sign(self, data: bytes, algorithm: str) -> bytes:
        self._before()
        return self._key.sign(data, algorithm)


def fail(error: Exception) -> Callable[..., Any]:
    def raising(*_words: object) -> Any:
        raise error

    return raising


# --- keys


@pytest.mark.parametrize("later", [False, True])
@awaited
async def test_what_a_passphrase_function_raises_is_what_is_raised(later: bool) -> None:
    async def fail_later(name: str) -> str:
        await asyncio.sleep(0)
        raise LookupError(f"no passphrase for {name}")

    encrypted = USER_KEY.to_openssh(b"a passphrase", rounds=2)
    ask: Any = fail_later if later else fail(LookupError("no passphrase for a key"))
    async with serving(authorized_keys=[USER_KEY.public, OTHER_KEY.public]) as server:
        with pytest.raises(LookupError, match="no passphrase for a key"):
            await connecting(server, keys=[encrypted], passphrase=ask)
        # Another key may do: then nothing went wrong.
        async with connecting(server, keys=[encrypted, OTHER_KEY], passphrase=ask) as connection:
            assert (await connection.run("status 0")).ok


@awaited
async def test_what_a_token_raises_is_what_is_raised_and_another_key_may_do() -> None:
    gone = Token(USER_KEY, fail(OSError("the token was removed")))
    refusing = Token(USER_KEY, fail(SignatureFailed("the token was not touched")))
    async with serving() as server:
        with pytest.raises(OSError, match="the token was removed"):
            await connecting(server, keys=[gone])
        with pytest.raises(tellin.AuthenticationFailed) as caught:
            await connecting(server, keys=[refusing])
        assert caught.value.unused == ("user (the token was not touched)",)
        assert "the token was not touched" in caught.value.hint
        assert isinstance(caught.value.__cause__, SignatureFailed)
    async with serving(authorized_keys=[USER_KEY.public, OTHER_KEY.public]) as server:
        for token in (gone, refusing):
            async with connecting(server, keys=[token, OTHER_KEY]) as connection:
                done = await connection.run("describe")
            assert OTHER_KEY.public.fingerprint() in done.stdout


@pytest.mark.parametrize("kind", ["rsa", "token", "rsa in an encrypted file"])
@awaited
async def test_what_signs_slowly_signs_beside_the_loop(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    signing, allowed = threading.Event(), threading.Event()
    sign = PrivateKey.sign

    def slowly(self: PrivateKey, *words: Any, **named: Any) -> bytes:
        if self.public != HOST_KEY.public:
            threads.append(threading.current_thread())
            signing.set()
            assert allowed.wait(PATIENCE)
        return sign(self, *words, **named)

    monkeypatch.setattr(PrivateKey, "sign", slowly)
    key: Any = {
        "rsa": RSA_KEY,
        "token": Token(USER_KEY, lambda: None),
        "rsa in an encrypted file": RSA_KEY.to_openssh(b"secret", rounds=2),
    }[kind]
    async with serving(authorized_keys=[USER_KEY.public, RSA_KEY.public]) as server:
        task = asyncio.ensure_future(_awaited(connecting(server, keys=[key], passphrase="secret")))
        # This loop would not get on if it signed itself.
        while not signing.is_set():  # noqa: ASYNC110 - a thread tells of it
            await asyncio.sleep(0.01)
        allowed.set()
        async with await task as connection:
            assert (await connection.run("status 0")).ok
        # What signs fast does it at once.
        fast = PrivateKey.generate("ecdsa")
        threads.clear()
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, keys=[fast, Token(OTHER_KEY, lambda: None)])
        async with connecting(server):
            assert threads[-1] is threading.current_thread()


async def _awaited(thing: Any) -> Any:
    return await thing


@awaited
async def test_a_login_that_is_given_up_waits_for_no_token() -> None:
    cancelled = asyncio.get_running_loop().create_future()

    async def know(name: str) -> str:
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set_result(None)

    encrypted = USER_KEY.to_openssh(b"a passphrase", rounds=2)
    async with serving() as server:
        with pytest.raises(tellin.TimedOut, match="authentication") as caught:
            await connecting(server, keys=[encrypted], passphrase=know, login_timeout=0.5)
        assert caught.value.stage == "authentication"
        await cancelled


@awaited
async def test_a_wrong_passphrase_is_told_where_the_login_fails_for_it(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(USER_KEY.to_openssh(b"right", rounds=2))
    path.chmod(0o600)
    async with serving() as server:
        with pytest.raises(tellin.AuthenticationFailed) as caught:
            await connecting(server, keys=[OTHER_KEY, path], passphrase="wrong")
    error = caught.value
    assert isinstance(error.__cause__, tellin.WrongPassphrase)
    assert len(error.unused) == 1
    assert str(path) in error.unused[0]
    assert error.unused[0] in error.hint
    assert error.keys == (
        f"other ED25519 {OTHER_KEY.public.fingerprint()}",
        f"{path} ED25519 {USER_KEY.public.fingerprint()}",
    )
    with pytest.raises(tellin.WrongPassphrase) as missing:
        await connecting(None, port=1, keys=[path])
    assert "passphrase=" in missing.value.hint


@awaited
async def test_keys_of_the_configuration_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    names = ("encrypted", "exposed", "nonsense", "missing", "empty")
    encrypted, exposed, nonsense, missing, empty = (tmp_path / name for name in names)
    encrypted.write_bytes(USER_KEY.to_openssh(b"secret", rounds=2))
    exposed.write_bytes(USER_KEY.to_openssh())
    nonsense.write_text("this is no key\n")
    empty.write_text("")
    for path in (encrypted, nonsense, empty):
        path.chmod(0o600)
    exposed.chmod(0o644)
    config = tmp_path / "config"
    config.write_text("".join(f"IdentityFile {tmp_path / name}\n" for name in names))
    async with serving() as server:
        with pytest.raises(tellin.AuthenticationFailed) as caught:
            await connecting(server, config=config, keys=())
    unused = caught.value.unused
    assert len(unused) == 4
    for path, word in (
        (encrypted, "passphrase"),
        (exposed, "permissions"),
        (nonsense, "not a private key"),
        (empty, "invalid format"),
    ):
        assert any(str(path) in said and word in said for said in unused), path
    assert str(missing) not in caught.value.hint
    assert str(encrypted) in caught.value.hint


@awaited
async def test_a_public_key_in_place_of_the_private_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "id.pub"
    path.write_text(USER_KEY.public.to_line() + "\n")
    with pytest.raises(tellin.KeyFileError, match="a public key") as caught:
        await connecting(None, port=1, keys=[path])
    assert USER_KEY.public.fingerprint() in str(caught.value)
    assert "without .pub" in caught.value.hint


@awaited
async def test_a_key_whose_algorithms_the_server_does_not_take_is_told() -> None:
    async with serving() as server:
        with pytest.raises(tellin.AuthenticationFailed) as caught:
            await connecting(server, keys=[RSA_KEY], key_algorithms="ssh-ed25519")
        assert caught.value.unused == ("rsa (no signature algorithm that the server takes)",)
    async with serving(authorized_keys=RSA_KEY.public) as server:
        for algorithm in ("rsa-sha2-256", ["rsa-sha2-512"]):
            async with connecting(server, keys=[RSA_KEY], key_algorithms=algorithm):
                pass


@awaited
async def test_a_password_that_the_server_never_asks_for_is_told() -> None:
    for given in ({"password": "x"}, {"questions": lambda *_: ["x"]}):
        async with serving() as server:
            with pytest.raises(tellin.AuthenticationFailed) as caught:
                await connecting(server, keys=[OTHER_KEY], **given)
        assert caught.value.unused == ("the password (the server takes none)",)
    async with serving(password=lambda user, password: False) as server:
        with pytest.raises(tellin.AuthenticationFailed) as caught:
            await connecting(server, keys=[], password="x")
        assert caught.value.unused == ()
        assert caught.value.tried == ("none", "password")


# --- stages


@awaited
async def test_an_error_says_in_which_stage_it_came() -> None:
    stages: dict[str, str] = {}

    async def stage(name: str, server: Any, **options: Any) -> None:
        with pytest.raises(tellin.TellinError) as caught:
            await connecting(server, **options)
        stages[name] = caught.value.stage
        assert caught.value.hint or name in {"refused", "vanished"}

    async def vanish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serving() as server:
        port = server.port
        await stage("host key", server, host_keys=OTHER_KEY.public)
        await stage("algorithms", server, ciphers="3des-cbc")
        await stage("key", server, keys=[OTHER_KEY])
        async with connecting(server) as connection:
            with pytest.raises(tellin.RequestRefused) as caught:
                await connection.subsystem("none")
            stages["subsystem"] = caught.value.stage
    await stage("refused", None, port=port)
    other = await asyncio.start_server(vanish, "127.0.0.1", 0)
    async with other:
        await stage("vanished", None, port=other.sockets[0].getsockname()[1])
    assert stages == {
        "host key": "key exchange",
        "algorithms": "key exchange",
        "key": "authentication",
        "subsystem": "session",
        "refused": "connecting",
        "vanished": "banner exchange",
    }


@awaited
async def test_a_host_key_that_is_not_accepted_is_shown(tmp_path: Path) -> None:
    fingerprint = HOST_KEY.public.fingerprint()
    async with serving() as server:
        for host_keys in (OTHER_KEY.public, [OTHER_KEY.public]):
            with pytest.raises(tellin.HostKeyChanged, match="none of those given") as changed:
                await connecting(server, host_keys=host_keys)
            assert (changed.value.fingerprint, changed.value.stage) == (
                fingerprint,
                "key exchange",
            )
            assert fingerprint in str(changed.value)
        with pytest.raises(tellin.HostKeyUnknown) as unknown:
            await connecting(server, known_hosts=tmp_path / "none")
        assert unknown.value.fingerprint == fingerprint
        assert fingerprint in unknown.value.hint
        with pytest.raises(tellin.HostKeyUnknown) as denied:
            await connecting(
                server, host_keys=lambda question: False, known_hosts=tmp_path / "none"
            )
        assert denied.value.fingerprint == fingerprint


@awaited
async def test_a_name_server_that_does_not_answer_is_waited_for_no_longer_than_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered = threading.Event()

    def resolve(*_words: object, **_named: object) -> list[Any]:
        assert answered.wait(PATIENCE)
        return []

    monkeypatch.setattr(attempt_room, "resolve", resolve)
    try:
        with pytest.raises(tellin.TimedOut) as caught:
            await tellin.connect(
                "name.example",
                user="me",
                config=None,
                host_keys=HOST_KEY.public,
                connect_timeout=0.05,
            )
    finally:
        answered.set()
    assert (caught.value.stage, bool(caught.value.hint)) == ("connecting", True)


@awaited
async def test_who_has_no_name_is_told_to_give_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a container that runs as a number.
    monkeypatch.setattr(pwd, "getpwuid", fail(KeyError("uid not found")))
    with pytest.raises(tellin.UsageError, match=str(os.getuid())) as caught:
        await connecting(None, port=1, user=None)
    assert "user=" in caught.value.hint


# --- commands


@awaited
async def test_a_command_that_takes_too_long_leaves_what_it_had_written() -> None:
    async def talk(process: tellin.ServerProcess[bytes]) -> None:
        await process.stdout.write(b"so far\n")
        await process.stderr.write("nur ein Teil \N{EURO SIGN}".encode()[:-1])
        told.set()
        await asyncio.get_running_loop().create_future()

    told = asyncio.Event()
    async with connected(session=talk) as connection:
        with pytest.raises(tellin.TimedOut) as caught:
            await connection.run("talk", timeout=1.0, errors="strict")
        assert told.is_set()
        done = caught.value.completed
        assert isinstance(done, tellin.Completed)
        assert (done.stdout, done.stderr, done.exit_status) == (
            "so far\n",
            "nur ein Teil \ufffd",
            None,
        )


@awaited
async def test_a_failed_command_says_what_it_complained_of_last() -> None:
    async def complain(process: tellin.ServerProcess[bytes]) -> int:
        await process.stderr.write(b"first\r\nx" * 1000 + b"\nno \x1b[31msuch\x07 file\r\n\n")
        return 2

    async with connected(session=complain) as connection:
        for encoding in ("utf-8", None):
            with pytest.raises(tellin.CommandFailed) as caught:
                await connection.run("x", check=True, encoding=encoding)  # type: ignore[call-overload]
            assert caught.value.hint == "no \\033[31msuch\\007 file"
    async with connected() as connection:
        with pytest.raises(tellin.CommandFailed) as silent:
            await connection.run("status 1", check=True)
        assert silent.value.hint == ""


@awaited
async def test_an_encoding_that_does_not_exist_is_told_before_anything_runs() -> None:
    async with connected() as connection:
        for way in (connection.run, connection.start):
            with pytest.raises(tellin.UsageError, match="unknown encoding 'klingon'"):
                await way("status 0", encoding="klingon")
        assert not connection.core.channels
    with pytest.raises(tellin.UsageError, match="unknown encoding"), contextlib.ExitStack():
        serving(encoding="klingon")
