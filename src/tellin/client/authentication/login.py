# SPDX-License-Identifier: MIT
"""Logging in: which method next, which key next, and when to give up; no loop, no terminal.

A ``Login`` takes the core's events and answers them. What somebody must be asked goes through a
``Prompter``, whose answers may come at once (a program) or later (an event loop).
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from tellin.algorithms.signatures import plain
from tellin.client.authentication.identities import Identity, KeySource
from tellin.client.authentication.login_plan import LoginPlan
from tellin.client.questions import Prompter
from tellin.errors import AuthenticationFailed
from tellin.keys.shown import Shown
from tellin.protocol.client import ClientProtocol
from tellin.protocol.events import (
    Authenticated,
    AuthenticationReady,
    AuthenticationRefused,
    ExchangeDone,
    KeyAccepted,
    PasswordChangeAsked,
    QuestionsAsked,
    SignatureWanted,
)
from tellin.runtime.journal import Journal
from tellin.userauth.messages import KEYBOARD_INTERACTIVE, NONE, PASSWORD, PUBLIC_KEY


class Login:
    """One login. ``handle`` says whether an event was its business.

    ``failed`` holds the error once nothing is left to try; the connection is then ended with it.
    """

    def __init__(
        self,
        core: ClientProtocol,
        plan: LoginPlan,
        *,
        keys: Sequence[KeySource],
        prompter: Prompter,
        journal: Journal,
    ) -> None:
        self.core = core
        self.plan = plan
        self.prompter = prompter
        self.journal = journal
        self.method = ""  # what the last request was for
        self.proved = False  # whether the server has been given anything that proves who we are
        self.granted: Authenticated | None = None
        self.failed: AuthenticationFailed | None = None
        # For the error: keys that were offered, and keys that could not be, with the reason.
        self.offered: list[tuple[str, Shown]] = []
        self.unused: list[str] = []
        self._allowed: tuple[str, ...] | None = None
        self._forbidden: set[str] = set()
        self._begun: set[str] = set()  # also those that came to nothing, as nobody gave an answer
        self._keys = _Keys(self, keys)
        self._methods: dict[str, _Method] = {
            PUBLIC_KEY: self._keys,
            KEYBOARD_INTERACTIVE: _Questions(self),
            PASSWORD: _Password(self),
        }

    def forbid(self, *methods: str) -> tuple[str, ...]:
        """Do not log in by these, whatever the plan says; those of them that it has."""
        had = tuple(name for name in methods if name in self._order())
        self._forbidden.update(methods)
        return had

    def prepare(self) -> None:
        """Get ready what the first request needs, while the server is still busy with the exchange."""
        if self._order()[:1] == (PUBLIC_KEY,):
            self._keys.prepare()

    def handle(self, event: Any) -> bool:
        """Take an event of the core's; false if it is for somebody else."""
        handler = _HANDLERS.get(type(event))
        if handler is None:
            return False
        if not self.core.closed or isinstance(event, Authenticated):
            handler(self, event)
        return True

    # What happens

    def _exchanged(self, event: ExchangeDone) -> None:
        """The first request goes out with the wish for the service: a round trip less."""
        if not event.first:
            return
        order = self._order()
        # A key that can sign at once is the one request that needs no list of methods: with any
        # other, a person might be asked for a secret that this server does not want.
        if order[:1] == (PUBLIC_KEY,) and self._methods[PUBLIC_KEY].try_next():
            return
        self.ask_methods()

    def ask_methods(self) -> None:
        """Try ``none``, which few servers grant and all answer with a list."""
        self.method = NONE
        self.attempt(lambda: self.core.try_none(self.plan.user))

    def _ready(self, event: AuthenticationReady) -> None:
        """The service is granted; the first request is on its way already."""

    def _refused(self, event: AuthenticationRefused) -> None:
        self._allowed = event.allowed
        if event.partial:
            if self.method == PUBLIC_KEY:
                self._keys.tell_accepted()
            self.journal.verbose(f'Authenticated using "{self.method}" with partial success.')
        if self.journal.debugs:
            names = ",".join(event.allowed)
            self.journal.debug(f"Authentications that can continue: {names}")
        self.proceed()

    def _key_accepted(self, event: KeyAccepted) -> None:
        self._methods[PUBLIC_KEY].answered(event)

    def _signature_wanted(self, event: SignatureWanted) -> None:
        self._methods[PUBLIC_KEY].answered(event)

    def _questions_asked(self, event: QuestionsAsked) -> None:
        self._methods[KEYBOARD_INTERACTIVE].answered(event)

    def _change_asked(self, event: PasswordChangeAsked) -> None:
        self._methods[PASSWORD].answered(event)

    def _authenticated(self, event: Authenticated) -> None:
        self.granted = event
        if event.method == PUBLIC_KEY:
            self._keys.tell_accepted()

    # What to do next

    def _order(self) -> tuple[str, ...]:
        return tuple(
            name
            for name in self.plan.order
            if name in self._methods and name not in self._forbidden
        )

    def proceed(self) -> None:
        """Make the next request; give up if there is none to make."""
        if self.core.closed:
            return
        for name in self._order():
            # Before the server has said what it takes only keys are tried: nobody is asked for
            # a password that it may not want.
            known = (PUBLIC_KEY,) if self._allowed is None else self._allowed
            if name in known and self._methods[name].try_next():
                return
        if self._allowed is None and self.method != NONE:
            self.ask_methods()
        else:
            self.give_up()

    def begin(self, method: str) -> None:
        """A method makes a request, or asks for what it needs to make one."""
        if method != self.method:
            self.method = method
            self._begun.add(method)
            self.journal.debug(f"Next authentication method: {method}")

    def give_up(self) -> None:
        """Nothing is left: end the connection and say what was tried."""
        self.journal.debug("No more authentication methods to try.")
        machine = self.core.authentication
        allowed = self._allowed or machine.allowed
        tried = machine.tried
        # What the user has switched off is no advice.
        off = self._methods.keys() - self._order()
        untried = [name for name in allowed if name not in self._begun | off]
        self.failed = AuthenticationFailed(
            f"{self.plan.user}@{self.plan.host}: Permission denied ({','.join(allowed)}).",
            tried=tried,
            allowed=allowed,
            keys=[_named(name, public) for name, public in self.offered],
            unused=self.unused,
            hint=_hint(tried, untried, self.unused),
        )
        self.core.fail(self.failed)

    def attempt(self, verb: Callable[[], None]) -> None:
        """Call a verb of the core's; the bound on tries ends the login as any refusal does (R085)."""
        if self.core.closed:
            return
        try:
            verb()
        except AuthenticationFailed:
            self.give_up()
        else:
            if self.method != NONE:
                self.journal.debug2(f"we sent a {self.method} packet, wait for reply")


