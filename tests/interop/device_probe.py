# SPDX-License-Identifier: MIT
"""In a network of its own: ``ping ADDRESS SIZE``, ``echo ADDRESS``, or ``send ADDRESS BYTES``; trying until it works."""

import os
import socket
import struct
import sys
import time

PORT = 7000
PATIENCE = 60.0
ECHO, ECHO_6 = 8, 128


def checksum(data: bytes) -> int:
    """RFC 1071; ``data`` is even."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def ping(address: str, size: int) -> None:
    """Have ``address`` send an echo back (RFC 792, RFC 4443)."""
    six = ":" in address
    kind, protocol = (ECHO_6, socket.IPPROTO_ICMPV6) if six else (ECHO, socket.IPPROTO_ICMP)
    body = struct.pack(">HH", os.getpid() & 0xFFFF, 1) + os.urandom(size)
    # Of version 6 the kernel counts it.
    summed = 0 if six else checksum(bytes((kind, 0, 0, 0)) + body)
    packet = struct.pack(">BBH", kind, 0, summed) + body
    family = socket.AF_INET6 if six else socket.AF_INET
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        raw.settimeout(0.3)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                raw.sendto(packet, (address, 0))
                answer = raw.recv(65536)
            except OSError:
                # Nobody there yet.
                time.sleep(0.05)
                continue
            # Of version 4 the header comes with it; an echo of our own is no answer.
            at = 0 if six else (answer[0] & 15) * 4
            if answer[at] == (129 if six else 0) and answer[at + 4 :] == body:
                return
    raise SystemExit(f"{address} does not answer")


def echo(address: str) -> None:
    """Send back what one connection sends."""
    with socket.create_server((address, PORT)) as listening:
        stream, _ = listening.accept()
        with stream:
            while data := stream.recv(65536):
                stream.sendall(data)


def send(address: str, size: int) -> None:
    """Send so much through, and compare what comes back, while it goes."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            stream = socket.create_connection((address, PORT), timeout=PATIENCE)
            break
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
    block = os.urandom(1 << 16)
    with stream:
        # Less than what buffers on the way hold at once, and many times as much together.
        for _ in range(size // len(block)):
            stream.sendall(block)
            got = b""
            while len(got) < len(block) and (part := stream.recv(len(block) - len(got))):
                got += part
            if got != block:
                raise SystemExit("what came back is something else")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["ping", address, size]:
            ping(address, int(size))
        case ["echo", address]:
            echo(address)
        case ["send", address, size]:
            send(address, int(size))
        case _:
            raise SystemExit(__doc__)
