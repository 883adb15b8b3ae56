# SPDX-License-Identifier: MIT
"""What a connection is told before it begins; shared by all connections of a server."""

from collections.abc import Callable
from typing import Final

from tellin.algorithms.key_exchange import Moduli
from tellin.transport.negotiation import Preferences
from tellin.transport.version import IDENTIFICATION
from tellin.wire import Record

# RFC 4253 section 9 asks for new keys after each gigabyte; RFC 4344 allows 2**(L/4) blocks, which
# for the 16-byte blocks of today's ciphers is far more. 4 GiB is the upper end of what OpenSSH does.
REKEY_BYTES: Final = 4 << 30
REKEY_BYTES_SMALL_BLOCK: Final = 1 << 30
REKEY_PACKETS: Final = 1 << 31


class Settings(Record):
    """The transport's own part; both roles."""

    preferences: Preferences
    random: Callable[[int], bytes]
    identification: str = IDENTIFICATION
    # Whoever made the connection has sent the identification already.
    greeted: bool = False
    rekey_bytes: int = 0  # 0: by the cipher's block
    rekey_seconds: float = 0.0  # 0: never by time
    exchange_timeout: float = 120.0
    require_strict: bool = False
    # Client: send the first key exchange's opening at once, in the hope that it is the one.
    guess: bool = True
    # Server: the public halves of the host keys, best first, and the groups for group exchange.
    host_keys: tuple[tuple[str, bytes], ...] = ()  # (signature algorithm, key blob)
    moduli: Moduli | None = None
    # What EXT_INFO says to the peer (RFC 8308).
    extensions: dict[str, bytes] = {}  # noqa: RUF012 - a Record's default, never written to
