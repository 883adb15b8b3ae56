# SPDX-License-Identifier: MIT
"""Makes loopbacks whose two sides differ in what a test is about."""

from typing import Any, Final, Protocol

from tellin.keys.private import PrivateKey
from tellin.protocol import ClientProtocol, ServerProtocol
from tellin.testing.loopback import Loopback, client_settings, server_settings

HOST_KEY: Final = PrivateKey.generate("ed25519")


class Pair(Protocol):
    """What ``make_pair`` is, for a fixture's type."""

    def __call__(self, **changes: Any) -> Loopback:
        """A loopback."""


def make_pair(
    *,
    client: dict[str, Any] | None = None,
    server: dict[str, Any] | None = None,
    host_key: PrivateKey = HOST_KEY,
    chunk: int = 1 << 20,
    client_core: dict[str, Any] | None = None,
    server_core: dict[str, Any] | None = None,
    **both: Any,
) -> Loopback:
    """A loopback; keywords go to both sides' settings, the dictionaries to one side's."""
    ours = ClientProtocol(
        client_settings(**{**both, **(client or {})}), now=0.0, **(client_core or {})
    )
    theirs = ServerProtocol(
        server_settings(host_key, **{**both, **(server or {})}), now=0.0, **(server_core or {})
    )
    return Loopback(ours, theirs, host_key=host_key, chunk=chunk)
