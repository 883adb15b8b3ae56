# SPDX-License-Identifier: MIT
"""Any bytes into every message class, and what was read from them written and read again."""

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import suppress
from functools import cache

from tests.fuzz.harness import Harness, all_subclasses, on_bytes, on_text

import tellin
from tellin.algorithms.moduli import Moduli
from tellin.connection.socks import SocksRequest
from tellin.errors import ConfigError, MalformedPacket, ProtocolError
from tellin.runtime import terminal_modes
from tellin.userauth.policy import parse_chains
from tellin.wire import Message


@cache
def classes() -> tuple[type[Message], ...]:
    """Every message class there is, numbered or not."""
    for found in pkgutil.walk_packages(tellin.__path__, "tellin."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    return tuple(
        sorted(
            (kind for kind in all_subclasses(Message) if kind.__module__.startswith("tellin.")),
            key=lambda kind: (kind.__module__, kind.__name__),
        )
    )


def decode(data: bytes) -> None:
    """The first byte chooses the class; what decodes encodes to something that decodes the same."""
    if not data:
        return
    kind = classes()[data[0] % len(classes())]
    payload = data[1:] if kind.number is None else bytes((kind.number,)) + data[1:]
    try:
        message = kind.decode(payload)
    except MalformedPacket:
        return
    repr(message)
    assert kind.decode(message.encode()) == message


def seeds() -> Iterator[bytes]:
    for place in range(len(classes())):
        yield bytes((place,)) + bytes(40)
        yield bytes((place,)) + b"\0\0\0\4name" * 4


SOCKS = [
    b"\x04\x01\x00\x50\x7f\x00\x00\x01user\x00",
    b"\x04\x01\x00\x50\x00\x00\x00\x01\x00example.org\x00",
    b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50",
    b"\x05\x02\x02\x00\x05\x01\x00\x03\x0bexample.org\x00\x50",
    b"\x05\x01\x00\x05\x01\x00\x04" + bytes(15) + b"\x01\x00\x50",
]


def to_socks(data: bytes) -> None:
    """Only one error comes out; what is asked for is bounded, and what is found is a target."""
    request, at = SocksRequest(), 0
    with suppress(ProtocolError):
        while request.target is None and at < len(data):
            assert 0 < request.wanted <= 257
            piece = data[at : at + request.wanted]
            if len(piece) < request.wanted:
                return
            at += len(piece)
            assert len(request.feed(piece)) <= 10
    if request.target is not None:
        host, port = request.target
        assert host.isascii()
        assert "\0" not in host
        assert 0 < len(host) <= 255
        assert 0 < port <= 65535
        assert request.granted() != request.refused()


HARNESSES = [
    Harness(
        "socks",
        to_socks,
        covers=["tellin.connection.socks.SocksRequest.feed"],
        seeds=lambda: SOCKS,
    ),
    Harness(
        "messages",
        decode,
        covers=["tellin.wire.message.Message.decode", "tellin.wire.message.Message.read"],
        seeds=seeds,
    ),
    Harness(
        "terminal_modes",
        on_bytes(terminal_modes.decode, MalformedPacket),
        covers=["tellin.runtime.terminal_modes.decode"],
        seeds=lambda: [b"\x01\0\0\0\3\x80\0\0\x96\0\0", b"\x2a\0\0\0\1\xff"],
    ),
    Harness(
        "authentication_methods",
        on_text(lambda text: parse_chains(text.split()), ConfigError),
        covers=["tellin.userauth.policy.parse_chains"],
        seeds=lambda: [b"publickey,password publickey,keyboard-interactive", b"any"],
    ),
    Harness(
        "moduli",
        on_text(Moduli.parse),
        covers=["tellin.algorithms.moduli.Moduli.parse"],
        seeds=lambda: [b"20230101000000 2 6 100 2047 2 " + b"F" * 511 + b"B\n# comment\n"],
    ),
]
