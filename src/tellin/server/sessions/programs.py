# SPDX-License-Identifier: MIT
"""Sessions of a program's own server that run this machine's programs, as the account it runs as."""

import asyncio
import os
from collections.abc import Mapping

from tellin.errors import UsageError
from tellin.runtime.privileges import Account
from tellin.server.sessions.process import HandledSession
from tellin.server.sessions.session_rules import SessionRules
from tellin.server.sessions.sessions import CommandSession


class RunCommands:
    """For ``serve(session=RunCommands())``: whoever is let in gets this account's shell.

    ``subsystems`` are commands by name. Every user who may log in is this one account here.
    """

    def __init__(
        self,
        *,
        shell: str | None = None,
        directory: str | None = None,
        env: Mapping[str, str] | None = None,
        subsystems: Mapping[str, str] | None = None,
    ) -> None:
        account = Account.numbered(os.geteuid())
        if account is None:
            raise UsageError(f"no account has the number {os.geteuid()}")
        account.shell = shell or account.shell
        account.home = directory or account.home
        self._account = account
        self._environment = dict(env or {})
        self._subsystems = dict(subsystems or {})

    def adopt(self, session: HandledSession) -> CommandSession:
        """Serve a session from here on."""
        peer = session.owner.peer
        environment = {
            "SSH_CLIENT": f"{peer.host} {peer.port} {peer.local_port}",
            "SSH_CONNECTION": f"{peer.host} {peer.port} {peer.local_host} {peer.local_port}",
            **self._environment,
        }
        rules = SessionRules(
            self._account,
            environment,
            # The session has looked at the variables before it granted them.
            _taken,
            self._subsystems,
            forced_command=session.forced_command,
            permit_terminal=True,
            client=session.owner.client_version,
        )
        return CommandSession(
            asyncio.get_running_loop(),
            session.channel,
            session.owner.link,
            rules,
            reach=session.owner.session_reach(),
            on_closed=session.on_closed,
        )


def _taken(_name: str) -> bool:
    return True
