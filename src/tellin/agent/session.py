# SPDX-License-Identifier: MIT
"""One connection to an agent, from the agent's side: requests in, replies out, in their order."""

from collections.abc import Callable
from typing import Any, Final

from tellin.agent import messages
from tellin.agent.constraints import Binding, Constraints, permitted
from tellin.agent.credentials import Credential, TokenKey, read_public
from tellin.agent.keyring import Held, Keyring
from tellin.agent.messages import (
    RSA_SHA2_256,
    RSA_SHA2_512,
    Frames,
    SessionBind,
    framed,
)
from tellin.agent.purposes import Login, is_file_signature, login_of
from tellin.agent.tokens import (
    INTERNAL,
    TOUCH_REQUIRED,
    KeysListed,
    ListKeys,
    Signed,
    SignWith,
)
from tellin.algorithms.registry import matches
from tellin.errors import KeyFileError, MalformedPacket, SignatureFailed, UsageError
from tellin.keys.certificates import inner_key
from tellin.keys.private import PrivateKey
from tellin.keys.public import PublicKey
from tellin.keys.security_keys import application_of
from tellin.keys.token_keys import secret_of
from tellin.wire import Cursor, Message, Record, string

# As in OpenSSH: a session id is a hash, and sixteen hops are more than anybody makes.
MOST_BINDINGS: Final = 16
LONGEST_SESSION_ID: Final = 128

# With this much unread the peer is not listening; nothing more is done for it.
_MOST_UNSENT: Final = 256 * 1024

_FAILURE: Final = messages.Failure()
_SUCCESS: Final = messages.Success()


class Confirmation(Record):
    """A question to the keys' owner: may this one be used now?"""

    comment: str
    fingerprint: str
    user: str  # whom it would log in, if that is what it would do
    forwarded: bool  # whether another host asks


class TokenPolicy(Record):
    """What an agent does with tokens for others than its owner.

    ``remote_modules``: also who comes from another host may have PKCS#11 modules loaded.
    ``web_safe`` are the applications of security keys' keys that sign anything; others, which web
    sites know too, sign what is SSH's alone; empty lets all sign anything. ``find`` gives the one
    name of the module or device that somebody named, None for those that must not be used.
    """

    remote_modules: bool = False
    web_safe: tuple[str, ...] = ("ssh:*",)
    find: Callable[[str], str | None] = lambda provider: provider if provider == INTERNAL else None


class Errand(Record, secret=("request",)):
    """Something that a helper process is to be asked; ``returned`` takes its answer.

    ``touch`` is the fingerprint of the security key's key that somebody has to touch.
    """

    request: ListKeys | SignWith
    comment: str = ""
    touch: str = ""


