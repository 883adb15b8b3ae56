# SPDX-License-Identifier: MIT
import asyncio
import logging
import shlex
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.interop.tellin_peer import TELLIN
from tests.library import (
    HOST_KEY,
    OTHER_KEY,
    USER_KEY,
    awaited,
    connected,
    connecting,
    obey,
    pattern,
    serving,
)

import tellin
from tellin.connection.requests import EndOfWrite
from tellin.errors import DisconnectReason, SignatureFailed
from tellin.keys import PrivateKey, PublicKey
from tellin.userauth.questions import Prompts

Process = tellin.ServerProcess[Any]


# --- who may in


def test_a_server_that_nobody_could_enter_is_a_mistake() -> None:
    with pytest.raises(tellin.UsageError, match="nobody could log in"):
        tellin.serve(host_keys=[HOST_KEY], session=obey)
    with pytest.raises(tellin.UsageError, match="sequence"):
        tellin.serve(host_keys=HOST_KEY, authorized_keys=USER_KEY.public)  # type: ignore[arg-type]


class _Offering:
    """A signer whose private half does not fit: what a client offers without having it."""

    def __init__(self, public: PublicKey) -> None:
        self.public = public

    def sign(self, data: bytes, algorithm: str) -> bytes:
        return OTHER_KEY.sign(data, algorithm)


@pytest.mark.parametrize("way", ["authorize alone", "with authorized_keys"])
@awaited
async def test_r067_authorize_hears_only_of_keys_that_have_signed(way: str) -> None:
    heard: list[tellin.Candidate] = []
    asked: list[str] = []

    def decide(candidate: tellin.Candidate) -> bool:
        heard.append(candidate)
        return candidate.key == USER_KEY.public

    def forgotten(name: str) -> str:
        asked.append(name)
        return "wrong"

    keys = [USER_KEY.public, OTHER_KEY.public] if way == "with authorized_keys" else None
    encrypted = OTHER_KEY.to_openssh(b"forgotten", rounds=2)
    async with serving(authorize=decide, authorized_keys=keys) as server:
        # Offered and accepted, so that its passphrase is asked for, but never signed with.
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, keys=[encrypted], passphrase=forgotten)
        assert asked
        # Signed with another key than the one that is shown.
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, keys=[_Offering(USER_KEY.public)])
        assert heard == []
        # A no is no end: the next key may do.
        async with connecting(server, keys=[OTHER_KEY, USER_KEY]) as connection:
            done = await connection.run("describe")
        assert [candidate.key for candidate in heard] == [OTHER_KEY.public, USER_KEY.public]
        assert done.stdout.splitlines()[:2] == ["someone", USER_KEY.public.fingerprint()]
        seen = heard[0]
        assert (seen.user, seen.method, seen.peer.host) == ("someone", "publickey", "127.0.0.1")
        assert seen.client_version.startswith("SSH-2.0-tellin")


@pytest.mark.parametrize("later", [False, True])
@awaited
async def test_authorize_has_the_last_word_on_passwords_and_answers(later: bool) -> None:
    heard: list[tuple[str, str]] = []

    def decide(candidate: tellin.Candidate) -> bool:
        heard.append((candidate.user, candidate.method))
        assert candidate.key is None
        return candidate.user == "good"

    async def decide_later(candidate: tellin.Candidate) -> bool:
        await asyncio.sleep(0.01)
        return decide(candidate)

    async def dialogue(user: str, answers: tuple[str, ...] | None) -> Any:
        await asyncio.sleep(0)
        return Prompts((("Code: ", False),)) if answers is None else answers == ("42",)

    options: Any = {"authorize": decide_later if later else decide, "questions": dialogue}
    async with serving(password={"good": "pw", "bad": "pw"}, **options) as server:
        for user, password in (("good", "no"), ("nobody", "pw"), ("nobody", "")):
            with pytest.raises(tellin.AuthenticationFailed):
                await connecting(server, user=user, keys=(), password=password)
        assert heard == []
        async with connecting(server, user="good", keys=(), password="pw"):
            pass
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, user="bad", keys=(), password="pw")
        async with connecting(server, user="good", keys=(), questions=lambda *_: ["42"]):
            pass
        # A client that knows only keys learns that none is taken here.
        with pytest.raises(tellin.AuthenticationFailed) as caught:
            await connecting(server, keys=[USER_KEY])
    assert set(heard) == {
        ("good", "password"),
        ("bad", "password"),
        ("good", "keyboard-interactive"),
    }
    assert "publickey" not in caught.value.allowed


