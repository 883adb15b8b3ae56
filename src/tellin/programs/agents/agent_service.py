# SPDX-License-Identifier: MIT
"""How ssh-agent runs: connections on a loop, questions to the owner, and as little to steal as can be."""

import os
import resource
import secrets
import signal
import time
from collections.abc import Callable
from typing import Any, Final

from tellin.agent.keyring import Keyring
from tellin.agent.session import AgentSession, Confirmation, TokenPolicy
from tellin.errors import MalformedPacket
from tellin.programs.agents.agent_asking import Asking, somebody_to_ask
from tellin.programs.agents.agent_place import Place
from tellin.programs.agents.agent_tokens import Task, Tokens
from tellin.programs.command import visible
from tellin.runtime.callers import caller_of
from tellin.runtime.descriptors import let_go
from tellin.runtime.journal import DEBUG1, ERROR, Journal, to_descriptor
from tellin.runtime.listeners import Acceptor
from tellin.runtime.loop import Cancellable, SmallLoop
from tellin.runtime.privileges import lock_memory, refuse_inspection
from tellin.runtime.sockets import Socket
from tellin.wire import Message

_READ: Final = 64 * 1024
# The loop's timers stand still while the machine sleeps: what is over by then goes soon after.
_LONGEST_SLEEP: Final = 60.0


def awake_or_asleep() -> float:
    """Seconds on a clock that goes on while the machine sleeps: an hour ends in the night as well."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def detach() -> None:
    """Live on without the terminal and the directory that we were started in."""
    os.setsid()
    os.chdir("/")
    let_go(0, 1, 2)


def harden() -> None:
    """Keep the keys out of core files, of other processes' eyes and, where we may, of the swap."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    refuse_inspection()
    lock_memory()


class AgentService:
    """An agent at its place."""

    def __init__(
        self,
        place: Place,
        *,
        lifetime: int | None,
        hash_name: str,
        debug: bool,
        tokens: TokenPolicy,
        clock: Callable[[], float] = awake_or_asleep,
    ) -> None:
        self.loop = SmallLoop()
        self.now = clock
        self.keyring = Keyring(random=secrets.token_bytes, lifetime=lifetime)
        self.journal = Journal(DEBUG1 if debug else ERROR, to_descriptor(2))
        self.hash_name = hash_name
        self.can_confirm = somebody_to_ask()
        self.policy = tokens
        self.tokens = Tokens(self.loop, can_ask=self.can_confirm, journal=self.journal)
        self._place = place
        self._sweep: Cancellable | None = None
        self._over = False
        self._talks: set[_Talk] = set()

    def run(self, *, parent: int | None) -> int:
        """Serve until SIGTERM, SIGHUP or SIGINT comes, or ``parent`` has ended."""
        self._place.adopt()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            self.loop.add_signal(number, self._stop)
        self.loop.add_signal(signal.SIGUSR1, self._forget)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if parent is not None:
            self._watch(parent)
        acceptor = Acceptor(self.loop, self._place.listening, self._accepted)
        try:
            self.loop.run_until(lambda: self._over)
        finally:
            acceptor.close()
            self._place.remove()
            self.keyring.clear()
            self.tokens.close()
        return 0

    def changed(self) -> None:
        """Keys may have come or gone: what expires does so when it is due, not when somebody asks."""
        self.tokens.keep(self.keyring.modules())
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        due = self.keyring.deadline()
        if due is not None:
            left = min(max(due - self.now(), 0.0), _LONGEST_SLEEP)
            self._sweep = self.loop.call_later(left, self._expire)

    def over(self, talk: "_Talk") -> None:
        """A connection has ended."""
        self._talks.discard(talk)

    def _expire(self) -> None:
        self.keyring.expire(self.now())
        self.changed()

    def _stop(self) -> None:
        self._over = True

    def _forget(self) -> None:
        self.journal.debug("SIGUSR1: all keys are forgotten")
        self.keyring.clear()
        self.changed()

    def _watch(self, parent: int) -> None:
        try:
            fd = os.pidfd_open(parent)
        except ProcessLookupError:
            self._over = True
            return
        if os.getppid() != parent:
            # It ended before we looked, and the number may be somebody else's by now.
            self._over = True
        self.loop.add_reader(fd, self._stop)

    def _accepted(self, stream: Socket, address: Any) -> None:
        uid = caller_of(stream)
        # R159, case 273: the directory keeps others out, unless its owner made it another way.
        if uid not in {0, os.getuid()}:
            self.journal.error(f"uid mismatch: peer euid {uid} != uid {os.getuid()}")
            stream.close()
            return
        self._talks.add(_Talk(self, stream))


