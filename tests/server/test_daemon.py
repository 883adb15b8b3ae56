# SPDX-License-Identifier: MIT
"""The daemon's own part: addresses, slots, what fails at a fork, and what a reload keeps."""

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.config.paper_machine import PaperMachine

from tellin.config.sshd_reading import SshdSettings, read_sshd_config
from tellin.errors import ConfigError
from tellin.keys.private import PrivateKey
from tellin.runtime.journal import VERBOSE, Journal
from tellin.runtime.loop import SmallLoop
from tellin.runtime.sockets import Socket
from tellin.server.connection import Peer
from tellin.server.daemon import UNKNOWN_PEER, Daemon, peer_of
from tellin.server.offer import Offer

HOST_KEY = PrivateKey.generate("ed25519")
FILE = "/etc/ssh/sshd_config"


def read(text: str) -> SshdSettings:
    return read_sshd_config(PaperMachine({FILE: text}), file=FILE)


def offer(text: str = "ListenAddress 127.0.0.1:0\n") -> Offer:
    return Offer.of(read(text), [HOST_KEY], None)


class Watched:
    """A daemon in this process that serves nobody: it remembers whom it would have served."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = SmallLoop()
        self.lines: list[str] = []
        self.served: list[Peer] = []
        self.daemon: Daemon | None = None
        self._patch = monkeypatch

    def start(self, text: str = "ListenAddress 127.0.0.1:0\n") -> list[Any]:
        self.daemon = Daemon(self.loop, offer(text), Journal(VERBOSE, self.lines.append))
        self._patch.setattr(self.daemon, "_fork", self._serve)
        return self.daemon.listen()

    def _serve(self, connection: Socket, peer: Peer) -> None:
        self.served.append(peer)
        connection.close()

    def turn(self, condition: Callable[[], object]) -> None:
        assert self.loop.run_until(condition, timeout=5), self.lines


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    made = Watched(monkeypatch)
    yield made
    if made.daemon is not None:
        made.daemon.close()
    made.loop.close()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def reached(address: Any) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as probe:
        return probe.connect_ex(address[:2]) == 0


# Addresses


def test_every_port_of_every_address_is_listened_on(watched: Watched) -> None:
    first, second, third = free_ports(3)
    text = (
        f"Port {first}\nPort {second}\nListenAddress 127.0.0.1\nListenAddress 127.0.0.2:{third}\n"
    )
    bound = watched.start(text)
    assert bound == [("127.0.0.1", first), ("127.0.0.1", second), ("127.0.0.2", third)]
    assert all(map(reached, bound))
    assert f"Server listening on 127.0.0.2 port {third}." in watched.lines
    watched.turn(lambda: len(watched.served) == 3)
    assert {peer.local_port for peer in watched.served} == {first, second, third}


@pytest.mark.parametrize(("family", "expected"), [("inet", "127.0.0.1"), ("inet6", "::1")])
def test_address_family_chooses(watched: Watched, family: str, expected: str) -> None:
    try:
        bound = watched.start(f"AddressFamily {family}\nListenAddress localhost:0\n")
    except OSError:
        pytest.skip(f"no {family} here")
    assert [address[0] for address in bound] == [expected]


def test_an_address_that_is_not_here_costs_no_other(watched: Watched) -> None:
    (port,) = free_ports(1)
    bound = watched.start(f"Port {port}\nListenAddress 192.0.2.1\nListenAddress 127.0.0.1\n")
    assert bound == [("127.0.0.1", port)]
    assert watched.lines[0].startswith(f"Bind to port {port} on 192.0.2.1 failed: ")


def test_a_name_that_leads_nowhere_costs_no_other(watched: Watched) -> None:
    (port,) = free_ports(1)
    bound = watched.start(f"Port {port}\nListenAddress nowhere.invalid\nListenAddress 127.0.0.1\n")
    assert bound == [("127.0.0.1", port)]
    assert watched.lines[0].startswith("ListenAddress nowhere.invalid: Could not resolve hostname")


def test_no_address_at_all_is_an_error(watched: Watched) -> None:
    with pytest.raises(OSError, match="assign"):
        watched.start("Port 2222\nListenAddress 192.0.2.1\n")


def test_a_peer_is_named_by_both_ends(watched: Watched) -> None:
    (address,) = watched.start()
    with socket.create_connection(address) as client:
        watched.turn(lambda: watched.served)
        host, port = client.getsockname()
        assert watched.served == [Peer(host, port, *address, "")]


def test_a_stream_without_addresses_is_unknown() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert peer_of(one) == UNKNOWN_PEER
    assert peer_of(one) == UNKNOWN_PEER
    assert str(UNKNOWN_PEER) == "UNKNOWN port 65535"


def test_case_350_an_address_in_the_form_of_the_other_family_is_brought_back() -> None:
    class Mapped:
        def getpeername(self) -> tuple[Any, ...]:
            return "::ffff:192.0.2.7", 5, 0, 0

        def getsockname(self) -> tuple[Any, ...]:
            return "fe80::1%eth0", 22, 0, 2

        def getsockopt(self, *_: int) -> bytes:
            return b"blue\0"

    assert peer_of(Mapped()) == Peer("192.0.2.7", 5, "fe80::1%eth0", 22, "blue")


# Faults of the machine


@pytest.mark.parametrize("fault", ["fork", "pipe2"])
def test_case_341_what_cannot_be_forked_now_is_closed_and_the_next_is_served(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    (address,) = watched.start()
    daemon = watched.daemon
    assert daemon is not None
    monkeypatch.undo()

    def fails(*arguments: object) -> int:
        raise OSError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as broken:
        broken.setattr(os, fault, fails)
        with socket.create_connection(address) as client:
            watched.turn(lambda: any("no process for" in line for line in watched.lines))
            client.settimeout(5)
            assert client.recv(10) == b""
    assert watched.lines[-1].endswith("Resource temporarily unavailable")
    assert not daemon._starting
    monkeypatch.setattr(daemon, "_fork", watched._serve)
    with socket.create_connection(address):
        watched.turn(lambda: watched.served)


# Reloading


def test_a_reload_keeps_the_sockets_it_goes_on_with(watched: Watched) -> None:
    first, second, third = free_ports(3)
    watched.start(f"ListenAddress 127.0.0.1:{first}\nListenAddress 127.0.0.1:{second}\n")
    daemon = watched.daemon
    assert daemon is not None
    (kept,) = daemon._acceptors["127.0.0.1", second]
    text = f"ListenAddress 127.0.0.1:{second}\nListenAddress 127.0.0.1:{third}\nMaxStartups 7\n"
    daemon.on_reload = lambda: offer(text)
    daemon._hung_up()
    assert daemon._acceptors["127.0.0.1", second] == [kept]
    assert [reached(("127.0.0.1", port)) for port in (first, second, third)] == [False, True, True]
    assert daemon.offer.configuration.always.max_startups == (7, 30, 7)


def test_a_reload_changes_the_families_of_addresses_that_it_keeps(watched: Watched) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    (port,) = free_ports(1)
    watched.start(f"Port {port}\nAddressFamily inet\n")
    daemon = watched.daemon
    assert daemon is not None
    for family, four, six in (
        ("any", True, True),
        ("inet6", False, True),
        ("any", True, True),
        ("inet", True, False),
    ):
        before = {id(one) for one in daemon._all()}
        text = f"Port {port}\nAddressFamily {family}\n"
        daemon.on_reload = lambda text=text: offer(text)  # type: ignore[misc]
        daemon._hung_up()
        assert (reached(("127.0.0.1", port)), reached(("::1", port))) == (four, six)
        # What goes on was never closed.
        assert before & {id(one) for one in daemon._all()}


def test_case_329_a_reload_that_fails_changes_nothing(watched: Watched) -> None:
    (address,) = watched.start()
    daemon = watched.daemon
    assert daemon is not None
    before = daemon.offer
    daemon.on_reload = lambda: None
    daemon._hung_up()
    assert daemon.offer is before
    assert reached(address)


def test_a_reload_to_a_port_that_is_taken_changes_nothing(watched: Watched) -> None:
    (address,) = watched.start()
    daemon = watched.daemon
    assert daemon is not None
    before = daemon.offer
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        daemon.on_reload = lambda: offer(f"ListenAddress 127.0.0.1:{port}\n")
        daemon._hung_up()
    assert daemon.offer is before
    assert reached(address)
    assert watched.lines[-1] == (
        "Cannot bind any address: Address already in use; nothing is changed."
    )


# What is offered


def test_without_a_usable_host_key_there_is_no_offer() -> None:
    with pytest.raises(ConfigError, match="no hostkeys available"):
        Offer.of(read("HostKeyAlgorithms rsa-sha2-512\n"), [HOST_KEY], None)


def test_r114_an_unknown_algorithm_is_an_error_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"/etc/ssh/sshd_config line 2: Ciphers: unknown cipher"):
        offer("Port 22\nCiphers aes128-ctr,nonsense\n")


def test_r210_an_offer_shows_no_secret() -> None:
    made = offer()
    assert made.secret.hex() not in repr(made)
    assert repr(made.secret) not in repr(made)
    private = HOST_KEY.to_openssh()
    assert repr(private) not in repr(made)
