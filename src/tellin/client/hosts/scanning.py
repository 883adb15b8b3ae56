# SPDX-License-Identifier: MIT
"""Asking many servers for their host keys at once, as far as the first exchange and no further."""

import _socket
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final

from tellin.algorithms.ciphers import CIPHERS
from tellin.algorithms.key_exchange import KEY_EXCHANGES
from tellin.algorithms.macs import MACS
from tellin.errors import ConnectFailed, NegotiationFailed, TellinError
from tellin.protocol.client import ClientProtocol
from tellin.protocol.events import HostKeyOffered, Identified
from tellin.runtime.listeners import Address, Attempt, resolve
from tellin.runtime.loop import Cancellable, Loop
from tellin.runtime.sockets import Socket
from tellin.runtime.stream import Link
from tellin.transport.negotiation import Preferences
from tellin.transport.settings import Settings
from tellin.wire import Record

# A name server that is slow must not hold up the others.
_RESOLVERS: Final = 16


class Question(Record):
    """One key to ask for: which hosts to try until one answers, and by which algorithms."""

    hosts: tuple[str, ...]
    algorithms: tuple[str, ...]
    label: Any = None  # the asker's own


class Answer(Record):
    """What came of it: ``key`` is empty without a key, and ``trouble`` says why if there is a reason."""

    question: Question
    host: str
    identification: str = ""
    key: bytes = b""
    trouble: str = ""


class Scanner:
    """Works through questions, ``most`` at a time; ``on_answer`` hears of each as it is settled.

    ``timeout`` is how many seconds a server may be silent.
    """

    def __init__(
        self,
        loop: Loop,
        questions: Iterable[Question],
        on_answer: Callable[[Answer], object],
        *,
        port: int,
        family: int,
        timeout: float,
        most: int,
    ) -> None:
        self.loop = loop
        self.port = port
        self.timeout = timeout
        self.names = _Names(loop, port, family)
        self._questions = iter(questions)
        self._on_answer = on_answer
        self._most = most
        self._running = 0
        self._all_asked = False
        self._fill()

    def is_over(self) -> bool:
        """Whether every question is settled."""
        return self._all_asked and not self._running

    def close(self) -> None:
        """Give up what names are still being looked up."""
        self.names.close()

    def settled(self, answer: Answer) -> None:
        """One is done."""
        self._running -= 1
        self._on_answer(answer)
        self._fill()

    def _fill(self) -> None:
        while self._running < self._most:
            question = next(self._questions, None)
            if question is None:
                self._all_asked = True
                return
            self._running += 1
            _Asking(self, question)


class _Asking:
    """One question on its way."""

    def __init__(self, scanner: Scanner, question: Question) -> None:
        self._scanner = scanner
        self._question = question
        self._hosts = deque(question.hosts)
        self._answer = Answer(question, question.hosts[0])
        self._attempt: Attempt | None = None
        self._link: Link | None = None
        self._alarm: Cancellable | None = None
        self._next()

    def _next(self) -> None:
        """Try the next of the hosts' names, if there is one left."""
        if not self._hosts:
            self._scanner.settled(self._answer)
            return
        self._answer.host = self._hosts.popleft()
        self._scanner.names.look_up(self._answer.host, self._resolved)

    def _resolved(self, found: Sequence[Address] | ConnectFailed) -> None:
        if isinstance(found, ConnectFailed):
            self._answer.trouble = f"getaddrinfo {self._answer.host}: {found.__cause__}"
            cause = found.__cause__
            if isinstance(cause, OSError):
                self._answer.trouble = f"getaddrinfo {self._answer.host}: {cause.strerror}"
            self._next()
            return
        scanner = self._scanner
        self._attempt = Attempt(
            scanner.loop, found, self._connected, timeout=scanner.timeout or None
        )

    def _connected(self, stream: Socket | None) -> None:
        if stream is None:
            self._next()
            return
        core = ClientProtocol(
            Settings(
                # What is learnt here is public: even a method that guards nothing will do.
                Preferences(
                    KEY_EXCHANGES.names(),
                    self._question.algorithms,
                    CIPHERS.names(),
                    MACS.names(),
                ),
                os.urandom,
                exchange_timeout=max(self._scanner.timeout, 1.0) * 8,
                # A wrong guess costs a round trip, and with some servers the answer.
                guess=False,
            ),
            now=self._scanner.loop.time(),
        )
        self._wait()
        self._link = Link(self._scanner.loop, stream, core, self._event, on_closed=self._closed)

    def _wait(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if self._scanner.timeout:
            self._alarm = self._scanner.loop.call_later(self._scanner.timeout, self._silent)

    def _event(self, event: Any) -> None:
        self._wait()
        if isinstance(event, Identified):
            self._answer.identification = event.identification
        elif isinstance(event, HostKeyOffered):
            self._answer.key = event.key_blob
            self._hang_up()

    def _silent(self) -> None:
        self._hang_up()

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link.close()

    def _closed(self, link: Link) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        error = link.core.error
        # That a server has no key of a kind is an answer too, and no trouble.
        if isinstance(error, TellinError) and not isinstance(error, NegotiationFailed):
            if not self._answer.key:
                self._answer.trouble = f"({self._answer.host}): {error}"
        self._link = None
        self._scanner.settled(self._answer)


class _Names:
    """Looks names up in threads, since the system's way of doing it waits."""

    def __init__(self, loop: Loop, port: int, family: int) -> None:
        self._loop = loop
        self._port = port
        self._family = family
        self._wanted: SimpleQueue[tuple[str, Callable[[Any], object]] | None] = SimpleQueue()
        self._found: deque[tuple[Callable[[Any], object], Any]] = deque()
        self._threads = 0
        self._reading, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        loop.add_reader(self._reading, self._arrived)

    def look_up(
        self, host: str, done: Callable[[Sequence[Address] | ConnectFailed], object]
    ) -> None:
        """The addresses of ``host``, in a turn of the loop."""
        if _is_address(host):
            self._loop.call_soon(done, self._resolve(host))
            return
        self._wanted.put((host, done))
        if self._threads < _RESOLVERS:
            self._threads += 1
            # A look-up that hangs must not keep the program from ending.
            Thread(target=self._work, daemon=True).start()

    def close(self) -> None:
        """Listen to no more answers; threads that still wait are left to end by themselves."""
        self._loop.remove_reader(self._reading)
        for _ in range(self._threads):
            self._wanted.put(None)

    def _resolve(self, host: str) -> Sequence[Address] | ConnectFailed:
        try:
            return resolve(host, self._port, family=self._family)
        except ConnectFailed as error:
            return error

    def _work(self) -> None:
        while (wanted := self._wanted.get()) is not None:
            host, done = wanted
            self._found.append((done, self._resolve(host)))
            os.write(self._writing, b"!")

    def _arrived(self) -> None:
        os.read(self._reading, 4096)
        while self._found:
            done, found = self._found.popleft()
            done(found)


def _is_address(host: str) -> bool:
    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, host.partition("%")[0])
        except OSError:
            continue
        return True
    return False