def _named(name: str, public: Shown) -> str:
    shown = f"{public.kind} {public.fingerprint()}"
    return shown if name in shown else f"{name} {shown}"


def _hint(tried: Sequence[str], untried: Sequence[str], unused: Sequence[str]) -> str:
    if unused:
        return f"not used: {'; '.join(unused)}"
    if untried:
        return f"the server would also take {', '.join(untried)}, which was not tried"
    return f"tried: {', '.join(tried)}; is the user name right, and the key known to the server?"


_HANDLERS: Final[dict[type, Callable[[Login, Any], None]]] = {
    ExchangeDone: Login._exchanged,
    AuthenticationReady: Login._ready,
    AuthenticationRefused: Login._refused,
    KeyAccepted: Login._key_accepted,
    SignatureWanted: Login._signature_wanted,
    QuestionsAsked: Login._questions_asked,
    PasswordChangeAsked: Login._change_asked,
    Authenticated: Login._authenticated,
}


class _Method:
    """One way in: ``try_next`` makes a request, or will, and is false once nothing is left."""

    def __init__(self, login: Login) -> None:
        self.login = login
        self.attempts = 0

    def try_next(self) -> bool:
        raise NotImplementedError

    def answered(self, event: Any) -> None:
        """The server's word on the request, other than no."""


