# SPDX-License-Identifier: MIT
import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.client.test_forwards import echoing, hears_a_reset, leads
from tests.library import HOST_KEY, OTHER_KEY, USER_KEY, awaited, serving

import tellin
from tellin.client import tunnel as room
from tellin.client.backoff import BackOff, LoopWaits, jitter
from tellin.client.tunnel import Tunnel, TunnelState

assert leads is not None  # a fixture


class Paper:
    """A clock on paper: waits take no time, up to ``most`` of them; those after it wait for the event.

    The least that lies between two attempts is always over at once.
    """

    def __init__(self, most: int = 0) -> None:
        self.now = 1000.0
        self.most = most
        self.waited: list[float] = []

    def time(self) -> float:
        return self.now

    async def wait(self, seconds: float, until: asyncio.Event) -> bool:
        if seconds <= room._LEAST_WAIT:
            self.now += seconds
            return False
        self.waited.append(seconds)
        if len(self.waited) > self.most:
            await until.wait()
        else:
            self.now += seconds
            await asyncio.sleep(0)
        return until.is_set()


def tunnel(port: int, **options: Any) -> Tunnel:
    """A tunnel to a port of this machine."""
    options.setdefault("host_keys", HOST_KEY.public)
    return Tunnel("127.0.0.1", port=port, user="someone", keys=[USER_KEY], config=None, **options)


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - of most of it nothing tells
        await asyncio.sleep(0.005)


@asynccontextmanager
async def anew(port: int, **options: Any) -> AsyncIterator[Any]:
    """A server on a port that another one has just left."""
    async with serving(port=port, **options) as server:
        yield server


@awaited
async def test_it_comes_back_by_itself_and_what_it_listens_on_stays(leads: None) -> None:
    changes: list[TunnelState] = []
    async with echoing() as port, serving() as first:
        at = first.port
        waits = Paper()
        async with tunnel(at, waits=waits, on_change=lambda t: changes.append(t.state)) as made:
            forwarding = await made.forward_local(0, "127.0.0.1", port)
            connection = await made.wait_up()
            assert (await connection.run("say hello")).stdout == "hello"
            reader, writer = await asyncio.open_connection("127.0.0.1", forwarding.port)
            writer.write(b"one")
            assert await reader.readexactly(3) == b"one"
            await first.aclose()
            # Who was being led hears that this was no end, and so does whoever comes now.
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
            await until(lambda: made.state is TunnelState.WAITING)
            assert made.connection is None
            assert isinstance(made.error, tellin.TellinError)
            await hears_a_reset(forwarding.port)
            assert [one.turned_away for one in made.forwardings] == [1]
            async with anew(at):
                made.retry()
                await made.wait_up()
                assert (made.connected, made.tries, made.error) == (2, 0, None)
                reader, writer = await asyncio.open_connection("127.0.0.1", forwarding.port)
                writer.write(b"two")
                assert await reader.readexactly(3) == b"two"
                writer.close()
        assert forwarding.closed
        assert made.state is TunnelState.CLOSED
    up, connecting, waiting = TunnelState.UP, TunnelState.CONNECTING, TunnelState.WAITING
    assert changes == [connecting, up, waiting, connecting, up, TunnelState.CLOSED]


@awaited
async def test_waits_grow_to_the_longest_and_begin_anew_once_it_was_up_for_a_while() -> None:
    async with serving() as server:
        port = server.port
    waits = Paper(most=8)
    async with tunnel(port, waits=waits, longest_wait=4) as made:
        await until(lambda: len(waits.waited) > 8)
        assert made.state is TunnelState.WAITING
        assert made.tries == 9
        assert isinstance(made.error, tellin.ConnectFailed)
        assert made.next_try == waits.now + waits.waited[-1]
        for seconds, most in zip(waits.waited, [0.5, 1, 2, 4, 4, 4, 4, 4, 4], strict=True):
            assert most / 2 <= seconds <= most
        async with anew(port) as server:
            made.retry()
            await made.wait_up()
            waits.now += 60
        await until(lambda: len(waits.waited) > 9)
        assert waits.waited[-1] <= 0.5


