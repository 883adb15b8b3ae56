# SPDX-License-Identifier: MIT
import asyncio
import contextlib
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conversations.bare import BANNER, clear_payloads, packet, server_kexinit
from tests.library import (
    HOST_KEY,
    OTHER_KEY,
    USER_KEY,
    awaited,
    connected,
    connecting,
    obey,
    serving,
)

import tellin
from tellin.client.questions import HostKeyQuestion
from tellin.config.known_hosts import KnownHosts
from tellin.errors import IdentificationError
from tellin.keys import PrivateKey
from tellin.transport.messages import KexInit


def record(port: int, key: PrivateKey = HOST_KEY) -> str:
    return f"[127.0.0.1]:{port} {key.public.to_line()}\n"


# --- host keys


@awaited
async def test_r016_without_a_host_key_policy_nothing_is_connected() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        with pytest.raises(tellin.HostKeyUnknown, match="no host key policy") as caught:
            await connecting(None, port=listening.getsockname()[1], host_keys=None)
        assert caught.value.hint
        with pytest.raises(BlockingIOError):
            listening.accept()


@awaited
async def test_known_hosts_alone_mean_strictly_those(tmp_path: Path) -> None:
    async with serving() as server:
        file = tmp_path / "known_hosts"
        file.write_text(record(server.port))
        async with connecting(server, known_hosts=file) as connection:
            assert connection.host_key == HOST_KEY.public
        async with connecting(server, known_hosts=KnownHosts.parse(record(server.port))):
            pass
        file.write_text("")
        with pytest.raises(tellin.HostKeyUnknown):
            await connecting(server, known_hosts=[file])
        file.write_text(record(server.port, OTHER_KEY))
        with pytest.raises(tellin.HostKeyChanged):
            await connecting(server, known_hosts=file)
        file.write_text("@revoked " + record(server.port))
        with pytest.raises(tellin.HostKeyRevoked):
            await connecting(server, known_hosts=file, host_keys=tellin.HostKeyPolicy.OFF)


@awaited
async def test_a_server_of_many_keys_shows_the_one_that_is_known(tmp_path: Path) -> None:
    rsa = PrivateKey.generate("rsa", bits=2048)
    file = tmp_path / "known_hosts"
    async with serving(host_keys=[HOST_KEY, rsa]) as server:
        file.write_text(record(server.port, rsa))
        for known in ({"known_hosts": file}, {"host_keys": [rsa.public]}):
            async with connecting(server, **known) as connection:
                assert connection.host_key == rsa.public


@awaited
async def test_accept_new_records_a_host_once_and_refuses_another_key(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "known_hosts"
    policy = tellin.HostKeyPolicy.ACCEPT_NEW
    async with serving() as server:
        for _ in range(2):
            async with connecting(server, known_hosts=file, host_keys=policy):
                pass
        assert file.read_text().count("\n") == 1
        port = server.port
    async with serving(port=port, host_keys=[OTHER_KEY]) as server:
        with pytest.raises(tellin.HostKeyChanged):
            await connecting(server, known_hosts=file, host_keys=policy)


@pytest.mark.parametrize("later", [False, True])
@awaited
async def test_a_function_is_asked_about_a_host_without_record(later: bool) -> None:
    asked: list[HostKeyQuestion] = []

    def yes(question: HostKeyQuestion) -> bool:
        asked.append(question)
        return True

    async def yes_later(question: HostKeyQuestion) -> bool:
        await asyncio.sleep(0.01)
        return yes(question)

    ask = yes_later if later else yes
    async with serving() as server, connecting(server, host_keys=ask) as connection:
        assert (await connection.run("status 0")).ok
    assert [question.fingerprint for question in asked] == [HOST_KEY.public.fingerprint()]


@pytest.mark.parametrize("said", [False, None, "yes", 1])
@awaited
async def test_r014_only_true_lets_an_unknown_host_key_in(said: Any) -> None:
    async with serving() as server:
        with pytest.raises(tellin.HostKeyUnknown):
            await connecting(server, host_keys=lambda question: said)


@awaited
async def test_what_the_asked_function_raises_comes_out_of_connect() -> None:
    def fail(question: HostKeyQuestion) -> bool:
        raise LookupError("the safe is locked")

    async with serving() as server:
        with pytest.raises(LookupError, match="the safe is locked"):
            await connecting(server, host_keys=fail)


@awaited
async def test_the_server_has_one_of_the_given_keys_or_is_refused() -> None:
    async with serving() as server:
        async with connecting(server, host_keys=[OTHER_KEY.public, HOST_KEY.public]):
            pass
        with pytest.raises(tellin.HostKeyChanged):
            await connecting(server, host_keys=OTHER_KEY.public)
    with pytest.raises(tellin.UsageError):
        connecting(None, port=1, host_keys=["SHA256:abc"])


@awaited
async def test_policy_off_lets_anything_in_but_gives_no_password_to_a_changed_host(
    tmp_path: Path,
) -> None:
    seen: list[str] = []

    def check(user: str, password: str) -> bool:
        seen.append(password)
        return True

    off = tellin.HostKeyPolicy.OFF
    async with serving(password=check) as server:
        async with connecting(server, host_keys=off, keys=(), password="secret"):
            pass
        assert seen == ["secret"]
        file = tmp_path / "known_hosts"
        file.write_text(record(server.port, OTHER_KEY))
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, host_keys=off, known_hosts=file, keys=(), password="secret")
        assert seen == ["secret"]


