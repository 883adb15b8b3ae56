# SPDX-License-Identifier: MIT
"""What a server listens on for its client: raw requests, good and bad, at a running sshd."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.interop.servers import Account
from tests.interop.target import free_port
from tests.interop.tellin_peer import TellinServer
from tests.server.caller import Caller

from tellin.connection.forwarding import (
    CANCEL_PORT,
    CANCEL_SOCKET,
    DIRECT_PORT,
    FORWARDED_PORT,
    FORWARDED_SOCKET,
    LISTEN_PORT,
    LISTEN_SOCKET,
    SERVERS_TYPES,
    ForwardedPort,
    ForwardedSocket,
    PortChosen,
    PortPlace,
    SocketPlace,
)
from tellin.connection.machine import ConnectionSettings
from tellin.errors import Disconnected, DisconnectReason
from tellin.keys.formats import load_private_key
from tellin.protocol import ClientProtocol
from tellin.protocol.events import ChannelAsked, ChannelClosed, Closed, GlobalReplied
from tellin.testing.loopback import client_settings


class Guest(Caller):
    """A client that may be asked for channels."""

    def _begin(self, seconds: float, changes: dict[str, object]) -> None:
        super()._begin(seconds, changes)
        self.core = ClientProtocol(
            client_settings(**changes), ConnectionSettings(channel_types=SERVERS_TYPES), now=0.0
        )

    def ask(self, name: str, data: bytes) -> GlobalReplied:
        self.core.request(name, data, token=name)
        return self.wait(GlobalReplied)

    def listen(self, host: str, port: int = 0) -> int | None:
        """The port that is listened on, None for a no."""
        answer = self.ask(LISTEN_PORT, PortPlace(host, port).encode())
        if not answer.success:
            return None
        return port or PortChosen.decode(answer.data).port

    def listen_at(self, path: Path | bytes) -> bool:
        return self.ask(LISTEN_SOCKET, SocketPlace(bytes(path)).encode()).success

    def cancel(self, host: str, port: int) -> bool:
        return self.ask(CANCEL_PORT, PortPlace(host, port).encode()).success

    @property
    def is_well(self) -> bool:
        """Whether the connection goes on."""
        return not self.ask("keepalive@openssh.com", b"").success and not self.core.closed


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TellinServer]:
    """As root for the throw-away account, else for who runs the tests."""
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    with TellinServer(
        tmp_path_factory.mktemp("listening"),
        account=account,
        options={"GatewayPorts": "clientspecified"},
    ) as running:
        yield running


@pytest.fixture
def guest(server: TellinServer) -> Iterator[Guest]:
    with Guest(server.port) as made:
        made.log_in(server.user, load_private_key(server.identity.path.read_bytes()))
        yield made


@pytest.fixture
def place(server: TellinServer) -> Iterator[Path]:
    """A directory of the user's, whose name is short enough for sockets."""
    made = Path(f"/tmp/tellin-l{os.getpid()}")
    made.mkdir()
    if server.account:
        server.account.own(made)
    yield made
    for one in made.iterdir():
        one.unlink()
    made.rmdir()


def test_whoever_comes_is_announced_with_the_place_as_it_was_asked_for(
    guest: Guest, place: Path
) -> None:
    port = guest.listen("localhost")
    assert port is not None
    with socket.create_connection(("127.0.0.1", port)) as stream:
        asked = guest.wait(ChannelAsked)
        assert asked.channel_type == FORWARDED_PORT
        assert ForwardedPort.decode(asked.data) == ForwardedPort(
            "localhost", port, *stream.getsockname()
        )
        guest.core.refuse_channel(asked.channel, 1, "no")
        guest.flush()
        assert stream.recv(1) == b""
    assert guest.listen_at(place / "s")
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(str(place / "s"))
        asked = guest.wait(ChannelAsked)
        assert asked.channel_type == FORWARDED_SOCKET
        assert ForwardedSocket.decode(asked.data) == ForwardedSocket(bytes(place / "s"), b"")
    assert guest.ask(CANCEL_SOCKET, SocketPlace(bytes(place / "s")).encode()).success
    assert not (place / "s").exists()