class _Keys(_Method):
    """Every key once: signed at once where that asks nobody anything, else offered first."""

    def __init__(self, login: Login, sources: Sequence[KeySource]) -> None:
        super().__init__(login)
        self._sources = deque(sources)
        self._waiting: deque[Identity] = deque()
        self._asking = False  # a source has not answered yet
        self._expected = False  # and the login waits for it
        self._tried: set[bytes] = set()
        self._current: Identity | None = None
        self._accepted = False  # and this has been told of it
        self._second_choices: deque[str] = deque()

    def prepare(self) -> None:
        """Have the first source get ready."""
        if self._sources:
            self._sources[0].prepare()

    def try_next(self) -> bool:
        if self._current is not None and self._try_second_choice(self._current):
            return True
        while self._waiting or self._sources or self._asking:
            if self._waiting:
                if self._offer(self._waiting.popleft()):
                    return True
            elif self._asking:
                self._expected = True
                return True
            else:
                self._ask()
        self._current = None
        return False

    def _ask(self) -> None:
        self._asking = True
        self._sources.popleft().identities(self._collected)

    def _collected(self, identities: Sequence[Identity]) -> None:
        self._asking = False
        self._waiting.extend(identities)
        if self.login.journal.debugs:
            for identity in identities:
                how = " explicit" if identity.explicit else ""
                self.login.journal.debug(f"Will attempt key: {identity.name}{how}")
        if self._expected:
            # The login has been waiting for this.
            self._expected = False
            self.login.proceed()

    def _offer(self, identity: Identity) -> bool:
        """Try a key, if it can be tried at all."""
        if not identity.usable:
            return False
        public = identity.public
        if public is not None:
            return self._try(identity, public)
        if not self.login.method:
            # Nobody is asked for a passphrase before the server is known to take keys.
            self._waiting.appendleft(identity)
            self.login.ask_methods()
            return True

        def opened(success: bool) -> None:
            found = identity.public
            if not (success and found is not None and self._try(identity, found)):
                self.login.proceed()

        self.login.begin(PUBLIC_KEY)
        identity.open(opened)
        return True

    def _try(self, identity: Identity, public: Shown) -> bool:
        login, plan = self.login, self.login.plan
        if public.blob in self._tried:
            return False
        self._tried.add(public.blob)
        if plain(public.key_type) == "ssh-rsa" and public.bits < plan.required_rsa_size:
            login.journal.debug(
                f"key_load: skipping {identity.name}: RSA of {public.bits} bits is too short"
            )
            login.unused.append(f"{identity.name} (RSA of {public.bits} bits is too short)")
            return False
        algorithms = self._algorithms(public)
        if not algorithms:
            login.journal.error(
                f"send_pubkey_test: no mutual signature algorithm for {identity.name}"
            )
            login.unused.append(f"{identity.name} (no signature algorithm that the server takes)")
            return False
        self._current = identity
        login.offered.append((identity.name, public))
        self._second_choices = deque(algorithms[1:])
        self._request(identity, public, algorithms[0])
        return True

    def _try_second_choice(self, identity: Identity) -> bool:
        """The same key by another algorithm, where the server does not say which ones it takes."""
        public = identity.public
        known = self.login.core.server_signature_algorithms
        while self._second_choices and public is not None:
            algorithm = self._second_choices.popleft()
            # What the server has said in the meantime may settle it: then one of the list was
            # tried already, or this one is on it.
            if known is None or plain(algorithm) in known:
                self._request(identity, public, algorithm)
                return True
        return False

    def _algorithms(self, public: Shown) -> tuple[str, ...]:
        """What the key can sign with, we allow, and the server, if it has said so, takes."""
        wanted = self.login.plan.key_algorithms
        able = public.signature_algorithms
        if public.key_type in wanted:
            # RSA with SHA-1, whose name is the key type's own: only where it is named (R047).
            able = tuple(dict.fromkeys((*able, public.key_type)))
        mutual = tuple(name for name in wanted if name in able) if wanted else able
        known = self.login.core.server_signature_algorithms
        if known is None or plain(public.key_type) != "ssh-rsa":
            # Other keys have one algorithm, which is named as the key's type and cannot surprise.
            return mutual
        return tuple(name for name in mutual if plain(name) in known)[:1]

    def _request(self, identity: Identity, public: Shown, algorithm: str) -> None:
        login = self.login
        login.begin(PUBLIC_KEY)
        if login.journal.debugs:
            login.journal.debug(f"Offering public key: {_described(identity, public)}")
        self._accepted = False
        signed = identity.ready
        login.attempt(
            lambda: login.core.try_publickey(
                login.plan.user, public.blob, algorithm, signed=signed, bound=login.plan.bound
            )
        )

    def answered(self, event: Any) -> None:
        identity, login = self._current, self.login
        if identity is None:
            return
        if isinstance(event, KeyAccepted):
            self.tell_accepted()
            # A key that has been taken is not refused for its algorithm.
            self._second_choices.clear()
            login.attempt(
                lambda: login.core.try_publickey(
                    login.plan.user,
                    event.key_blob,
                    event.algorithm,
                    signed=True,
                    bound=login.plan.bound,
                )
            )
        elif isinstance(event, SignatureWanted):
            identity.sign(event.data, event.algorithm, self._signed)

    def tell_accepted(self) -> None:
        """The server takes the key: it said so, or let us in by its signature at once."""
        journal, identity = self.login.journal, self._current
        if journal.debugs and identity is not None and not self._accepted:
            public = identity.public
            if public is not None:
                journal.debug(f"Server accepts key: {_described(identity, public)}")
        self._accepted = True

    def _signed(self, signature: bytes | None) -> None:
        core = self.login.core
        if core.closed:
            return
        core.give_signature(signature)
        self.login.proved |= signature is not None
        if signature is None:
            self._second_choices.clear()
            self.login.proceed()