# --- configuration


@awaited
async def test_a_configuration_names_user_port_key_and_policy(tmp_path: Path) -> None:
    async with serving() as server:
        identity = tmp_path / "id_ed25519"
        identity.write_bytes(USER_KEY.to_openssh())
        identity.chmod(0o600)
        known = tmp_path / "known_hosts"
        known.write_text(f"other {HOST_KEY.public.to_line()}\n")
        config = tmp_path / "config"
        config.write_text(
            f"Host there\n  HostName 127.0.0.1\n  Port {server.port}\n  User configured\n"
            f"  IdentityFile {identity}\n  UserKnownHostsFile {known}\n"
            "  HostKeyAlias other\n  StrictHostKeyChecking yes\n"
        )
        async with tellin.connect("there", config=config) as connection:
            assert connection.user == "configured"
            assert connection.host == "there"
            assert connection.address == ("127.0.0.1", server.port)
        # What the call says stands over what the file says.
        with pytest.raises(tellin.HostKeyChanged):
            await tellin.connect("there", config=config, host_keys=OTHER_KEY.public)


@awaited
async def test_a_configuration_without_a_policy_is_none(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("User someone\n")
    with pytest.raises(tellin.HostKeyUnknown, match="no host key policy"):
        await tellin.connect("127.0.0.1", port=1, config=config)


# --- keys and passwords


@awaited
async def test_options_are_those_of_ssh_and_count_between_arguments_and_configuration(
    tmp_path: Path,
) -> None:
    config = tmp_path / "config"
    config.write_text("User nobody\nCompression yes\nCiphers aes128-ctr\n", "utf-8")
    async with serving() as server:
        how = {"host_keys": HOST_KEY.public, "keys": [USER_KEY]}
        options = [f"Port={server.port}", "User someone", "Ciphers=aes256-ctr"]
        async with tellin.connect("127.0.0.1", config=config, options=options, **how) as made:
            assert made.user == "someone"
            assert made.algorithms is not None
            assert made.algorithms.client_to_server.cipher == "aes256-ctr"
            assert made.algorithms.client_to_server.compression.startswith("zlib")
        # What is an argument counts before, and without a configuration they are all there is.
        async with tellin.connect(
            "127.0.0.1", user="other", ciphers="aes192-ctr", config=None, options=options, **how
        ) as made:
            assert made.user == "other"
            assert made.algorithms is not None
            assert made.algorithms.client_to_server.cipher == "aes192-ctr"
        relay = (
            "import socket, sys, threading\n"
            "line = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
            "def send():\n"
            "    while data := sys.stdin.buffer.raw.read(65536):\n"
            "        line.sendall(data)\n"
            "threading.Thread(target=send, daemon=True).start()\n"
            "while data := line.recv(65536):\n"
            "    sys.stdout.buffer.raw.write(data)\n"
        )
        (tmp_path / "relay.py").write_text(relay, "utf-8")
        command = f"ProxyCommand={sys.executable} {tmp_path}/relay.py %h %p"
        async with tellin.connect(
            "127.0.0.1", config=None, options=[*options, command], **how
        ) as made:
            assert (await made.run("say through")).stdout == "through"
        # The policy may be among them, too.
        how = {"keys": [USER_KEY], "config": None}
        with pytest.raises(tellin.HostKeyUnknown):
            await tellin.connect(
                "127.0.0.1",
                options=[*options, "StrictHostKeyChecking=yes", f"UserKnownHostsFile={config}"],
                **how,
            )
        with pytest.raises(tellin.ConfigError, match="Portt"):
            await tellin.connect("127.0.0.1", options=["Portt=1"], **how)
        with pytest.raises(tellin.UsageError, match="a sequence"):
            tellin.connect("127.0.0.1", options="Port=1")


def test_one_key_is_no_sequence_of_keys() -> None:
    with pytest.raises(tellin.UsageError):
        tellin.connect("host", keys="id_ed25519")


@pytest.mark.parametrize("form", ["file", "bytes", "object"])
@awaited
async def test_keys_come_from_memory_and_from_files(tmp_path: Path, form: str) -> None:
    data = USER_KEY.to_openssh()
    path = tmp_path / "key"
    path.write_bytes(data)
    path.chmod(0o600)
    key: Any = {"file": path, "bytes": data, "object": USER_KEY}[form]
    async with serving() as server, connecting(server, keys=[OTHER_KEY, key]) as connection:
        assert (await connection.run("status 0")).ok


@pytest.mark.parametrize("form", ["text", "function", "coroutine"])
@awaited
async def test_an_encrypted_key_is_opened_when_the_server_wants_it(form: str) -> None:
    data = USER_KEY.to_openssh(b"a passphrase", rounds=2)
    asked: list[str] = []

    def know(name: str) -> str:
        asked.append(name)
        return "a passphrase"

    async def know_later(name: str) -> str:
        await asyncio.sleep(0)
        return know(name)

    passphrase: Any = {"text": "a passphrase", "function": know, "coroutine": know_later}[form]
    async with serving() as server:
        async with connecting(server, keys=[data], passphrase=passphrase):
            pass
        assert len(asked) == (form != "text")
    async with serving(authorized_keys=OTHER_KEY.public) as server:
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, keys=[data], passphrase=passphrase)
        assert len(asked) == (form != "text"), "nobody is asked for a key the server does not take"


