# SPDX-License-Identifier: MIT
"""Listening, accepting, resolving and connecting on loopback."""

import contextlib
import errno
import os
import resource
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.work import work

from tellin.errors import ConnectFailed, UsageError
from tellin.runtime import gateways, listeners
from tellin.runtime.gateways import LOOPBACK, listen_at
from tellin.runtime.listeners import AF_INET, AF_INET6, Acceptor, Attempt
from tellin.runtime.loop import SmallLoop
from tellin.runtime.sockets import Socket


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """An address that never answers: its queue is full, so the kernel drops what asks."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(server.getsockname())
            waiting.append(client)
        yield server.getsockname()
        for client in waiting:
            client.close()


# Listening


@needs_ipv6
def test_everywhere_means_both_families_on_one_free_port() -> None:
    made = listeners.listen("", 0)
    assert {one.family for one in made} == {AF_INET, AF_INET6}
    assert len({one.getsockname()[1] for one in made}) == 1
    for one in made:
        assert not one.getblocking()
        assert not os.get_inheritable(one.fileno())
        one.close()


def test_a_taken_port_is_an_error_that_is_told_once_per_address() -> None:
    told: list[tuple[Any, OSError]] = []
    (first,) = listeners.listen("127.0.0.1", 0)
    port = first.getsockname()[1]
    with pytest.raises(OSError, match="in use") as caught:
        listeners.listen("127.0.0.1", port, on_error=lambda a, e: told.append((a, e)))
    assert caught.value.errno == errno.EADDRINUSE
    assert [address for address, _ in told] == [("127.0.0.1", port)]
    first.close()


def test_a_port_can_be_bound_again_at_once_after_a_connection() -> None:
    (first,) = listeners.listen("127.0.0.1", 0)
    address = first.getsockname()
    client = socket.create_connection(address)
    fd, _ = first._accept()  # type: ignore[attr-defined]
    os.close(fd)
    first.close()
    client.close()
    (second,) = listeners.listen("127.0.0.1", address[1])
    second.close()


def test_a_local_socket_is_private_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    before = os.umask(0o022)
    os.umask(before)
    made = listeners.listen_unix(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    now = os.umask(before)
    assert now == before
    with pytest.raises(OSError, match="in use"):
        listeners.listen_unix(str(path))
    made.close()
    listeners.listen_unix(str(path), unlink=True).close()


def test_unlink_takes_no_regular_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(OSError, match="in use"):
        listeners.listen_unix(str(path), unlink=True)
    assert path.read_text() == "precious"


# Accepting


def test_connections_come_non_blocking_and_with_their_address(loop: SmallLoop) -> None:
    (listening,) = listeners.listen("127.0.0.1", 0)
    came: list[tuple[Socket, Any]] = []
    acceptor = Acceptor(loop, listening, lambda *one: came.append(one))
    clients = [socket.create_connection(listening.getsockname()) for _ in range(3)]
    assert loop.run_until(lambda: len(came) == 3, timeout=1)
    assert {address for _, address in came} == {client.getsockname() for client in clients}
    for made, _ in came:
        assert not made.getblocking()
        assert not os.get_inheritable(made.fileno())
        made.close()
    acceptor.close()
    assert listening.fileno() == -1
    for client in clients:
        client.close()


def test_a_paused_acceptor_leaves_connections_in_the_queue(loop: SmallLoop) -> None:
    (listening,) = listeners.listen("127.0.0.1", 0)
    came: list[Socket] = []

    def take(made: Socket, address: Any) -> None:
        came.append(made)
        acceptor.pause()

    acceptor = Acceptor(loop, listening, take)
    clients = [socket.create_connection(listening.getsockname()) for _ in range(2)]
    loop.run_until(lambda: len(came) > 1, timeout=0.03)
    assert len(came) == 1
    acceptor.resume()
    assert loop.run_until(lambda: len(came) == 2, timeout=1)
    acceptor.close()
    for made in (*came, *clients):
        made.close()


def test_without_descriptors_the_acceptor_rests_and_comes_back(
    loop: SmallLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "_BACK_OFF", 2.0)
    (listening,) = listeners.listen("127.0.0.1", 0)
    came: list[Socket] = []
    acceptor = Acceptor(loop, listening, lambda made, _: came.append(made))
    client = socket.create_connection(listening.getsockname())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        resting = loop.run_until(lambda: not acceptor._accepting, timeout=60)
        spent = work(lambda: loop.run_until(lambda: came, timeout=0.3))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resting
    assert spent < 200
    # Closing while it rests calls the rest off; here it comes back.
    assert loop.run_until(lambda: came, timeout=60)
    acceptor.close()
    came[0].close()
    client.close()


def test_a_connection_that_died_in_the_queue_does_not_stop_the_next(loop: SmallLoop) -> None:
    (listening,) = listeners.listen("127.0.0.1", 0)
    died: list[int] = []

    class Queue:
        """The listening socket, whose first connection has died."""

        family, proto = listening.family, listening.proto

        def fileno(self) -> int:
            return listening.fileno()

        def _accept(self) -> tuple[int, Any]:
            if not died:
                died.append(1)
                raise ConnectionAbortedError(errno.ECONNABORTED, "died")
            return listening._accept()  # type: ignore[attr-defined, no-any-return]

        def close(self) -> None:
            listening.close()

    came: list[Socket] = []
    acceptor = Acceptor(loop, Queue(), lambda made, _: came.append(made))  # type: ignore[arg-type]
    with socket.create_connection(listening.getsockname()):
        assert loop.run_until(lambda: came, timeout=1)
    assert died
    acceptor.close()
    came[0].close()


# Resolving and connecting


def test_an_unknown_name_is_worded_as_ssh_words_it() -> None:
    with pytest.raises(ConnectFailed) as caught:
        listeners.connect("no-such-host.invalid", 22)
    assert str(caught.value).startswith("Could not resolve hostname no-such-host.invalid: ")
    assert caught.value.hint


def test_a_name_that_is_no_name_does_not_resolve() -> None:
    with pytest.raises(ConnectFailed, match="Could not resolve hostname"):
        listeners.resolve("a" * 64 + ".example", 22)


def test_a_refusal_is_worded_as_ssh_words_it(closed_port: int) -> None:
    with pytest.raises(ConnectFailed) as caught:
        listeners.connect("127.0.0.1", closed_port)
    assert str(caught.value) == (
        f"connect to host 127.0.0.1 port {closed_port}: Connection refused"
    )
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_silence_ends_with_the_timeout(silent: tuple[str, int]) -> None:
    started = time.monotonic()
    with pytest.raises(ConnectFailed, match="Connection timed out"):
        listeners.connect(*silent, timeout=0.05)
    assert time.monotonic() - started < 50


def test_a_connection_is_non_blocking_and_prepared() -> None:
    prepared: list[Socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = listeners.connect(*server.getsockname(), prepare=prepared.append)
        assert prepared == [made]
        assert not made.getblocking()
        assert made.getpeername() == server.getsockname()
        made.close()


def test_a_connection_can_come_from_another_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = listeners.connect(*server.getsockname(), prepare=listeners.bind_source("127.0.0.2"))
        assert made.getsockname()[0] == "127.0.0.2"
        made.close()


@needs_ipv6
def test_a_source_of_the_other_family_fails_that_address() -> None:
    bind = listeners.bind_source("127.0.0.1")
    with socket.socket(socket.AF_INET6) as six, pytest.raises(OSError, match="assign"):
        bind(six)


def attempt(
    loop: SmallLoop, addresses: list[listeners.Address], timeout: float | None = 5
) -> tuple[Attempt, list[Socket | None]]:
    done: list[Socket | None] = []
    made = Attempt(loop, addresses, done.append, timeout=timeout)
    assert loop.run_until(lambda: done, timeout=60)
    return made, done


def test_a_refused_address_leads_to_the_next_at_once(
    loop: SmallLoop, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody's head start is waited for.
    monkeypatch.setattr(listeners, "_HEAD_START", 3600)
    with socket.create_server(("127.0.0.1", 0)) as server:
        made, done = attempt(
            loop, [(AF_INET, ("127.0.0.1", closed_port)), (AF_INET, server.getsockname())]
        )
        assert done[0] is not None
        assert made.address == server.getsockname()
        done[0].close()


def test_a_silent_address_does_not_hold_up_the_next(
    loop: SmallLoop, silent: tuple[str, int]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        started = time.monotonic()
        _, done = attempt(loop, [(AF_INET, silent), (AF_INET, server.getsockname())])
        assert time.monotonic() - started > 0.2
        assert done[0] is not None
        done[0].close()
    # The loser is closed and watched no more.
    assert not loop._writers


def test_the_error_told_is_that_of_the_last_address(loop: SmallLoop, closed_port: int) -> None:
    made, done = attempt(
        loop,
        [(AF_INET, ("127.0.0.1", closed_port)), (AF_INET, ("255.255.255.255", closed_port))],
    )
    assert done == [None]
    assert made.error is not None
    assert made.error.errno != errno.ECONNREFUSED


def test_a_full_local_queue_is_an_error_and_no_connection(loop: SmallLoop, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with contextlib.closing(listeners.listen_unix(path, backlog=0)) as listening:
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(path)
        made, done = attempt(loop, [(listeners.AF_UNIX, path)])
        assert done == [None]
        assert made.error is not None
        assert made.error.errno == errno.EAGAIN
        for client in waiting:
            client.close()
        assert listening.fileno() >= 0


def test_who_listens_here_is_reached_at_once_and_who_is_silent_is_waited_for(
    loop: SmallLoop, silent: tuple[str, int]
) -> None:
    (listening,) = listeners.listen("127.0.0.1", 0)
    made, there = listeners.begin(AF_INET, listening.getsockname())
    assert there
    made.close()
    listening.close()
    with pytest.raises(ConnectionRefusedError):
        listeners.begin(AF_INET, ("127.0.0.1", 1))
    made, there = listeners.begin(AF_INET, silent)
    assert not there
    done: list[Socket | None] = []
    # The next address gets its turn beside the one that has begun.
    (other,) = listeners.listen("127.0.0.1", 0)
    addresses = [(AF_INET, silent), (AF_INET, other.getsockname())]
    whole = Attempt(loop, addresses, done.append, begun=made)
    assert loop.run_until(lambda: done, timeout=60)
    assert done[0] is not None
    assert whole.address == other.getsockname()
    assert made.fileno() == -1
    done[0].close()
    other.close()


def test_a_cancelled_attempt_says_nothing(loop: SmallLoop, silent: tuple[str, int]) -> None:
    done: list[Socket | None] = []
    made = Attempt(loop, [(AF_INET, silent)], done.append, timeout=0.02)
    loop.run_until(lambda: loop._writers, timeout=1)
    made.cancel()
    assert loop.run_until(lambda: done, timeout=0.05) is False
    assert not loop._writers


def test_families_take_turns_and_the_first_choice_stays_first() -> None:
    six, four = AF_INET6, AF_INET
    order = listeners._by_turns([(six, 1), (six, 2), (six, 3), (four, 4)])
    assert order == [(six, 1), (four, 4), (six, 2), (six, 3)]
    with pytest.raises(UsageError):
        listeners._by_turns([])


def test_an_attempt_that_cannot_be_made_leaves_nothing_behind() -> None:
    loop = SmallLoop()
    with pytest.raises(TypeError):
        Attempt(loop, [(AF_INET, ("127.0.0.1", 1))], lambda _: None, timeout="x")  # type: ignore[arg-type]
    # A call of half an attempt would raise here.
    turns: list[None] = []
    loop.call_soon(turns.append, None)
    loop.run_until(lambda: turns)
    loop.close()


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (listeners.AF_UNSPEC, {"127.0.0.1", "::1"}),
        (AF_INET, {"127.0.0.1"}),
        (AF_INET6, {"::1"}),
    ],
)
def test_of_this_machines_addresses_those_of_the_family_are_listened_on(
    family: int, expected: set[str]
) -> None:
    failed: list[object] = []
    made = listen_at(LOOPBACK, 0, family=family, on_error=lambda *what: failed.append(what))
    assert {one.getsockname()[0] for one in made} == expected
    assert not failed
    for one in made:
        one.close()


def test_an_address_that_was_named_and_is_not_of_the_family_is_an_error() -> None:
    with pytest.raises(ConnectFailed, match="Could not resolve hostname ::1: "):
        listen_at(("::1",), 0, family=AF_INET, on_error=lambda *_: None)


def test_a_free_port_is_free_at_each_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that somebody has in the other family would lead to him whoever is told it."""
    calls: list[tuple[str, int]] = []
    begun: list[Any] = []
    taken = OSError(errno.EADDRINUSE, "Address already in use")

    def listen_once_taken(host: str, port: int, **how: Any) -> list[Any]:
        calls.append((host, port))
        if len(calls) in most:
            how["on_error"]((host, port), taken)
            raise taken
        made = listeners.listen("127.0.0.1", 0, **how)
        begun.extend(made)
        return made

    monkeypatch.setattr(gateways, "listen", listen_once_taken)
    failures: list[OSError] = []

    def failed(_: Any, error: OSError) -> None:
        failures.append(error)

    most: Any = {2}
    made = gateways.listen_at(("a", "b"), 0, on_error=failed)
    assert [host for host, _ in calls] == ["a", "b", "a", "b"]
    assert (len(made), failures) == (2, [])
    # What was begun for the first one is over.
    assert [one.fileno() < 0 for one in begun] == [True, False, False]
    # It is not tried for ever, nor where somebody named the port.
    calls.clear()
    most = range(2, 1000, 2)
    made += gateways.listen_at(("a", "b"), 0, on_error=failed)
    assert (len(calls), len(made), failures) == (32, 3, [taken])
    calls.clear()
    most = {2}
    made += gateways.listen_at(("a", "b"), 1, on_error=failed)
    assert (len(calls), len(made), failures) == (2, 4, [taken, taken])
    for one in made:
        one.close()
