# SPDX-License-Identifier: MIT
import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.library import HOST_KEY, USER_KEY, awaited, serving

import tellin
from tellin.client.connected import Connection


def pool(**options: Any) -> tellin.Pool:
    options.setdefault("host_keys", HOST_KEY.public)
    return tellin.Pool(keys=[USER_KEY], config=None, **options)


def from_here(made: tellin.Pool, server: Any, user: str = "someone") -> Any:
    return made.acquire("127.0.0.1", port=server.port, user=user)


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.005)


@awaited
async def test_one_connection_serves_many_one_after_the_other_and_at_once() -> None:
    async with serving() as server, pool() as made:
        async with from_here(made, server) as first:
            assert (await first.run("say one")).stdout == "one"
        async with from_here(made, server) as second:
            assert second is first

        async def one(number: int) -> Connection:
            async with from_here(made, server) as connection:
                assert (await connection.run(f"say {number}")).stdout == str(number)
                return connection  # type: ignore[no-any-return]

        used = await asyncio.gather(*map(one, range(10)))
        assert set(used) == {first}
        assert made.size == 1
        assert repr(made) == "<Pool of 1 connections, 1 idle>"
    assert first.closed
    assert repr(made) == "<Pool of 0 connections, 0 idle, closed>"


@awaited
async def test_r140_those_who_come_together_wait_for_one_login() -> None:
    """Ten at once: one connection, and no ten."""
    logins: list[str] = []

    async def connect(host: str, **options: Any) -> Connection:
        logins.append(host)
        return await tellin.connect(host, **options)

    async with serving() as server, pool(connect=connect) as made:
        leases = await asyncio.gather(*(from_here(made, server) for _ in range(10)))
        assert len({lease.connection for lease in leases}) == 1
        assert len(logins) == 1
        # One more than a connection takes is another connection.
        more = await from_here(made, server)
        assert more.connection is not leases[0].connection
        assert len(logins) == 2
        for lease in (*leases, more):
            lease.release()
            lease.release()
        assert repr(made) == "<Pool of 2 connections, 2 idle>"


@awaited
async def test_destinations_are_told_apart_by_host_port_and_user() -> None:
    async with serving() as server, serving() as other, pool() as made:
        async with (
            from_here(made, server) as one,
            from_here(made, other) as two,
            from_here(made, server, "other") as three,
        ):
            assert len({one, two, three}) == 3
            assert three.user == "other"
        assert made.size == 3


@awaited
async def test_r140_who_finds_no_room_waits_for_the_first_that_is_given_back() -> None:
    async with serving() as server, pool(max_per_host=1, sessions=1) as made:
        lease = await from_here(made, server)
        order: list[int] = []

        async def come(number: int) -> None:
            async with from_here(made, server):
                order.append(number)

        tasks = [asyncio.create_task(come(number)) for number in range(3)]
        await until(lambda: len(made._waiting) == 3)
        # Who gives up waiting is in nobody's way.
        tasks[0].cancel()
        lease.release()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [1, 2]
        assert made.size == 1


@awaited
async def test_who_has_just_given_back_does_not_come_before_those_who_wait() -> None:
    async with serving() as server, pool(max_per_host=1, sessions=1) as made:
        order: list[str] = []

        async def come_again(name: str) -> None:
            for _ in range(5):
                async with from_here(made, server):
                    order.append(name)
                    await asyncio.sleep(0)

        await asyncio.gather(come_again("a"), come_again("b"))
        assert order == ["a", "b"] * 5


@awaited
async def test_who_comes_while_a_connection_is_asked_for_a_sign_of_life_waits_for_it_too() -> None:
    async with serving() as server, pool(check_after=0) as made:
        async with from_here(made, server) as first:
            pass
        asked = asyncio.Event()

        async def dead() -> float:
            asked.set()
            await asyncio.sleep(0.02)
            raise tellin.ConnectionLost("gone", stage="session")

        first.ping = dead
        one = asyncio.create_task(from_here(made, server).__aenter__())
        await asked.wait()
        assert await from_here(made, server).__aenter__() is not first
        assert await one is not first


@awaited
async def test_who_waits_too_long_hears_so() -> None:
    async with serving() as server, pool(max_size=1, sessions=1, timeout=0.05) as made:
        made._timeout = None
        lease = await from_here(made, server)
        made._timeout = 0.05
        with pytest.raises(tellin.TimedOut, match="no connection of the pool"):
            await from_here(made, server)
        lease.release()
        async with from_here(made, server) as connection:
            assert connection is lease.connection