@awaited
async def test_a_key_that_cannot_be_read_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    missing = tmp_path / "nothing"
    with pytest.raises(tellin.KeyFileError, match="nothing"):
        await connecting(None, port=1, keys=[missing])
    with pytest.raises(tellin.WrongPassphrase):
        await connecting(None, port=1, keys=[USER_KEY.to_openssh(b"secret", rounds=2)])
    exposed = tmp_path / "exposed"
    exposed.write_bytes(USER_KEY.to_openssh())
    exposed.chmod(0o644)
    with pytest.raises(tellin.KeyFileError, match="bad permissions"):
        await connecting(None, port=1, keys=[exposed])


@awaited
async def test_a_refused_login_says_what_was_tried_and_what_would_do() -> None:
    async with serving(password=lambda user, password: False) as server:
        with pytest.raises(tellin.AuthenticationFailed) as caught:
            await connecting(server, keys=[], password="wrong")
    assert "password" in caught.value.tried
    assert caught.value.allowed == ("password",)
    assert caught.value.hint


@pytest.mark.parametrize("form", ["text", "function", "coroutine"])
@awaited
async def test_a_password_is_text_or_known_by_a_function(form: str) -> None:
    tries = iter(["wrong", "right"])

    def know() -> str:
        return next(tries)

    async def know_later() -> str:
        await asyncio.sleep(0)
        return know()

    password: Any = {"text": "right", "function": know, "coroutine": know_later}[form]
    check = lambda user, given: (user, given) == ("someone", "right")  # noqa: E731
    options: Any = {"keys": (), "password": password}
    async with serving(password=check) as server, connecting(server, **options) as connection:
        assert (await connection.run("status 0")).ok


@awaited
async def test_a_single_hidden_question_is_about_the_password() -> None:
    def dialogue(user: str, answers: tuple[str, ...] | None) -> Any:
        return [("Password: ", False)] if answers is None else answers == ("right",)

    options: Any = {"keys": (), "password": "right"}
    async with serving(questions=dialogue) as server, connecting(server, **options) as connection:
        assert (await connection.run("status 0")).ok


