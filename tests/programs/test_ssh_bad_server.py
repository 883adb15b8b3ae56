# SPDX-License-Identifier: MIT
"""What a server that is up to no good asks of ``ssh`` once the user is in."""

import asyncio
import os
from pathlib import Path
from typing import Any

from tests.library import HOST_KEY, USER_KEY, awaited, serving
from tests.programs.ssh_runs import SSH, having

import tellin
from tellin.connection.forwarding import AGENT, FORWARDED_PORT, X11, ForwardedPort
from tellin.connection.host_keys import HOST_KEYS
from tellin.protocol.events import ChannelOpenRefused, GlobalReplied


async def asking(process: tellin.ServerProcess[bytes]) -> int:
    """Ask for what nobody gave, and tell what was answered."""
    owner: Any = process._session.owner
    answers: asyncio.Queue[Any] = asyncio.Queue()
    others = owner.link.on_event

    def event(one: Any) -> None:
        if isinstance(one, ChannelOpenRefused | GlobalReplied):
            answers.put_nowait(one)
        else:
            others(one)

    owner.link.on_event = event
    for channel_type, data in (
        (X11, bytes(8)),
        (AGENT, b""),
        (X11, b""),
        (FORWARDED_PORT, ForwardedPort("localhost", 7, "", 0).encode()),
    ):
        owner.core.open_channel(channel_type, data)
        owner.link.flush_soon()
        refused = await answers.get()
        await process.stdout.write(f"{channel_type}: {refused.reason}\n".encode())
    owner.core.request(HOST_KEYS, b"\xff", token="keys")
    owner.link.flush_soon()
    await process.stdout.write(f"{(await answers.get()).success}\n".encode())
    return 0


@awaited
async def test_r146_what_was_not_asked_for_is_refused_and_told_and_every_question_answered(
    tmp_path: Path,
) -> None:
    identity, known = tmp_path / "key", tmp_path / "known_hosts"
    identity.write_bytes(USER_KEY.to_openssh())
    identity.chmod(0o600)
    async with serving(session=asking) as server:
        known.write_text(f"[127.0.0.1]:{server.port} {HOST_KEY.public.to_line()}\n", "utf-8")
        run = await asyncio.create_subprocess_exec(
            *SSH, "-F", "none", "-i", str(identity), "-p", str(server.port),
            *having("LogLevel=ERROR", "IdentityAgent=none", f"UserKnownHostsFile={known}"),
            "someone@127.0.0.1", "x",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"HOME": str(tmp_path)},
        )  # fmt: skip
        output, errors = await run.communicate()
    assert output.decode().splitlines() == [
        f"{X11}: 1",
        f"{AGENT}: 1",
        f"{X11}: 1",
        f"{FORWARDED_PORT}: 1",
        "False",
    ]
    probably = "Warning: this is probably a break-in attempt by a malicious server."
    assert errors.decode().splitlines() == [
        "Warning: ssh server tried X11 forwarding.",
        probably,
        "Warning: ssh server tried agent forwarding.",
        probably,
        "Warning: ssh server forwards a port that it was not asked for.",
    ]
    assert run.returncode == 0