@pytest.mark.parametrize("verdict", [1, "yes", None, object()])
@awaited
async def test_only_true_authorizes(verdict: Any) -> None:
    async with serving(authorize=lambda candidate: verdict) as server:
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server)
    async with serving(password=lambda user, password: verdict) as server:
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, keys=(), password="x")


@awaited
async def test_a_function_that_fails_lets_nobody_in(caplog: pytest.LogCaptureFixture) -> None:
    def fail(candidate: tellin.Candidate) -> bool:
        raise LookupError("the directory is down")

    async def fail_later(candidate: tellin.Candidate) -> bool:
        await asyncio.sleep(0)
        return fail(candidate)

    for function in (fail, fail_later):
        async with serving(authorize=function) as server:
            with pytest.raises(tellin.AuthenticationFailed):
                await connecting(server)
    assert len(caplog.records) == caplog.text.count("LookupError: the directory is down") == 2


@awaited
async def test_each_user_may_have_keys_of_his_own(tmp_path: Path) -> None:
    file = tmp_path / "authorized_keys"
    file.write_text(f"# two\n{OTHER_KEY.public.to_line()}\nnonsense\n")
    keys = {"ann": USER_KEY.public, "bob": [file, PrivateKey.generate("ecdsa").public]}
    async with serving(authorized_keys=keys) as server:
        for user, key in (("ann", USER_KEY), ("bob", OTHER_KEY)):
            async with connecting(server, user=user, keys=[key]) as connection:
                assert (await connection.run("describe")).stdout.startswith(user)
        for user, key in (("ann", OTHER_KEY), ("bob", USER_KEY), ("eve", USER_KEY)):
            with pytest.raises(tellin.AuthenticationFailed):
                await connecting(server, user=user, keys=[key])


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ('from="127.0.0.*"', "in"),
        ('from="10.0.0.0/8"', "out"),
        ('from=""', "out"),
        ('expiry-time="20010101"', "out"),
        ('expiry-time="29990101Z"', "in"),
        ("cert-authority", "out"),
        ("no-such-option", "out"),
    ],
)
@awaited
async def test_the_options_of_a_key_hold(tmp_path: Path, options: str, outcome: str) -> None:
    file = tmp_path / "authorized_keys"
    file.write_text(f"{options} {USER_KEY.public.to_line()}\n")
    async with serving(authorized_keys=file) as server:
        if outcome == "in":
            async with connecting(server) as connection:
                assert (await connection.run("status 0")).ok
        else:
            with pytest.raises(tellin.AuthenticationFailed):
                await connecting(server)


@awaited
async def test_r069_without_an_address_no_rule_about_addresses_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "authorized_keys"
    file.write_text(f'from="*" {USER_KEY.public.to_line()}\n')
    async with serving(authorized_keys=file, port=-1) as server:
        ours, theirs = socket.socketpair()
        server.serve_socket(theirs)
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, sock=ours)


@awaited
async def test_a_forced_command_runs_whatever_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "authorized_keys"
    file.write_text(f'command="only this",no-pty {USER_KEY.public.to_line()}\n')

    async def tell(process: Process) -> None:
        await process.stdout.write(
            f"{process.command}|{process.original_command}|{process.subsystem}".encode()
        )

    options: Any = {"session": tell, "subsystems": {"sftp": tell}}
    options["authorized_keys"] = file
    async with serving(**options) as server, connecting(server) as connection:
        assert (await connection.run("rm -rf /")).stdout == "only this|rm -rf /|None"
        async with connection.subsystem("sftp") as process:
            assert await process.stdout.read() == b"only this|sftp|None"
        async with connection.shell() as shell:
            assert await shell.stdout.read() == "only this|None|None"
        with pytest.raises(tellin.RequestRefused, match="terminal"):
            await connection.run("anything", term="xterm")


