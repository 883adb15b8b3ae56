# SPDX-License-Identifier: MIT
"""Which network devices a login may have joined, and how many."""

import socket
from typing import Any

import pytest

from tellin.config.key_options import read_options
from tellin.config.sshd_config import SshdConfig
from tellin.connection.forwarding import ANY_UNIT, ETHERNET, POINT_TO_POINT
from tellin.runtime.loop import SmallLoop
from tellin.server.forwarding import network_devices
from tellin.server.forwarding.forwarding import ForwardingRules, rules
from tellin.server.forwarding.network_devices import MOST_DEVICES, NetworkDevices


def ruled(keys: str = "", forced_by: str = "", **values: object) -> ForwardingRules:
    options = [read_options(keys)] if keys else []
    return rules(SshdConfig.made_of({"permit_tunnel": "yes", **values}, {}), options, forced_by)


def modes(made: ForwardingRules) -> list[int]:
    return [mode for mode in (POINT_TO_POINT, ETHERNET) if made.joins_devices(mode)]


BOTH = [POINT_TO_POINT, ETHERNET]


@pytest.mark.parametrize(
    ("values", "keys", "expected"),
    [
        ({}, "", BOTH),
        ({"permit_tunnel": "point-to-point"}, "", [POINT_TO_POINT]),
        ({"permit_tunnel": "ethernet"}, "", [ETHERNET]),
        ({"permit_tunnel": "no"}, "", []),
        ({"permit_tunnel": "no"}, 'tunnel="1"', []),
        ({"disable_forwarding": True}, "", []),
        ({"disable_forwarding": True}, 'tunnel="1"', []),
        ({}, "restrict", []),
        ({}, "restrict,port-forwarding", []),
        ({}, 'restrict,tunnel="1"', BOTH),
        ({}, "no-port-forwarding", BOTH),
    ],
)
def test_r110_devices_are_joined_where_configuration_and_key_permit_it(
    values: dict[str, object], keys: str, expected: list[int]
) -> None:
    assert modes(ruled(keys, **values)) == expected


def test_r149_beside_a_key_s_command_no_device_is_joined_unless_that_is_said() -> None:
    assert modes(ruled('command="x"', "key-option")) == []
    assert modes(ruled('command="x",port-forwarding', "key-option")) == []
    assert modes(ruled('command="x",tunnel="1"', "key-option")) == BOTH
    # PermitTunnel is such a word itself.
    assert modes(ruled("", "config")) == BOTH


@pytest.mark.parametrize(
    ("keys", "asked", "expected"),
    [
        ("", 5, 5),
        ("", ANY_UNIT, ANY_UNIT),
        ('tunnel="7"', ANY_UNIT, 7),
        ('tunnel="7"', 7, 7),
        ('tunnel="7"', 5, None),
        ('tunnel="any"', ANY_UNIT, ANY_UNIT),
        ('tunnel="any"', 5, None),
    ],
)
def test_a_key_names_the_device(keys: str, asked: int, expected: int | None) -> None:
    assert ruled(keys).unit(asked) == expected


class Client:
    """A connection, its core and its link, and channels that are all alike."""

    def __init__(self) -> None:
        self.core = self.link = self
        self.accepted = 0
        self.owner: Any = None
        self.sink: Any = None

    def accept_channel(self, channel: object) -> None:
        self.accepted += 1

    def flush(self) -> None:
        """What there is goes nowhere."""


def test_a_client_has_a_few_devices_and_room_again_when_one_has_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = []

    def opened(mode: int, unit: int) -> tuple[int, str]:
        network, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        device.setblocking(False)
        ends.append(network)
        return device.detach(), f"tun{unit}"

    monkeypatch.setattr(network_devices, "open_device", opened)
    loop, client, names, said = SmallLoop(), Client(), list[str](), list[str]()
    devices = NetworkDevices(
        loop,
        client,  # type: ignore[arg-type]
        note=lambda _, line: said.append(line),
        on_device=names.append,
    )
    channels: list[Any] = [Client() for _ in range(MOST_DEVICES + 1)]
    *most, last = (devices.join(one, POINT_TO_POINT, at) for at, one in enumerate(channels))
    assert all(most)
    assert not last
    assert client.accepted == MOST_DEVICES
    assert names == [f"tun{at}" for at in range(MOST_DEVICES)]
    assert said[-1] == f"{MOST_DEVICES} network devices are open already"
    channels[0].sink.lost()
    assert devices.join(channels[-1], POINT_TO_POINT, 99)
    for one in channels[1:]:
        one.sink.lost()
    for network in ends:
        network.close()
    loop.close()
