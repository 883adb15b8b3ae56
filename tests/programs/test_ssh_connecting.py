# SPDX-License-Identifier: MIT
"""How ``ssh`` gets to a server: what leaves before the larger part of the program is there."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.interop.target import LOOPBACK

from tellin.algorithms.key_exchange import KEY_EXCHANGES
from tellin.config.ssh_config import SshConfig
from tellin.config.ssh_reading import read_ssh_config
from tellin.config.surroundings import Surroundings
from tellin.errors import ConfigError
from tellin.programs.ssh.connecting import Connecting
from tellin.programs.ssh.run import Run
from tellin.runtime.journal import Journal
from tellin.runtime.loop import SmallLoop
from tellin.transport.version import IDENTIFICATION

LINE = f"{IDENTIFICATION}\r\n".encode()


@pytest.fixture
def loop() -> Iterator[SmallLoop]:
    made = SmallLoop()
    yield made
    made.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server((LOOPBACK, 0)) as made:
        made.settimeout(60)
        yield made


def read(port: int, *options: str) -> SshConfig:
    surroundings = Surroundings(user="me", home="/home/me")
    return read_ssh_config(surroundings, LOOPBACK, port=port, options=options)


def greeted(loop: SmallLoop, listening: socket.socket, *options: str) -> Connecting:
    """One that was greeted for: the kernel may now and then take longer to connect than two turns."""
    config = read(listening.getsockname()[1], *options)
    for _ in range(100):
        connecting = Connecting(loop, config, Journal())
        connecting.start()
        if connecting.greeted:
            return connecting
        connecting.wait().close()
        listening.accept()[0].close()
    raise AssertionError("never greeted")


def test_a_server_that_is_near_is_greeted_before_anything_else(
    loop: SmallLoop, listening: socket.socket
) -> None:
    connecting = greeted(loop, listening)
    theirs = listening.accept()[0]
    with closing(connecting.wait()), theirs:
        theirs.settimeout(60)
        assert theirs.recv(4096) == LINE


def test_the_greeting_is_the_one_that_is_configured(
    loop: SmallLoop, listening: socket.socket
) -> None:
    connecting = greeted(loop, listening, "VersionAddendum=from here")
    theirs = listening.accept()[0]
    with closing(connecting.wait()), theirs:
        theirs.settimeout(60)
        assert theirs.recv(4096) == f"{IDENTIFICATION} from here\r\n".encode()
    with pytest.raises(ConfigError):
        Connecting(loop, read(1, "VersionAddendum=caf\u00e9"), Journal()).start()


def test_a_second_connection_is_greeted_by_whoever_uses_it(
    loop: SmallLoop, listening: socket.socket
) -> None:
    connecting = greeted(loop, listening)
    connecting.wait().close()
    connecting.again()
    assert not connecting.greeted
    connecting.wait().close()
    assert not connecting.greeted


class Unanswered:
    """A server so far away that nothing has come of it yet; how it would be asked is noted."""

    repeatable = True

    def wait(self) -> socket.socket:
        raise TimeoutError


@pytest.mark.parametrize("name", ["sntrup761x25519-sha512", "mlkem768x25519-sha256"])
def test_the_key_of_the_exchange_is_made_before_the_server_has_answered(
    loop: SmallLoop, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sntrup761 takes longer over its key than a network over its answer."""
    row = KEY_EXCHANGES[name]
    made: list[str] = []
    really = row.build
    monkeypatch.setattr(row, "build", lambda: made.append(name) or really())
    config = read(1, f"KexAlgorithms={name}")
    run = Run(loop, config, Journal(), Unanswered(), command=[])  # type: ignore[arg-type]
    try:
        with pytest.raises(TimeoutError):
            run.run()
        assert made == [name]
        # And it is the one that is then used.
        row.start()
        assert made == [name]
    finally:
        row._prepared = None
