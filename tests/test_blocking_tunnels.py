# SPDX-License-Identifier: MIT
"""Tunnels and pools for threads: what the coroutines do, without waiting for oneself."""

import inspect
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from tests.library import HOST_KEY, OTHER_KEY, USER_KEY
from tests.test_blocking import answer

import tellin
from tellin import TunnelState, blocking
from tellin.blocking.tunnel import StandingForwarding
from tellin.runtime.portal import shared_portal


def serving(port: int = 0, **options: Any) -> blocking.Server:
    options.setdefault("authorized_keys", USER_KEY.public)
    return blocking.serve(
        port=port, host_keys=[HOST_KEY], session=answer, encoding=None,
        permit_open=["*:*"], permit_listen=["*:*"], **options,
    )  # fmt: skip


@pytest.fixture
def server() -> Iterator[blocking.Server]:
    with serving() as made:
        yield made


@pytest.fixture
def echoing() -> Iterator[int]:
    """A port that says everything back, one caller at a time."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    stream, _ = listening.accept()
                except OSError:
                    return
                # A tunnel that goes down takes those whom it leads with it.
                with stream, suppress(ConnectionResetError):
                    while data := stream.recv(4096):
                        stream.sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(60)


def how(**options: Any) -> dict[str, Any]:
    options.setdefault("keys", [USER_KEY])
    options.setdefault("host_keys", HOST_KEY.public)
    return {"config": None, **options}


def tunnel(server: blocking.Server, **options: Any) -> blocking.Tunnel:
    options.setdefault("longest_wait", 0.2)
    return blocking.Tunnel("127.0.0.1", port=server.port, user="someone", **how(**options))


def goes_through(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as stream:
        try:
            stream.sendall(b"hello")
            return stream.recv(5) == b"hello"
        except ConnectionResetError:
            return False


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def beside(function: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Call it in another thread; what comes of it, or the error, is in the list."""
    came: list[object] = []

    def run() -> None:
        try:
            came.append(function())
        except tellin.TellinError as error:
            came.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, came


def test_a_tunnel_comes_back_and_what_it_listens_on_stays(
    server: blocking.Server, echoing: int
) -> None:
    states: list[TunnelState] = []
    threads: set[str] = set()

    def changed(made: blocking.Tunnel) -> None:
        threads.add(threading.current_thread().name)
        # It may ask for anything, also for what has to be done on the loop.
        made.retry()
        states.append(made.state)

    with tunnel(server, on_change=changed) as made:
        forwarding = made.forward_local(0, "127.0.0.1", echoing)
        standing = made.forward_remote(0, "127.0.0.1", echoing)
        proxy = made.socks()
        asked: list[tuple[str, str]] = []

        def accept(host: str, port: int) -> bool:
            asked.append((host, threading.current_thread().name))
            return len(asked) == 1

        bounded = made.forward_local(0, "127.0.0.1", echoing, accept=accept)
        made.wait_up(timeout=60)
        assert [goes_through(bounded.port), goes_through(bounded.port)] == [True, False]
        assert asked == [("127.0.0.1", "tellin session")] * 2
        assert isinstance(standing, StandingForwarding)
        for number in (1, 2):
            connection = made.wait_up(timeout=60)
            assert connection.run("ask", input="you\n").stdout == "hello you\n"
            assert (made.connected, made.tries, made.error) == (number, 0, None)
            assert goes_through(forwarding.port)
            until(lambda: standing.listening)
            assert (standing.refused, goes_through(standing.port)) == (None, True)
            again = made.connection
            assert again is not None
            again.close()
            until(lambda number=number: made.connected > number)  # type: ignore[misc]
        assert proxy.port > 0
        assert (made.host, made.open, repr(made)) == ("127.0.0.1", 0, "<Tunnel to 127.0.0.1, up>")
    assert (made.state, made.fault, forwarding.closed) == (TunnelState.CLOSED, None, True)
    until(lambda: states[-1] is TunnelState.CLOSED)
    assert threads == {"tellin change"}
    with pytest.raises(tellin.UsageError, match="started once"):
        made.start()
    with pytest.raises(tellin.ConnectionLost):
        made.wait_up()


