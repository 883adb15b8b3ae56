# SPDX-License-Identifier: MIT
"""The keys of an agent beside those of files: which are tried, in which order, and by whom they sign."""

from collections.abc import Callable, Sequence
from typing import Final

from tellin.agent.client import (
    Replied,
    bind_request,
    identities,
    sign_request,
    signature,
    succeeded,
)
from tellin.agent.credentials import Public
from tellin.agent.messages import RequestIdentities
from tellin.client.authentication.agent_link import AgentLink
from tellin.client.authentication.identities import Identity, KeySource
from tellin.keys.certificates import CertificateRole
from tellin.keys.public import PublicKey
from tellin.keys.shown import Shown
from tellin.protocol.client import ClientProtocol
from tellin.runtime.journal import Journal
from tellin.wire import Message

Ask = Callable[[Message, Replied], object]


class AgentIdentity:
    """A key that the agent holds; ``name`` is its file's where there is one, else its comment."""

    usable = True
    # Asking takes a moment, and perhaps its owner's consent: it is offered before it signs.
    ready = False

    def __init__(
        self, ask: Ask, public: Public, *, name: str, explicit: bool, journal: Journal
    ) -> None:
        self.refused = False
        """Whether the agent has been asked to sign, and would not."""
        self.public: Shown | None = public
        self.name = name
        self.explicit = explicit
        self._key = public
        self._ask = ask
        self._journal = journal

    def open(self, done: Callable[[bool], object]) -> None:
        """There is nothing to find out."""
        done(True)

    def sign(self, data: bytes, algorithm: str, done: Callable[[bytes | None], object]) -> None:
        """Have the agent sign."""

        def replied(reply: Message | None) -> None:
            made = signature(reply, self._key, data, algorithm)
            if made is None:
                self.refused = True
                self._journal.error(
                    f'sign_and_send_pubkey: signing failed for {self._key.kind} "{self.name}"'
                    " from agent: agent refused operation"
                )
            done(made)

        self._ask(sign_request(self._key, data, algorithm), replied)


class AgentKeys:
    """An agent's keys and those of ``files``: first what both have, then the agent's, then the files'.

    With ``only_files`` the agent's other keys are left out (IdentitiesOnly). The connection is
    first bound to the session, so that keys which are kept to destinations can be used. ``flush``
    is called when an answer may have made the core say something, and ``on_fault``, where there is
    one, gets what is raised where an answer is taken.
    """

    def __init__(
        self,
        link: AgentLink,
        core: ClientProtocol,
        *,
        flush: Callable[[], object],
        files: KeySource,
        only_files: bool,
        journal: Journal,
        on_fault: Callable[[Exception], object] | None = None,
    ) -> None:
        self.signs: list[AgentIdentity] = []
        """The keys by which the agent signs, once it has listed them."""
        self.silent = False
        """Whether it would not even list them."""
        self._link = link
        self._core = core
        self._flush = flush
        self._files = files
        self._only_files = only_files
        self._journal = journal
        self._on_fault = on_fault

    def prepare(self) -> None:
        """Have the files get ready; the agent is asked once there is a session to bind to."""
        self._files.prepare()

    def identities(self, done: Callable[[Sequence[Identity]], object]) -> None:
        """Ask the agent; without an answer from it the files' keys are all there are."""
        self._bind()

        def listed(reply: Message | None) -> None:
            keys = identities(reply)
            self.silent = keys is None
            if keys is None:
                self._journal.debug("get_agent_identities: the agent does not list its keys")
                keys = ()
            elif not keys:
                self._journal.debug("get_agent_identities: agent contains no identities")
            else:
                self._journal.debug(f"get_agent_identities: agent returned {len(keys)} keys")
            self._files.identities(lambda files: done(self._ordered(keys or (), files)))

        self._ask(RequestIdentities(), listed)

    def _ask(self, request: Message, done: Replied) -> None:
        def replied(reply: Message | None) -> None:
            try:
                done(reply)
            except Exception as error:
                if self._on_fault is None:
                    raise
                self._on_fault(error)
            self._flush()

        self._link.ask(request, replied)

    def _bind(self) -> None:
        proof = self._core.host_key_signature
        request = bind_request(self._core.host_key, self._core.session_id, proof, forwarding=False)

        def bound(reply: Message | None) -> None:
            if succeeded(reply):
                self._journal.debug("get_agent_identities: bound agent to hostkey")
            else:
                # Agents that know nothing of it say no, and go on as they always did.
                self._journal.debug2("get_agent_identities: the agent does not bind sessions")

        self._ask(request, bound)

    def _ordered(self, held: Sequence[Public], files: Sequence[Identity]) -> list[Identity]:
        by_blob = {key.blob: key for key in held if _logs_in(key)}
        both: list[Identity] = []
        rest: list[Identity] = []
        for file in files:
            public = _public_of(file)
            key = None if public is None else by_blob.pop(public.blob, None)
            if key is None:
                rest.append(file)
            else:
                both.append(self._identity(key, file.name, explicit=file.explicit))
        others = [] if self._only_files else list(by_blob.values())
        return [
            *both,
            *(self._identity(key, key.comment or _NAMELESS, explicit=False) for key in others),
            *rest,
        ]

    def _identity(self, key: Public, name: str, *, explicit: bool) -> AgentIdentity:
        made = AgentIdentity(self._ask, key, name=name, explicit=explicit, journal=self._journal)
        self.signs.append(made)
        return made


_NAMELESS: Final = "(no comment)"


def _logs_in(key: Public) -> bool:
    """Whether it may be a user's: an agent may hold a host's certificate too."""
    return isinstance(key, PublicKey) or key.role is CertificateRole.USER


def _public_of(file: Identity) -> Shown | None:
    """The public half of a file's key, also where the file is no more than that."""
    return file.public