def test_what_is_cancelled_is_listened_on_no_more_and_what_is_connected_goes_on(
    guest: Guest,
) -> None:
    port = guest.listen("")
    assert port is not None
    with socket.create_connection(("127.0.0.1", port)) as stream:
        asked = guest.wait(ChannelAsked)
        guest.core.accept_channel(asked.channel)
        assert guest.cancel("", port)
        assert not guest.cancel("", port)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        asked.channel.send(b"still here")
        guest.flush()
        assert stream.recv(64) == b"still here"
        asked.channel.close()
        guest.wait(ChannelClosed)
    assert guest.listen("", port) == port


@pytest.mark.parametrize("port", [65536, 70000, 2**32 - 1])
def test_case_177_no_port_that_is_none_is_listened_on(guest: Guest, port: int) -> None:
    assert guest.listen("localhost", port) is None
    assert guest.is_well


@pytest.mark.skipif(os.geteuid() != 0, reason="an account of its own can be made by root alone")
@pytest.mark.parametrize("port", [1, 80, 1023])
def test_case_178_a_user_gets_no_privileged_port_whatever_the_system_allows(
    guest: Guest, port: int, server: TellinServer
) -> None:
    assert guest.listen("localhost", port) is None
    assert f"the privileged port {port} for a user" in server.log()
    assert guest.is_well


def test_case_179_one_place_is_had_once_and_a_hundred_together(guest: Guest) -> None:
    port = guest.listen("localhost")
    assert port is not None
    for host in ("localhost", "127.0.0.1"):
        assert guest.listen(host, port) is None
    ports = [guest.listen("127.0.0.1") for _ in range(99)]
    assert None not in ports
    assert guest.listen("127.0.0.1") is None
    assert guest.is_well
    assert ports[0] is not None
    assert guest.cancel("127.0.0.1", ports[0])
    assert guest.listen("127.0.0.1") is not None


@pytest.mark.parametrize("host", ["a\0b", "127.0.0.1\0", "x" * 2000, "no-such.invalid",
                                  "198.51.100.7", "300.1.1.1", "[::1]"])  # fmt: skip
def test_case_181_an_address_that_is_none_is_refused(guest: Guest, host: str) -> None:
    assert guest.listen(host) is None
    assert guest.is_well


@pytest.mark.parametrize("host", ["", "*", "localhost", "127.0.0.1", "127.0.0.2", "::1"])
def test_case_181_addresses_are_those_that_gateway_ports_lets_a_client_choose(
    guest: Guest, host: str
) -> None:
    port = guest.listen(host)
    assert port is not None
    found = set()
    for address in ("127.0.0.1", "127.0.0.2", "::1"):
        with suppress(OSError):
            socket.create_connection((address, port)).close()
            found.add(address)
    every = {"127.0.0.1", "127.0.0.2", "::1"}
    loopback = {"127.0.0.1", "::1"}
    assert found == {"": every, "*": every, "localhost": loopback}.get(host, {host})


def test_case_181_an_address_of_the_other_family_is_refused_and_the_connection_goes_on(
    server: TellinServer, tmp_path: Path
) -> None:
    options = {"AddressFamily": "inet", "GatewayPorts": "clientspecified"}
    with (
        TellinServer(tmp_path, account=server.account, options=options) as running,
        Guest(running.port) as guest,
    ):
        guest.log_in(running.user, load_private_key(running.identity.path.read_bytes()))
        assert guest.listen("::1") is None
        port = guest.listen("localhost")
        assert port is not None
        socket.create_connection(("127.0.0.1", port)).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("::1", port))
        assert guest.is_well
    assert "internal error" not in running.log()


def test_case_182_a_path_that_is_none_or_taken_is_refused(guest: Guest, place: Path) -> None:
    (place / "file").write_text("kept", "utf-8")
    (place / "link").symlink_to(place / "file")
    (place / "dangling").symlink_to(place / "nothing")
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(place / "socket"))
        names = (b"file", b"link", b"dangling", b"socket", b"x" * 200, b"a\0b", b"no/such/s")
        for path in (*(bytes(place) + b"/" + name for name in names), b"", b"s", b"./s", b"/"):
            assert not guest.listen_at(path)
    assert (place / "file").read_text("utf-8") == "kept"
    assert not (place / "nothing").exists()
    assert guest.is_well