def test_a_wait_is_between_half_and_all_of_what_it_may_be() -> None:
    least, most = BackOff(3, lambda: 0.0), BackOff(3, lambda: 1.0)
    assert [least.next() for _ in range(5)] == [0.25, 0.5, 1, 1.5, 1.5]
    assert [most.next() for _ in range(5)] == [0.5, 1, 2, 3, 3]
    most.reset()
    assert most.next() == 0.5
    assert all(0 <= jitter() <= 1 for _ in range(100))
    assert len({jitter() for _ in range(100)}) > 50


@awaited
async def test_the_clock_of_a_tunnel_is_the_loops_unless_another_is_given() -> None:
    waits, event = LoopWaits(), asyncio.Event()
    assert waits.time() == pytest.approx(asyncio.get_running_loop().time(), abs=60)
    assert await waits.wait(0.001, event) is False
    event.set()
    assert await waits.wait(1000, event) is True


@awaited
async def test_a_login_that_no_waiting_mends_ends_what_was_never_up() -> None:
    async with serving() as server, tunnel(server.port, host_keys=OTHER_KEY.public) as made:
        forwarding = await made.forward_local(0, "127.0.0.1", 9)
        with pytest.raises(tellin.HostKeyRejected):
            await made.wait_up()
        with pytest.raises(tellin.HostKeyRejected):
            await made.wait_closed()
        assert forwarding.closed
        assert isinstance(forwarding.error, tellin.HostKeyRejected)
        with pytest.raises(tellin.HostKeyRejected):
            await made.socks()
        with pytest.raises(tellin.HostKeyRejected):
            await made.wait_up()


@awaited
async def test_what_was_up_goes_on_trying_whatever_the_server_says() -> None:
    waits = Paper()
    async with serving() as server, tunnel(server.port, waits=waits) as made:
        port = server.port
        await made.wait_up()
        await server.aclose()
        await until(lambda: made.state is TunnelState.WAITING)
        async with anew(port, host_keys=[OTHER_KEY]):
            made.retry()
            await until(lambda: isinstance(made.error, tellin.HostKeyRejected))
            await until(lambda: made.state is TunnelState.WAITING)
        async with anew(port):
            made.retry()
            await made.wait_up()


@awaited
async def test_a_change_of_the_network_cuts_a_wait_short(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Callable[[], object]] = []
    monkeypatch.setattr(room, "watch_routes", lambda loop, on_change: told.append(on_change))
    async with serving() as server:
        port = server.port
    waits = Paper()
    async with tunnel(port, waits=waits) as made:
        await until(lambda: made.state is TunnelState.WAITING)
        for tries in (2, 3, 4):
            told[0]()
            await until(lambda tries=tries: made.tries == tries)  # type: ignore[misc]
            await until(lambda: made.state is TunnelState.WAITING)


@awaited
async def test_an_attempt_that_has_had_its_time_is_begun_anew_when_the_network_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "watch_routes", lambda loop, on_change: None)
    arrived: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.put_nowait(writer)

    waits = Paper(most=1)
    other = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with other, tunnel(other.sockets[0].getsockname()[1], waits=waits) as made:
        first = await arrived.get()
        made.retry()
        await asyncio.sleep(0.05)
        assert arrived.empty()
        waits.now += 2
        made.retry()
        second = await arrived.get()
        assert isinstance(made.error, tellin.TimedOut)
        # Where the network changes all the time, every other attempt has all of its time.
        waits.now += 2
        made.retry()
        await asyncio.sleep(0.05)
        assert arrived.empty()
        first.close()
        second.close()


@awaited
async def test_a_connection_that_is_there_when_nobody_wants_it_any_more_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connections: list[tellin.Connection] = []
    real = room.connect

    async def connect(host: str, **options: Any) -> tellin.Connection:
        connections.append(await real(host, **options))
        # In the very turn in which it is there.
        made.close()
        return connections[0]

    monkeypatch.setattr(room, "connect", connect)
    async with serving() as server:
        made = tunnel(server.port)
        made.start()
        await made.wait_closed()
    assert connections[0].closed