@awaited
async def test_r068_an_empty_command_is_one_that_runs_nothing(tmp_path: Path) -> None:
    file = tmp_path / "authorized_keys"
    file.write_text(f'command="" {USER_KEY.public.to_line()}\n')
    heard: list[str | None] = []

    async def tell(process: Process) -> None:
        heard.append(process.command)

    for session in (tell, tellin.RunCommands(shell="/bin/sh")):  # noqa: S604 - the path of a shell
        async with (
            serving(authorized_keys=file, session=session) as server,
            connecting(server) as connection,
        ):
            done = await connection.run("echo mine")
            assert (done.stdout, done.exit_status) == ("", 0)
            async with connection.shell() as shell:
                assert await shell.stdout.read() == ""
    assert heard == ["", ""]


@awaited
async def test_two_things_can_be_demanded() -> None:
    options: Any = {
        "authorized_keys": USER_KEY.public,
        "password": {"someone": "pw"},
        "authentication_methods": ["publickey,password"],
    }
    async with serving(**options) as server:
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server)
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, keys=(), password="pw")
        async with connecting(server, password="pw") as connection:
            done = await connection.run("describe")
    assert done.stdout.splitlines()[1] == USER_KEY.public.fingerprint()


@awaited
async def test_whoever_tries_too_often_is_sent_away() -> None:
    tries = iter("abcdefgh")
    async with serving(password=lambda user, password: False, max_tries=2) as server:
        with pytest.raises(tellin.Disconnected, match="Too many"):
            await connecting(server, keys=(), password=lambda: next(tries))


@awaited
async def test_whoever_does_not_log_in_in_time_is_sent_away() -> None:
    async with serving(login_grace=0.1) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert (await reader.readline()).startswith(b"SSH-2.0-tellin")
        assert await reader.read() is not None
        writer.close()
        assert not server.connections


@awaited
async def test_only_so_many_may_be_logging_in_at_once() -> None:
    async with serving(max_startups=2) as server:
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        for reader, _ in idle:
            await reader.readline()
        with pytest.raises(tellin.TellinError):
            await connecting(server)
        for _, writer in idle:
            writer.close()
        while server.connections:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        # Who is logged in does not count.
        async with connecting(server), connecting(server), connecting(server):
            pass


@awaited
async def test_only_so_many_connections_are_taken() -> None:
    async with serving(max_connections=1) as server, connecting(server) as first:
        with pytest.raises(tellin.TellinError):
            await connecting(server)
        assert (await first.run("status 0")).ok


@awaited
async def test_nobody_is_let_in_without_anything_unless_that_is_wanted() -> None:
    async with serving() as server:
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, keys=())
    async with serving(permit_none=True) as server, connecting(server, keys=()) as connection:
        assert (await connection.run("status 0")).ok


# --- host keys


class Watched(PrivateKey):
    """A key that tells in which thread it signs, and may take its time."""

    __slots__ = ("allowed", "threads")

    def __init__(self, kind: Any) -> None:
        super().__init__(PrivateKey.generate(kind, bits=2048 if kind == "rsa" else None)._secret)
        self.threads: list[threading.Thread] = []
        self.allowed = threading.Event()

    def sign(self, data: bytes, algorithm: str | None = None, *, sha1: bool = False) -> bytes:
        self.threads.append(threading.current_thread())
        assert self.allowed.wait(60)
        return super().sign(data, algorithm, sha1=sha1)


@awaited
async def test_an_rsa_host_key_signs_beside_the_loop() -> None:
    rsa, plain = Watched("rsa"), Watched("ed25519")
    plain.allowed.set()
    async with serving(host_keys=[rsa, plain]) as server:
        slow = asyncio.ensure_future(
            _awaited(
                connecting(
                    server, host_keys=rsa.public, host_key_algorithms="rsa-sha2-512,rsa-sha2-256"
                )
            )
        )
        while not rsa.threads:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        # As long as it signs, others are served.
        options: Any = {"host_keys": plain.public, "host_key_algorithms": "ssh-ed25519"}
        async with connecting(server, **options) as connection:
            assert (await connection.run("status 0")).ok
        rsa.allowed.set()
        async with await slow as connection:
            connection.rekey()
            assert (await connection.run("status 0")).ok
    assert threading.current_thread() not in rsa.threads
    assert set(plain.threads) == {threading.current_thread()}


async def _awaited(thing: Any) -> Any:
    return await thing


class Broken(PrivateKey):
    """A key whose private half is out of reach."""

    __slots__ = ()

    def sign(self, data: bytes, algorithm: str | None = None, *, sha1: bool = False) -> bytes:
        raise SignatureFailed("the token is gone")


