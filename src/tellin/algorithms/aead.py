# SPDX-License-Identifier: MIT
"""Packets under a cipher that authenticates: AES-GCM (RFC 5647) and ChaCha20-Poly1305."""

from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag

from tellin.algorithms.fresh_keys import aes_gcm
from tellin.algorithms.sealing import OpensOpenly, corrupted

_UINT32: Final = Struct(">I")
_UINT64: Final = Struct(">Q")
_COUNTER_MASK: Final = (1 << 64) - 1
_TAG: Final = 16


class _Gcm:
    """The key, and the nonce of the next packet: 4 fixed bytes and a counter (RFC 5647 section 7.1)."""

    __slots__ = ("_counter", "_crypt_into", "_nonce")

    block = 16
    tag = _TAG
    length_aligned = False

    def __init__(self, iv: bytes) -> None:
        # One nonce buffer for all packets: only its counter is rewritten.
        self._nonce = bytearray(iv)
        self._counter: int = _UINT64.unpack_from(iv, 4)[0]

    def current_iv(self) -> bytes:
        """The nonce that the next packet will take."""
        return bytes(self._nonce)


class GcmSealer(_Gcm):
    """AES-GCM on the way out: the length is authenticated and stays readable."""

    __slots__ = ()

    def __init__(self, key: bytes, iv: bytes) -> None:
        super().__init__(iv)
        self._crypt_into = aes_gcm(key).encrypt_into

    def seal(self, view: memoryview, start: int, end: int, sequence: int) -> None:
        """Encrypt ``view[start:end]`` in place and put the tag behind it."""
        body = start + 4
        self._crypt_into(self._nonce, view[body:end], view[start:body], view[body : end + _TAG])
        self._counter = counter = (self._counter + 1) & _COUNTER_MASK
        _UINT64.pack_into(self._nonce, 4, counter)


class GcmOpener(_Gcm, OpensOpenly):
    """AES-GCM on the way in."""

    __slots__ = ()

    peek = 4

    def __init__(self, key: bytes, iv: bytes) -> None:
        super().__init__(iv)
        self._crypt_into = aes_gcm(key).decrypt_into

    def length(self, view: memoryview, start: int, sequence: int) -> int:
        """The packet_length as it stands there, not yet verified."""
        value: int = _UINT32.unpack_from(view, start)[0]
        return value

    def open(self, view: memoryview, start: int, end: int, sequence: int) -> None:
        """Verify the packet and its tag and decrypt ``view[start + 4:end]`` in place."""
        body = start + 4
        try:
            self._crypt_into(
                self._nonce, view[body : end + _TAG], view[start:body], view[body:end]
            )
        except InvalidTag:
            # It is decrypted by now; what nobody vouches for does not stay there to be read (R028).
            view[body:end] = bytes(end - body)
            raise corrupted() from None
        self._counter = counter = (self._counter + 1) & _COUNTER_MASK
        _UINT64.pack_into(self._nonce, 4, counter)


_ZEROS: Final = bytes(64)
# The nonce of RFC-less ChaCha20 as OpenSSH runs it: a 64-bit block counter, little end first, and
# the packet's sequence number, big end first.
_NONCE: Final = Struct(">QQ")


class _ChaCha:
    """Two keys: one for the length alone, one for the packet and its Poly1305 key.

    The contexts are kept and only given a new nonce for each packet, which costs a third of
    making new ones. Nothing else is kept from packet to packet, so there is no IV.
    """

    __slots__ = (
        "_body_nonce",
        "_body_update_into",
        "_length_nonce",
        "_length_update_into",
        "_poly1305",
        "_stream",
    )

    block = 8
    tag = _TAG
    length_aligned = False

    def __init__(self, key: bytes, iv: bytes) -> None:
        # A connection under AES-GCM does not wait for it.
        from cryptography.hazmat.primitives.ciphers import (  # noqa: PLC0415  (start-up time)
            Cipher,
            algorithms,
        )
        from cryptography.hazmat.primitives.poly1305 import Poly1305  # noqa: PLC0415  (the same)

        nonce = bytes(16)
        body = Cipher(algorithms.ChaCha20(key[:32], nonce), None).encryptor()
        length = Cipher(algorithms.ChaCha20(key[32:64], nonce), None).encryptor()
        self._body_nonce = body.reset_nonce
        self._body_update_into = body.update_into
        self._length_nonce = length.reset_nonce
        self._length_update_into = length.update_into
        self._poly1305 = Poly1305
        # Block 0 of the packet's key stream: its first half is the Poly1305 key.
        self._stream = memoryview(bytearray(64))

    def current_iv(self) -> bytes:
        """Nothing: the sequence number is the nonce."""
        return b""


class ChaChaSealer(_ChaCha):
    """chacha20-poly1305@openssh.com on the way out."""

    __slots__ = ()

    def seal(self, view: memoryview, start: int, end: int, sequence: int) -> None:
        """Encrypt ``view[start:end]`` in place and put the tag behind it."""
        nonce = _NONCE.pack(0, sequence)
        stream = self._stream
        body = start + 4
        self._length_nonce(nonce)
        self._length_update_into(view[start:body], view[start:body])
        self._body_nonce(nonce)
        # A whole block, so that the packet itself begins at block 1.
        self._body_update_into(_ZEROS, stream)
        self._body_update_into(view[body:end], view[body:end])
        view[end : end + _TAG] = self._poly1305.generate_tag(stream[:32], view[start:end])


class ChaChaOpener(_ChaCha, OpensOpenly):
    """chacha20-poly1305@openssh.com on the way in."""

    __slots__ = ("_length",)

    peek = 4

    def __init__(self, key: bytes, iv: bytes) -> None:
        super().__init__(key, iv)
        self._length = bytearray(4)

    def length(self, view: memoryview, start: int, sequence: int) -> int:
        """The packet_length, decrypted but not yet verified; the packet itself is not touched."""
        self._length_nonce(_NONCE.pack(0, sequence))
        self._length_update_into(view[start : start + 4], self._length)
        value: int = _UINT32.unpack_from(self._length)[0]
        return value

    def open(self, view: memoryview, start: int, end: int, sequence: int) -> None:
        """Verify the packet and its tag, and only then decrypt ``view[start + 4:end]`` in place."""
        stream = self._stream
        self._body_nonce(_NONCE.pack(0, sequence))
        self._body_update_into(_ZEROS, stream)
        try:
            self._poly1305.verify_tag(stream[:32], view[start:end], bytes(view[end : end + _TAG]))
        except InvalidSignature:
            raise corrupted() from None
        body = start + 4
        self._body_update_into(view[body:end], view[body:end])
