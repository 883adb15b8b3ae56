# SPDX-License-Identifier: MIT
"""Peers that say just what a test wants, and a wire that remembers: no SSH library takes part."""

import contextlib
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

IDENTIFICATION = b"SSH-2.0-raw"
KEXINIT, NEWKEYS, DISCONNECT = 20, 21, 1
PATIENCE = 60


def string(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def mpint(number: int) -> bytes:
    """RFC 4251 section 5, for numbers that are not negative."""
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big") if number else b"")


def packet(payload: bytes) -> bytes:
    """A packet in clear (RFC 4253 section 6)."""
    padding = 8 - (len(payload) + 5) % 8
    padding += 8 if padding < 4 else 0
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


def kexinit(
    *,
    kex: str = "curve25519-sha256",
    host_key: str = "ssh-ed25519",
    cipher: str = "aes128-ctr",
    mac: str = "hmac-sha2-256-etm@openssh.com",
    compression: str = "none",
) -> bytes:
    """A KEXINIT's payload, without a guess."""
    lists = (kex, host_key, cipher, cipher, mac, mac, compression, compression, "", "")
    names = b"".join(string(words.encode("ascii")) for words in lists)
    return bytes([KEXINIT]) + os.urandom(16) + names + bytes(5)


class RawStream:
    """One side of a connection that speaks in clear."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(PATIENCE)
        self.file = connection.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_packet(self, payload: bytes) -> None:
        self.send(packet(payload))

    def line(self) -> bytes:
        return self.file.readline(70_000)

    def identification(self) -> bytes:
        """The peer's identification without its end."""
        while (line := self.line()) and not line.startswith(b"SSH-"):
            pass
        return line.rstrip(b"\r\n")

    def packet(self) -> bytes:
        """The payload of the next packet; empty at the end."""
        head = self.file.read(5)
        if len(head) < 5:
            return b""
        length, padding = struct.unpack(">IB", head)
        rest: bytes = self.file.read(length - 1)
        return rest[: len(rest) - padding]

    def rest(self) -> bytes:
        """All that comes until the peer closes; a reset is an end too."""
        found = b""
        with contextlib.suppress(ConnectionError):
            while block := self.file.read1(65_536):
                found += block
        return found


@contextmanager
def raw_client(port: int, host: str = "127.0.0.1") -> Iterator[RawStream]:
    """A connection to a server."""
    with socket.create_connection((host, port), timeout=PATIENCE) as connection:
        yield RawStream(connection)


@contextmanager
def raw_server(serve: Callable[[RawStream], object]) -> Iterator[int]:
    """A server that does this with every connection; gives its port.

    What goes wrong in ``serve`` because the client has gone is no fault of the test's.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads: list[threading.Thread] = []
        open_ones: list[socket.socket] = []

        def talk(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                serve(RawStream(connection))

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    open_ones.append(connection)
                    threads.append(threading.Thread(target=talk, args=(connection,)))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            # Wakes accept(); closing alone does not.
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for connection in open_ones:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


@dataclass
class Recording:
    """What went over one connection."""

    to_server: bytearray = field(default_factory=bytearray)
    to_client: bytearray = field(default_factory=bytearray)

    def __contains__(self, words: bytes) -> bool:
        return words in self.to_server or words in self.to_client


class Wiretap:
    """Stands between a client and the server on ``target``, and keeps every byte it passes on.

    ``greeting`` goes to the client before the server's own first word.
    """

    def __init__(self, target: int, *, greeting: bytes = b"") -> None:
        self.port = 0
        self.recordings: list[Recording] = []
        self._target = target
        self._greeting = greeting

    @contextmanager
    def running(self) -> Iterator["Wiretap"]:
        with raw_server(self._pass_on) as port:
            self.port = port
            yield self

    def _pass_on(self, client: RawStream) -> None:
        recording = Recording()
        self.recordings.append(recording)
        if self._greeting:
            client.send(self._greeting)
        with socket.create_connection(("127.0.0.1", self._target)) as server:
            ways = {
                client.socket: (server, recording.to_server),
                server: (client.socket, recording.to_client),
            }
            while ways:
                readable, _, _ = select.select(list(ways), [], [], PATIENCE)
                if not readable:
                    return
                for source in readable:
                    sink, kept = ways[source]
                    data = source.recv(65_536)
                    kept += data
                    if data:
                        sink.sendall(data)
                    else:
                        del ways[source]
                        sink.shutdown(socket.SHUT_WR)


def clear_packets(stream: bytes) -> Iterator[bytes]:
    """The payloads of a recorded side before its first NEWKEYS, NEWKEYS included."""
    at = stream.index(b"SSH-")
    at = stream.index(b"\n", at) + 1
    while True:
        length, padding = struct.unpack_from(">IB", stream, at)
        payload = bytes(stream[at + 5 : at + 4 + length - padding])
        at += 4 + length
        yield payload
        if payload[:1] == bytes([NEWKEYS]):
            return


def name_lists(payload: bytes) -> Sequence[tuple[str, ...]]:
    """The lists of a KEXINIT, in its order."""
    lists, at = [], 17
    for _ in range(10):
        (size,) = struct.unpack_from(">I", payload, at)
        lists.append(tuple(payload[at + 4 : at + 4 + size].decode("ascii").split(",")))
        at += 4 + size
    return lists
