# SPDX-License-Identifier: MIT
"""``ssh`` once it is connecting: the check of the server, the login, one session, and the end of it."""

import gc
import os
import signal
from collections.abc import Callable, Sized
from contextlib import suppress
from typing import Any, Final, Protocol

from tellin.algorithms.key_exchange import KEY_EXCHANGES
from tellin.client.channel_owners import lose_all, tell_owner
from tellin.client.connection import ClientConnection
from tellin.client.endings import NOWHERE, Place
from tellin.client.hosts.learning import Learning, Updates
from tellin.client.hosts.records import FileRecords, HostPlace, Records, known_types
from tellin.client.preferences import CLIENT_SETTINGS, keepalive, settings
from tellin.config.forwards import Forward
from tellin.config.known_hosts import Entry, KnownHosts
from tellin.config.patterns import match_pattern
from tellin.config.ssh_config import SshConfig
from tellin.connection.requests import Request
from tellin.keys.public import PublicKey
from tellin.programs.ssh.wishes import wanted_command
from tellin.protocol.events import Authenticated, ChannelAsked, GlobalRequested
from tellin.runtime.descriptors import let_go
from tellin.runtime.journal import INFO, VERBOSE, Journal
from tellin.runtime.loop import SmallLoop
from tellin.runtime.sockets import Duplex
from tellin.transport.settings import Settings
from tellin.userauth.text import escape_text

FAILED: Final = 255
_ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Visit(Protocol):
    """The session, once it is loaded: `tellin.programs.ssh.session.SshSession`."""

    def start(self) -> None:
        """The user is in."""

    def abandon(self) -> None:
        """Give up at once."""

    def leave(self) -> None:
        """Put the terminal in order."""

    def beside(self, ask: Callable[[], bool]) -> bool:
        """Let somebody have the terminal for a question."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""

    @property
    def finished(self) -> bool:
        """Whether the server ended the session."""

    @property
    def status(self) -> int:
        """The exit status."""

    @property
    def had_terminal(self) -> bool:
        """Whether a terminal was in use."""


class Sources(Protocol):
    """Who else knows host keys: `tellin.client.hosts.host_key_sources.HostKeySources`."""

    def known(self, records: Records, place: HostPlace) -> KnownHosts:
        """What is on record before the server has said a word."""

    def find(self, place: HostPlace, key: PublicKey) -> Any:
        """What is known of a key."""


class Basis(Protocol):
    """What the host key is trusted for: `tellin.client.hosts.host_keys.HostKeyCheck`."""

    grounds: Entry | None
    confirmed: bool
    unsafe: bool


class Way(Protocol):
    """How the server is reached: `tellin.programs.ssh.connecting.Connecting`, or through other hosts."""

    place: Place
    began: float

    @property
    def greeted(self) -> bool:
        """Whether the server has our identification already."""

    @property
    def repeatable(self) -> bool:
        """Whether the server can be reached a second time without anybody noticing."""

    def start(self) -> None:
        """Begin."""

    def wait(self) -> Duplex:
        """The stream that leads there; raises TellinError."""

    def again(self) -> None:
        """Connect once more."""

    def remaining(self) -> float | None:
        """What ConnectTimeout leaves for the identifications and the first exchange."""

    def end(self) -> None:
        """Let go of what was needed for it."""


def known_hosts(
    config: SshConfig, records: Records, place: HostPlace, journal: Journal
) -> tuple[KnownHosts, Sources | None]:
    """What is on record before the server has said a word, and who else knows host keys."""
    if config.known_hosts_command is None and config.verify_host_key_dns == "no":
        return records.read(), None
    # Who has only files does not wait for this.
    from tellin.client.hosts.host_key_sources import HostKeySources
    from tellin.runtime.surroundings import LocalSurroundings

    sources = HostKeySources(config, LocalSurroundings(), journal)
    return sources.known(records, place), sources


class Takers(Protocol):
    """Who takes the server's channels: `tellin.client.forwarding.incoming.Incoming`."""

    def take(self, channel_type: str, taker: Callable[[ChannelAsked], object]) -> None:
        """From here on ``taker`` gets channels of that type."""

    def asked(self, event: ChannelAsked) -> None:
        """The server wants a channel."""

    def refuse(self, event: ChannelAsked) -> None:
        """It wants one that nobody has asked for."""