def steal(address: str, port: int, option: int) -> None:
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, option, 1)
        thief.bind((address, port))
        thief.listen()


def test_r145_nobody_else_can_take_over_what_is_listened_on(guest: Guest) -> None:
    """Neither on the same address nor, where it is every one, on a more particular one."""
    for host in ("127.0.0.1", ""):
        port = guest.listen(host)
        assert port is not None
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            for address in ("127.0.0.1", "127.0.0.2" if host == "" else "127.0.0.1"):
                with pytest.raises(OSError, match="in use"):
                    steal(address, port, option)


@pytest.mark.skipif(os.geteuid() != 0, reason="an account of its own can be made by root alone")
def test_r148_what_is_listened_on_is_the_users(
    guest: Guest, place: Path, account: Account, tmp_path: Path
) -> None:
    assert guest.listen_at(place / "s")
    status = (place / "s").stat()
    assert (status.st_uid, status.st_mode & 0o777) == (account.uid, 0o600)
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(str(place / "s"))
        guest.wait(ChannelAsked)
        raw = stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        assert int.from_bytes(raw[4:8], sys.byteorder) == account.uid
    # Case 182: a directory that is not the user's.
    tmp_path.chmod(0o755)
    assert not guest.listen_at(f"/run/s{os.getpid()}".encode())
    port = guest.listen("127.0.0.1")
    line = f"{port:04X}"
    owners = [
        row.split()[7]
        for row in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
        if row.split()[1].endswith(f":{line}") and row.split()[3] == "0A"
    ]
    assert owners == [str(account.uid)]


def test_without_an_answer_a_port_that_the_server_would_choose_is_not_listened_on(
    guest: Guest, server: TellinServer
) -> None:
    guest.core.request(LISTEN_PORT, PortPlace("localhost", 0).encode())
    assert guest.is_well
    assert "that the client will not be told" in server.log()
    port = free_port()
    guest.core.request(LISTEN_PORT, PortPlace("localhost", port).encode())
    assert guest.is_well
    with socket.create_connection(("127.0.0.1", port)):
        guest.wait(ChannelAsked)


@pytest.mark.parametrize("name", [LISTEN_PORT, CANCEL_PORT, LISTEN_SOCKET, CANCEL_SOCKET])
def test_a_request_to_listen_that_is_cut_off_ends_the_connection(guest: Guest, name: str) -> None:
    guest.core.request(name, b"\0\0\0\x09local", token=name)
    error = guest.wait(Closed).error
    assert isinstance(error, Disconnected)
    assert error.reason == DisconnectReason.PROTOCOL_ERROR


def test_a_target_that_is_cut_off_ends_the_connection(guest: Guest) -> None:
    guest.core.open_channel(DIRECT_PORT, b"\0\0\0\x09local")
    error = guest.wait(Closed).error
    assert isinstance(error, Disconnected)
    assert error.reason == DisconnectReason.PROTOCOL_ERROR


def test_r136_case_203_stderr_on_what_the_server_opened_is_dropped_with_credit(
    guest: Guest,
) -> None:
    port = guest.listen("localhost")
    assert port is not None
    with socket.create_connection(("127.0.0.1", port)) as stream:
        channel = guest.wait(ChannelAsked).channel
        guest.core.accept_channel(channel)
        data = memoryview(bytes(6 << 20))
        while data:
            data = data[channel.send_extended(data[: 1 << 20]) :]
            guest.turn(0.01)
        while not channel.send(b"hello"):
            guest.turn(0.05)
        guest.flush()
        assert stream.recv(64) == b"hello"


def test_when_the_client_goes_so_does_what_was_listened_on(
    server: TellinServer, place: Path
) -> None:
    with Guest(server.port) as made:
        made.log_in(server.user, load_private_key(server.identity.path.read_bytes()))
        port = made.listen("localhost")
        assert port is not None
        assert made.listen_at(place / "s")
    with suppress(ConnectionRefusedError):
        while True:
            socket.create_connection(("127.0.0.1", port)).close()
    while (place / "s").exists():
        pass
