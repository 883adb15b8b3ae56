# SPDX-License-Identifier: MIT
"""Logging in with keys inside tokens: those of PKCS11Provider's module, and files of security keys' keys."""

from collections.abc import Callable, Sequence

from tellin.agent.tokens import (
    TOUCH_REQUIRED,
    KeysListed,
    ListKeys,
    Reason,
    Refused,
    Signed,
    SignWith,
    error_of,
)
from tellin.client.authentication.identities import Identity, KeySource
from tellin.client.authentication.tokens import PKCS11, SECURITY_KEY, TokenLink, listed_keys
from tellin.errors import TellinError
from tellin.keys.private import PrivateKey
from tellin.keys.public import PublicKey
from tellin.keys.token_keys import secret_of
from tellin.runtime.journal import Journal
from tellin.runtime.loop import Loop
from tellin.wire import Message

AskPin = Callable[[str], bytes | None]
"""Asks for a PIN by a question; None where nobody answers."""

_TRIES = 3


class _Signing:
    """One signature under way: asked for, asked for again with a PIN, done."""

    def __init__(
        self,
        link: TokenLink,
        question: str,
        *,
        ask_pin: AskPin,
        journal: Journal,
        done: Callable[[bytes | None], object],
    ) -> None:
        self._link = link
        self._question = question
        self._ask_pin = ask_pin
        self._journal = journal
        self._done = done
        self._tries = 0

    def start(self, request: SignWith) -> None:
        self._link.ask(request, lambda reply: self._replied(request, reply))

    def _replied(self, request: SignWith, reply: Message | None) -> None:
        if isinstance(reply, Signed):
            self._done(reply.signature)
            return
        # A wrong PIN is asked for again, though few times: a token counts, and locks itself.
        asks = isinstance(reply, Refused) and reply.reason in {Reason.PIN_NEEDED, Reason.PIN_WRONG}
        if asks and self._tries < _TRIES:
            self._tries += 1
            pin = self._ask_pin(self._question)
            if pin:
                self.start(
                    SignWith(request.provider, request.key, request.data, request.algorithm, pin)
                )
                return
        error = error_of(reply)
        self._journal.error(f"sign_and_send_pubkey: signing failed: {error}")
        if error.hint:
            self._journal.error(error.hint)
        self._done(None)


class SecurityKeys:
    """Signs with keys of files that are inside security keys.

    ``flush`` is called when an answer may have made the core say something.
    """

    def __init__(
        self,
        loop: Loop,
        *,
        provider: str,
        ask_pin: AskPin,
        flush: Callable[[], object],
        journal: Journal,
    ) -> None:
        self._link = TokenLink(loop, SECURITY_KEY)
        self._provider = provider
        self._ask_pin = ask_pin
        self._flush = flush
        self._journal = journal

    def sign(
        self,
        private: PrivateKey,
        name: str,
        data: bytes,
        algorithm: str,
        done: Callable[[bytes | None], object],
    ) -> None:
        """Have it sign; who has to touch it is told."""
        public = private.public
        touched = bool(secret_of(private).flags & TOUCH_REQUIRED)
        if touched:
            self._journal.error(
                f"Confirm user presence for key {public.kind} {public.fingerprint()}"
            )

        def finished(signature: bytes | None) -> None:
            if touched and signature is not None:
                self._journal.error("User presence confirmed")
            self._link.close()
            done(signature)
            self._flush()

        signing = _Signing(
            self._link,
            f"Enter PIN for {public.kind} key {name}: ",
            ask_pin=self._ask_pin,
            journal=self._journal,
            done=finished,
        )
        signing.start(SignWith(self._provider, private.encode(), data, algorithm, b""))


class ModuleIdentity:
    """A key on a PKCS#11 token."""

    explicit = False
    usable = True
    # Perhaps a PIN must be asked for: it is offered before it signs.
    ready = False

    def __init__(
        self,
        link: TokenLink,
        provider: str,
        public: PublicKey,
        *,
        ask_pin: AskPin,
        flush: Callable[[], object],
        journal: Journal,
    ) -> None:
        self.public: PublicKey | None = public
        self.name = public.comment or provider
        self._key = public
        self._link = link
        self._provider = provider
        self._ask_pin = ask_pin
        self._flush = flush
        self._journal = journal

    def open(self, done: Callable[[bool], object]) -> None:
        """There is nothing to find out."""
        done(True)

    def sign(self, data: bytes, algorithm: str, done: Callable[[bytes | None], object]) -> None:
        """Have the token sign."""

        def finished(signature: bytes | None) -> None:
            self._link.close()
            done(signature)
            self._flush()

        signing = _Signing(
            self._link,
            f"Enter PIN for '{self.name}': ",
            ask_pin=self._ask_pin,
            journal=self._journal,
            done=finished,
        )
        signing.start(SignWith(self._provider, self._key.blob, data, algorithm, b""))


class ModuleKeys:
    """The keys of a module's tokens, then those of ``files``."""

    def __init__(
        self,
        loop: Loop,
        provider: str,
        *,
        files: KeySource,
        ask_pin: AskPin,
        flush: Callable[[], object],
        journal: Journal,
    ) -> None:
        self._link = TokenLink(loop, PKCS11)
        self._provider = provider
        self._files = files
        self._ask_pin = ask_pin
        self._flush = flush
        self._journal = journal
        self._reply: Message | None = None
        self._done: Callable[[Sequence[Identity]], object] | None = None
        self._asked = self._answered = False

    def prepare(self) -> None:
        """Have the module loaded while the server is still busy."""
        self._files.prepare()
        self._ask()

    def identities(self, done: Callable[[Sequence[Identity]], object]) -> None:
        """All of them."""
        self._done = done
        self._ask()
        self._hand_over()

    def _ask(self) -> None:
        if not self._asked:
            self._asked = True
            self._link.ask(ListKeys(self._provider, b""), self._listed)

    def _listed(self, reply: Message | None) -> None:
        self._reply, self._answered = reply, True
        self._hand_over()
        self._flush()

    def _hand_over(self) -> None:
        done = self._done
        if done is None or not self._answered:
            return
        self._done = None
        keys: list[PublicKey] = []
        try:
            keys = listed_keys(self._reply)
        except TellinError as error:
            self._journal.error(f"{self._provider}: {error}")
            if error.hint:
                self._journal.error(error.hint)
        if isinstance(self._reply, KeysListed):
            self._journal.debug(f"provider {self._provider} returned {len(keys)} keys")
        found: list[Identity] = [
            ModuleIdentity(
                self._link,
                self._provider,
                key,
                ask_pin=self._ask_pin,
                flush=self._flush,
                journal=self._journal,
            )
            for key in keys
        ]
        self._files.identities(lambda files: done([*found, *files]))