@awaited
async def test_where_there_is_no_room_an_idle_one_to_elsewhere_is_closed() -> None:
    async with serving() as server, serving() as other, pool(max_size=1) as made:
        async with from_here(made, server) as first:
            pass
        async with from_here(made, other) as second:
            assert second is not first
            assert made.size == 1
        await first.wait_closed()


@awaited
async def test_one_that_nobody_has_is_closed_after_a_while_and_one_that_is_lent_is_not() -> None:
    async with serving() as server, pool(idle_time=0.05) as made:
        async with from_here(made, server) as first:
            await asyncio.sleep(0.2)
            assert not first.closed
        await first.wait_closed()
        assert made.size == 0
        async with from_here(made, server) as second:
            assert second is not first


@awaited
async def test_one_that_has_ended_is_not_lent_and_one_that_is_dead_is_found_out() -> None:
    async with serving() as server, pool(check_after=0) as made:
        async with from_here(made, server) as first:
            pass
        first.close()
        async with from_here(made, server) as second:
            assert second is not first

        async def dead() -> float:
            raise tellin.ConnectionLost("it does not answer", stage="session")

        second.ping = dead
        async with from_here(made, server) as third:
            assert third is not second
            assert (await third.run("say alive")).stdout == "alive"
        await second.wait_closed()
        pings = []
        ping = third.ping

        async def counted() -> float:
            pings.append(1)
            return await ping()

        third.ping = counted
        async with from_here(made, server) as one, from_here(made, server) as two:
            # Who is beside another is not the first to find out.
            assert (one, two, len(pings)) == (third, third, 1)


@awaited
async def test_what_cannot_be_made_is_an_error_to_those_who_wait_for_it_and_to_nobody_after() -> (
    None
):
    async with serving() as server:
        port = server.port
    async with pool() as made:
        tries = [made.acquire("127.0.0.1", port=port, user="someone") for _ in range(3)]

        async def attempt(lending: Any) -> object:
            return await lending

        found = await asyncio.gather(*map(attempt, tries), return_exceptions=True)
        assert [type(one) for one in found] == [tellin.ConnectFailed] * 3
        await until(lambda: made.size == 0)
        async with serving(port=port) as server, from_here(made, server) as connection:
            assert (await connection.run("say back")).stdout == "back"


@awaited
async def test_who_gives_up_waiting_does_not_take_the_connection_from_the_others() -> None:
    async with serving() as server, pool() as made:

        async def attempt() -> Connection:
            async with from_here(made, server) as connection:
                return connection  # type: ignore[no-any-return]

        first, second = asyncio.create_task(attempt()), asyncio.create_task(attempt())
        await asyncio.sleep(0)
        first.cancel()
        connection = await second
        assert first.cancelled()
        assert not connection.closed


@awaited
async def test_a_pool_that_is_closed_lends_nothing_and_those_who_wait_hear_so() -> None:
    async with serving() as server:
        made = pool(max_size=1, sessions=1)
        lease = await from_here(made, server)

        async def never(host: str, **options: Any) -> Connection:
            await asyncio.Event().wait()
            raise AssertionError(host)

        async def attempt() -> object:
            return await from_here(made, server)

        waiting = asyncio.create_task(attempt())
        await until(lambda: made._waiting)
        await made.aclose()
        with pytest.raises(tellin.UsageError):
            await waiting
        assert lease.connection.closed
        lease.release()
        with pytest.raises(tellin.UsageError):
            await from_here(made, server)
        # One that is being made is given up.
        made = pool(connect=never)
        waiting = asyncio.create_task(attempt())
        await until(lambda: made.size)
        await made.aclose()
        with pytest.raises(tellin.UsageError):
            await waiting


@pytest.mark.parametrize(
    "options",
    [
        {"max_size": 0}, {"max_per_host": 1.5}, {"sessions": True}, {"idle_time": -1},
        {"check_after": "5"}, {"timeout": -1}, {"sock": 1}, {"user": "a"}, {"port": 22},
    ],
)  # fmt: skip
def test_what_no_pool_can_be_made_of_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(tellin.UsageError):
        pool(**options)