@awaited
async def test_questions_are_answered_by_a_function() -> None:
    def dialogue(user: str, answers: tuple[str, ...] | None) -> Any:
        if answers is None:
            return [("Name: ", True), ("Code: ", False)]
        return answers == ("me", "123")

    async def answer(name: str, instruction: str, prompts: Any) -> list[str]:
        assert prompts == (("Name: ", True), ("Code: ", False))
        return ["me", "123"]

    options: Any = {"keys": (), "questions": answer}
    async with serving(questions=dialogue) as server, connecting(server, **options) as connection:
        assert (await connection.run("status 0")).ok


# --- what goes wrong


@awaited
async def test_a_closed_port_and_an_unknown_name_fail_to_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(tellin.ConnectFailed, match="Connection refused"):
        await connecting(None, port=port)
    with pytest.raises(tellin.ConnectFailed, match="resolve"):
        await tellin.connect(
            "no-such-host.invalid", user="x", config=None, host_keys=tellin.HostKeyPolicy.OFF
        )


@awaited
async def test_a_silent_port_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(tellin.TimedOut, match=r"within 0\.1 s \(banner exchange\)"):
            await connecting(None, port=port, login_timeout=0.1)


async def _once(handle: Any) -> tuple[asyncio.Server, int]:
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


@awaited
async def test_a_peer_that_is_not_ssh_is_told_apart() -> None:
    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 1100)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server, port = await _once(http)
    async with server:
        with pytest.raises(IdentificationError):
            await connecting(None, port=port)


@awaited
async def test_a_server_that_vanishes_is_a_connection_lost_at_its_stage() -> None:
    async def vanish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-vanishing\r\n")
        await reader.readline()
        writer.close()

    server, port = await _once(vanish)
    async with server:
        with pytest.raises(tellin.ConnectionLost) as caught:
            await connecting(None, port=port)
    assert caught.value.stage in {"banner exchange", "key exchange"}


@awaited
async def test_no_common_algorithm_shows_both_lists() -> None:
    async with serving(ciphers="chacha20-poly1305@openssh.com") as server:
        with pytest.raises(tellin.NegotiationFailed) as caught:
            await connecting(server, ciphers=["aes128-ctr"])
    assert caught.value.ours == ("aes128-ctr",)
    assert caught.value.theirs == ("chacha20-poly1305@openssh.com",)


@awaited
async def test_a_misspelt_algorithm_is_a_config_error() -> None:
    with pytest.raises(tellin.ConfigError, match="aes512"):
        await connecting(None, port=1, ciphers="aes512-gcm")


@awaited
async def test_a_cancelled_connect_leaves_no_socket_behind() -> None:
    gone = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(1000):
                pass
        writer.close()
        gone.set_result(None)

    server, port = await _once(listen)
    async with server:
        task = asyncio.ensure_future(_await(connecting(None, port=port)))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone


async def _await(thing: Any) -> Any:
    return await thing


# --- the connection


@awaited
async def test_a_connection_tells_about_itself() -> None:
    async with serving(banner="Welcome\r\n") as server, connecting(server) as connection:
        assert connection.address == ("127.0.0.1", server.port)
        assert connection.server_version.startswith("SSH-2.0-tellin")
        assert connection.banner == "Welcome\r\n"
        assert connection.algorithms is not None
        assert not connection.closed
        assert connection.error is None
        assert await connection.ping() > 0
    assert connection.closed
    assert connection.error is None


@awaited
async def test_algorithms_and_compression_are_chosen() -> None:
    options: Any = {"ciphers": "aes256-ctr", "macs": ["hmac-sha2-512-etm@openssh.com"]}
    async with serving() as server:
        async with connecting(server, compression=True, rekey_limit=70_000, **options) as made:
            data = b"squeeze me " * 50_000
            done = await made.run("cat", input=data, encoding=None)
            chosen = made.algorithms.client_to_server
        assert (chosen.cipher, chosen.mac) == ("aes256-ctr", options["macs"][0])
        assert chosen.compression == "zlib@openssh.com"
        assert done.stdout == data


