# SPDX-License-Identifier: MIT
"""What a peer offers, read from the KEXINIT that it sends in clear: no library of ours takes part."""

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

IDENTIFICATION = b"SSH-2.0-reader\r\n"
KEXINIT = 20


@dataclass(frozen=True)
class Offer:
    """The name-lists of a KEXINIT (RFC 4253 section 7.1) that tests choose from."""

    identification: str
    kex: tuple[str, ...]
    host_key: tuple[str, ...]
    cipher: tuple[str, ...]
    mac: tuple[str, ...]
    compression: tuple[str, ...]


def read_offer(connection: socket.socket) -> Offer:
    """Say who we are and read until the first packet is there."""
    connection.sendall(IDENTIFICATION)
    stream = connection.makefile("rb")
    line = stream.readline(8192)
    while line and not line.startswith(b"SSH-"):
        line = stream.readline(8192)
    head = stream.read(5)
    if len(head) < 5:
        raise ConnectionError(f"no packet after {line!r}")
    length, padding = struct.unpack(">IB", head)
    payload = stream.read(length - 1)[: -padding or None]
    if not payload or payload[0] != KEXINIT:
        raise ConnectionError(f"the first packet is {payload[:1]!r}, not KEXINIT")
    lists = []
    at = 17  # the number and the cookie
    for _ in range(8):
        (size,) = struct.unpack_from(">I", payload, at)
        lists.append(tuple(payload[at + 4 : at + 4 + size].decode("ascii").split(",")))
        at += 4 + size
    return Offer(line.decode("utf-8").strip(), lists[0], lists[1], lists[2], lists[4], lists[6])


def offer_of_server(host: str, port: int) -> Offer:
    """Connect and read what the server offers; the connection is then dropped."""
    with socket.create_connection((host, port), timeout=60) as connection:
        return read_offer(connection)


def offer_of_client(start: Callable[[str, int], object]) -> Offer:
    """Let ``start(host, port)`` set a client going against a listener that only reads its KEXINIT."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        start("127.0.0.1", listener.getsockname()[1])
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(60)
            return read_offer(connection)
