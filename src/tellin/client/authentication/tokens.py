# SPDX-License-Identifier: MIT
"""Keys inside tokens, used through helper processes: PKCS#11 modules and FIDO security keys.

Nothing of a token's own code is ever loaded here. A helper that does not answer in its time is
ended, and whoever waits is told.
"""

import _socket
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

from tellin.agent.client import AgentConversation
from tellin.agent.tokens import (
    ANSWERS,
    INTERNAL,
    MOST_HELPER_BYTES,
    KeysListed,
    ListKeys,
    Reason,
    Refused,
    Signed,
    SignWith,
    TokenError,
    error_of,
)
from tellin.client.authentication.agent_link import AgentLink
from tellin.errors import KeyFileError, MalformedPacket, SignatureFailed
from tellin.keys.private import PrivateKey
from tellin.keys.public import PublicKey
from tellin.runtime.loop import Cancellable, Loop
from tellin.runtime.sockets import Socket
from tellin.wire import Message, Record

PKCS11: Final = "ssh-pkcs11-helper"
SECURITY_KEY: Final = "ssh-sk-helper"

# A token computes for seconds; somebody who looks for it, or for a PIN pad, takes longer.
LONGEST_WAIT: Final = 60.0
_PATIENCE: Final = 2.0  # for a helper that was told to end
_READ: Final = 64 * 1024

Replied = Callable[[Message | None], object]