@awaited
async def test_what_on_change_raises_ends_the_tunnel_and_its_connection() -> None:
    def fail(made: Tunnel) -> None:
        if made.state is TunnelState.UP:
            connections.append(made.connection)
        if made.state in {TunnelState.UP, TunnelState.CLOSED}:
            raise ValueError(made.state.value)

    connections: list[tellin.Connection | None] = []
    async with serving() as server:
        made = tunnel(server.port, on_change=fail)
        made.start()
        with pytest.raises(ValueError, match=TunnelState.UP.value):
            await made.wait_closed()
        assert made.connection is None
        (connection,) = connections
        assert connection is not None
        await connection.wait_closed()


@awaited
async def test_a_tunnel_that_is_closed_listens_on_nothing_and_says_so(leads: None) -> None:
    async with echoing() as port, serving() as server:
        made = tunnel(server.port)
        forwarding = await made.forward_local(0, "127.0.0.1", port)
        proxy = await made.socks()
        # Before it has begun there is nowhere to lead anybody.
        await hears_a_reset(forwarding.port)
        assert repr(made) == "<Tunnel to 127.0.0.1, idle>"
        made.start()
        with pytest.raises(tellin.UsageError):
            made.start()
        connection = await made.wait_up()
        await made.aclose()
        assert connection.closed
        assert forwarding.closed
        assert proxy.closed
        assert not made.forwardings
        await made.wait_closed()
        for opening in (made.forward_local(0, "127.0.0.1", port), made.socks()):
            with pytest.raises(tellin.ConnectionLost):
                await opening
        with pytest.raises(tellin.ConnectionLost):
            await made.wait_up()


@awaited
async def test_one_that_was_never_begun_is_closed_too(leads: None) -> None:
    made = tunnel(1)
    forwarding = await made.socks()
    await made.aclose()
    assert forwarding.closed
    with pytest.raises(tellin.UsageError):
        made.start()


@pytest.mark.parametrize("options", [{"longest_wait": -1}, {"longest_wait": "1"}, {"sock": 5}])
def test_what_no_tunnel_can_take_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(tellin.UsageError):
        tunnel(1, **options)


class Refusing:
    """A connection whose server says no so often, and then listens."""

    closed = False

    def __init__(self, times: int) -> None:
        self.times = times

    async def lead_from_there(self, asked: Any, permitted: Any) -> Any:
        self.times -= 1
        if self.times >= 0:
            raise tellin.RequestRefused("taken")
        return self

    port = 4711


@awaited
async def test_a_port_of_the_server_that_is_still_taken_is_asked_for_again() -> None:
    told: list[tellin.TellinError | None] = []
    waits = Paper(most=10)
    made = tunnel(1, waits=waits, longest_wait=2)
    standing = await made.forward_remote(0, "127.0.0.1", 9)
    made._on_change = lambda _: told.append(standing.refused)
    assert (standing.port, standing.listening, standing.refused) == (0, False, None)
    await made._listen_there(standing, Refusing(3))  # type: ignore[arg-type]
    for seconds, most in zip(waits.waited, [0.5, 1, 2], strict=True):
        assert most / 2 <= seconds <= most
    assert [type(one) for one in told] == [tellin.RequestRefused] * 3 + [type(None)]
    assert (standing.port, standing.listening) == (4711, True)
    await made.aclose()
    assert standing.closed
    assert not made.standing
    for words in ((0, None, 1), (-1,)):
        with pytest.raises(tellin.UsageError):
            made.forward_remote(*words)  # type: ignore[arg-type]


@awaited
async def test_who_waits_for_it_is_not_given_a_connection_that_has_just_ended() -> None:
    async with serving() as server, tunnel(server.port, waits=Paper(most=1)) as made:
        first = await made.wait_up()
        first.close()
        assert first.closed
        assert await made.wait_up() is not first