@awaited
async def test_a_host_key_that_does_not_sign_ends_the_connection_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = Broken(PrivateKey.generate("rsa", bits=2048)._secret)
    async with serving(host_keys=[broken]) as server:
        with pytest.raises(tellin.Disconnected, match="no signature could be made"):
            await connecting(server, host_keys=broken.public)
        assert "the token is gone" in caplog.text


# --- sessions


@awaited
async def test_a_plain_function_is_enough() -> None:
    def answer(process: Process) -> int:
        assert process.command == "anything"
        return 6

    async with connected(session=answer) as connection:
        assert (await connection.run("anything")).exit_status == 6


@awaited
async def test_a_function_may_return_exit_or_fail(caplog: pytest.LogCaptureFixture) -> None:
    async def serve(process: Process) -> Any:
        match process.command:
            case "nothing":
                return None
            case "exit":
                await process.stdout.write("said before")
                process.exit(9)
                with pytest.raises(tellin.UsageError):
                    process.exit(10)
                with pytest.raises(tellin.UsageError):
                    await process.stdout.write("too late")
                return 11
            case "large":
                return 0xFFFF_FF02
        raise LookupError("no such order")

    async with connected(session=serve, encoding="utf-8") as connection:
        assert (await connection.run("nothing")).exit_status == 0
        done = await connection.run("exit")
        assert (done.stdout, done.exit_status) == ("said before", 9)
        assert (await connection.run("large")).exit_status == 0xFFFF_FF02
        failed = await connection.run("other")
        assert (failed.exit_status, failed.stderr) == (1, "")
    assert "no such order" in caplog.text


@pytest.mark.parametrize("later", [False, True])
@awaited
async def test_what_is_no_status_ends_the_session_as_a_fault_does(
    later: bool, caplog: pytest.LogCaptureFixture
) -> None:
    values: dict[str, object] = {
        "text": "0",
        "number": 0.0,
        "list": [],
        "bytes": b"",
        "too large": 1 << 32,
        "too small": -129,
        "minus": -1,
        "least": -128,
    }

    def at_once(process: Process) -> Any:
        return values[process.command or ""]

    async def in_a_while(process: Process) -> Any:
        await asyncio.sleep(0)
        return values[process.command or ""]

    async with connected(session=in_a_while if later else at_once) as connection:
        statuses = {name: (await connection.run(name)).exit_status for name in values}
    assert statuses == dict.fromkeys(values, 1) | {"minus": 255, "least": 128}
    for said in ("str", "float", "list", "bytes", "4294967296", "-129"):
        assert f"{said} is no exit status" in caplog.text


@awaited
async def test_exit_takes_a_status_and_nothing_else() -> None:
    async def leave(process: Process) -> None:
        for bad in ("0", None, 1 << 32):
            with pytest.raises(tellin.UsageError, match="is no exit status"):
                process.exit(bad)  # type: ignore[arg-type]
        process.exit(-1)

    async with connected(session=leave) as connection:
        assert (await connection.run("x")).exit_status == 255


@awaited
async def test_a_client_that_reads_no_more_ends_a_function_as_sigpipe_ends_a_program(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "tellin.server")
    said: list[str] = []

    async def serve(process: Process) -> None:
        if process.command == "stubborn":
            await process.stdin.read()
            with pytest.raises(tellin.ConnectionLost, match="reads no more"):
                await process.stdout.write(b"x")
            await process.stderr.write(b"still here")
            said.append("told")
            return
        while True:
            await process.stdout.write(b"y\n" * 1000)

    async with connected(session=serve) as connection:
        process = await connection.start("yes", encoding=None)
        await process.stdout.readline()
        process._remote.channel.request(EndOfWrite())
        completed = await process.wait()
        assert (completed.exit_signal, completed.exit_status) == ("PIPE", None)
        # Who does not mind goes on; standard error is another stream.
        process = await connection.start("stubborn", encoding=None)
        process._remote.channel.request(EndOfWrite())
        await process.stdin.aclose()
        completed = await process.wait()
        assert (completed.exit_status, completed.stderr) == (0, b"still here")
    assert said == ["told"]
    assert [one.levelname for one in caplog.records if "reads no more" in one.getMessage()] == [
        "DEBUG"
    ]
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