@awaited
async def test_new_keys_in_the_middle_change_nothing() -> None:
    async with connected() as connection:
        before = connection.core.session_id
        task = asyncio.ensure_future(connection.run("source 3000000", encoding=None))
        await asyncio.sleep(0)
        connection.rekey()
        done = await task
        assert len(done.stdout) == 3_000_000
        assert connection.core.session_id == before


@awaited
async def test_a_closed_connection_says_so() -> None:
    async with connected() as connection:
        task = asyncio.ensure_future(connection.run("wait"))
        await asyncio.sleep(0.05)
        await connection.aclose()
        with pytest.raises(tellin.ConnectionLost, match="closed"):
            await task
        with pytest.raises(tellin.ConnectionLost):
            await connection.run("status 0")
        with pytest.raises(tellin.ConnectionLost):
            await connection.ping()
        await connection.aclose()


@awaited
async def test_a_lost_connection_keeps_its_first_cause() -> None:
    async with serving() as server, connecting(server) as connection:
        task = asyncio.ensure_future(connection.run("wait"))
        pinging = asyncio.ensure_future(connection.ping())
        await pinging
        for one in list(server.connections):
            one.disconnect(11, "maintenance")
        with pytest.raises(tellin.ConnectionLost, match="maintenance") as caught:
            await task
        assert caught.value.stage == "session"
        assert isinstance(caught.value.__cause__, tellin.Disconnected)
        await connection.wait_closed()
        assert isinstance(connection.error, tellin.Disconnected)


@awaited
async def test_a_peer_that_stops_answering_is_noticed() -> None:
    async with serving(port=-1) as server:
        ours, theirs = socket.socketpair()
        served = server.serve_socket(theirs)
        async with connecting(server, sock=ours, keepalive=0.05) as connection:
            served.link.pause()
            with pytest.raises(tellin.ConnectionLost) as caught:
                await connection.run("status 0")
            assert isinstance(caught.value.__cause__, tellin.TimedOut)


@awaited
async def test_an_opening_is_used_once() -> None:
    async with serving() as server:
        opening = connecting(server)
        async with opening:
            with pytest.raises(tellin.UsageError):
                await opening


@awaited
async def test_many_connections_share_one_loop() -> None:
    async with serving(session=obey, max_startups=1000) as server:

        async def one(number: int) -> str:
            async with connecting(server) as connection:
                return (await connection.run(f"say {number}")).stdout

        said = await asyncio.gather(*(one(number) for number in range(50)))
    assert said == [str(number) for number in range(50)]


@pytest.mark.peer("asyncssh")
@awaited
async def test_tellin_connects_to_asyncssh(tmp_path: Path) -> None:
    import asyncssh

    async def answer(process: Any) -> None:
        data = await process.stdin.read()
        process.stdout.write(data)
        process.stderr.write(b"errors")
        process.exit(44)

    authorized = tmp_path / "authorized_keys"
    authorized.write_text(USER_KEY.public.to_line() + "\n")
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.import_private_key(HOST_KEY.to_openssh())],
        authorized_client_keys=str(authorized),
        process_factory=answer,
        encoding=None,
    )
    async with server, connecting(None, port=server.get_port()) as connection:
        for size in (0, 1, 32767, 1 << 20, (4 << 20) + 13):
            data = b"x" * size
            done = await connection.run("anything", input=data, encoding=None)
            assert (done.stdout, done.stderr, done.exit_status) == (data, b"errors", 44)


@pytest.mark.parametrize("given", [False, True])
@awaited
async def test_a_server_that_stumbles_over_a_guess_is_tried_once_more(given: bool) -> None:
    offer = packet(server_kexinit(kex_algorithms=("ecdh-sha2-nistp521",)))
    guessed: list[bool] = []

    async def stumble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BANNER + offer)
        line = await reader.readline()
        size = await reader.readexactly(4)
        body = await reader.readexactly(int.from_bytes(size, "big"))
        guessed.append(
            KexInit.decode(clear_payloads(line + size + body)[0]).first_kex_packet_follows
        )
        writer.close()

    server = await asyncio.start_server(stumble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        sock = socket.create_connection(("127.0.0.1", port)) if given else None
        with pytest.raises(tellin.ConnectionLost):
            await connecting(None, port=port, sock=sock)
    assert guessed == ([False] if given else [True, False])