class AgentSession:
    """Serves one connection; what it answers comes out of ``take``.

    A request that needs the owner's word waits in ``question`` until ``answer`` is called, one
    that needs a token in ``errand`` until ``returned`` is, and one that comes too soon after a
    wrong passphrase until ``deadline``; ``reading`` is false meanwhile. ``can_confirm`` says
    whether there is anybody to ask.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        can_confirm: bool,
        tokens: TokenPolicy | None = None,
    ) -> None:
        self.question: Confirmation | None = None
        self.errand: Errand | None = None
        self._tokens = tokens or TokenPolicy()
        self._returning: Callable[[Message | None, float], Message] | None = None
        self._keyring = keyring
        self._can_confirm = can_confirm
        self._frames = Frames()
        self._out = bytearray()
        self._bindings: list[Binding] = []
        self._bind_failed = False
        self._wanted: tuple[Held, messages.SignRequest] | None = None
        self._unlock: messages.Unlock | None = None

    # What the driver does

    @property
    def reading(self) -> bool:
        """Whether more requests are wanted now."""
        return not self._waits() and len(self._out) < _MOST_UNSENT

    def received(self, data: bytes | memoryview, now: float) -> None:
        """Take what has arrived. MalformedPacket: the connection is to be closed (R155)."""
        self._frames.feed(data)
        self._go_on(now)

    def take(self) -> bytes:
        """What is to be sent."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def answer(self, allowed: bool, now: float) -> None:
        """The owner has decided."""
        assert self._wanted is not None
        held, request = self._wanted
        self.question = self._wanted = None
        # It may have expired, or been removed, while the owner was thinking (case 275).
        here = self._keyring.find(held.blob, now) is held and not self._keyring.locked
        reply = self._signed(held, request) if allowed and here else _FAILURE
        if reply is not None:
            self._reply(reply)
        self._go_on(now)

    def returned(self, answer: Message | None, now: float) -> None:
        """A helper has answered, or will not."""
        assert self._returning is not None
        returning, self._returning, self.errand = self._returning, None, None
        try:
            reply = returning(answer, now)
        except UsageError:
            reply = _FAILURE  # as many keys as an agent holds
        self._reply(reply)
        self._go_on(now)

    def deadline(self) -> float | None:
        """When ``tick`` has something to do."""
        return None if self._unlock is None else self._keyring.next_try

    def tick(self, now: float) -> None:
        """Do what was put off."""
        unlock = self._unlock
        if unlock is not None and now >= self._keyring.next_try:
            self._unlock = None
            self._reply(_SUCCESS if self._keyring.unlock(unlock.passphrase, now) else _FAILURE)
            self._go_on(now)

    # Requests

    def _waits(self) -> bool:
        return self._wanted is not None or self._unlock is not None or self._returning is not None

    def _reply(self, message: Message) -> None:
        self._out += framed(message)

    def _go_on(self, now: float) -> None:
        while self.reading and (frame := self._frames.next()) is not None:
            reply = self._handle(frame, now)
            if reply is not None:
                self._reply(reply)

    def _handle(self, frame: bytes, now: float) -> Message | None:
        """The reply to a request; whatever is wrong with it, the answer is no (R152, case 263)."""
        row = _REQUESTS.get(frame[0])
        if row is None:
            return _FAILURE
        kind, handler, while_locked = row
        try:
            request = kind.decode(frame)
            if self._keyring.locked and not while_locked:
                # It gives no hint of what it holds.
                listing = isinstance(request, messages.RequestIdentities)
                return messages.IdentitiesAnswer(()) if listing else _FAILURE
            return handler(self, request, now)
        except (MalformedPacket, KeyFileError, UsageError):
            return _FAILURE

    def _list(self, request: messages.RequestIdentities, now: float) -> Message:
        return messages.IdentitiesAnswer(
            tuple(
                (held.blob, held.comment)
                for held in self._keyring.keys(now)
                if self._may_see(held)
            )
        )

    def _may_see(self, held: Held) -> bool:
        ways = held.constraints.destinations
        if not ways:
            return True
        if self._bind_failed:
            # R154: who tried to say where the connection comes from, and lied, is not local.
            return False
        return permitted(ways, self._bindings)

    def _sign(self, request: messages.SignRequest, now: float) -> Message | None:
        if request.flags & ~(RSA_SHA2_256 | RSA_SHA2_512):
            return _FAILURE
        held = self._keyring.find(request.key_blob, now)
        if held is None:
            return _FAILURE
        login = login_of(request)
        if held.constraints.destinations and not self._may_log_in(held, login):
            return _FAILURE
        if not self._is_web_safe(held, login, request.data):
            return _FAILURE
        if not held.constraints.confirm:
            return self._signed(held, request)
        self._wanted = held, request
        self.question = Confirmation(
            held.comment,
            held.credential.key.public.fingerprint(),
            "" if login is None else login.user,
            any(binding.forwarded for binding in self._bindings),
        )
        return None

    def _is_web_safe(self, held: Held, login: Login | None, data: bytes) -> bool:
        """Whether a web site could not take the signature for one of its own.

        A security key's key that was made for a site signs what the site asks for; an agent that
        signed just anything would log strangers in there.
        """
        public = held.credential.key.public
        if not public.is_on_token or not self._tokens.web_safe:
            return True
        application = application_of(public.blob).decode("utf-8", "replace")
        if any(matches(application, pattern) for pattern in self._tokens.web_safe):
            return True
        return login is not None or is_file_signature(data)

    def _signed(self, held: Held, request: messages.SignRequest) -> Message | None:
        """The signature; None if a token must make it."""
        key = held.credential.key
        public = key.public
        if isinstance(key, PrivateKey) and not public.is_on_token:
            return _signed(key, request)
        algorithm = _algorithm(public, request.flags) or public.signature_algorithms[0]
        if isinstance(key, TokenKey):
            errand = Errand(SignWith(key.provider, public.blob, request.data, algorithm, b""))
        else:
            wanted = SignWith(
                held.constraints.provider or INTERNAL, key.encode(), request.data, algorithm, b""
            )
            touched = secret_of(key).flags & TOUCH_REQUIRED
            errand = Errand(wanted, held.comment, public.fingerprint() if touched else "")
        self._send(errand, lambda answer, now: self._sign_returned(held, answer, now))
        return None

    def _sign_returned(self, held: Held, answer: Message | None, now: float) -> Message:
        # As with a question: meanwhile the key may have gone (case 275).
        here = self._keyring.find(held.blob, now) is held and not self._keyring.locked
        if not here or not isinstance(answer, Signed):
            return _FAILURE
        return messages.SignResponse(answer.signature)

    def _send(self, errand: Errand, returning: Callable[[Message | None, float], Message]) -> None:
        self.errand, self._returning = errand, returning

    # Modules of tokens

    def _is_remote(self) -> bool:
        """Whether another host may be asking, or somebody who would hide that he is there."""
        return bool(self._bindings) or self._bind_failed

    def _add_module(self, request: messages.AddSmartcardKey, now: float) -> Message | None:
        constraints = Constraints()
        if isinstance(request, messages.AddSmartcardKeyConstrained):
            constraints = Constraints.read(Cursor(request.constraints))
        if constraints.provider or (constraints.confirm and not self._can_confirm):
            return _FAILURE
        # R151, CVE-2023-38408: a host that we forwarded to chose what was loaded here.
        if self._is_remote() and not self._tokens.remote_modules:
            return _FAILURE
        provider = self._tokens.find(request.provider)
        if provider is None or provider == INTERNAL:
            return _FAILURE
        errand = Errand(ListKeys(provider, request.pin))
        self._send(errand, lambda answer, when: self._listed(provider, constraints, answer, when))
        return None

    def _listed(
        self, provider: str, constraints: Constraints, answer: Message | None, now: float
    ) -> Message:
        if not isinstance(answer, KeysListed) or self._keyring.locked:
            return _FAILURE
        bounds = Constraints(constraints.lifetime, constraints.confirm, constraints.destinations)
        added = False
        # R153: each key is under every constraint, not the first alone.
        for blob, label in answer.keys:
            try:
                key = TokenKey(PublicKey.from_blob(blob), provider)
            except KeyFileError:
                continue  # the module's word on what it has is anybody's
            made = [
                Credential(key, one) for one in constraints.certificates if one.key == key.public
            ]
            if not constraints.certified_only:
                made.insert(0, Credential(key))
            for credential in made:
                if self._keep(credential, label or provider, bounds, now) is _SUCCESS:
                    added = True
        return _SUCCESS if added else _FAILURE

    def _remove_module(self, request: messages.RemoveSmartcardKey, now: float) -> Message:
        if self._is_remote() and not self._tokens.remote_modules:
            return _FAILURE
        provider = self._tokens.find(request.provider)
        return _SUCCESS if provider and self._keyring.remove_module(provider) else _FAILURE

    # Destinations

    def _may_log_in(self, held: Held, login: Login | None) -> bool:
        """Whether a key that is kept to destinations may sign this (PROTOCOL.agent)."""
        if self._bind_failed or not self._bindings or login is None:
            # Nobody knows where the connection comes from, or what it would sign.
            return False
        last = self._bindings[-1]
        if not permitted(held.constraints.destinations, self._bindings, user=login.user):
            return False
        # ssh binds the session right before it logs in: an older one is somebody else's.
        if login.session_id != last.session_id:
            return False
        if login.host_key is None:
            # The first hop runs beside the agent and may be an ssh that does not say the host key.
            return len(self._bindings) == 1
        return login.host_key in {last.host_key, inner_key(read_public(last.host_key)).blob}

    def _add(self, request: messages.AddIdentity, now: float) -> Message:
        cursor = Cursor(request.key)
        credential, comment = _read_credential(cursor)
        cursor.end("a key and its comment")
        return self._keep(credential, comment, Constraints(), now)

    def _add_constrained(self, request: messages.AddIdentityConstrained, now: float) -> Message:
        cursor = Cursor(request.key)
        credential, comment = _read_credential(cursor)
        constraints = Constraints.read(cursor)
        if constraints.provider:
            provider = self._tokens.find(constraints.provider)
            if provider is None:
                return _FAILURE
            constraints.provider = provider
        return self._keep(credential, comment, constraints, now)

    def _keep(
        self, credential: Credential, comment: str, constraints: Constraints, now: float
    ) -> Message:
        if constraints.confirm and not self._can_confirm:
            return _FAILURE
        if constraints.provider and not credential.key.public.is_on_token:
            return _FAILURE
        if constraints.certificates or constraints.certified_only:
            return _FAILURE
        before = self._keyring.find(credential.public.blob, now)
        if before is not None and not self._may_see(before):
            # A host that may not even see it cannot take its constraints away.
            return _FAILURE
        self._keyring.add(credential, comment, constraints, now)
        return _SUCCESS

    def _remove(self, request: messages.RemoveIdentity, now: float) -> Message:
        held = self._keyring.find(request.key_blob, now)
        if held is None or not self._may_see(held):
            return _FAILURE
        return _SUCCESS if self._keyring.remove(held.blob) else _FAILURE

    def _remove_all(self, request: messages.RemoveAllIdentities, now: float) -> Message:
        self._keyring.clear()
        return _SUCCESS

    def _lock(self, request: messages.Lock, now: float) -> Message:
        return _SUCCESS if self._keyring.lock(request.passphrase) else _FAILURE

    def _unlock_asked(self, request: messages.Unlock, now: float) -> Message | None:
        if now < self._keyring.next_try:
            self._unlock = request
            return None
        return _SUCCESS if self._keyring.unlock(request.passphrase, now) else _FAILURE

    def _extension(self, request: messages.Extension, now: float) -> Message:
        if request.name == messages.SESSION_BIND:
            return self._bind(request.contents)
        if self._keyring.locked:
            return _FAILURE
        if request.name == messages.QUERY:
            names = b"".join(string(name.encode()) for name in EXTENSIONS)
            return messages.ExtensionResponse(messages.QUERY, names)
        return _FAILURE

    def _bind(self, contents: bytes) -> Message:
        # One try that fails, and nothing is known any more of where the connection comes from:
        # it must not pass for local (R154, case 269).
        failed_before, self._bind_failed = self._bind_failed, True
        asked = SessionBind.decode(contents)
        key = inner_key(read_public(asked.host_key))
        if not asked.session_id or len(asked.session_id) > LONGEST_SESSION_ID:
            return _FAILURE
        algorithm = Cursor(asked.signature).string().decode("ascii", "replace")
        if algorithm not in key.signature_algorithms or not key.verify(
            asked.session_id, asked.signature, algorithm=algorithm
        ):
            return _FAILURE
        known = self._known(asked)
        if known is False:
            return _FAILURE
        if known is None:
            self._bindings.append(Binding(asked.host_key, asked.session_id, asked.forwarding))
        self._bind_failed = failed_before
        return _SUCCESS

    def _known(self, asked: SessionBind) -> bool | None:
        """Whether just this was bound before; None if it is new, False if it cannot be."""
        for known in self._bindings:
            if not known.forwarded:
                # It was bound for a login; nothing lies behind that.
                return False
            if known.session_id == asked.session_id:
                return known.host_key == asked.host_key
        return False if len(self._bindings) >= MOST_BINDINGS else None