def _described(identity: Identity, public: Shown) -> str:
    how = " explicit" if identity.explicit else ""
    return f"{identity.name} {public.kind} {public.fingerprint()}{how}"


class _Password(_Method):
    """A password, asked for as often as the plan allows."""

    def try_next(self) -> bool:
        login, plan = self.login, self.login.plan
        if self.attempts >= plan.prompts:
            return False
        self.attempts += 1
        login.begin(PASSWORD)
        if self.attempts > 1:
            login.journal.error("Permission denied, please try again.")

        def answered(password: str | None) -> None:
            if password is None:
                self._end()
            else:
                login.proved = True
                login.attempt(lambda: login.core.try_password(plan.user, password))

        login.prompter.ask_password(plan.user, plan.host, self.attempts, answered)
        return True

    def answered(self, event: Any) -> None:
        login, plan = self.login, self.login.plan

        def answered(passwords: tuple[str, str] | None) -> None:
            if passwords is None:
                self._end()
            else:
                login.attempt(lambda: login.core.try_password(plan.user, *passwords))

        # Each round counts: a server may refuse new passwords for ever.
        self.attempts += 1
        if self.attempts > 2 * plan.prompts:
            self._end()
        else:
            login.prompter.ask_new_password(plan.user, plan.host, event.prompt, answered)

    def _end(self) -> None:
        self.attempts = 2 * self.login.plan.prompts
        self.login.proceed()


class _Questions(_Method):
    """The server's own questions (RFC 4256)."""

    def __init__(self, login: Login) -> None:
        super().__init__(login)
        self._asked = False

    def try_next(self) -> bool:
        login, plan = self.login, self.login.plan
        # A server that refused without a question will do so again.
        if self.attempts >= plan.prompts or (self.attempts and not self._asked):
            return False
        self.attempts += 1
        login.begin(KEYBOARD_INTERACTIVE)
        devices = ",".join(plan.devices)
        login.attempt(lambda: login.core.try_keyboard_interactive(plan.user, devices))
        return True

    def answered(self, event: Any) -> None:
        login = self.login
        self._asked = True

        def answered(answers: Sequence[str] | None) -> None:
            if login.core.closed:
                return
            if answers is None:
                self.attempts = login.plan.prompts
                login.proceed()
            else:
                login.proved |= any(answers)
                login.core.answer_questions(answers)

        login.prompter.answer_questions(event.name, event.instruction, event.prompts, answered)
