# SPDX-License-Identifier: MIT
"""A pool of connections to OpenSSH's server, which takes ten sessions on each (MaxSessions)."""

import asyncio
import os
import signal

import pytest
from tests.interop.conftest import Running
from tests.library import awaited

import tellin


@pytest.mark.peer("sshd")
@awaited
async def test_a_pool_has_thirty_commands_run_on_as_few_connections_as_take_them(
    running: Running,
) -> None:
    server = running("sshd")
    target = server.target
    async with tellin.Pool(
        keys=[target.identity.path],
        host_keys=[tellin.load_public_key(line) for line in target.host_keys],
        config=None,
    ) as pool:
        at_once = 0
        all_there = asyncio.Event()

        async def one(number: int) -> tuple[str, tellin.Connection]:
            nonlocal at_once
            async with pool.acquire("127.0.0.1", port=target.port, user=target.user) as connection:
                at_once += 1
                if at_once == 30:
                    all_there.set()
                await all_there.wait()
                done = await connection.run(f"echo {number} $PPID")
                return done.stdout, connection

        found = await asyncio.gather(*map(one, range(30)))
        assert [int(said.split()[0]) for said, _ in found] == list(range(30))
        assert len({connection for _, connection in found}) == 3
        assert pool.size == 3
        # The server's process of each is killed: none of them is lent again.
        for pid in {int(said.split()[1]) for said, _ in found}:
            os.kill(pid, signal.SIGKILL)
        for _, before in found:
            await before.wait_closed()
        said, connection = await asyncio.wait_for(one(31), 60)
        assert said.startswith("31 ")
        assert connection not in {before for _, before in found}