class _Talk:
    """One connection: its session and its socket."""

    def __init__(self, service: AgentService, stream: Socket) -> None:
        self._service = service
        self._stream = stream
        self._session = AgentSession(
            service.keyring, can_confirm=service.can_confirm, tokens=service.policy
        )
        self._unsent = b""
        self._alarm: Cancellable | None = None
        self._question: Asking | None = None
        self._errand: Task | None = None
        self._reading = False
        self._settle()

    def _settle(self) -> None:
        """Send what is to be sent, then wait for whatever comes next."""
        loop, fd = self._service.loop, self._stream.fileno()
        self._unsent += self._session.take()
        try:
            while self._unsent:
                self._unsent = self._unsent[self._stream.send(self._unsent) :]
                self._unsent += self._session.take()
        except BlockingIOError:
            loop.add_writer(fd, self._settle)
        except OSError:
            self._close()
            return
        else:
            loop.remove_writer(fd)
        wanted = self._session.reading and not self._unsent
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                loop.add_reader(fd, self._readable)
            else:
                loop.remove_reader(fd)
        due = self._session.deadline()
        if due is not None and self._alarm is None:
            left = max(due - self._service.now(), 0.0)
            self._alarm = loop.call_later(left, self._ring)
        if self._session.question is not None and self._question is None:
            self._question = Asking(
                loop,
                _words(self._session.question),
                self._answered,
                journal=self._service.journal,
            )
        if self._session.errand is not None and self._errand is None:
            # A helper that could not start answers at once: we are to be ready for that.
            self._errand = task = Task(self._session.errand, self._returned)
            self._service.tokens.run(task)
        self._service.changed()

    def _readable(self) -> None:
        try:
            data = self._stream.recv(_READ)
            if not data:
                self._close()
                return
            self._session.received(data, self._service.now())
        except BlockingIOError:
            return
        except (OSError, MalformedPacket) as error:
            self._service.journal.debug(f"a connection ends: {error}")
            self._close()
            return
        self._settle()

    def _ring(self) -> None:
        self._alarm = None
        self._session.tick(self._service.now())
        self._settle()

    def _answered(self, answer: bytes | None) -> None:
        self._question = None
        allowed = answer is not None and answer.strip().lower() in {b"", b"yes"}
        self._session.answer(allowed, self._service.now())
        self._settle()

    def _returned(self, answer: Message | None) -> None:
        self._errand = None
        self._session.returned(answer, self._service.now())
        self._settle()

    def _close(self) -> None:
        loop, fd = self._service.loop, self._stream.fileno()
        loop.remove_reader(fd)
        loop.remove_writer(fd)
        for pending in (self._alarm, self._question, self._errand):
            if pending is not None:
                pending.cancel()
        self._stream.close()
        self._service.over(self)


def _words(asked: Confirmation) -> str:
    lines = [
        f"Allow use of key {visible(asked.comment)}?",
        f"Key fingerprint {asked.fingerprint}.",
    ]
    if asked.user:
        lines.append(f"It would log in as {visible(asked.user)}.")
    if asked.forwarded:
        lines.append("The request comes from another host, through a forwarded agent.")
    return "\n".join(lines)
