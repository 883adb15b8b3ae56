# SPDX-License-Identifier: MIT
"""Who listens to a connection and has got hold of some secret: what he can read with it.

All of it by PyCA and the RFCs, with nothing of tellin's: curve25519-sha256 and AES-GCM, which is
what the tests let their connections agree on.
"""

import hashlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.interop.raw import NEWKEYS, Recording, mpint, string

TAG = 16


@dataclass(frozen=True)
class Side:
    """One direction of a recording: what stands in clear, and what is sealed behind it."""

    identification: bytes
    clear: tuple[bytes, ...]
    sealed: bytes

    @property
    def kexinit(self) -> bytes:
        return self.clear[0]

    @property
    def exchange(self) -> bytes:
        """The method's message: the client's value, or the server's answer.

        A wrong guess (RFC 4253 section 7) stands before it.
        """
        return self.clear[-2]


def side(stream: bytes) -> Side:
    """Take a recorded direction apart (RFC 4253 sections 4.2 and 6)."""
    start = stream.index(b"SSH-")
    end = stream.index(b"\n", start)
    at = end + 1
    clear: list[bytes] = []
    while not clear or clear[-1][0] != NEWKEYS:
        length, padding = struct.unpack_from(">IB", stream, at)
        clear.append(bytes(stream[at + 5 : at + 4 + length - padding]))
        at += 4 + length
    return Side(stream[start:end].rstrip(b"\r"), tuple(clear), bytes(stream[at:]))


class Conversation:
    """A recorded connection, as far as it can be read by who was not in it."""

    def __init__(self, recording: Recording) -> None:
        self.client = side(bytes(recording.to_server))
        self.server = side(bytes(recording.to_client))
        self.client_public = self.client.exchange[5:]
        reply = self.server.exchange[1:]
        parts = []
        while reply:
            (size,) = struct.unpack_from(">I", reply)
            parts.append(reply[4 : 4 + size])
            reply = reply[4 + size :]
        self.host_key, self.server_public, self.signature = parts

    def read(self, secret: X25519PrivateKey, public: bytes) -> tuple[bytes, bytes] | None:
        """Both directions opened with what ``secret`` and ``public`` make; None if it does not open.

        RFC 4253 sections 7.2 and 8, RFC 8731.
        """
        shared = secret.exchange(X25519PublicKey.from_public_bytes(public))
        number = mpint(int.from_bytes(shared, "big"))
        covered = (
            self.client.identification,
            self.server.identification,
            self.client.kexinit,
            self.server.kexinit,
            self.host_key,
            self.client_public,
            self.server_public,
        )
        exchange_hash = hashlib.sha256(b"".join(map(string, covered)) + number).digest()

        def derive(letter: bytes, size: int) -> bytes:
            made = hashlib.sha256(number + exchange_hash + letter + exchange_hash).digest()
            return made[:size]

        try:
            return (
                unseal(self.client.sealed, derive(b"C", 16), derive(b"A", 12)),
                unseal(self.server.sealed, derive(b"D", 16), derive(b"B", 12)),
            )
        except InvalidTag:
            return None


def unseal(stream: bytes, key: bytes, iv: bytes) -> bytes:
    """The payloads of packets under AES-128-GCM, one behind the other (RFC 5647 section 7)."""
    opener, found, at = AESGCM(key), b"", 0
    count = int.from_bytes(iv[4:], "big")
    while at + 4 <= len(stream):
        (length,) = struct.unpack_from(">I", stream, at)
        if length > 1 << 18 or at + 4 + length + TAG > len(stream):
            raise InvalidTag
        nonce = iv[:4] + count.to_bytes(8, "big")
        body = stream[at + 4 : at + 4 + length + TAG]
        packet = opener.decrypt(nonce, body, stream[at : at + 4])
        found += packet[1 : length - packet[0]]
        at += 4 + length + TAG
        count = (count + 1) % (1 << 64)
    return found


# ------------------------------------------------------------------------- the wire itself


class Capture:
    """What went over the loopback interface to or from some TCP ports, as a sniffer sees it."""

    def __init__(self, *ports: int) -> None:
        self._ports = ports
        self.packets: list[bytes] = []

    def __contains__(self, words: bytes) -> bool:
        # Also where a packet ends in the middle of them.
        return any(words in one for one in self.packets) or words in b"".join(self.packets)

    @contextmanager
    def running(self) -> Iterator["Capture"]:
        # 3: ETH_P_ALL
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as line:
            line.setsockopt(
                socket.SOL_SOCKET, 33, 32 << 20
            )  # SO_RCVBUFFORCE: a sniffer misses nothing
            line.bind(("lo", 0))
            line.settimeout(0.1)
            over = threading.Event()

            def listen() -> None:
                while True:
                    try:
                        frame, address = line.recvfrom(1 << 18)
                    except TimeoutError:
                        if over.is_set():
                            return
                        continue
                    # Each packet passes twice, once as outgoing (4).
                    if address[2] != 4:
                        self._keep(frame)

            listening = threading.Thread(target=listen)
            listening.start()
            try:
                yield self
            finally:
                over.set()
                listening.join()

    def _keep(self, frame: bytes) -> None:
        internet = frame[14:]
        if frame[12:14] != b"\x08\x00" or internet[9] != socket.IPPROTO_TCP:
            return
        segment = internet[(internet[0] & 15) * 4 :]
        if set(struct.unpack_from(">HH", segment)) & set(self._ports):
            self.packets.append(segment[(segment[12] >> 4) * 4 :])
