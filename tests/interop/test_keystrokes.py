# SPDX-License-Identifier: MIT
"""What whoever watches the wire sees of somebody who types: real programs on a terminal, through a relay that counts."""

import contextlib
import os
import random
import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.interop.peers import OpenSSHServer, Server, no_terminals_of_sshd
from tests.interop.tellin_peer import TellinServer
from tests.programs.ssh_runs import Ssh, Typist

PATIENCE = 60
BEAT = 0.020
# How much earlier than that a packet may follow the one before it.
EARLIER = 0.9
TYPED = b"correct horse"
Passed = list[tuple[float, int]]


class Watched:
    """A relay to a server that notes when how many bytes went by, and nothing of what they were."""

    def __init__(self, target: int) -> None:
        self.up: Passed = []
        self.down: Passed = []
        self._target = target

    @contextmanager
    def running(self) -> Iterator[int]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            threading.Thread(target=self._serve, args=(listening,), daemon=True).start()
            yield listening.getsockname()[1]

    def _serve(self, listening: socket.socket) -> None:
        # Reset by an end that is gone: the other hears of it by the close.
        with (
            contextlib.suppress(OSError),
            listening.accept()[0] as client,
            socket.create_connection(("127.0.0.1", self._target)) as server,
        ):
            ways = {client: (server, self.up), server: (client, self.down)}
            for one in ways:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                for ready in select.select(list(ways), [], [])[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    ways[ready][1].append((time.monotonic(), len(data)))
                    ways[ready][0].sendall(data)


def total(passed: Passed) -> int:
    return sum(size for _, size in passed)


def packets(passed: Passed) -> int:
    """How many there were, all of one size; some may have been read together."""
    size = min(count for _, count in passed)
    assert {count % size for _, count in passed} == {0}, passed
    return total(passed) // size


def settled(up: Passed, down: Passed, fakes: int) -> bool:
    """Whether the relay has seen all that left, and an answer to each fake."""
    return packets(up) > fakes and total(down) >= fakes * min(count for _, count in up)


@pytest.fixture
def running(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    if name == "sshd" and no_terminals_of_sshd():
        pytest.skip("this sshd has no terminal for us")
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    tmp_path.chmod(0o755)
    kind = TellinServer if name == "tellin" else OpenSSHServer
    with kind(tmp_path, account=account) as server:
        yield server


@pytest.mark.parametrize(
    ("name", "echo"),
    [
        ("tellin", "echo"),
        ("tellin", "-echo"),
        pytest.param("sshd", "echo", marks=pytest.mark.peer("sshd")),
    ],
)
def test_r157_on_the_wire_a_key_is_a_packet_among_others_of_its_size(
    name: str, echo: str, running: Server, tmp_path: Path
) -> None:
    """CVE-2024-39894, with nothing of ours in between. Keys come at odd times, which are counted in packets.

    Where the server knows no ping@openssh.com there are no fakes, and what is typed keeps to the beat.
    """
    watched = Watched(running.target.port)
    with watched.running() as port:
        ssh = Ssh(tmp_path, running.target)
        ssh.target = replace(running.target, port=port)
        ssh.known_hosts.write_text(ssh.target.known_hosts(), "ascii")
        # As a program that asks for a password has it.
        command = f"stty {echo}; echo rea''dy; cat > /dev/null"
        argv = ssh.argv(command, flags=["-tt", "-vvv"])
        with Typist(argv, env=ssh.environment) as typist:
            told = typist.expect(r"(?s).*ready\r\n")
            knows_ping = "ping@openssh.com" in told
            assert knows_ping or name != "tellin"
            up, down = len(watched.up), len(watched.down)
            odd = random.Random(157)
            for key in TYPED.decode():
                before = total(watched.up)
                typist.type(key)
                size = max(total(watched.up[up : up + 1]), 1)
                # The next one when this has left, and some others perhaps.
                wanted = size * (odd.randrange(2, 12) if knows_ping else 1)
                until = time.monotonic() + PATIENCE
                while total(watched.up) < before + wanted:
                    assert time.monotonic() < until
                    time.sleep(0.001)
            told = typist.expect(r"keystroke timing: plain again, [a-z ]+: \d+ fakes")
            fakes = int(re.findall(r"\d+", told)[-1])
            until = time.monotonic() + PATIENCE
            # What the last of them was answered with is still on its way.
            while not settled(watched.up[up:], watched.down[down:], fakes):
                assert time.monotonic() < until, (watched.up[up:], watched.down[down:], fakes)
                time.sleep(0.01)
            there, back = watched.up[up:], watched.down[down:]
            typist.type("\r~.")
            typist.end()
    # Two keys may have been read at once where the machine is busy, and left in one packet.
    assert fakes < packets(there) <= fakes + len(TYPED)
    size = min(count for _, count in there)
    if knows_ping:
        # They go on for a second and more behind the last key.
        assert fakes > 10
        # What comes back says no more: an echo, or what stands for one, is like the answer to a fake.
        assert min(count for _, count in back) == size
        # And two letters may have come back from a terminal at once.
        alike = sum(not count % size for _, count in back)
        assert alike == len(back) or (echo == "echo" and alike * 4 >= len(back) * 3), back
    else:
        assert (fakes, packets(there)) == (0, len(TYPED))
    # Never faster than the beat. The relay may see a packet late, and never early: so one of the
    # first half is enough that it saw in time.
    times = [when for when, count in there for _ in range(count // size)]
    assert any(
        times[-1] - times[at] >= (len(times) - 1 - at) * BEAT * EARLIER
        for at in range(len(times) // 2)
    ), times
