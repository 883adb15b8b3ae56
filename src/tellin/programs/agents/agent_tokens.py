# SPDX-License-Identifier: MIT
"""How ssh-agent uses keys inside tokens: a helper process for each module, questions for PINs and touches."""

import os
from collections.abc import Callable
from typing import Final

from tellin.agent.session import Errand
from tellin.agent.tokens import (
    INTERNAL,
    Reason,
    Refused,
    SignWith,
    error_of,
)
from tellin.algorithms.registry import matches
from tellin.client.authentication.tokens import PKCS11, SECURITY_KEY, TokenLink
from tellin.programs.agents.agent_asking import SECRET, TELL, Asking
from tellin.programs.command import visible
from tellin.runtime.journal import Journal
from tellin.runtime.loop import Loop
from tellin.wire import Cursor, Message

# As OpenSSH's; and devices, from which nothing is loaded.
ALLOWED: Final = "/usr/lib*/*,/usr/local/lib*/*"
_DEVICES: Final = "/dev/hidraw*"


def allowed_path(provider: str, patterns: str) -> str | None:
    """The file that a module's name leads to, or None where -P does not allow it (R151)."""
    if provider == INTERNAL:
        return provider
    path = os.path.realpath(provider)
    allowed = any(matches(path, pattern) for pattern in (*patterns.split(","), _DEVICES))
    return path if allowed and provider.startswith("/") else None


class Task:
    """An errand under way; ``cancel`` when nobody waits any more."""

    def __init__(self, errand: Errand, done: Callable[[Message | None], object]) -> None:
        self.errand = errand
        self._done: Callable[[Message | None], object] | None = done
        self.asking: Asking | None = None

    def finish(self, answer: Message | None) -> None:
        """Give the answer to whoever still waits."""
        self._stop_asking()
        done, self._done = self._done, None
        if done is not None:
            done(answer)

    def cancel(self) -> None:
        """Nobody waits."""
        self._done = None
        self._stop_asking()

    def _stop_asking(self) -> None:
        if self.asking is not None:
            self.asking.cancel()
            self.asking = None


class Tokens:
    """The helpers of an agent: one for each PKCS#11 module, one for all security keys."""

    def __init__(self, loop: Loop, *, can_ask: bool, journal: Journal) -> None:
        self._loop = loop
        self._can_ask = can_ask
        self._journal = journal
        self._modules: dict[str, TokenLink] = {}
        self._security_keys: TokenLink | None = None
        self._listing = 0

    def run(self, task: Task) -> None:
        """Do an errand; its answer comes later, or at once where there is none."""
        errand = task.errand
        request = errand.request
        if isinstance(request, SignWith) and _is_on_security_key(request):
            if self._security_keys is None:
                self._security_keys = TokenLink(self._loop, SECURITY_KEY)
            if errand.touch and self._can_ask:
                words = f"Confirm user presence for key {errand.touch}"
                task.asking = Asking(self._loop, words, _told, kind=TELL, journal=self._journal)
            link = self._security_keys
            link.ask(request, lambda answer: self._signed(task, link, request, answer))
            return
        link = self._modules.setdefault(request.provider, TokenLink(self._loop, PKCS11))
        self._listing += 1

        def returned(answer: Message | None) -> None:
            self._listing -= 1
            self._report(answer)
            task.finish(answer)

        link.ask(request, returned)

    def _signed(
        self, task: Task, link: TokenLink, request: SignWith, answer: Message | None
    ) -> None:
        wants_pin = isinstance(answer, Refused) and answer.reason == Reason.PIN_NEEDED
        if not wants_pin or request.pin or not self._can_ask:
            self._report(answer)
            task.finish(answer)
            return

        def typed(pin: bytes | None) -> None:
            task.asking = None
            if not pin:
                task.finish(None)
                return
            again = SignWith(request.provider, request.key, request.data, request.algorithm, pin)
            link.ask(again, lambda reply: self._signed(task, link, again, reply))

        if task.asking is not None:
            task.asking.cancel()
        words = f"Enter PIN for security key {visible(task.errand.comment)}: "
        task.asking = Asking(self._loop, words, typed, kind=SECRET, journal=self._journal)

    def _report(self, answer: Message | None) -> None:
        if answer is None or isinstance(answer, Refused):
            self._journal.error(str(error_of(answer)))

    def keep(self, modules: set[str]) -> None:
        """End the helpers of modules without keys here; not while one of them is being asked."""
        if self._listing:
            return
        for provider in [*self._modules]:
            if provider not in modules:
                self._modules.pop(provider).close()

    def close(self) -> None:
        """End all."""
        for link in self._modules.values():
            link.close()
        self._modules.clear()
        if self._security_keys is not None:
            self._security_keys.close()


def _is_on_security_key(request: SignWith) -> bool:
    """Whether ``key`` is what a security key's file holds, rather than a blob."""
    return Cursor(request.key).string().startswith(b"sk-")


def _told(answer: bytes | None) -> None:
    """What somebody says to "touch it" is no answer."""
