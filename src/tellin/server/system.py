# SPDX-License-Identifier: MIT
"""Serves this machine's accounts to one connection, in a process that has nothing else to do.

Files are read and hashes computed in place: whoever waits for them is the one who asked.
"""

import os
from collections.abc import Callable, Sequence
from typing import Final

from tellin.algorithms.signatures import plain
from tellin.config.authorized_keys import AuthorizedKey
from tellin.config.key_options import KeyOptions
from tellin.config.kinds import traffic_class
from tellin.config.sshd_reading import Peer as ConfigPeer
from tellin.connection.channel import Channel
from tellin.errors import DisconnectReason, ProtocolError, TellinError
from tellin.keys import PublicKey
from tellin.protocol.events import ChannelAsked, GlobalRequested
from tellin.runtime.journal import INFO, LEVELS, VERBOSE, Journal
from tellin.runtime.loop import Loop
from tellin.runtime.places_journal import with_places
from tellin.runtime.privileges import Account, become, refuse_inspection
from tellin.runtime.sockets import set_traffic_class
from tellin.runtime.terminal import reserve_ptys
from tellin.server import settings
from tellin.server.authentication.access import Visitor, group_names
from tellin.server.authentication.authorities import SystemAccess
from tellin.server.authentication.passwords import SystemPasswords, Verdict, failure_delay
from tellin.server.connection import Login, ServerConnection, SessionHandler
from tellin.server.endings import Ending, Standing, shown_name
from tellin.server.forwarding import forwarding, reach
from tellin.server.forwarding.forwarding import Forwarding
from tellin.server.forwarding.reach import ConnectionReach
from tellin.server.login_record import LoginRecord
from tellin.server.naming import find_name
from tellin.server.offer import Offer
from tellin.server.sessions import chroot
from tellin.server.sessions.session_rules import SessionRules
from tellin.server.sessions.sessions import CommandSession
from tellin.userauth.messages import KEYBOARD_INTERACTIVE, NONE, PASSWORD, PUBLIC_KEY
from tellin.userauth.policy import Policy
from tellin.userauth.questions import (
    Accepted,
    Answer,
    Attempt,
    KeyQuestion,
    NoneQuestion,
    Outcome,
    PasswordQuestion,
    PromptQuestion,
    Prompts,
    Question,
    Refused,
    UserQuestion,
)
from tellin.userauth.questions import Account as KnownAccount
from tellin.wire import Record

BANNER_BYTES: Final = 64 << 10
# How many sessions in a ChrootDirectory without /dev may have a terminal.
_TERMINALS: Final = 4

_UNUSABLE: Final = {
    Verdict.RUN_OUT: "User {} password has expired",
    Verdict.ACCOUNT_EXPIRED: "Account {} has expired",
}


class PasswordGrant(Record):
    """A factor that puts no limits on the session, unless the password has ``expired``."""

    expired: bool = False