@awaited
async def test_head_ends_the_command_of_an_ordinary_client_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ended = asyncio.Event()

    async def chatter(process: Process) -> None:
        try:
            while True:
                await process.stdout.write(b"y\n" * 1000)
        finally:
            ended.set()

    key = tmp_path / "key"
    key.write_bytes(USER_KEY.to_openssh())
    key.chmod(0o600)
    async with serving(session=chatter) as server:
        line = f"{shlex.join(TELLIN)} ssh -F none -i {key} -p {server.port} -o LogLevel=ERROR"
        line += " -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null x@127.0.0.1 yes"
        shell = await asyncio.create_subprocess_shell(
            f"{line} | head -1", stdout=asyncio.subprocess.PIPE
        )
        out, _ = await shell.communicate()
        await ended.wait()
    assert out == b"y\n"
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


@awaited
async def test_a_session_whose_client_is_gone_is_cancelled() -> None:
    started: asyncio.Queue[str] = asyncio.Queue()

    async def hang(process: Process) -> None:
        started.put_nowait("started")
        try:
            await process.stdin.read()
        except (tellin.ConnectionLost, asyncio.CancelledError) as error:
            started.put_nowait(type(error).__name__)
            raise

    async with serving(session=hang) as server:
        async with connecting(server) as connection:
            process = await connection.start("x")
            assert await started.get() == "started"
            await process.aclose()
            assert await started.get() in {"ConnectionLost", "CancelledError"}
            await connection.start("x")
            assert await started.get() == "started"
        assert await started.get() in {"ConnectionLost", "CancelledError"}
        assert not server.tasks or await _gone(server)


@awaited
async def test_a_server_without_a_port_is_open_until_it_is_closed() -> None:
    async with serving(port=-1) as server:
        waiting = asyncio.ensure_future(server.wait_closed())
        for _ in range(2):
            ours, theirs = socket.socketpair()
            server.serve_socket(theirs)
            async with connecting(server, sock=ours) as connection:
                assert (await connection.run("status 0")).ok
            while server.connections:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        assert not waiting.done()
        server.close()
        await waiting
        ours, theirs = socket.socketpair()
        with ours, theirs, pytest.raises(tellin.UsageError, match="closed"):
            server.serve_socket(theirs)


@awaited
async def test_a_server_that_was_closed_lets_its_connections_go_on() -> None:
    async with serving() as server, connecting(server) as connection:
        waiting = asyncio.ensure_future(server.wait_closed())
        port = server.port
        server.close()
        with pytest.raises(tellin.ConnectFailed):
            await connecting(None, port=port)
        assert (await connection.run("status 4")).exit_status == 4
        assert not waiting.done()
        await connection.aclose()
        await waiting


@awaited
async def test_a_server_that_closes_waits_for_nobody_longer_than_its_grace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    released = asyncio.get_running_loop().create_future()
    heard: list[str] = []

    async def stubborn(process: Process) -> None:
        heard.append("started")
        while not released.done():
            try:
                await asyncio.shield(released)
            except asyncio.CancelledError:
                heard.append("cancelled")

    async with serving(session=stubborn) as server:
        connection = await connecting(server)
        try:
            await connection.start("x")
            await server.aclose(grace=0.05)
            assert not server.connections
            assert heard[:2] == ["started", "cancelled"]
            assert "stubborn" in caplog.text
        finally:
            released.set_result(None)
        await _gone(server)
        await connection.aclose()


@pytest.mark.parametrize("grace", [0, 0.05])
@awaited
async def test_a_client_that_reads_nothing_is_dropped_when_the_server_closes(grace: float) -> None:
    ended = asyncio.get_running_loop().create_future()

    async def pour(process: Process) -> None:
        try:
            while True:
                await process.stdout.write(bytes(1 << 20))
        finally:
            ended.set_result(None)

    async with serving(session=pour, port=-1) as server:
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        served = server.serve_socket(theirs)
        connection = await connecting(server, sock=ours)
        process = await connection.start("x", stdout=tellin.Redirect.DEVNULL)
        connection.link.pause()
        while not served.core.unsent:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        await server.aclose(grace=grace)
        assert not server.connections
        await ended
        connection.link.resume()
        with pytest.raises(tellin.ConnectionLost):
            await process.wait()
        await connection.aclose()