def test_functions_are_asked_in_threads_of_their_own_while_nobody_waits(
    server: blocking.Server,
) -> None:
    asked: list[str] = []

    def trust(question: tellin.HostKeyQuestion) -> bool:
        # What the loop's own thread could not do: use the blocking interface.
        with blocking.connect(
            "127.0.0.1", port=server.port, user="someone", **how()
        ) as connection:
            asked.append(connection.run("ask", input="me\n").stdout)
        return question.fingerprint == HOST_KEY.public.fingerprint()

    with tunnel(server, host_keys=trust) as made:
        until(lambda: made.state is TunnelState.UP)
    assert asked == ["hello me\n"]


def test_what_ends_a_tunnel_is_raised_where_it_is_waited_for(server: blocking.Server) -> None:
    with (
        tunnel(server, host_keys=OTHER_KEY.public) as made,
        pytest.raises(tellin.HostKeyRejected),
    ):
        made.wait_closed()
    assert isinstance(made.fault, tellin.HostKeyRejected)
    with tunnel(server, keys=[OTHER_KEY]) as made, pytest.raises(tellin.AuthenticationFailed):
        made.wait_up()


def test_a_wait_has_an_end_and_a_close_ends_the_waits_of_others() -> None:
    with serving() as gone:
        port = gone.port
    with (
        blocking.Tunnel("127.0.0.1", port=port, longest_wait=60, **how()) as made,
        pytest.raises(tellin.TimedOut, match=r"not up within 0\.05 s"),
    ):
        made.wait_up(timeout=0.05)
    made = blocking.Tunnel("127.0.0.1", port=port, longest_wait=60, **how())
    made.start()
    waiting = [beside(made.wait_up), beside(made.wait_closed)]
    until(lambda: made.state is TunnelState.WAITING)
    made.close()
    made.close()
    for thread, _ in waiting:
        thread.join(60)
    (first,), (second,) = (came for _, came in waiting)
    assert (type(first), second) == (tellin.ConnectionLost, None)


