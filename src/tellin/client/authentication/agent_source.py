# SPDX-License-Identifier: MIT
"""The agent that a program names: reached before a login, and let go behind it."""

import os
from collections.abc import Callable

from tellin.client.authentication.agent_link import AgentLink
from tellin.client.authentication.agents import Agent, open_agent
from tellin.client.authentication.credentials import Identities, SlowIdentity
from tellin.client.authentication.identities import Identity, KeySource
from tellin.errors import UsageError
from tellin.protocol.client import ClientProtocol
from tellin.runtime.journal import Journal
from tellin.runtime.loop import Loop
from tellin.runtime.sockets import Socket


def path_of_agent(given: str | os.PathLike[str] | Agent) -> str:
    """Where an agent listens; UsageError for one of which nobody knows that."""
    if isinstance(given, Agent):
        if not given.path:
            raise UsageError("an agent without a path cannot be reached once more")
        return given.path
    if not isinstance(given, str | os.PathLike):
        raise UsageError(f"{type(given).__name__} is no agent: give its path or an Agent")
    return os.fspath(given)


class AgentSource:
    """The keys of an agent, given by its path or by an Agent that a program holds.

    An agent is told once, and for good, which session a connection to it is for; without that it
    signs with no key that is kept to destinations. So each login has a connection of its own.
    """

    def __init__(self, given: str | os.PathLike[str] | Agent | None) -> None:
        self.given = given
        self._stream: Socket | None = None
        self._link: AgentLink | None = None
        self._unused: Callable[[], list[str]] = list

    def open(self) -> list[Identity]:
        """Reach the agent. Not on a loop; ConnectFailed, RequestRefused.

        What it gives are the keys of an Agent whose place nobody knows: they are asked for over the
        program's own connection, which is left as it is and so bound to nothing.
        """
        given = self.given
        if given is None:
            return []
        if isinstance(given, Agent) and not given.path:
            return [SlowIdentity(signer) for signer in given.signers()]
        self._stream = open_agent(path_of_agent(given))
        return []

    def keys(
        self,
        loop: Loop,
        core: ClientProtocol,
        *,
        flush: Callable[[], object],
        on_fault: Callable[[Exception], object],
        journal: Journal,
    ) -> KeySource | None:
        """The keys that the agent shows to whoever is bound to the session; None without an agent."""
        if self._stream is None:
            return None
        # Who has no agent does not pay for it.
        from tellin.client.authentication.agent_keys import AgentKeys  # noqa: PLC0415  (start-up time)

        if self._link is None:
            self._link = AgentLink(loop, self._stream)
        keys = AgentKeys(
            self._link,
            core,
            flush=flush,
            files=Identities(()),
            only_files=False,
            journal=journal,
            on_fault=on_fault,
        )

        def unused() -> list[str]:
            if keys.silent:
                return ["the agent (it does not list its keys)"]
            return [f"{key.name} (agent refused operation)" for key in keys.signs if key.refused]

        self._unused = unused
        return keys

    def unused(self) -> list[str]:
        """Which keys came to nothing, and why."""
        return self._unused()

    def close(self) -> None:
        """Hang up on an agent that was reached here."""
        if self._link is not None:
            self._link.close()
        elif self._stream is not None:
            self._stream.close()
        self._link = self._stream = None