class Forwards(Protocol):
    """What is forwarded: `tellin.programs.ssh.forwards.SshForwards`."""

    pending: bool

    @property
    def open(self) -> int:
        """How many connections are being forwarded."""

    def begin(self) -> bool:
        """Listen; false if something could not be had."""

    def add(self, forward: Forward) -> bool:
        """Listen for one more; false if it could not be had."""

    def listen(self, forward: Forward) -> bool:
        """The same for what must not be listened for already."""

    def cancel(self, forward: Forward) -> bool:
        """Listen for it no more; false if nothing was listened for."""

    def add_remote(self, forward: Forward, done: Callable[[int | None], object]) -> None:
        """Have the server listen for one more; ``done`` gets the port it chose, 0, or None for a no."""

    def cancel_remote(self, forward: Forward) -> bool:
        """Have it listen there no more; false if it did not."""

    def cancel_at(self, place: Forward, *, socks: bool) -> bool:
        """Listen at a place no more, wherever it leads."""

    def cancel_remote_at(self, place: Forward) -> bool:
        """Have the server listen at a place no more."""

    def stop_listening(self) -> None:
        """Listen nowhere here any more."""

    def lost(self) -> None:
        """The connection is gone."""


class Lends(Protocol):
    """What the server is lent: `tellin.client.forwarding.lending.Lending`."""

    @property
    def open(self) -> int:
        """How many connections there are to it."""

    def requests(self) -> tuple[tuple[Request, bool], ...]:
        """What a session asks for."""


class Sharing(Protocol):
    """Those who use our connection: `tellin.programs.ssh.master.Sharing`, where there may be some."""

    ends_when_quiet: bool

    @property
    def visitors(self) -> Sized:
        """Those who are here."""

    def settle(self) -> None:
        """Somebody came or went."""

    def close(self) -> None:
        """The connection is gone."""