async def _gone(server: tellin.Server) -> bool:
    while server.tasks:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.01)
    return True


@awaited
async def test_a_server_that_closes_ends_its_sessions_and_says_why() -> None:
    cancelled = asyncio.get_running_loop().create_future()

    async def hang(process: Process) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set_result(None)

    async with serving(session=hang) as server:
        connection = await connecting(server)
        task = asyncio.ensure_future(connection.run("x"))
        await asyncio.sleep(0.05)
        await server.aclose()
        assert cancelled.done()
        with pytest.raises(tellin.ConnectionLost, match="the server is stopping") as caught:
            await task
        cause = caught.value.__cause__
        assert isinstance(cause, tellin.Disconnected)
        assert cause.reason == DisconnectReason.BY_APPLICATION
        with pytest.raises(tellin.ConnectFailed):
            await connecting(server, port=connection.address[1])


@awaited
async def test_input_that_comes_with_the_command_is_not_lost() -> None:
    # All of it in one flight: open to the last byte before the server has read anything.
    async with connected() as connection:
        for size in (1, 100_000, 1_900_000):
            done = await connection.run("count", input=pattern(size))
            assert done.stdout.startswith(f"{size} ")


@awaited
async def test_a_slow_client_holds_a_function_back() -> None:
    async with serving() as server, connecting(server) as connection:
        process = await connection.start("source 40000000", encoding=None)
        await asyncio.sleep(0.3)
        assert next(iter(server.connections)).core.unsent < 1 << 20
        assert len(await process.stdout.read()) == 40_000_000


@awaited
async def test_subsystems_have_functions_of_their_own() -> None:
    async def echo(process: Process) -> int:
        assert (process.command, process.subsystem) == (None, "echo")
        await process.stdout.write(await process.stdin.read())
        return 4

    async with connected(subsystems={"echo": echo}) as connection:
        async with connection.subsystem("echo") as process:
            await process.stdin.write(b"hello")
            await process.stdin.aclose()
            done = await process.wait()
            assert (done.stdout, done.exit_status) == (b"hello", 4)
        with pytest.raises(tellin.RequestRefused):
            await connection.subsystem("sftp")


@awaited
async def test_r150_variables_that_change_programs_are_taken_by_their_full_names_alone() -> None:
    env = {"LC_ALL": "C", "PATH": "/tmp", "LD_PRELOAD": "/tmp/x.so", "PYTHONPATH": "/tmp"}
    async with connected() as connection:
        done = await connection.run("describe", env=env)
        assert done.stdout.splitlines()[3:] == ["LC_ALL=C"]
    async with connected(accept_env=["PATH", "LC_TIME"]) as connection:
        done = await connection.run("describe", env=env)
        assert done.stdout.splitlines()[3:] == ["PATH=/tmp"]


@awaited
async def test_programs_of_this_machine_can_be_run(tmp_path: Path) -> None:
    programs = tellin.RunCommands(  # noqa: S604 - the path of a shell, nothing to run in one
        shell="/bin/sh",
        directory=str(tmp_path),
        env={"GREETING": "hello"},
        subsystems={"upper": "tr a-z A-Z"},
    )
    async with connected(session=programs) as connection:
        done = await connection.run(
            "pwd; echo $GREETING $LANG; cat; echo no >&2; exit 44", input="in\n", env={"LANG": "C"}
        )
        assert done.stdout.splitlines() == [str(tmp_path), "hello C", "in"]
        assert (done.stderr, done.exit_status) == ("no\n", 44)
        data = pattern(3_000_001)
        assert (await connection.run("cat", input=data, encoding=None)).stdout == data
        killed = await connection.run("kill -9 $$")
        assert killed.exit_signal == "KILL"
        async with connection.subsystem("upper") as process:
            await process.stdin.write(b"loud")
            await process.stdin.aclose()
            assert await process.stdout.read() == b"LOUD"
        with pytest.raises(tellin.RequestRefused, match="subsystem"):
            await connection.subsystem("lower")
        done = await connection.run("tty; stty size", term="xterm", term_size=(77, 33))
        assert "/dev/pts/" in done.stdout
        assert "33 77" in done.stdout


# --- the server itself