class Process(Record):
    """A helper that runs."""

    pid: int
    stream: Socket

    def end(self) -> None:
        """Make it end, now, and take its status."""
        self.stream.close()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def start_helper(name: str) -> Process:
    """Start one; its errors go where ours go. Raises OSError."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        # -P: a directory that somebody else writes to, where we happen to stand, is no place to
        # look for modules.
        words = [sys.executable, "-P", "-m", "tellin", name]
        pid = os.posix_spawn(
            words[0],
            words,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)],
            setsigmask=[],
            setsigdef=[signal.SIGPIPE],
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Process(pid, ours)


def _conversation() -> AgentConversation:
    return AgentConversation(ANSWERS, most=MOST_HELPER_BYTES)


class TokenHelper:
    """A helper whose every call waits for the answer, ``LONGEST_WAIT`` seconds at most; starts at the first."""

    def __init__(self, name: str, *, seconds: float = LONGEST_WAIT) -> None:
        self._name = name
        self._seconds = seconds
        self._process: Process | None = None
        self._conversation = _conversation()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def ask(self, request: Message) -> Message:
        """The answer; TokenError if it is a refusal, or if there is none."""
        replies: list[Message | None] = []
        self._conversation.ask(request, replies.append)
        try:
            if self._process is None:
                self._process = start_helper(self._name)
            self._exchange(self._process.stream, replies)
        except (OSError, MalformedPacket):
            # A timeout is an OSError too.
            self._conversation.lost()
            self.close()
            # Half a frame of one that is gone is not the beginning of what the next one says.
            self._conversation = _conversation()
        reply = replies[0] if replies else None
        if reply is None or isinstance(reply, Refused):
            raise error_of(reply)
        return reply

    def _exchange(self, stream: Socket, replies: list[Message | None]) -> None:
        until = time.monotonic() + self._seconds
        stream.settimeout(self._seconds)
        stream.sendall(self._conversation.take())
        while not replies:
            stream.settimeout(max(until - time.monotonic(), 0.001))
            data = stream.recv(_READ)
            if not data:
                raise ConnectionResetError
            self._conversation.received(data)


class TokenLink:
    """A helper on a loop; it starts with the first request, and requests are answered in their order."""

    def __init__(self, loop: Loop, name: str, *, seconds: float = LONGEST_WAIT) -> None:
        self._loop = loop
        self._name = name
        self._seconds = seconds
        self._link: AgentLink | None = None
        self._process: Process | None = None
        self._alarm: Cancellable | None = None
        self._waiting = 0

    def ask(self, request: Message, done: Replied) -> None:
        """Ask; ``done`` gets the answer, or None if there will be none."""
        if self._link is None:
            try:
                self._process = start_helper(self._name)
            except OSError:
                done(None)
                return
            self._link = AgentLink(
                self._loop, self._process.stream, _conversation(), on_close=self._lost
            )
        self._waiting += 1
        self._rewind()

        def replied(reply: Message | None) -> None:
            self._waiting -= 1
            self._rewind()
            done(reply)

        self._link.ask(request, replied)

    def close(self) -> None:
        """End it; who waits is told."""
        if self._link is not None:
            self._link.close()

    def _rewind(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._waiting:
            self._alarm = self._loop.call_later(self._seconds, self.close)

    def _lost(self) -> None:
        """It hung up, or we did: the next request starts another."""
        self._link = None
        process, self._process = self._process, None
        if process is not None:
            process.end()


class TokenSigner:
    """A key of a file that is inside a security key; a Signer that waits for somebody to touch it.

    ``ask_pin`` is asked if the security key wants one.
    """

    def __init__(
        self,
        private: PrivateKey,
        *,
        provider: str = INTERNAL,
        ask_pin: Callable[[], bytes | None] | None = None,
    ) -> None:
        self.public = private.public
        self._private = private
        self._provider = provider
        self._ask_pin = ask_pin

    def sign(self, data: bytes, algorithm: str) -> bytes:
        """The signature blob; SignatureFailed if there is none to be had."""
        request = SignWith(self._provider, self._private.encode(), data, algorithm, b"")
        with TokenHelper(SECURITY_KEY) as helper:
            try:
                return _signature(_with_pin(helper, request, self._ask_pin))
            except TokenError as error:
                raise SignatureFailed(str(error), hint=error.hint) from None


class ModuleSigner:
    """A key of a PKCS#11 token; a Signer. ``helper`` is the one that has listed it."""

    def __init__(
        self,
        helper: TokenHelper,
        provider: str,
        public: PublicKey,
        *,
        ask_pin: Callable[[], bytes | None] | None = None,
    ) -> None:
        self.public = public
        self._helper = helper
        self._provider = provider
        self._ask_pin = ask_pin

    def sign(self, data: bytes, algorithm: str) -> bytes:
        """The signature blob; SignatureFailed if there is none to be had."""
        request = SignWith(self._provider, self.public.blob, data, algorithm, b"")
        try:
            return _signature(_with_pin(self._helper, request, self._ask_pin))
        except TokenError as error:
            raise SignatureFailed(str(error), hint=error.hint) from None


def _with_pin(
    helper: TokenHelper, request: SignWith, ask_pin: Callable[[], bytes | None] | None
) -> Message:
    try:
        return helper.ask(request)
    except TokenError as error:
        if error.reason is not Reason.PIN_NEEDED or ask_pin is None:
            raise
        pin = ask_pin()
        if not pin:
            raise
    return helper.ask(
        SignWith(request.provider, request.key, request.data, request.algorithm, pin)
    )


def _signature(reply: Message) -> bytes:
    if not isinstance(reply, Signed):
        raise TokenError("the helper process of the token answers something else")
    return reply.signature


def list_module(helper: TokenHelper, provider: str, pin: bytes = b"") -> list[PublicKey]:
    """The keys of a PKCS#11 module's tokens, their labels as comments; raises TokenError."""
    return listed_keys(helper.ask(ListKeys(provider, pin)))


def listed_keys(reply: Message | None) -> list[PublicKey]:
    """The keys of an answer; TokenError if it is a refusal."""
    if not isinstance(reply, KeysListed):
        raise error_of(reply)
    found: list[PublicKey] = []
    for blob, label in reply.keys:
        with suppress(KeyFileError):
            found.append(PublicKey.from_blob(blob, label))
    return found
