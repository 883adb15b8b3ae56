# SPDX-License-Identifier: MIT
"""ProxyJump in ``ssh``: the way to the server leads through other servers, inside this one process.

Each hop is a connection like that of the user's own, with its own configuration, check and login; the
next one goes through a channel of it.
"""

from collections.abc import Sequence
from typing import Any, Final

from tellin.client.channel_owners import lose_all, tell_owner
from tellin.client.connection import ClientConnection
from tellin.client.endings import Place
from tellin.client.hosts.learning import Learning, Updates
from tellin.client.hosts.records import FileRecords, HostPlace, known_types
from tellin.client.jumps import Passed, place_of, read_hop
from tellin.client.preferences import CLIENT_SETTINGS, keepalive, settings
from tellin.config.ssh_config import SshConfig
from tellin.connection.forwarding import direct_target
from tellin.errors import ConfigError, ConnectFailed, ConnectionLost, TellinError
from tellin.programs.ssh.connecting import Connecting
from tellin.programs.ssh.run import Way, known_hosts
from tellin.protocol.events import Authenticated, ChannelAsked, GlobalRequested
from tellin.runtime.channel_duplex import ChannelDuplex
from tellin.runtime.journal import LEVELS, Journal
from tellin.runtime.loop import SmallLoop
from tellin.runtime.surroundings import LocalSurroundings

# So long the goodbyes have to leave when all is over.
_LINGER_SECONDS: Final = 1.0


class WayLost(ConnectionLost):
    """A hop cannot be passed; what is wrong with it has been said."""


class Jumping:
    """Reaches the server through the host that its ProxyJump names last, and that host by its own way.

    It is used like `tellin.programs.ssh.connecting.Connecting`. ``file`` is that of ``-F`` and
    ``options`` what holds for all hops, both as they were for the program.
    """

    repeatable = False
    greeted = False

    def __init__(
        self,
        loop: SmallLoop,
        config: SshConfig,
        journal: Journal,
        *,
        file: str | None,
        options: Sequence[str] = (),
        passed: Passed = (),
    ) -> None:
        self.place = Place(config.host)
        self.began = loop.time()
        self._loop = loop
        self._config = config
        self._journal = journal
        surroundings = LocalSurroundings()
        passed = (*passed, place_of(config))
        hop = read_hop(surroundings, config, file=file, options=options, passed=passed)
        journal.debug(f"Jumping through {hop.host_argument} ({hop.host} port {hop.port})")
        own = Journal(LEVELS[hop.log_level], journal.write)
        way: Way
        if hop.proxy_jump is None:
            way = Connecting(loop, hop, own)
        else:
            way = Jumping(loop, hop, own, file=file, options=options, passed=passed)
        self._hop = Hop(loop, hop, own, way)

    def start(self) -> None:
        """Begin with the first hop."""
        try:
            self._hop.way.start()
        except TellinError as error:
            raise self._hop.failed(error) from None

    def wait(self) -> ChannelDuplex:
        """Log in at the hop, and go on from there to the server; raises TellinError."""
        config = self._config
        stream = self._hop.lead(config.host, config.port, timeout=config.connect_timeout or None)
        # Passwords of hops may have taken their time.
        self.began = self._loop.time()
        return stream

    def again(self) -> None:
        """Never: nothing is guessed on such a way."""

    def remaining(self) -> float | None:
        """What ConnectTimeout leaves for the identifications and the first exchange."""
        timeout = self._config.connect_timeout
        return max(0.001, self.began + timeout - self._loop.time()) if timeout else None

    def end(self) -> None:
        """Say goodbye to the hop, and to those before it."""
        self._hop.end()