class SystemServices:
    """The services of one connection. As root it becomes the user who logs in, for good."""

    def __init__(
        self,
        loop: Loop,
        offer: Offer,
        journal: Journal,
        *,
        on_login: Callable[[], object] | None = None,
    ) -> None:
        self._loop = loop
        self._offer = offer
        self._journal = journal
        self._on_login = on_login
        self._config = offer.configuration.always
        self._access = self._make_access()
        self._account: Account | None = None
        self._host = ""
        self._user: str | None = None
        self._refusal = ""
        self._failures = 0
        self._started = 0.0
        self._rules: SessionRules | None = None
        self._sessions = 0
        self._forwarding: Forwarding | None = None
        self._record: LoginRecord | None = None
        self._reach: ConnectionReach | None = None

    def _make_access(self) -> SystemAccess:
        return SystemAccess(settings.access_rules(self._config), find=self._find)

    def _find(self, name: str) -> Account | None:
        """Without root there is one user who can be served: the one that runs us."""
        only = self._offer.only
        if only is not None and name != only.name:
            return None
        return Account.named(name)

    # The host key

    def sign(
        self, key_blob: bytes, algorithm: str, data: bytes, done: Callable[[bytes | None], None]
    ) -> None:
        """Sign with a host key; once in every exchange."""
        self._journal.debug(f"kex: host key algorithm: {algorithm}")
        name = plain(algorithm)
        # RSA with SHA-1 comes this far only where HostKeyAlgorithms names it (R077).
        done(self._offer.host_keys[key_blob].sign(data, name, sha1=name == "ssh-rsa"))

    def host_keys(self) -> Sequence[bytes]:
        """The blobs of the keys that HostKeyAlgorithms lets us show."""
        return settings.plain_host_keys(self._offer.core)

    # Who may in

    def policy(self, connection: ServerConnection) -> Policy:
        """What users must show whom nobody knows yet."""
        if self._config.use_dns:
            found = find_name(connection.peer.host)
            self._host = found.name
            if found.warning:
                self._journal.info(found.warning)
        self._config = self._offer.configuration.for_peer(self._peer(connection))
        return settings.policy(self._config, banner=self._banner())

    def _peer(self, connection: ServerConnection, user: str = "") -> ConfigPeer:
        peer = connection.peer
        account = self._account
        return ConfigPeer(
            user=user,
            groups=tuple(group_names(account)) if account else (),
            invalid_user=bool(user) and account is None,
            # As the patterns of OpenSSH have it: an address is called by itself.
            host=self._host or peer.host,
            address=peer.host,
            local_address=peer.local_host,
            local_port=peer.local_port,
            routing_domain=peer.routing_domain,
            version=connection.core.peer_identification,
        )

    def _visitor(self, connection: ServerConnection) -> Visitor:
        peer = connection.peer
        ends = f"{peer.host} {peer.port} {peer.local_host} {peer.local_port}"
        return Visitor(self._host, peer.host, ends)

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
        match question:
            case UserQuestion():
                self._begin()
                done(self._know(connection, question.user))
            case KeyQuestion():
                self._later(self._judge_key(connection, question), question.user, done)
            case PasswordQuestion(new_password=str()):
                # Nobody here may change it; were the new one passed over in silence, the client
                # would believe that it counts.
                self._journal.info("password change not supported")
                self._later(Refused("password change"), question.user, done)
            case PasswordQuestion():
                answer = self._judge_password(connection, question.password, PASSWORD)
                self._later(answer, question.user, done)
            case PromptQuestion(responses=None):
                # Clients say themselves who asks: they write (user@host) before it.
                done(Prompts((("Password: ", False),)))
            case PromptQuestion():
                given = question.responses[0] if question.responses else ""
                answer = self._judge_password(connection, given, KEYBOARD_INTERACTIVE)
                self._later(answer, question.user, done)
            case NoneQuestion():
                done(Refused("nobody is let in without anything"))
            case _:
                done(Refused("not supported"))
        self._started = 0.0

    def _later(self, answer: Answer, user: str, done: Callable[[Answer], None]) -> None:
        """A yes at once; a no when it has taken as long as for everybody (R061)."""
        if isinstance(answer, Accepted):
            done(answer)
            return
        delay = failure_delay(self._offer.secret, user, self._loop.time() - self._started)
        self._loop.call_later(delay, done, answer)

    def _know(self, connection: ServerConnection, user: str) -> KnownAccount:
        account = self._access.account(user)
        self._account, self._user = account, user
        self._config = self._offer.configuration.for_peer(self._peer(connection, user))
        self._access = self._make_access()
        self._adopt_log_level()
        if self._config.refuse_connection:
            invalid = "" if account is not None else "invalid user "
            self._journal.info(
                f"administratively prohibited connection for {invalid}{shown_name(user)}"
                f" from {connection.peer}"
            )
            connection.disconnect(
                DisconnectReason.HOST_NOT_ALLOWED_TO_CONNECT, "administratively prohibited"
            )
            self._refusal = "RefuseConnection"
        elif account is None:
            self._journal.info(f"Invalid user {shown_name(user)} from {connection.peer}")
        else:
            refusal = self._access.refusal(account, self._visitor(connection))
            if refusal is not None:
                self._journal.info(refusal)
                self._refusal = refusal
        known = account is not None and not self._refusal
        return KnownAccount(known, settings.policy(self._config, banner=self._banner()))

    def _adopt_log_level(self) -> None:
        """What a Match block says; the journal is this process's alone."""
        if self._config.log_verbose != self._offer.configuration.always.log_verbose:
            self._journal = with_places(self._journal, self._config.log_verbose, program="sshd")
        if self._config.log_level != self._offer.configuration.always.log_level:
            self._journal.level = LEVELS[self._config.log_level]

    def _judge_key(self, connection: ServerConnection, question: KeyQuestion) -> Answer:
        self._begin()
        account = self._account
        if account is None or self._refusal:
            return Refused(self._refusal or "no such user")
        grant = self._access.authorize(
            account, question.user, question.key, self._visitor(connection)
        )
        for note in self._access.notes:
            self._journal.info(note)
        self._access.notes.clear()
        if grant is None:
            return Refused("no line of the user's files lets this key in")
        key = question.key
        if isinstance(key, PublicKey):
            self._journal.verbose(
                f"Accepted key {key.kind} {key.fingerprint()} found at {grant.where}"
            )
        forced = grant.options.command is not None or bool(self._config.force_command)
        if not self._access.root_may(account, PUBLIC_KEY, forced_command=forced):
            self._journal.info(f"ROOT LOGIN REFUSED FROM {connection.peer}")
            return Refused("root may not log in by key")
        # What is asked of every security key is asked of those whose lines ask for less, too.
        demands = self._config.pubkey_auth_options
        return Accepted(
            grant,
            touch_required=grant.options.touch_required or "touch-required" in demands,
            verify_required=grant.options.verify_required or "verify-required" in demands,
        )

    def _begin(self) -> None:
        """Time runs from the first question that a request raises."""
        self._started = self._started or self._loop.time()

    def _judge_password(self, connection: ServerConnection, password: str, method: str) -> Answer:
        self._begin()
        account, user = self._account, self._user or ""
        passwords = self._offer.passwords or SystemPasswords()
        verdict = passwords.verify(
            user, password, permit_empty=self._config.permit_empty_passwords
        )
        # Only now, or the answer for root would come sooner than others'.
        if account is None or self._refusal or verdict is Verdict.WRONG:
            return Refused("wrong password")
        if not self._access.root_may(account, method, forced_command=False):
            self._journal.info(f"ROOT LOGIN REFUSED FROM {connection.peer}")
            return Refused("root may not log in by password")
        if verdict in _UNUSABLE:
            self._journal.info(_UNUSABLE[verdict].format(account.name))
        if verdict is Verdict.ACCOUNT_EXPIRED:
            return Refused("the account has expired")
        return Accepted(PasswordGrant(expired=verdict is Verdict.RUN_OUT))

    def attempted(self, connection: ServerConnection, attempt: Attempt) -> None:
        """Log a try in the words that filters look for."""
        source = str(connection.peer)
        if self._user is None:
            # A name that cannot be one: the Authenticator asked nobody about it.
            self._user = attempt.user
            self._journal.info(f"Invalid user {shown_name(attempt.user)} from {source}")
        if attempt.method == NONE:
            # How clients ask what there is.
            self._journal.debug(attempt.sentence(source))
            return
        failed = attempt.outcome is Outcome.FAILED
        self._failures += failed
        # OpenSSH's measure too: keys are offered by the dozen, and that is no attack.
        grave = (
            attempt.outcome is Outcome.ACCEPTED
            or not attempt.known
            or attempt.method == PASSWORD
            or self._failures >= self._config.max_auth_tries // 2
        )
        level = INFO if grave else VERBOSE
        if attempt.outcome is Outcome.POSTPONED:
            attempt.key = None
            self._journal.say(level, f"{attempt.sentence(source)} [preauth]")
        else:
            self._journal.say(level, attempt.sentence(source))

    def logged_in(self, connection: ServerConnection, login: Login) -> None:
        """Become the user, and work out what his sessions may do."""
        account = self._account
        if account is None:
            raise ProtocolError("a login without an account")
        self._rules = self._session_rules(connection, account, login)
        connection.note = self._journal.say
        settings.put_in_force(connection.core, self._config, self._offer.configuration.always)
        if self._on_login is not None:
            self._on_login()
        groups = account.groups() if os.geteuid() == 0 else []
        if self._config.chroot_directory is not None:
            self._change_root(account, self._config.chroot_directory, self._rules)
        if os.geteuid() == 0:
            # Root too: the groups that this process was started with are not root's own.
            become(account, groups)
            # The host keys are still in this process's memory; its new owner must not look.
            refuse_inspection()
        if self._config.expose_auth_info:
            self._expose(login)
        self._journal.verbose(f"User child is on pid {os.getpid()}")
        if not connection.core.strict:
            # R005: what such a client says first can be cut off unseen (CVE-2023-48795).
            self._journal.verbose("The client does not do strict key exchange")

    def _expose(self, login: Login) -> None:
        assert self._rules is not None
        try:
            self._record = LoginRecord(login.factors)
        except OSError as error:
            self._journal.error(f"ExposeAuthInfo: {error.strerror}")
            return
        self._rules.environment = {
            **self._rules.environment,
            "SSH_USER_AUTH": self._record.path,
        }

    def _change_root(self, account: Account, directory: str, rules: SessionRules) -> None:
        try:
            place = chroot.place_of(directory, account)
            chroot.check(place)
            if rules.permit_terminal:
                # Inside there may be no /dev to open them from.
                reserve_ptys(min(_TERMINALS, self._config.max_sessions), owner=account)
            chroot.enter(place, self._journal)
        except TellinError as error:
            self._journal.fatal(str(error))
            raise
        rules.in_chroot = True

    def _session_rules(
        self, connection: ServerConnection, account: Account, login: Login
    ) -> SessionRules:
        config, peer = self._config, connection.peer
        grants = [factor.grant for factor in login.factors]
        options = [grant.options for grant in grants if isinstance(grant, AuthorizedKey)]
        command, origin = self._forced_command(options)
        allowed = forwarding.rules(config, options, origin if command is not None else "")
        self._forwarding = Forwarding(
            self._loop,
            connection,
            allowed,
            note=self._journal.say,
            on_device=self._name_device,
        )
        self._reach = ConnectionReach(
            self._loop, connection, reach.rules(config, options), note=self._journal.say
        )
        own = (pair.partition("=") for pair in config.set_env)
        return SessionRules(
            account,
            {
                "SSH_CLIENT": f"{peer.host} {peer.port} {peer.local_port}",
                "SSH_CONNECTION": f"{peer.host} {peer.port} {peer.local_host} {peer.local_port}",
                **{name: value for name, _, value in own},
            },
            settings.accepts_variable(config),
            dict(config.subsystem),
            forced_command=command,
            forced_by=origin,
            permit_terminal=config.permit_tty and all(one.permit_pty for one in options),
            own_process=True,
            alone=lambda: len(connection.core.channels) == 1,
            start_files=True,
            ignore=connection.core.ignore,
            user_start_file=config.permit_user_rc
            and origin != "config"
            and all(one.permit_user_rc for one in options),
            on_start=lambda interactive: set_traffic_class(
                connection.link.stream, traffic_class(config.ip_qos[0 if interactive else 1])
            ),
            greet=config.print_motd,
            password_expired=any(
                isinstance(grant, PasswordGrant) and grant.expired for grant in grants
            ),
            note=self._journal.say,
            source=str(peer),
            client=connection.core.peer_identification,
        )

    def _name_device(self, name: str) -> None:
        """Tell the programs of later sessions of a network device, as OpenSSH does."""
        assert self._rules is not None
        named = self._rules.environment.get("SSH_TUNNEL")
        self._rules.environment = {
            **self._rules.environment,
            "SSH_TUNNEL": f"{named},{name}" if named else name,
        }

    def _forced_command(self, options: list[KeyOptions]) -> tuple[str | None, str]:
        """The command that is run whatever is asked for, and where it is from."""
        if self._config.force_command:
            return self._config.force_command, "config"
        # command="" runs nothing, and that is what it is for.
        commands = {one.command for one in options if one.command is not None}
        if len(commands) > 1:
            # R068: each factor's word holds; two that contradict each other hold together nowhere.
            raise TellinError("the keys used demand different commands")
        return next(iter(commands), None), "key-option"

    # Sessions

    def open_session(self, connection: ServerConnection, channel: Channel) -> SessionHandler | str:
        """A session that runs programs."""
        rules, whole = self._rules, self._reach
        if rules is None or whole is None or self._sessions >= self._config.max_sessions:
            self._journal.error("no more sessions")
            return "open failed"
        self._sessions += 1
        return CommandSession(
            self._loop,
            channel,
            connection.link,
            rules,
            reach=whole.session(),
            on_closed=self._session_closed,
        )

    def open_other(self, connection: ServerConnection, event: ChannelAsked) -> None:
        """A channel that leads to a port or a socket."""
        assert self._forwarding is not None
        self._forwarding.asked(event)

    def global_requested(self, connection: ServerConnection, event: GlobalRequested) -> None:
        """To listen on a port or a socket, or no more."""
        assert self._forwarding is not None
        self._forwarding.requested(event)

    def _session_closed(self) -> None:
        self._sessions -= 1

    def ended(self, connection: ServerConnection, error: TellinError | None) -> None:
        """Log how the connection ended."""
        if self._record is not None:
            self._record.remove()
        if self._forwarding is not None:
            self._forwarding.close()
        if self._reach is not None:
            self._reach.close()
        user, standing = self._user or "", Standing.STRANGER
        if connection.login is not None:
            user, standing = connection.login.user, Standing.LOGGED_IN
        elif self._user is not None:
            known = self._account is not None and not self._refusal
            standing = Standing.AUTHENTICATING if known else Standing.INVALID
        end = Ending(str(connection.peer), user, standing, error, connection.link.failure)
        for level, line in end.lines():
            self._journal.say(level, line)
