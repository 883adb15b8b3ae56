# SPDX-License-Identifier: MIT
"""What a program has of something that is forwarded: where it is listened, and how it ends."""

import asyncio
from types import TracebackType

from tellin.errors import TellinError


class Forwarding:
    """A port or a socket that is listened on, here or on the server; made by ``Connection``.

    Whoever is made of this calls ``ended`` once, when nothing is listened on any more, and says in
    ``_stop`` how that is begun.
    """

    __slots__ = ("_over", "_stopped", "error", "host", "path", "port")

    def __init__(self, *, host: str = "", port: int = 0, path: str = "") -> None:
        self.host: str = host
        """The address that is listened on, as it was asked for."""
        self.port: int = port
        """The port that is listened on, also where it was chosen by whoever listens; 0 for a socket's path."""
        self.path: str = path
        """The socket that is listened on; empty for a port."""
        self.error: TellinError | None = None
        """Why it ended, where nobody here closed it."""
        self._stopped = False
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        at = ascii(self.path) if self.path else f"port {self.port}"
        return f"<{type(self).__name__} at {at}{', closed' if self.closed else ''}>"

    @property
    def closed(self) -> bool:
        """Whether it was closed, or has ended by itself."""
        return self._stopped or self._over.done()

    def close(self) -> None:
        """Take no more connections; those that there are go on."""
        if not self.closed:
            self._stopped = True
            self._stop()

    async def wait_closed(self) -> None:
        """Wait until nothing is listened on any more, whoever ends it."""
        await asyncio.shield(self._over)

    async def aclose(self) -> None:
        """Close, and wait until nothing is listened on."""
        self.close()
        await self.wait_closed()

    async def __aenter__(self) -> "Forwarding":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _stop(self) -> None:
        """Begin to end it."""
        raise NotImplementedError

    def ended(self, error: TellinError | None = None) -> None:
        """Nothing is listened on any more; ``error`` says why, where it was not closed."""
        if not self._over.done():
            self.error = error
            self._over.set_result(None)