def test_a_slow_function_hears_of_the_last_change_and_one_that_fails_ends_nothing(
    server: blocking.Server, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()
    seen: list[TunnelState] = []

    def changed(made: blocking.Tunnel) -> None:
        go_on.wait(60)
        seen.append(made.state)
        if len(seen) == 1:
            raise ValueError("no matter")
        if len(seen) == 2:
            sys.exit()

    with tunnel(server, on_change=changed) as made:
        for number in range(1, 4):
            connection = made.wait_up(timeout=60)
            if number < 3:
                connection.close()
                until(lambda number=number: made.connected > number)  # type: ignore[misc]
        go_on.set()
        until(lambda: len(seen) >= 2)
        # Eight changes at the least, and one call behind the first that waited.
        assert seen == [TunnelState.UP, TunnelState.UP]
        assert made.state is TunnelState.UP
    until(lambda: len(seen) == 3)
    assert seen[-1] is TunnelState.CLOSED
    assert caplog.text.count("a tunnel's on_change failed") == 2


def test_a_function_that_is_told_of_a_change_may_wait_for_anything_also_the_end(
    server: blocking.Server,
) -> None:
    ended: list[TunnelState] = []

    def changed(made: blocking.Tunnel) -> None:
        if made.state is TunnelState.UP:
            assert made.wait_up(timeout=60).run("exit 4").exit_status == 4
            made.close()
            made.wait_closed()
            ended.append(made.state)

    with tunnel(server, on_change=changed) as made:
        made.wait_closed()
        until(lambda: ended)
    assert ended == [TunnelState.CLOSED]


def test_nobody_waits_for_himself_on_the_loop(server: blocking.Server) -> None:
    with tunnel(server) as made, blocking.Pool(**how()) as pool:
        for call in (made.wait_up, lambda: pool.acquire("127.0.0.1")):
            with pytest.raises(tellin.UsageError, match="on its own loop"):
                shared_portal().call(call)


def lease(pool: blocking.Pool, server: blocking.Server) -> blocking.pool.Lease:
    return pool.acquire("127.0.0.1", port=server.port, user="someone")


def test_threads_share_what_a_pool_lends(server: blocking.Server) -> None:
    with blocking.Pool(**how()) as pool:
        all_there = threading.Barrier(12, timeout=60)

        def one(number: int) -> object:
            with lease(pool, server) as connection:
                all_there.wait()
                return connection.run("ask", input=f"{number}\n").stdout

        threads = [beside(lambda number=number: one(number)) for number in range(12)]  # type: ignore[misc]
        for thread, _ in threads:
            thread.join(60)
        assert [came for _, came in threads] == [[f"hello {number}\n"] for number in range(12)]
        # Ten sessions go by one.
        assert pool.size == 2
        first = lease(pool, server)
        connection = first.connection
        first.release()
        first.release()
        assert repr(pool) == "<Pool of 2 connections, 2 idle>"
    assert connection.closed


def test_who_waits_for_a_lease_is_served_timed_out_or_told_that_the_pool_is_closed(
    server: blocking.Server,
) -> None:
    with blocking.Pool(max_per_host=1, sessions=1, timeout=60, **how()) as pool:
        with lease(pool, server):
            # The login may have taken its time.
            pool._inner._timeout = 0.1
            with pytest.raises(tellin.TimedOut):
                lease(pool, server)
            pool._inner._timeout = 60
        with lease(pool, server) as connection:
            assert connection.run("exit 3").exit_status == 3
    pool = blocking.Pool(max_per_host=1, sessions=1, **how())
    held = lease(pool, server)
    thread, came = beside(lambda: lease(pool, server))
    until(lambda: pool._inner._waiting)
    held.release()
    thread.join(60)
    (second,) = came
    assert isinstance(second, blocking.pool.Lease)
    thread, came = beside(lambda: lease(pool, server))
    until(lambda: pool._inner._waiting)
    pool.close()
    thread.join(60)
    assert [type(one) for one in came] == [tellin.UsageError]
    second.release()


def test_every_method_of_the_coroutines_is_here() -> None:
    def names(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    def words(kind: Any) -> set[str]:
        return set(inspect.signature(kind).parameters)

    # What a configuration's lines are made into, by whoever has read it.
    assert names(tellin.Tunnel) - {"aclose", "forward", "stand"} <= names(blocking.Tunnel)
    assert names(tellin.Pool) - {"aclose"} <= names(blocking.Pool)
    # The clock, and who connects, are the loop's.
    assert words(tellin.Tunnel) - {"waits"} == words(blocking.Tunnel)
    assert words(tellin.Pool) - {"connect"} == words(blocking.Pool)


_LEFT_OPEN = """
import os, sys
from tellin import blocking
from tests.test_blocking_tunnels import goes_through, how, lease, serving, tunnel

server = serving()
pool = blocking.Pool(**how())
held = lease(pool, server)
made = tunnel(server)
made.start()
forwarding = made.forward_local(0, "127.0.0.1", server.port)
connection = made.wait_up(timeout=60)
pid = os.fork()
if not pid:
    made.close()
    held.release()
    try:
        made.wait_up()
    except blocking.client.UsageError as error:
        print(error, flush=True)
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), connection.closed)
print(connection.run("ask", input="you\\n").stdout, end="")
"""


def test_what_is_left_open_ends_with_the_program_and_is_not_a_childs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_LEFT_OPEN)],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "this belongs to the process that was forked",
        "7 False",
        "hello you",
    ]
