# SPDX-License-Identifier: MIT
"""SOCKS 4, 4a and 5 (RFC 1928), the side that is asked to connect: bytes in, bytes out, and a target."""

from collections.abc import Callable
from typing import Final

from tellin.errors import ProtocolError

# What stands between two NUL characters, or behind a length of one byte.
LONGEST_TEXT: Final = 255
_CONNECT: Final = 1
_NO_METHOD: Final = 0xFF
_IPV4, _NAME, _IPV6 = 1, 3, 4
_SIZES: Final = {_IPV4: 4, _IPV6: 16}
_NOWHERE: Final = bytes(6)


class SocksRequest:
    """One conversation, up to the target.

    Give ``feed`` just the ``wanted`` bytes each time, so that what follows the request is not read,
    and send what it returns. It is over when there is a ``target``, a host and a port; then say
    ``granted`` or ``refused`` by what those return. Raises ProtocolError for what is no SOCKS, or asks
    for what there is not; ``last_word`` may then be sent.
    """

    def __init__(self) -> None:
        self.wanted = 1
        self.target: tuple[str, int] | None = None
        self.last_word = b""
        self._version = 0
        self._text = bytearray()
        self._host = ""
        self._port = 0
        self._take: Callable[[bytes], bytes] = self._take_version

    def feed(self, data: bytes) -> bytes:
        """Take the ``wanted`` bytes; returns what to answer."""
        if self.target is not None or len(data) != self.wanted:
            raise ProtocolError(f"{len(data)} bytes of SOCKS where {self.wanted} are due")
        return self._take(data)

    def granted(self) -> bytes:
        """The target is reached."""
        return b"\x00\x5a" + _NOWHERE if self._version == 4 else b"\x05\x00\x00\x01" + _NOWHERE

    def refused(self, *, prohibited: bool = False) -> bytes:
        """It is not."""
        if self._version == 4:
            return b"\x00\x5b" + _NOWHERE
        return bytes((5, 2 if prohibited else 5, 0, 1)) + _NOWHERE

    def _go_on(self, wanted: int, take: Callable[[bytes], bytes]) -> bytes:
        self.wanted, self._take = wanted, take
        return b""

    def _found(self, host: str, port: int) -> bytes:
        if not host or "\0" in host or not port:
            self.last_word = self.refused()
            raise ProtocolError("SOCKS: a target that is none")
        self.wanted, self.target = 0, (host, port)
        return b""

    def _take_version(self, data: bytes) -> bytes:
        self._version = data[0]
        if self._version == 4:
            return self._go_on(7, self._take_old_request)
        if self._version == 5:
            return self._go_on(1, self._take_count)
        raise ProtocolError(f"SOCKS of version {self._version}")

    # Version 4, and 4a, whose name stands behind an address that is none

    def _take_old_request(self, data: bytes) -> bytes:
        if data[0] != _CONNECT:
            self.last_word = self.refused()
            raise ProtocolError(f"SOCKS: command {data[0]}")
        self._port = int.from_bytes(data[1:3])
        named = data[3:6] == bytes(3) and data[6] != 0
        self._host = "" if named else _shown(data[3:7])
        return self._go_on(1, self._take_user)

    def _take_user(self, data: bytes) -> bytes:
        if self._text_goes_on(data):
            return b""
        self._text.clear()
        if self._host:
            return self._found(self._host, self._port)
        return self._go_on(1, self._take_old_name)

    def _take_old_name(self, data: bytes) -> bytes:
        return b"" if self._text_goes_on(data) else self._found(self._name(), self._port)

    def _text_goes_on(self, data: bytes) -> bool:
        if data == b"\0":
            return False
        if len(self._text) == LONGEST_TEXT:
            raise ProtocolError("SOCKS: a text without an end")
        self._text += data
        return True

    def _name(self) -> str:
        try:
            return self._text.decode("ascii")
        except UnicodeDecodeError:
            self.last_word = self.refused()
            raise ProtocolError("SOCKS: a name that is not ASCII") from None

    # Version 5

    def _take_count(self, data: bytes) -> bytes:
        if not data[0]:
            raise ProtocolError("SOCKS: no way to log in")
        return self._go_on(data[0], self._take_methods)

    def _take_methods(self, data: bytes) -> bytes:
        if 0 not in data:
            self.last_word = bytes((5, _NO_METHOD))
            raise ProtocolError("SOCKS: a login is wanted")
        self._go_on(4, self._take_request)
        return b"\x05\x00"

    def _take_request(self, data: bytes) -> bytes:
        version, command, _, kind = data
        if version != self._version:
            raise ProtocolError(f"SOCKS of version {version} after {self._version}")
        if command != _CONNECT:
            self.last_word = b"\x05\x07\x00\x01" + _NOWHERE
            raise ProtocolError(f"SOCKS: command {command}")
        if kind == _NAME:
            return self._go_on(1, self._take_size)
        if kind not in _SIZES:
            self.last_word = b"\x05\x08\x00\x01" + _NOWHERE
            raise ProtocolError(f"SOCKS: an address of type {kind}")
        return self._go_on(_SIZES[kind] + 2, self._take_address)

    def _take_size(self, data: bytes) -> bytes:
        return self._go_on(data[0] + 2, self._take_name)

    def _take_name(self, data: bytes) -> bytes:
        self._text += data[:-2]
        return self._found(self._name(), int.from_bytes(data[-2:]))

    def _take_address(self, data: bytes) -> bytes:
        return self._found(_shown(data[:-2]), int.from_bytes(data[-2:]))


def _shown(address: bytes) -> str:
    """An address as text."""
    if len(address) == _SIZES[_IPV4]:
        return ".".join(map(str, address))
    return ":".join(f"{int.from_bytes(address[at : at + 2]):x}" for at in range(0, 16, 2))
