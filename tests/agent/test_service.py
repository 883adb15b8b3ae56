# SPDX-License-Identifier: MIT
"""An agent on its loop, with a clock that is set by hand."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.talk import ECDSA, ED25519

from tellin.agent.constraints import Constraints
from tellin.agent.credentials import Credential
from tellin.agent.session import TokenPolicy
from tellin.programs.agents import agent_service
from tellin.programs.agents.agent_place import claim
from tellin.programs.agents.agent_service import AgentService


class Clock:
    """Seconds that pass when somebody says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(tmp_path: Path, clock: Clock) -> Iterator[AgentService]:
    place = claim(str(tmp_path / "sock"), temporary=False)
    made = AgentService(
        place, lifetime=None, hash_name="sha256", debug=False, tokens=TokenPolicy(), clock=clock
    )
    yield made
    place.remove()
    made.loop.close()


def turn_until(service: AgentService, condition: Callable[[], object]) -> None:
    assert service.loop.run_until(condition, timeout=60)


def test_the_clock_of_lifetimes_goes_on_while_the_machine_sleeps() -> None:
    """CLOCK_MONOTONIC stands still: a key for an hour would be there after the night."""
    before = agent_service.awake_or_asleep()
    since_start = float(Path("/proc/uptime").read_text().split()[0])
    # The kernel counts its uptime with all sleep in it.
    assert abs(before - since_start) < 60


def test_a_key_that_ended_while_the_machine_slept_is_not_there_any_more(
    service: AgentService, clock: Clock
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        service.keyring.add(Credential(ED25519), "short", Constraints(lifetime=3600), clock())
        service.keyring.add(Credential(ECDSA), "long", Constraints(), clock())
        service.changed()
        raw = agent_service.Socket(fileno=os.dup(theirs.fileno()))
        raw.setblocking(False)
        service._accepted(raw, None)
        clock.seconds += 8 * 3600
        ours.sendall(b"\0\0\0\1\x0b")
        ours.setblocking(False)
        answers: list[bytes] = []

        def answered() -> bool:
            try:
                answers.append(ours.recv(4096))
            except BlockingIOError:
                return False
            return True

        turn_until(service, answered)
    turn_until(service, lambda: not service._talks)
    assert b"long" in answers[0]
    assert b"short" not in answers[0]


def test_a_key_that_ended_in_a_sleep_goes_soon_though_nobody_asks(
    service: AgentService, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_service, "_LONGEST_SLEEP", 0.01)
    service.keyring.add(Credential(ED25519), "short", Constraints(lifetime=3600), clock())
    service.changed()
    clock.seconds += 8 * 3600
    turn_until(service, lambda: not service.keyring._keys)
