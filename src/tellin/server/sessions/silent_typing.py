# SPDX-License-Identifier: MIT
"""What is typed where nothing is echoed, a password above all, is answered on the wire all the same.

Whoever watches sees a packet of the same size come back for each key; without one he would know
that a password begins here, and how long it is. (sshd of OpenSSH does so since 2.9.9; R157.)
"""

import os
import termios
from collections.abc import Callable

from tellin.connection.channel import Sink
from tellin.runtime.pumps import Outlet

# CHANNEL_DATA names its channel in so many bytes, which IGNORE does not.
_CHANNEL_NUMBER = 4
_LOCAL_MODES = 3


class AnsweredSink:
    """Stands before the sink that writes to a terminal; ``ignore`` sends bytes that mean nothing."""

    def __init__(
        self, sink: Sink, terminal: int, ignore: Callable[[bytes], object], link: Outlet
    ) -> None:
        self._sink = sink
        self._terminal = terminal
        self._ignore = ignore
        self._link = link

    def take(self, views: list[memoryview]) -> int:
        """Hand them on; answer for the terminal if it is silent."""
        size = sum(map(len, views))
        # The end of a line is echoed also where nothing else is.
        silent = size and views[0][0] != 0x0D and self._is_silent()
        taken = self._sink.take(views)
        if silent:
            # At random, or a compressed connection would show which is the fake.
            self._ignore(os.urandom(_CHANNEL_NUMBER + size))
            self._link.flush_soon()
        return taken

    def _is_silent(self) -> bool:
        try:
            modes = termios.tcgetattr(self._terminal)[_LOCAL_MODES]
        except (termios.error, OSError):
            # Its command is over.
            return False
        return not modes & termios.ECHO and bool(modes & termios.ICANON)