class Hop:
    """A server on the way: checked, logged in, and left by one channel."""

    _learning: Learning

    def __init__(self, loop: SmallLoop, config: SshConfig, journal: Journal, way: Way) -> None:
        self.way = way
        self._loop = loop
        self._config = config
        self._journal = journal
        self._place = HostPlace(
            host=config.host,
            port=config.port,
            alias=config.host_key_alias or "",
            check_address=config.check_host_ip,
        )
        self._records = FileRecords(
            config.user_known_hosts_file, config.global_known_hosts_file, journal
        )
        self._connection: ClientConnection | None = None
        self._stream: ChannelDuplex | None = None
        self._check: Any = None
        self._sources: Any = None
        self._over = False
        self._ready = False
        self._leaving = False
        self._answered = False
        self._refusal: Any = None

    @property
    def name(self) -> str:
        """How messages name it."""
        config = self._config
        return f"{config.host_argument} ({config.host} port {config.port})"

    def lead(self, host: str, port: int, *, timeout: float | None) -> ChannelDuplex:
        """Go in, and open the channel to ``host`` and ``port``."""
        try:
            self._enter()
        except WayLost:
            # One before this one, which has been named.
            raise
        except TellinError as error:
            raise self.failed(error) from None
        connection = self._connection
        assert connection is not None
        if not self._ready:
            raise self._broken()
        channel = connection.core.open_channel(*direct_target(host, port, ""))
        stream = ChannelDuplex(self._loop, channel, connection.link, on_settled=self._settled)
        self._stream = stream
        connection.link.flush_soon()
        done = self._loop.run_until(lambda: self._answered, timeout=timeout)
        if self._over:
            raise self._broken()
        if not done:
            raise ConnectFailed(
                f"connect to host {host} port {port} through jump host {self.name}:"
                " Connection timed out"
            )
        if self._refusal is not None:
            raise ConnectFailed(
                f"connect to host {host} port {port} through jump host {self.name}:"
                f" {self._refusal.description or 'refused'}"
            )
        return stream

    def failed(self, error: TellinError) -> TellinError:
        """Say what is wrong, where it has not been said, and name the hop."""
        if isinstance(error, WayLost | ConfigError):
            return error
        if isinstance(error, ConnectFailed):
            self._journal.error(f"ssh: {error}")
        else:
            self._journal.fatal(str(error))
        return WayLost(f"The way ends at jump host {self.name}.", stage="connecting")

    def end(self) -> None:
        """Leave, and let those before it be left."""
        self._leaving = True
        connection = self._connection
        if connection is not None and not self._over:
            connection.quit()
            connection.link.flush()
            if not self._over:
                self._loop.run_until(lambda: self._over, timeout=_LINGER_SECONDS)
            connection.link.close()
        self.way.end()

    # The connection

    def _enter(self) -> None:
        config, loop = self._config, self._loop
        known, self._sources = known_hosts(config, self._records, self._place, self._journal)
        made = settings(config, known=known_types(known, self._place))
        # A guess may turn out to need a second connection.
        made.guess = False
        stream = self.way.wait()
        remaining = self.way.remaining()
        if remaining is not None:
            made.exchange_timeout = remaining
        made.greeted = self.way.greeted
        self._connection = connection = ClientConnection(
            loop,
            stream,
            made,
            self.way.place,
            journal=self._journal,
            keepalive=keepalive(config),
            connection=CLIENT_SETTINGS,
            on_ready=self._logged_in,
            on_event=self._event,
            on_over=self._ended,
            on_banner=self._banner,
        )
        self._learning = Learning(connection.core, self._updates)
        loop.call_soon(self._equip, connection)
        loop.run_until(lambda: self._ready or self._over)

    def _equip(self, connection: ClientConnection) -> None:
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

    def _banner(self, text: str) -> None:
        for line in text.splitlines():
            self._journal.info(line)

    def _logged_in(self, event: Authenticated) -> None:
        self._ready = True
        self._learning.begin()
        self._journal.verbose(f'Authenticated to jump host {self.name} using "{event.method}".')

    def _settled(self, refusal: Any) -> None:
        self._refusal = refusal
        self._answered = True

    def _event(self, event: Any) -> None:
        connection = self._connection
        assert connection is not None
        if tell_owner(event):
            return
        if type(event) is GlobalRequested:
            self._learning.told(event)
            connection.link.flush_soon()
        elif type(event) is ChannelAsked:
            # R146: nothing is asked of a hop but to lead on. No hop but a hostile one gets here.
            from tellin.client.forwarding.incoming import Incoming

            Incoming(connection.core).asked(event)
            connection.link.flush_soon()

    def _updates(self) -> Updates | None:
        connection = self._connection
        if self._config.update_host_keys == "no" or self._check is None or connection is None:
            return None
        from tellin.programs.ssh.host_keys import updates

        return updates(
            connection,
            self._config,
            self._journal,
            place=self._place,
            basis=self._check,
            # Nobody is asked about a hop's other keys while another login is under way.
            command=True,
            beside=lambda ask: ask(),
        )

    # Its end

    def _ended(self) -> None:
        self._over = True
        connection = self._connection
        if self._ready and not self._leaving and connection is not None:
            for line in connection.reasons():
                self._journal.fatal(f"jump host {self.name}: {line}")
        if connection is not None:
            lose_all(connection.core, connection.error)
        self._answered = True

    def _broken(self) -> WayLost:
        connection = self._connection
        assert connection is not None
        if not self._ready:
            for line in connection.reasons():
                self._journal.fatal(line)
            if afterword := connection.afterword():
                self._journal.info(afterword)
        return WayLost(f"The way ends at jump host {self.name}.", stage="connecting")
