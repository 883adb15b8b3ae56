# SPDX-License-Identifier: MIT
"""What configuration and keys together let one user have forwarded."""

import pytest

from tellin.config.key_options import read_options
from tellin.config.sshd_config import SshdConfig
from tellin.server.forwarding import ForwardingRules, rules

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
