# SPDX-License-Identifier: MIT
"""Serves this machine's accounts to one connection, in a process that has nothing else to do.

Files are read and hashes computed in place: whoever waits for them is the one who asked.
"""

import os
from collections.abc import Callable, Mapping
from typing import Final

from tellin.config.authorized_keys import AuthorizedKey
from tellin.config.key_options import KeyOptions
from tellin.config.sshd_reading import Peer as ConfigPeer
from tellin.config.sshd_reading import SshdSettings
from tellin.connection.channel import Channel
from tellin.errors import DisconnectReason, ProtocolError, TellinError
from tellin.keys.private import PrivateKey
from tellin.runtime.journal import Journal
from tellin.runtime.loop import Loop
from tellin.runtime.privileges import Account, become, refuse_inspection
from tellin.server import settings
from tellin.server.access import AccountAccess, Visitor, group_names
from tellin.server.connection import Login, ServerConnection, SessionHandler
from tellin.server.passwords import SystemPasswords, Verdict, failure_delay
from tellin.server.sessions import CommandSession, SessionRules
from tellin.userauth.messages import KEYBOARD_INTERACTIVE, PASSWORD, PUBLIC_KEY
from tellin.userauth.policy import Policy
from tellin.userauth.questions import (
    Accepted,
    Answer,
    Attempt,
    KeyQuestion,
    NoneQuestion,
    PasswordQuestion,
    PromptQuestion,
    Prompts,
    Question,
    Refused,
    UserQuestion,
)
from tellin.userauth.questions import Account as KnownAccount
from tellin.userauth.text import escape_text
from tellin.wire import Record

BANNER_BYTES: Final = 8192


class PasswordGrant(Record):
    """A factor that puts no limits on the session."""