class Run:
    """One run of ``ssh``."""

    connection: ClientConnection
    _learning: Learning

    def __init__(
        self,
        loop: SmallLoop,
        config: SshConfig,
        journal: Journal,
        connecting: Way,
        *,
        command: list[str],
        stdio: Forward | None = None,
    ) -> None:
        self._loop = loop
        self._stdio = stdio
        self._forwards: Forwards | None = None
        self._lending: Lends | None = None
        self._session_ended = self._background_due = self._given_up = False
        self._config = config
        self._journal = journal
        self._connecting = connecting
        self._command = wanted_command(command, config)
        self._place = HostPlace(
            host=config.host,
            port=config.port,
            alias=config.host_key_alias or "",
            check_address=config.check_host_ip,
        )
        self._records = FileRecords(
            config.user_known_hosts_file, config.global_known_hosts_file, journal
        )
        self._over = False
        self._status = FAILED
        self._visit: Visit | None = None
        self._incoming: Takers | None = None
        self._sources: Sources | None = None
        self._check: Basis | None = None
        self._killed = 0
        self._sharing: Sharing | None = None

    def run(self) -> int:
        """Go through all of it; the exit status."""
        config, journal = self._config, self._journal
        for warning in config.warnings:
            journal.info(warning)
        # For people: scripts compare standard error with what a command wrote there.
        level = INFO if os.isatty(2) else VERBOSE
        for left_out in config.not_yet:
            journal.say(
                level,
                f"{left_out.file} line {left_out.line}:"
                f" {left_out.keyword} is not supported and is left out",
            )
        found, self._sources = known_hosts(config, self._records, self._place, journal)
        known = known_types(found, self._place)
        made = settings(config, known=known)
        # A guess may turn out to need a second connection (see below), so it is for those only
        # that can be had.
        made.guess = self._connecting.repeatable
        self._connect(made)
        try:
            self._loop.run_until(self._is_over)
            if made.guess and self.connection.core.guess_misread:
                journal.debug("The server stumbled over our guess: connecting again without one.")
                made.guess = False
                self._over, self._visit = False, None
                self._connecting.again()
                self._connect(made)
                self._loop.run_until(self._is_over)
        finally:
            if self._visit is not None:
                self._visit.leave()
            if self._sharing is not None:
                self._sharing.close()
        status = self._result()
        if (journal.level >= VERBOSE or journal.debugs) and self.connection.core.authenticated:
            self._sum_up(status)
        return status

    def _sum_up(self, status: int) -> None:
        seconds = self._loop.time() - self._connecting.began
        sent, received = self.connection.core.traffic
        self._journal.verbose(
            f"Transferred: sent {sent}, received {received} bytes, in {seconds:.1f} seconds"
        )
        each = (f"{count / max(seconds, 0.001):.1f}" for count in (sent, received))
        self._journal.verbose("Bytes per second: sent {}, received {}".format(*each))
        self._journal.debug(f"Exit status {status if status != FAILED else -1}")

    def _connect(self, made: Settings) -> None:
        """Wait for the socket and begin to talk."""
        config = self._config
        if made.guess:
            # The key for the exchange that we hope for; sntrup761 takes longer over it than the
            # network over its answer.
            KEY_EXCHANGES[made.preferences.key_exchanges[0]].prepare()
        stream = self._connecting.wait()
        remaining = self._connecting.remaining()
        if remaining is not None:
            made.exchange_timeout = remaining
        made.greeted = self._connecting.greeted
        self._check = None
        self.connection = ClientConnection(
            self._loop,
            stream,
            made,
            self._connecting.place,
            journal=self._journal,
            keepalive=keepalive(config),
            connection=CLIENT_SETTINGS,
            on_ready=self._ready,
            on_event=self._event,
            on_over=self._ended,
            on_banner=self._banner,
        )
        self._incoming = None
        self._learning = Learning(self.connection.core, self._updates)
        # In the turn that sends the first packets, and behind them.
        self._loop.call_soon(self._load, self.connection)

    def _is_over(self) -> bool:
        return self._over and (self._visit is None or self._visit.is_over)

    # The login

    def _load(self, connection: ClientConnection) -> None:
        """Load what the answers of the server will need, while there are none yet."""
        from tellin.programs.ssh.login import equip

        self._check = equip(
            self._loop,
            connection,
            self._config,
            self._journal,
            place=self._place,
            records=self._records,
            sources=self._sources,
        )
        # With a look at the socket in between.
        self._loop.call_soon(self._load_session)

    def _load_session(self) -> None:
        if self._visit is None and self._stdio is not None:
            from tellin.programs.ssh.stdio import StdioForward

            self._visit = StdioForward(
                self._loop,
                self.connection,
                self._stdio,
                self._journal,
                on_over=self._session_over,
            )
        if self._visit is None and self._config.session_type != "none":
            from tellin.programs.ssh.session import SshSession

            self._visit = SshSession(
                self._loop,
                self.connection,
                self._config,
                self._journal,
                command=self._command,
                on_over=self._session_over,
                master=self,
                lend=self._lend,
            )

    def _banner(self, text: str) -> None:
        if self._journal.level >= INFO:
            # One that nobody reads is no reason to give up.
            with suppress(OSError):
                os.write(2, escape_text(text, keep_newlines=True).encode())

    def _ready(self, event: Authenticated) -> None:
        gc.freeze()
        gc.enable()
        # Until here a signal does what it does to every program.
        for number in _ENDINGS:
            # An ignored signal stays ignored (nohup).
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._loop.add_signal(number, self._signalled, number)
        config, journal, place = self._config, self._journal, self.connection.place
        how = f'using "{event.method}".'
        where = f"{place.host} ([{place.address}]:{place.port})"
        if (place.address, place.port) == NOWHERE:
            where = f"{place.host} (via proxy)"
        if not self.connection.login.proved and os.isatty(2):
            # R023: whatever asks for a secret from here on is no part of the login any more.
            journal.info(f"Authenticated to {where} without any proof of who you are.")
        else:
            journal.verbose(f"Authenticated to {where} {how}")
        # Loaded since the first exchange.
        from tellin.programs.ssh.login import warn_of_weak_exchange

        warn_of_weak_exchange(self.connection.core, config, journal)
        if config.channel_timeout:
            # Few have such rules, and the others do not wait for what they take.
            from tellin.connection.idleness import idle_rules

            rules = idle_rules(config.channel_timeout)
            self.connection.core.watch_idleness(rules, fits=match_pattern)
        if not self._begin_forwarding():
            return
        if config.local_command is not None and config.permit_local_command:
            from tellin.programs.ssh.command_line import run_local_command

            run_local_command(config.local_command, journal)
        if config.control_path is not None and config.control_master != "no":
            self._share()
        elif config.fork_after_authentication:
            self._go_to_background()
        self._learning.begin()
        journal.debug("Entering interactive session.")
        self._load_session()
        if self._visit is None:
            self._status = 0
        else:
            self._visit.start()

    def _begin_forwarding(self) -> bool:
        """Listen where the configuration says; false if the connection ends because that failed."""
        config = self._config
        places = config.local_forward, config.dynamic_forward, config.remote_forward
        if not any(places) and config.tunnel == "no":
            return True
        if self.forwards().begin() or not config.exit_on_forward_failure:
            return True
        self._status = FAILED
        self.connection.quit()
        return False

    def _lend(self) -> tuple[tuple[Request, bool], ...]:
        """What a session asks for of what the server is lent."""
        config, connection = self._config, self.connection
        if config.forward_agent == "no" and not config.forward_x11:
            return ()
        # Who lends nothing does not wait for this.
        from tellin.client.forwarding.lending import Lending

        if self._lending is None:
            self._lending = Lending(
                self._loop,
                connection.core,
                connection.link,
                self.incoming,
                config=config,
                journal=self._journal,
                unsafe=self._check is not None and self._check.unsafe,
                on_quiet=self._end_if_unused,
            )
        return self._lending.requests()

    def _is_busy(self) -> bool:
        """Whether something is being forwarded."""
        return any(one is not None and one.open for one in (self._forwards, self._lending))

    def forwards(self) -> Forwards:
        """What listens here for connections that lead through ours."""
        if self._forwards is None:
            # Who forwards nothing does not wait for this.
            from tellin.programs.ssh.forwards import SshForwards

            self._forwards = SshForwards(
                self._loop,
                self.connection,
                lambda: self.incoming,
                self._config,
                self._journal,
                on_quiet=self._end_if_unused,
                on_settled=self._forwards_settled,
            )
        return self._forwards

    def _forwards_settled(self, whole: bool) -> None:
        """The server has said where it listens for us."""
        if not whole and self._config.exit_on_forward_failure:
            self._given_up = True
            self.terminate()
        elif self._background_due:
            self._go_to_background()

    def _share(self) -> None:
        """Be the master of a connection that others may use, perhaps beyond our own session."""
        from tellin.programs.ssh.master import begin, detach

        config = self._config
        self._sharing = sharing = begin(
            self._loop,
            self.connection,
            config,
            self._journal,
            forwards=self.forwards,
            lend=self._lend,
            on_quiet=self._nobody_shares,
            on_exit=self.terminate,
        )
        if sharing is not None and config.control_persist is not None:
            # What comes back is the master alone; our session is a passenger of its own.
            detach(sharing, self._command, self._stdio)
            self._config = config.replaced(session_type="none")
            self._stdio = self._visit = None
        elif config.fork_after_authentication:
            self._go_to_background()

    def _nobody_shares(self) -> None:
        self._session_ended = True
        self._end_if_unused()

    def _end_if_unused(self) -> None:
        """End the connection unless somebody needs it: as OpenSSH, nobody is cut off."""
        sharing = self._sharing
        if not self._session_ended:
            if sharing is not None:
                sharing.settle()
        elif not self._is_busy() and (sharing is None or not sharing.visitors):
            self.connection.quit()
        elif self._visit is not None:
            self._visit.leave()
            # Whoever reads our session's output waits for its end, and not for that of others.
            let_go(0, 1)

    def _go_to_background(self) -> None:
        # Whoever comes back from it may rely on what the server listens on.
        self._background_due = self._forwards is not None and self._forwards.pending
        if self._background_due:
            return
        self._journal.debug("forking to background")
        if os.fork():
            # Without a word: the child has the terminal's output and the connection.
            os._exit(0)
        os.setsid()
        if self._config.session_type == "none":
            # Whoever reads our output (``$(ssh -fN host)``) waits for its end.
            let_go(*((0, 1) if self._journal.debugs else (0, 1, 2)))

    # The session

    def _session_over(self) -> None:
        assert self._visit is not None
        self._status = self._visit.status
        self._session_ended = True
        if self._sharing is not None:
            self._sharing.ends_when_quiet = True
        self._end_if_unused()

    def _event(self, event: Any) -> None:
        if tell_owner(event):
            return
        if type(event) is GlobalRequested:
            # What has been asked for leaves first.
            self._loop.call_soon(self._told, event)
        elif type(event) is ChannelAsked:
            self.incoming.asked(event)
            self.connection.link.flush_soon()

    def _told(self, event: GlobalRequested) -> None:
        self._learning.told(event)
        self.connection.link.flush_soon()  # it may want an answer

    @property
    def incoming(self) -> "Takers":
        """Who takes the channels that the server opens."""
        if self._incoming is None:
            # Few servers have reason to open one.
            from tellin.client.forwarding.incoming import Incoming

            self._incoming = Incoming(self.connection.core, warn=self._journal.error)
        return self._incoming

    def _updates(self) -> Updates | None:
        if self._check is None or self._config.update_host_keys == "no":
            return None
        # Few servers have a key that is not on record.
        from tellin.programs.ssh.host_keys import updates

        return updates(
            self.connection,
            self._config,
            self._journal,
            place=self._place,
            basis=self._check,
            command=bool(self._command),
            beside=self._ask,
        )

    def _ask(self, ask: Callable[[], bool]) -> bool:
        """Ask somebody who may have the terminal in other use."""
        return ask() if self._visit is None else self._visit.beside(ask)

    # The end

    def _ended(self) -> None:
        self._over = True
        if self._forwards is not None:
            self._forwards.lost()
        lose_all(self.connection.core)
        if self._sharing is not None:
            self._sharing.close()

    def terminate(self) -> None:
        """End the connection because the user said so."""
        # Our own session may be over, and others' keep us: it went as it went.
        if not self._session_ended:
            if self._visit is not None:
                self._visit.abandon()
            self._status = FAILED
        self.connection.quit()

    def _signalled(self, number: int) -> None:
        self._killed = number
        self.terminate()

    def _result(self) -> int:
        connection, journal = self.connection, self._journal
        visit = self._visit
        if self._killed == signal.SIGTERM and self._config.session_type == "none":
            # As OpenSSH's: no command was cut off, and a supervisor that stops us sees no failure.
            return 0
        if self._killed:
            journal.verbose(f"Killed by signal {self._killed}.")
            return FAILED
        if self._given_up:
            return FAILED
        if visit is not None and visit.had_terminal:
            journal.info(f"Connection to {connection.place.host} closed.")
        # What the server says after the command has ended is of no interest.
        if visit is not None and visit.finished:
            return self._status
        for line in connection.reasons():
            journal.fatal(line)
        if afterword := connection.afterword():
            journal.info(afterword)
        if connection.error is not None:
            if connection.error.hint and os.isatty(2):
                journal.info(connection.error.hint)
            return FAILED
        return self._status
