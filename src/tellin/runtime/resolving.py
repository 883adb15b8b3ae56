# SPDX-License-Identifier: MIT
"""Looking names up beside the loop: the system's resolver waits, and nobody else should."""

import os
from _thread import allocate_lock, start_new_thread
from collections import deque
from collections.abc import Callable
from typing import Final

from tellin.errors import ConnectFailed
from tellin.runtime.listeners import AF_UNSPEC, Address, literal_address, resolve
from tellin.runtime.loop import Loop

# As many names at a time: a server whose client asks for a thousand has no thousand threads.
_THREADS: Final = 8

Taker = Callable[[list[Address] | None, str], object]
"""Gets the addresses, or None and why there are none."""


class _Lookup:
    __slots__ = ("answer", "done", "family", "host", "port")

    def __init__(self, host: str, port: int, family: int, done: Taker) -> None:
        self.host = host
        self.port = port
        self.family = family
        self.done = done
        self.answer: tuple[list[Address] | None, str] = (None, "")


class Resolver:
    """Looks up names in threads of its own, which are there only while there are names."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._lock = allocate_lock()
        self._waiting: deque[_Lookup] = deque()
        self._found: deque[_Lookup] = deque()
        self._threads = 0
        self._pending = 0
        self._bell = -1

    def find(self, host: str, port: int, done: Taker, *, family: int = AF_UNSPEC) -> None:
        """Call ``done`` with the addresses of ``host``: at once if it is an address itself."""
        literal = literal_address(host, port)
        if literal is not None:
            done([one for one in literal if family in {AF_UNSPEC, one[0]}] or None, _NO_FAMILY)
            return
        # For no name at all the system's resolver gives this machine.
        if not host or "\0" in host:
            done(None, _UNKNOWN)
            return
        if self._bell < 0:
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._loop.add_reader(self._bell, self._rung)
        self._pending += 1
        self._waiting.append(_Lookup(host, port, family, done))
        with self._lock:
            if self._threads == _THREADS:
                return
            self._threads += 1
        start_new_thread(self._work, ())

    def close(self) -> None:
        """Answer nobody any more."""
        self._waiting.clear()
        if self._bell >= 0:
            self._loop.remove_reader(self._bell)
        if not self._pending and self._bell >= 0:
            # A thread that is still out rings it: then it stays until the process ends.
            os.close(self._bell)
        self._bell = -1

    def _work(self) -> None:
        bell = self._bell
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                lookup = self._waiting.popleft()
            try:
                addresses = resolve(lookup.host, lookup.port, family=lookup.family)
                lookup.answer = addresses or None, _UNKNOWN
            except ConnectFailed as error:
                lookup.answer = None, str(error).rpartition(": ")[2]
            self._found.append(lookup)
            os.eventfd_write(bell, 1)

    def _rung(self) -> None:
        os.eventfd_read(self._bell)
        while self._found:
            lookup = self._found.popleft()
            self._pending -= 1
            lookup.done(*lookup.answer)


_UNKNOWN: Final = "Name or service not known"
_NO_FAMILY: Final = "Address family for hostname not supported"
