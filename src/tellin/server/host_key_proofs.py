# SPDX-License-Identifier: MIT
"""Tells clients of all our host keys, and proves that we have them (OpenSSH's PROTOCOL, section 2.5)."""

from collections.abc import Callable, Sequence
from typing import Final

from tellin.algorithms.signatures import plain
from tellin.connection.events import GlobalRequested
from tellin.connection.host_keys import HOST_KEYS, MOST_KEYS, HostKeyProofs, HostKeys, claim
from tellin.errors import MalformedPacket
from tellin.keys.public import PublicKey
from tellin.protocol import ServerProtocol

# A client asks once for the keys it does not know, and again perhaps after a reload; who asks more
# often wants the processor's time.
_MOST_REQUESTS: Final = 8

Sign = Callable[[bytes, str, bytes, Callable[[bytes | None], None]], None]


class HostKeyProver:
    """The host keys of one connection's server. ``sign`` signs with one, at once or later."""

    __slots__ = ("_asked", "_core", "_flush", "_keys", "_sign")

    def __init__(
        self,
        core: ServerProtocol,
        keys: Sequence[bytes],
        *,
        sign: Sign,
        flush: Callable[[], object],
    ) -> None:
        self._core = core
        self._keys = tuple(dict.fromkeys(keys))[:MOST_KEYS]
        self._sign = sign
        self._flush = flush
        self._asked = 0

    def announce(self) -> None:
        """Tell which keys there are; clients that want to know no such thing pass it over."""
        if self._keys:
            self._core.request(HOST_KEYS, HostKeys(self._keys).encode())

    def prove(self, event: GlobalRequested) -> None:
        """Answer a request for proofs, now or later."""
        self._asked += 1
        blobs = self._wanted(event.data) if event.debt is not None else ()
        if blobs and self._asked <= _MOST_REQUESTS:
            self._next(event, blobs, [])
        elif event.debt is not None:
            self._core.answer_global(False, debt=event.debt)

    def _wanted(self, data: bytes) -> Sequence[bytes]:
        """The keys that are to be proved; none if the request is not in order."""
        try:
            blobs = HostKeys.decode(data).blobs
        except MalformedPacket:
            return ()
        # What is signed is the client's choice only in so far as each is a key of ours, once.
        return blobs if set(blobs) <= set(self._keys) and len(set(blobs)) == len(blobs) else ()

    def _next(
        self, event: GlobalRequested, blobs: Sequence[bytes], signatures: list[bytes]
    ) -> None:
        core = self._core
        if len(signatures) == len(blobs):
            core.answer_global(True, HostKeyProofs(tuple(signatures)).encode(), event.debt)
            return
        blob = blobs[len(signatures)]

        def signed(signature: bytes | None) -> None:
            if core.closed:
                return
            if signature is None:
                core.answer_global(False, debt=event.debt)
            else:
                self._next(event, blobs, [*signatures, signature])
            self._flush()

        self._sign(blob, self._algorithm(blob), claim(core.session_id, blob), signed)

    def _algorithm(self, blob: bytes) -> str:
        able = PublicKey.from_blob(blob).signature_algorithms
        chosen = self._core.algorithms
        # As in the exchange, if that was by RSA too: the client is known to take that one.
        agreed = "" if chosen is None else plain(chosen.host_key)
        return agreed if agreed in able else able[0]