@awaited
async def test_keys_come_from_files_and_a_listening_socket_can_be_given(tmp_path: Path) -> None:
    path = tmp_path / "host_key"
    path.write_bytes(HOST_KEY.to_openssh())
    listening = socket.create_server(("127.0.0.1", 0))
    async with serving(host_keys=[path, OTHER_KEY.to_openssh()], sock=listening) as server:
        assert server.addresses == [listening.getsockname()]
        async with connecting(server) as connection:
            assert connection.host_key in {HOST_KEY.public, OTHER_KEY.public}
    with pytest.raises(tellin.KeyFileError, match="nothing-here"):
        await serving(host_keys=[tmp_path / "nothing-here"])


@awaited
async def test_every_kind_of_host_key_serves() -> None:
    keys = [PrivateKey.generate(kind) for kind in ("ed25519", "ecdsa", "rsa")]
    async with serving(host_keys=keys) as server:
        for key in keys:
            algorithms = key.public.signature_algorithms
            async with connecting(
                server, host_keys=key.public, host_key_algorithms=algorithms
            ) as connection:
                assert connection.host_key == key.public


@awaited
async def test_close_lets_connections_go_on() -> None:
    async with serving() as server:
        async with connecting(server) as connection:
            port = server.port
            server.close()
            assert server.port == 0
            with pytest.raises(tellin.ConnectFailed):
                await connecting(server, port=port)
            assert (await connection.run("status 0")).ok
        await server.wait_closed()


@awaited
async def test_a_peer_that_is_not_ssh_does_no_harm() -> None:
    async with serving() as server:
        for words in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 5000, b"SSH-2.0-x\r\n" + b"\xff" * 5000):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(words)
            writer.write_eof()
            await reader.read()
            writer.close()
        async with connecting(server) as connection:
            assert (await connection.run("status 0")).ok


@awaited
async def test_tries_are_logged_in_the_words_that_filters_look_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "tellin.server")
    async with serving() as server:
        async with connecting(server):
            pass
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, keys=[OTHER_KEY])
    assert "Accepted publickey for someone from 127.0.0.1 port" in caplog.text
    assert "Failed publickey for someone from 127.0.0.1 port" in caplog.text


@awaited
async def test_an_idle_session_keeps_little() -> None:
    import tracemalloc

    async with serving(port=-1) as server:

        async def one() -> tellin.Connection:
            ours, theirs = socket.socketpair()
            server.serve_socket(theirs)
            connection = await connecting(server, sock=ours)
            await connection.start("wait")
            return connection

        kept = [await one() for _ in range(3)]
        tracemalloc.start()
        try:
            kept += [await one() for _ in range(30)]
            used, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        for connection in kept:
            await connection.aclose()
    # Both ends are in this process; the figure to keep is 25 KB for the server's alone.
    assert used / 30 < 50_000


# --- peers as clients


async def _in_thread(function: Any, *words: Any, **named: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(
        None, lambda: function(*words, **named)
    )


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.peer(name)) for name in ("ssh", "asyncssh", "paramiko")],
)
@awaited
async def test_peers_run_commands_here(name: str, tmp_path: Path) -> None:
    from tests.interop.peers import CLIENTS
    from tests.interop.target import Target, make_key

    identity = make_key(tmp_path / "id_ed25519")
    public = PublicKey.from_line(identity.public)
    async with serving(authorized_keys=public) as server:
        target = Target(server.port, "someone", (HOST_KEY.public.to_line(),), identity)
        client = CLIENTS[name](tmp_path)
        for size in (0, 1, 32769, 1_000_001, 16 << 20):
            data = pattern(size)
            done = await _in_thread(client.run, target, "cat", input=data)
            assert (done.stdout == data, done.status) == (True, 0), done.stderr[-500:]
        done = await _in_thread(client.run, target, "both 500000")
        assert (done.stdout, done.status) == (pattern(500_000), 3)
        assert done.stderr.endswith(pattern(500_000))


@awaited
async def test_the_loop_is_not_kept_waiting_by_what_blocks() -> None:
    """Decrypting a key of many rounds takes a second, and other work goes on meanwhile."""
    data = USER_KEY.to_openssh(b"secret", rounds=100)
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.005)
            beats += 1

    heart = asyncio.ensure_future(beat())
    threads = threading.active_count()
    async with serving() as server, connecting(server, keys=[data], passphrase="secret"):
        pass
    heart.cancel()
    assert beats > 3
    assert threading.active_count() >= threads
