# SPDX-License-Identifier: MIT
"""What configuration and keys together let one user have forwarded."""

from types import SimpleNamespace
from typing import Any

import pytest

from tellin.config.key_options import read_options
from tellin.config.sshd_config import SshdConfig
from tellin.connection.channel import Standing
from tellin.connection.forwarding import DIRECT_PORT, PortTarget
from tellin.errors import ChannelOpenFailureReason as Reason
from tellin.protocol.events import ChannelAsked
from tellin.runtime.loop import SmallLoop
from tellin.server.forwarding.forwarding import Forwarding, ForwardingRules, rules

# In which directions: to ports, to sockets; on ports, on sockets.
NOTHING = (False, False, False, False)
OPENING = (True, True, False, False)
LISTENING = (False, False, True, True)
EVERYTHING = (True, True, True, True)


def ruled(keys: str, forced_by: str = "key-option", **values: object) -> ForwardingRules:
    return rules(SshdConfig.made_of(values, {}), [read_options(keys)] if keys else [], forced_by)


def directions(made: ForwardingRules) -> tuple[bool, bool, bool, bool]:
    return (
        made.opens_ports() and made.allows_port("127.0.0.1", 22),
        made.opens_sockets() and made.allows_socket(),
        made.listens_on_ports() and made.allows_listening("localhost", 7300),
        made.listens_on_sockets(),
    )


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ('command="x"', NOTHING),
        ('command="x",restrict', NOTHING),
        ('command="x",port-forwarding', EVERYTHING),
        ('command="x",restrict,port-forwarding', EVERYTHING),
        ('command="x",port-forwarding,no-port-forwarding', NOTHING),
        ('command="x",permitopen="127.0.0.1:22"', (True, False, False, False)),
        ('command="x",permitlisten="7300"', (False, False, True, False)),
        (
            'command="x",permitopen="127.0.0.1:22",permitlisten="7300"',
            (True, False, True, False),
        ),
        ('command="x",port-forwarding,permitlisten="7300"', (True, True, True, False)),
        ('command="x",permitopen="127.0.0.1:22",restrict', NOTHING),
        # A port is named, and still restricted away.
        ('command="x",restrict,permitopen="127.0.0.1:22"', NOTHING),
    ],
)
def test_r149_what_a_key_with_a_command_names_is_allowed_in_that_direction_alone(
    keys: str, expected: tuple[bool, ...]
) -> None:
    assert directions(ruled(keys)) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"allow_tcp_forwarding": "local"}, OPENING),
        ({"allow_tcp_forwarding": "remote"}, LISTENING),
        ({"allow_tcp_forwarding": "no"}, NOTHING),
    ],
)
def test_r149_what_a_key_names_is_no_more_than_the_configuration_allows(
    values: dict[str, object], expected: tuple[bool, ...]
) -> None:
    assert directions(ruled('command="x",port-forwarding', **values)) == expected


class _Refusals:
    """A connection whose channels are all refused, since nobody listens where they lead."""

    def __init__(self) -> None:
        self.core = self.link = self
        self.reasons: list[int] = []

    def refuse_channel(self, _channel: object, reason: int, _why: str) -> None:
        self.reasons.append(reason)

    def flush(self) -> None:
        """There is nothing to send."""

    flush_soon = flush_last = flush


def test_what_is_remembered_of_targets_is_bounded_and_permits_nothing_else() -> None:
    connection: Any = _Refusals()
    loop = SmallLoop()
    hosts = [f"127.1.0.{number}" for number in range(1, 200)]
    made = ForwardingRules("yes", "no", permit_open=tuple(f"{host}:1" for host in hosts))
    forwarding = Forwarding(loop, connection, made, note=lambda _level, _line: None)

    def ask(host: str, port: int) -> int:
        channel: Any = SimpleNamespace(standing=Standing.ASKED, owner=None)
        data = PortTarget(host, port, "127.0.0.1", 1).encode()
        forwarding.asked(ChannelAsked(channel, DIRECT_PORT, data))
        reason: int = connection.reasons[-1]
        return reason

    for host in hosts:
        # Asked again it is known, and answered in the same way.
        assert ask(host, 1) == ask(host, 1) == Reason.CONNECT_FAILED
        assert 0 < len(forwarding._known) <= 64
    assert ask(hosts[-1], 2) == Reason.ADMINISTRATIVELY_PROHIBITED
    assert ask("127.2.0.1", 1) == Reason.ADMINISTRATIVELY_PROHIBITED
    assert len(connection.reasons) == 2 * len(hosts) + 2
    forwarding.close()
    loop.close()
