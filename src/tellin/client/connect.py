# SPDX-License-Identifier: MIT
"""``tellin.connect``: from a name to a connection with a user logged in, for asyncio programs."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

from tellin.client.arguments import Path, check_seconds, check_stream
from tellin.client.attempt import Attempt, OnTheWay, Prepared
from tellin.client.authentication.agent_source import AgentSource, path_of_agent
from tellin.client.authentication.agents import Agent
from tellin.client.authentication.credentials import (
    Callbacks,
    ChangePassword,
    DeferredIdentity,
    Identities,
    Key,
    Passphrase,
    Password,
    Questions,
    UserCertificate,
    certified,
    check_credentials,
)
from tellin.client.authentication.identities import Identity
from tellin.client.authentication.login import Login
from tellin.client.causes import first_cause
from tellin.client.connected import Connection, Driver
from tellin.client.endings import Place
from tellin.client.hosts.host_keys import HostKeyCheck
from tellin.client.hosts.learning import Learning, Updates
from tellin.client.hosts.records import known_types
from tellin.client.hosts.trust import (
    HostKeys,
    KnownHostsSource,
    RevokedHostKeys,
    Trust,
    beside_loop,
)
from tellin.client.jumps import last_step, place_of
from tellin.client.options import Algorithms
from tellin.client.preferences import (
    CLIENT_SETTINGS,
    NOT_LEARNING,
    authority_algorithms,
    kept_settings,
    login_plan,
    required_rsa_size,
)
from tellin.client.preferences import keepalive as configured_keepalive
from tellin.client.reach import adopted, dialled
from tellin.client.ways import Command, channel_through, named_hop
from tellin.config.destination import parse_port
from tellin.config.ssh_config import SshConfig
from tellin.errors import (
    TellinError,
    TimedOut,
    UsageError,
)
from tellin.protocol.core import KeepAlive
from tellin.protocol.events import Authenticated
from tellin.runtime.journal import DEBUG2, ERROR, Journal
from tellin.runtime.loop import Loop
from tellin.runtime.opening import Opening
from tellin.runtime.sockets import Duplex
from tellin.userauth.messages import KEYBOARD_INTERACTIVE, PASSWORD

_log = logging.getLogger("tellin.client")


def connect(
    host: str,
    *,
    port: int | None = None,
    user: str | None = None,
    host_keys: HostKeys = None,
    known_hosts: KnownHostsSource = None,
    keys: Sequence[Key] = (),
    certificates: Sequence[UserCertificate] = (),
    agent: Path | Agent | None = None,
    forward_agent: Path | Agent | None = None,
    revoked_host_keys: RevokedHostKeys = (),
    passphrase: Passphrase | None = None,
    password: Password | None = None,
    questions: Questions | None = None,
    change_password: ChangePassword | None = None,
    config: Path | None = "default",
    options: Sequence[str] = (),
    sock: Any = None,
    connect_timeout: float | None = None,
    login_timeout: float | None = 120.0,
    keepalive: float | KeepAlive | None = None,
    compression: bool | None = None,
    ciphers: Algorithms = None,
    macs: Algorithms = None,
    key_exchanges: Algorithms = None,
    host_key_algorithms: Algorithms = None,
    key_algorithms: Algorithms = None,
    rekey_limit: int | None = None,
    clock: Callable[[], float] = time.time,
) -> Opening[Connection]:
    """Connect and log in: ``async with tellin.connect("host", ...) as connection``, or await it.

    Which host keys to trust has to be said, or there is no connection: by ``host_keys`` (a
    HostKeyPolicy, the server's public keys, or a function that is asked about an unknown host),
    by ``known_hosts`` alone (strictly those), or by StrictHostKeyChecking in the configuration.
    ``config`` is "default" for ~/.ssh/config and the system's, a file to read instead, or None to
    read nothing at all. ``keys`` replace the configured ones; ``certificates`` for them are tried
    first, and one in KEY-cert.pub is found without being named. The keys of ``agent``, the path of an
    agent's socket or an Agent of your own, are tried behind those; without it no agent is. Keys that
    it keeps to destinations sign for those. What ``run``, ``start`` and ``shell`` begin may ask the agent
    ``forward_agent`` (its path, or an Agent that has one), which is told which host asks; a server whose
    host key has changed gets none.

    ``sock`` is a connected socket to use, or an object with its ``recv_into``, ``sendmsg``,
    ``shutdown``, ``fileno`` and ``close`` that never waits; it then belongs to the connection, and
    ``host`` remains the name its key is looked up under. A Connection in its place is gone through, as
    by ``Connection.connect``.

    ProxyCommand and ProxyJump of the configuration are the way otherwise. Each host on the way is
    judged by ``host_keys`` too, unless those are keys, and by ``known_hosts``; its user, its port and
    its keys are those of the configuration, and no password that is given here is for it.

    ``options`` are settings as behind ssh's ``-o``, such as "ProxyCommand=nc %h %p": they count before
    those of the configuration and behind the arguments here. With ``config=None`` they are all of it,
    and what is neither among them nor an argument is as ssh has it.

    Records may name authorities (@cert-authority lines), whose certificates then prove a host; they
    are judged by ``clock``, in seconds of the epoch. What ``revoked_host_keys`` list, as lines or as
    a revocation list, proves nothing any more. Other keys that a known host proves to be its own are
    recorded where ``ssh`` would do so: where the configuration's own known_hosts files are used, and
    UpdateHostKeys is not switched off or unset beside a UserKnownHostsFile.

    Functions that are asked are called on the loop, and may be coroutine functions. A Signer of your
    own among ``keys`` signs in a thread.

    Raises what went wrong first: ConnectFailed, HostKeyRejected, AuthenticationFailed,
    NegotiationFailed, TimedOut, ConnectionLost and their kin, all of them TellinError with a ``hint``
    and the ``stage`` they came in; or what a function that was asked raised.
    """
    if isinstance(keys, str | bytes | os.PathLike):
        raise UsageError("keys is a sequence, also for a single key")
    for name, text in (("host", host), ("user", user)):
        if not isinstance(text, str | None):
            raise UsageError(f"{name} is a text, and no {type(text).__name__}")
    if isinstance(options, str):
        raise UsageError("options is a sequence, also for a single one")
    check_credentials(password, questions, change_password, passphrase)
    check_seconds(connect_timeout=connect_timeout, login_timeout=login_timeout)
    if not isinstance(keepalive, KeepAlive):
        check_seconds(keepalive=keepalive)
    settings = [
        f"{keyword}={value}"
        for keyword, value in (
            ("Ciphers", _listed(ciphers)),
            ("MACs", _listed(macs)),
            ("KexAlgorithms", _listed(key_exchanges)),
            ("HostKeyAlgorithms", _listed(host_key_algorithms)),
            ("PubkeyAcceptedAlgorithms", _listed(key_algorithms)),
            ("RekeyLimit", rekey_limit),
            ("Compression", None if compression is None else "yes" if compression else "no"),
            ("Port", None if port is None else parse_port(str(port))),
        )
        if value is not None
    ]
    outer = sock if isinstance(sock, Connection) else None
    if outer is not None:
        sock = None
    elif sock is not None:
        check_stream(sock)
    trust = Trust(host_keys, known_hosts)
    attempt = _Login(
        host=host,
        user=user,
        options=[*settings, *options],
        trust=trust,
        keys=tuple(keys),
        certificates=tuple(certificates),
        agent=AgentSource(agent),
        lent=None if forward_agent is None else path_of_agent(forward_agent),
        revoked=revoked_host_keys,
        clock=clock,
        passphrase=passphrase,
        callbacks=Callbacks(
            host_key=trust.ask,
            password=password,
            questions=questions,
            change_password=change_password,
        ),
        config="none" if options and config is None else config,
        sock=sock,
        connect_timeout=connect_timeout,
        login_timeout=login_timeout,
        keepalive=keepalive,
        outer=outer,
    )
    return Opening(attempt.run)


def _listed(algorithms: Algorithms) -> str | None:
    if algorithms is None or isinstance(algorithms, str):
        return algorithms
    return ",".join(algorithms)


class _Login(Attempt):
    """Goes through all of one attempt."""

    async def run(self) -> Connection:
        """Go through all of it."""
        loop = asyncio.get_running_loop()
        try:
            # One trip to another thread for all that may wait for a disk or a name server, and
            # none where there is nothing of the kind.
            if self.is_light():
                prepared = self.prepare()
            else:
                prepared = await self.prepare_beside(loop)
            stream, place = await self._reach(loop, prepared)
        except BaseException:
            self.agent.close()
            if self.sock is not None:
                self.sock.close()
            raise
        until = None if self.login_timeout is None else loop.time() + self.login_timeout
        try:
            return await self._log_in_twice(loop, prepared, stream, place, until)
        finally:
            self.agent.close()

    async def _log_in_twice(
        self,
        loop: Loop,
        prepared: Prepared,
        stream: Duplex,
        place: Place,
        until: float | None,
    ) -> Connection:
        """Log in; a second time where the server has stumbled over our guess."""
        connection = await self._log_in(loop, prepared, stream, place, until)
        if connection is None:
            _log.debug("%s stumbled over our guess: connecting again without one", self.host)
            known = known_types(prepared.records.known, prepared.place)
            prepared.settings = kept_settings(prepared.config, known, guess=False)
            stream, place = await self._reach(asyncio.get_running_loop(), prepared)
            connection = await self._log_in(loop, prepared, stream, place, until)
            assert connection is not None
        return connection

    # The socket

    async def _reach(self, loop: Loop, prepared: Prepared) -> tuple[Duplex, Place]:
        config = prepared.config
        if self.sock is not None:
            return adopted(self.sock, self.host)
        timeout = self.connect_timeout
        if timeout is None:
            timeout = float(config.connect_timeout or 0) or None
        if not prepared.indirect:
            return await dialled(
                config, prepared.addresses, host=self.host, bind=prepared.bind, timeout=timeout
            )
        if timeout is not None:
            # Who is at the other end may say nothing at all.
            prepared.settings = copy(prepared.settings)
            prepared.settings.exchange_timeout = timeout
        try:
            return await self._reach_indirectly(config, timeout)
        except BaseException:
            await self._leave()
            raise

    async def _reach_indirectly(
        self,
        config: SshConfig,
        timeout: float | None,  # noqa: ASYNC109 - ConnectTimeout
    ) -> tuple[Duplex, Place]:
        outer = self.outer
        if outer is None and config.proxy_jump is not None:
            self.way = outer = await self._hop(config)
        if outer is not None:
            return await channel_through(outer, config, timeout), Place(self.host)
        self.way = command = Command(config.proxy_command or "")
        if not config.proxy_use_fdpass:
            return command.stream, Place(self.host)
        return adopted(await command.passed(timeout), self.host)

    async def _hop(self, config: SshConfig) -> Connection:
        """Log in at the host before the server, with what the configuration has for it.

        Neither keys nor a password that were given for the server are for that one.
        """
        step, before = last_step(config)
        options = [f"ProxyJump={before}"] if before else []
        if step.port is not None:
            options.append(f"Port={step.port}")
        passed = (*(() if self.hop is None else self.hop.passed), place_of(config))
        attempt = _Login(
            host=step.host,
            user=step.user,
            options=options,
            trust=self.trust.without_pins(),
            keys=(),
            certificates=(),
            agent=AgentSource(self.agent.given),
            revoked=self.revoked,
            clock=self.clock,
            passphrase=self.passphrase,
            callbacks=Callbacks(host_key=self.trust.ask),
            config=self.config,
            sock=None,
            connect_timeout=self.connect_timeout,
            login_timeout=self.login_timeout,
            keepalive=None,
            hop=OnTheWay(bool(before), passed, config.origin("proxy_jump")),
        )
        try:
            return await attempt.run()
        except TellinError as error:
            raise named_hop(step.host, error) from error.__cause__

    async def _leave(self) -> None:
        """Let go of what the connection goes by."""
        way, self.way = self.way, None
        if way is not None:
            await way.aclose()

    # The login

    async def _log_in(
        self,
        loop: Loop,
        prepared: Prepared,
        stream: Duplex,
        place: Place,
        until: float | None,
    ) -> Connection | None:
        """Log in on a socket; None where that failed because the server misread our guess."""
        config = prepared.config
        journal = Journal()
        if _log.isEnabledFor(logging.DEBUG):
            journal = Journal(DEBUG2, _log.debug)
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        connection: Connection

        def over() -> None:
            settle(None)
            if self.way is None:
                connection.ended()
            else:
                connection.close_behind(self._leave())

        def settle(event: Authenticated | None) -> None:
            if event is not None:
                driver.hand_over(connection.dispatch)
            if not ready.done():
                ready.set_result(None)

        driver = Driver(
            loop,
            stream,
            prepared.settings,
            place,
            journal=journal,
            keepalive=self._keepalive(config),
            connection=CLIENT_SETTINGS if self._may_learn(prepared) else NOT_LEARNING,
            on_ready=settle,
            on_event=lambda event: connection.handle(event),
            on_over=over,
            on_banner=lambda text: connection.say(text),
        )
        connection = Connection(
            loop, driver, host=self.host, user=config.user or "", connect=connect
        )
        check = self._arm(loop, driver, prepared, journal)
        driver.learning = Learning(
            driver.core, lambda: self._updates(driver, prepared, check, journal)
        )
        # Our first flight leaves now; the link would have waited for the next turn.
        driver.link.flush()
        timer = None
        if until is not None:
            timer = loop.call_later(until - loop.time(), self._too_late, driver)
        try:
            await ready
        except BaseException:
            driver.link.close()
            raise
        finally:
            if timer is not None:
                timer.cancel()
            self.callbacks.cancel()
            _cancel(prepared.identities)
        if not driver.core.authenticated or driver.core.closed:
            if driver.failure is None and prepared.settings.guess and driver.core.guess_misread:
                return None
            raise first_cause(
                connection,
                driver,
                self.callbacks,
                identities=prepared.identities,
                unused=[*prepared.unused, *self.agent.unused()],
                pinned=bool(self.trust.pinned),
            )
        await self._record(prepared, driver)
        driver.learning.begin()
        connection.lent.unsafe = check.unsafe
        self._lend(connection, journal)
        return connection

    def _lend(self, connection: Connection, journal: Journal) -> None:
        """Let the server's side ask the agent that is lent, unless nobody knows whose side that is."""
        if self.lent is not None and not connection.lent.unsafe:
            # Few programs lend theirs.
            from tellin.client.forwarding.agent_forwarding import lend_agent  # noqa: PLC0415  (start-up time)

            lend_agent(connection, self.lent, journal)
            connection.lent.agent = True

    async def _record(self, prepared: Prepared, driver: Driver) -> None:
        """Write down a host key that was accepted."""
        try:
            await prepared.records.settle()
        except (OSError, TellinError) as error:
            _log.warning("the host key of %s could not be recorded: %s", self.host, error)
        except asyncio.CancelledError:
            driver.link.close()
            raise

    def _keepalive(self, config: SshConfig) -> KeepAlive:
        if self.keepalive is None:
            return configured_keepalive(config)
        if isinstance(self.keepalive, KeepAlive):
            return self.keepalive
        return KeepAlive(interval=float(self.keepalive))

    def _arm(
        self, loop: Loop, driver: Driver, prepared: Prepared, journal: Journal
    ) -> HostKeyCheck:
        """Give the connection its check of the server and its login."""
        config, place, callbacks = prepared.config, prepared.place, self.callbacks
        callbacks.on_answer = driver.link.flush_soon
        callbacks.on_fault = driver.break_off
        for identity in prepared.identities:
            if isinstance(identity, DeferredIdentity):
                identity.on_signed = driver.link.flush_soon
                identity.on_fault = driver.break_off
        agent = self.agent.keys(
            loop,
            driver.core,
            flush=driver.link.flush_soon,
            on_fault=driver.break_off,
            journal=journal,
        )
        sources = [Identities(prepared.identities), *([] if agent is None else [agent])]
        driver.login = Login(
            driver.core,
            login_plan(config, host=self.host),
            keys=[certified(source, prepared.certificates) for source in sources],
            prompter=callbacks,
            journal=journal,
        )
        known = self.sock is None and not prepared.indirect
        place.address = driver.place.address if known else ""
        check = driver.check = HostKeyCheck(
            driver.core,
            place,
            policy=prepared.policy,
            records=prepared.records,
            prompter=callbacks,
            journal=journal,
            hash_names=config.hash_known_hosts,
            fingerprint_hash=config.fingerprint_hash,
            required_rsa_size=required_rsa_size(config),
            authority_algorithms=authority_algorithms(config),
            revocations=lambda: prepared.revocations,
            clock=self.clock,
            sources=prepared.sources,
            trust_dns=config.verify_host_key_dns == "yes",
            no_local_check=config.no_host_authentication_for_localhost
            and self.trust.policy is None,
            beside=beside_loop(driver.link.flush_soon),
            on_unsafe=lambda: driver.login.forbid(PASSWORD, KEYBOARD_INTERACTIVE),
        )
        return check

    def _may_learn(self, prepared: Prepared) -> bool:
        """Whether a server may tell of other host keys; nobody is there to be asked about them."""
        config = prepared.config
        # Whoever names a file of his own does not mean it to be changed, as with ssh.
        meant = self.trust.files is None or config.is_set("update_host_keys")
        return bool(prepared.records.files) and config.update_host_keys == "yes" and meant

    def _updates(
        self, driver: Driver, prepared: Prepared, check: HostKeyCheck, journal: Journal
    ) -> Updates | None:
        # Few servers have a key that is not on record.
        from tellin.client.hosts.host_key_updates import updates  # noqa: PLC0415  (start-up time)

        return updates(
            driver.core,
            prepared.config,
            place=prepared.place,
            files=prepared.records.files,
            basis=check,
            journal=journal if journal.debugs else Journal(ERROR, _log.warning),
            flush=driver.link.flush_soon,
            beside=beside_loop(driver.link.flush_soon),
        )

    def _too_late(self, driver: Driver) -> None:
        stage = driver.core.stage
        driver.core.fail(
            TimedOut(f"{self.host}: no login within {self.login_timeout:g} s ({stage})")
        )
        driver.link.flush_soon()


def _cancel(identities: list[Identity]) -> None:
    """Nobody waits for signatures any more."""
    for identity in identities:
        if isinstance(identity, DeferredIdentity):
            identity.cancel()