class SystemServices:
    """The services of one connection. As root it becomes the user who logs in, for good."""

    def __init__(
        self,
        loop: Loop,
        configuration: SshdSettings,
        host_keys: Mapping[bytes, PrivateKey],
        journal: Journal,
        *,
        only: Account | None,
        secret: bytes,
        on_login: Callable[[], object] | None = None,
    ) -> None:
        self._loop = loop
        self._on_login = on_login
        self._configuration = configuration
        self._host_keys = host_keys
        self._journal = journal
        self._only = only
        self._secret = secret
        self._config = configuration.always
        self._access = self._make_access()
        self._account: Account | None = None
        self._refusal = ""
        self._rules: SessionRules | None = None
        self._sessions = 0
        self._started = 0.0

    def _make_access(self) -> AccountAccess:
        return AccountAccess(settings.access_rules(self._config), find=self._find)

    def _find(self, name: str) -> Account | None:
        """Without root there is one user who can be served: the one that runs us."""
        if self._only is not None and name != self._only.name:
            return None
        return Account.named(name)

    # The host key

    def sign(
        self, key_blob: bytes, algorithm: str, data: bytes, done: Callable[[bytes], None]
    ) -> None:
        """Sign with a host key."""
        done(self._host_keys[key_blob].sign(data, algorithm))

    # Who may in

    def policy(self, connection: ServerConnection) -> Policy:
        """What users must show whom nobody knows yet."""
        self._config = self._configuration.for_peer(self._peer(connection))
        return settings.policy(self._config, banner=self._banner())

    def _peer(self, connection: ServerConnection, user: str = "") -> ConfigPeer:
        peer = connection.peer
        account = self._account
        return ConfigPeer(
            user=user,
            groups=tuple(group_names(account)) if account else (),
            invalid_user=bool(user) and account is None,
            address=peer.host,
            local_address=peer.local_host,
            local_port=peer.local_port,
            version=connection.core.peer_identification,
        )

    def _banner(self) -> str:
        if self._config.banner is None:
            return ""
        try:
            with open(self._config.banner, "rb") as file:  # noqa: PTH123 - the name as configured
                return file.read(BANNER_BYTES).decode("utf-8", "replace")
        except OSError as error:
            self._journal.error(f"Banner {self._config.banner}: {error.strerror}")
            return ""

    def ask(
        self, connection: ServerConnection, question: Question, done: Callable[[Answer], None]
    ) -> None:
        """Answer a question of the Authenticator's."""
        self._started = self._loop.time()
        match question:
            case UserQuestion():
                done(self._know(connection, question.user))
            case KeyQuestion():
                done(self._judge_key(connection, question))
            case PasswordQuestion():
                self._judge_password(question.password, question.user, done)
            case PromptQuestion():
                self._judge_responses(question, done)
            case NoneQuestion():
                done(Refused("nobody is let in without anything"))
            case _:
                done(Refused("not supported"))

    def _know(self, connection: ServerConnection, user: str) -> KnownAccount:
        account = self._access.account(user)
        self._account = account
        source = str(connection.peer)
        self._config = self._configuration.for_peer(self._peer(connection, user))
        self._access = self._make_access()
        if account is None:
            self._journal.info(f"Invalid user {escape_text(user)[:100]} from {source}")
        else:
            refusal = self._access.refusal(account, Visitor("", connection.peer.host))
            if refusal is not None:
                self._journal.info(refusal)
                self._refusal = refusal
        known = account is not None and not self._refusal
        return KnownAccount(known, settings.policy(self._config, banner=self._banner()))

    def _judge_key(self, connection: ServerConnection, question: KeyQuestion) -> Answer:
        account = self._account
        if account is None or self._refusal:
            return Refused(self._refusal or "no such user")
        grant = self._access.authorize(
            account, question.user, question.key, Visitor("", connection.peer.host)
        )
        for note in self._access.notes:
            self._journal.info(note)
        self._access.notes.clear()
        if grant is None:
            return Refused("no line of the user's files lets this key in")
        forced = bool(grant.options.command) or bool(self._config.force_command)
        if not self._access.root_may(account, PUBLIC_KEY, forced_command=forced):
            self._journal.info(f"ROOT LOGIN REFUSED FROM {connection.peer}")
            return Refused("root may not log in by key")
        return Accepted(grant)

    def _judge_password(
        self, password: str, user: str, done: Callable[[Answer], None], method: str = PASSWORD
    ) -> None:
        account = self._account
        verdict = SystemPasswords().verify(
            user, password, permit_empty=self._config.permit_empty_passwords
        )
        allowed = (
            account is not None
            and not self._refusal
            and self._access.root_may(account, method, forced_command=False)
        )
        if verdict is Verdict.RIGHT and allowed:
            done(Accepted(PasswordGrant()))
            return
        reason = {
            Verdict.RUN_OUT: "the password has run out; changing it is up to passwd(1)",
            Verdict.ACCOUNT_EXPIRED: "the account has expired",
        }.get(verdict, "wrong password")
        delay = failure_delay(self._secret, user, self._loop.time() - self._started)
        self._loop.call_later(delay, done, Refused(reason))

    def _judge_responses(self, question: PromptQuestion, done: Callable[[Answer], None]) -> None:
        if question.responses is None:
            done(Prompts(((f"({question.user}@{os.uname().nodename}) Password: ", False),)))
            return
        given = question.responses[0] if question.responses else ""
        self._judge_password(given, question.user, done, KEYBOARD_INTERACTIVE)

    def attempted(self, connection: ServerConnection, attempt: Attempt) -> None:
        """Log a try in the words that filters look for."""
        line = attempt.sentence(str(connection.peer))
        if attempt.outcome.name == "POSTPONED":
            self._journal.debug(line)
        elif attempt.method == "none" or (
            attempt.method == PUBLIC_KEY and attempt.outcome.name == "FAILED"
        ):
            # OpenSSH's measure too: keys are offered by the dozen, and that is no attack.
            self._journal.verbose(line)
        else:
            self._journal.info(line)

    def logged_in(self, connection: ServerConnection, login: Login) -> None:
        """Become the user, and work out what his sessions may do."""
        account = self._account
        if account is None:
            raise ProtocolError("a login without an account")
        options = [
            factor.grant.options
            for factor in login.factors
            if isinstance(factor.grant, AuthorizedKey)
        ]
        self._rules = self._session_rules(connection, account, options)
        if self._on_login is not None:
            self._on_login()
        if os.geteuid() == 0 and account.uid != 0:
            become(account, account.groups())
            # The host keys are still in this process's memory; its new owner must not look.
            refuse_inspection()

    def _session_rules(
        self, connection: ServerConnection, account: Account, options: list[KeyOptions]
    ) -> SessionRules:
        config = self._config
        commands = {one.command for one in options if one.command}
        if config.force_command:
            commands = {config.force_command}
        if len(commands) > 1:
            # R068: each factor's word holds; two that contradict each other hold together nowhere.
            raise TellinError("the keys used demand different commands")
        peer = connection.peer
        environment = {
            "SSH_CLIENT": f"{peer.host} {peer.port} {peer.local_port}",
            "SSH_CONNECTION": f"{peer.host} {peer.port} {peer.local_host} {peer.local_port}",
        }
        for pair in config.set_env:
            name, _, value = pair.partition("=")
            environment[name] = value
        return SessionRules(
            account,
            environment,
            settings.accepts_variable(config),
            dict(config.subsystem),
            forced_command=next(iter(commands), ""),
            permit_terminal=config.permit_tty and all(one.permit_pty for one in options),
        )

    # Sessions

    def open_session(self, connection: ServerConnection, channel: Channel) -> SessionHandler | str:
        """A session that runs programs."""
        if self._rules is None or self._sessions >= self._config.max_sessions:
            return "open failed"
        self._sessions += 1
        return CommandSession(
            self._loop, channel, connection.link, self._rules, on_closed=self._session_closed
        )

    def _session_closed(self) -> None:
        self._sessions -= 1

    def ended(self, connection: ServerConnection, error: TellinError | None) -> None:
        """Log how the connection ended."""
        name = connection.login.user if connection.login else ""
        self._journal.info(_ending(str(connection.peer), name, error, self._account))


def _ending(source: str, user: str, error: TellinError | None, account: Account | None) -> str:
    """The last line of a connection's log, as OpenSSH writes it."""
    where = source if user else f"{source} [preauth]"
    if error is None:
        return f"Disconnected from {where}"
    code = getattr(error, "reason", None)
    text = escape_text(str(error))
    description = getattr(error, "description", None)
    if description is not None:
        return f"Received disconnect from {source}:{code}: {escape_text(description)}"
    if isinstance(error, ProtocolError):
        if code == DisconnectReason.KEY_EXCHANGE_FAILED:
            return f"Unable to negotiate with {source}: {text} [preauth]"
        if code == DisconnectReason.PROTOCOL_VERSION_NOT_SUPPORTED:
            return f"banner exchange: Connection from {source}: invalid format"
        return f"Disconnecting {where}: {text}"
    if text.startswith("Timeout before authentication"):
        return f"Timeout before authentication for {source}"
    who = f" by authenticating user {account.name}" if account and not user else ""
    return f"Connection closed{who or ' by'} {where}"