EXTENSIONS: Final = (messages.QUERY, messages.SESSION_BIND)


def _read_credential(cursor: Cursor) -> tuple[Credential, str]:
    credential = Credential.read(cursor)
    return credential, cursor.string().decode("utf-8", "surrogateescape")


def _signed(key: PrivateKey, request: messages.SignRequest) -> Message:
    algorithm = _algorithm(key.public, request.flags)
    try:
        signature = key.sign(request.data, algorithm, sha1=algorithm == "ssh-rsa")
    except SignatureFailed:
        # Also where the owner has just consented: one key that fails must not cost the others.
        return _FAILURE
    return messages.SignResponse(signature)


def _algorithm(public: PublicKey, flags: int) -> str | None:
    """The one that flags choose; None for a key that has but one."""
    if public.key_type != "ssh-rsa":
        return None
    # RFC 9987 section 3.6: no flag is SHA-1, and of two the stronger is meant.
    if flags & RSA_SHA2_512:
        return "rsa-sha2-512"
    return "rsa-sha2-256" if flags & RSA_SHA2_256 else "ssh-rsa"


_Handler = Callable[[AgentSession, Any, float], Message | None]
# What is not in a row is refused; the last column says what a locked agent still looks at.
_REQUESTS: Final[dict[int | None, tuple[type[Message], _Handler, bool]]] = {
    kind.number: (kind, handler, while_locked)
    for kind, handler, while_locked in (
        (messages.RequestIdentities, AgentSession._list, False),
        (messages.SignRequest, AgentSession._sign, False),
        (messages.AddIdentity, AgentSession._add, False),
        (messages.AddIdentityConstrained, AgentSession._add_constrained, False),
        (messages.RemoveIdentity, AgentSession._remove, False),
        (messages.RemoveAllIdentities, AgentSession._remove_all, False),
        (messages.AddSmartcardKey, AgentSession._add_module, False),
        (messages.AddSmartcardKeyConstrained, AgentSession._add_module, False),
        (messages.RemoveSmartcardKey, AgentSession._remove_module, False),
        (messages.Lock, AgentSession._lock, False),
        (messages.Unlock, AgentSession._unlock_asked, True),
        # R154: a session is bound even now, or what comes later would pass for local.
        (messages.Extension, AgentSession._extension, True),
    )
}
