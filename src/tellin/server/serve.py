# SPDX-License-Identifier: MIT
"""``tellin.serve``: a server inside an asyncio program, with its own users, keys and sessions."""

import asyncio
import functools
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Required, TypeAlias, TypedDict

from tellin.algorithms.signatures import (
    SERVER_HOST_KEY_ALGORITHMS,
    USER_KEY_ALGORITHMS,
    plain,
    with_certificates,
)
from tellin.config.sshd_config import SshdConfig
from tellin.connection.channel import Channel
from tellin.errors import (
    ChannelOpenFailureReason,
    DisconnectReason,
    KeyFileError,
    TellinError,
    UsageError,
)
from tellin.keys.certificates import Certificate, CertificateRole, load_certificate
from tellin.keys.formats import load_private_key
from tellin.keys.private import PrivateKey
from tellin.protocol import KeepAlive, ServerProtocol, Settings
from tellin.protocol.events import ChannelAsked, GlobalRequested
from tellin.runtime.channel_streams import check_encoding
from tellin.runtime.files import read_file
from tellin.runtime.listeners import BACKLOG, Acceptor, listen
from tellin.runtime.opening import Opening
from tellin.runtime.redirection import refuse_tls
from tellin.runtime.sockets import Socket
from tellin.server import settings
from tellin.server.authentication.admission import (
    Admission,
    Authorize,
    AuthorizedKeysSource,
    CheckPassword,
    Dialogue,
    KeyList,
    RevocationSource,
    forced_command,
    permits_agent,
    permits_terminal,
    permits_x11,
)
from tellin.server.connection import (
    Login,
    Peer,
    ServerConnection,
    SessionHandler,
)
from tellin.server.forwarding.permits import permits, permitted
from tellin.server.served_connection import ServedConnection
from tellin.server.sessions.process import ForLogin, HandledSession, Handler, HandOver
from tellin.sftp.file_system import FileSystem
from tellin.userauth.policy import Policy
from tellin.userauth.questions import Answer, Attempt, Question
from tellin.wire.states import State

_log = logging.getLogger("tellin.server")

HostKey: TypeAlias = PrivateKey | str | os.PathLike[str] | bytes
"""A key in memory, its file, or what the file holds."""

HostCertificate: TypeAlias = Certificate | str | os.PathLike[str]
"""A host key's certificate, or its file."""

Algorithms: TypeAlias = str | Sequence[str] | None

_NOWHERE: Final = Peer("", 0, "", 0)
# How long a server that closes waits for its connections and sessions.
GRACE: Final = 5.0
# What signs by one of these takes milliseconds, in which a loop would serve nobody.
_SLOW: Final = frozenset({"rsa-sha2-256", "rsa-sha2-512", "ssh-rsa"})
# Variables that change what an interpreter runs are taken only where they are named in full (R150).
_ACCEPTED: Final = ("*",)
_REFUSAL: Final = b"Exceeded MaxStartups\r\n"


class ServeOptions(TypedDict, total=False):
    """The keyword arguments of ``serve`` but for who serves, for whoever passes them on."""

    host_keys: Required[Sequence[HostKey]]
    sftp: FileSystem | ForLogin | HandOver | None
    host_certificates: Sequence[HostCertificate]
    authorized_keys: AuthorizedKeysSource
    authorities: KeyList | None
    revoked: RevocationSource
    authorize: Authorize | None
    password: CheckPassword | Mapping[str, str] | None
    questions: Dialogue | None
    permit_none: bool
    authentication_methods: Sequence[str]
    encoding: str | None
    errors: str
    accept_env: Sequence[str]
    permit_open: Sequence[str]
    permit_listen: Sequence[str]
    permit_sockets: bool
    permit_x11: bool
    banner: str
    sock: Any
    max_connections: int | None
    max_startups: int
    max_sessions: int
    max_tries: int
    login_grace: float
    keepalive: float | KeepAlive | None
    compression: bool
    ciphers: Algorithms
    macs: Algorithms
    key_exchanges: Algorithms
    rekey_limit: int
    clock: Callable[[], float]


def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    host_keys: Sequence[HostKey],
    session: Handler | HandOver | None = None,
    subsystems: Mapping[str, Handler | HandOver] | None = None,
    sftp: FileSystem | ForLogin | HandOver | None = None,
    host_certificates: Sequence[HostCertificate] = (),
    authorized_keys: AuthorizedKeysSource = None,
    authorities: KeyList | None = None,
    revoked: RevocationSource = None,
    authorize: Authorize | None = None,
    password: CheckPassword | Mapping[str, str] | None = None,
    questions: Dialogue | None = None,
    permit_none: bool = False,
    authentication_methods: Sequence[str] = (),
    encoding: str | None = "utf-8",
    errors: str = "replace",
    accept_env: Sequence[str] = _ACCEPTED,
    permit_open: Sequence[str] = (),
    permit_listen: Sequence[str] = (),
    permit_sockets: bool = False,
    permit_x11: bool = False,
    banner: str = "",
    sock: Any = None,
    max_connections: int | None = None,
    max_startups: int = 100,
    max_sessions: int = 256,
    max_tries: int = 6,
    login_grace: float = 120.0,
    keepalive: float | KeepAlive | None = None,
    compression: bool = True,
    ciphers: Algorithms = None,
    macs: Algorithms = None,
    key_exchanges: Algorithms = None,
    rekey_limit: int = 0,
    clock: Callable[[], float] = time.time,
) -> "Opening[Server]":
    """Serve: ``async with tellin.serve(...) as server``, or await it for the server.

    ``session`` serves shells and commands, ``subsystems`` what is asked for by name: a function
    that gets a ServerProcess, or ``RunCommands()`` for this account's programs. ``sftp`` are the files
    for file transfers: ``RootedFiles``, ``MemoryFiles`` or any other FileSystem, a function that gives
    each login its own, or ``ServeFiles`` with what else is to be said.

    Who may in: the keys of ``authorized_keys``; whoever gives the right ``password`` or answers
    ``questions``; and ``authorize`` has the last word on each. It gets a Candidate whose key has
    signed, never one that was only asked about, and alone it decides about keys by itself.
    ``authorities`` are the keys whose certificates let in every user that these list as principals;
    authorized_keys may hold cert-authority lines as well. What ``revoked`` lists lets nobody in.
    Certificates and expiry times are judged by ``clock``, in seconds of the epoch.
    ``host_certificates`` are shown to clients that ask for them.
    ``authentication_methods`` are chains as in sshd_config, such as "publickey,password".

    ``permit_open`` are the places that clients may be led to, and ``permit_listen`` those where they
    may have this process listen: each ``host:port``, ``*`` for any host or port, or the one word
    "any", which is this machine's own addresses alone where it is about listening. Options of the key
    that logs in take away from that. With ``permit_sockets`` sockets of the file system are forwarded
    too, each way where ports are by "any". By default nothing is. With ``permit_x11`` sessions may show
    windows on their client's display: see ``ServerProcess.display``.

    ``sock`` is a listening socket to use instead of ``host`` and ``port``; with ``port=-1`` nothing
    is listened on, and ``Server.serve_socket`` takes connections.
    """
    config = SshdConfig(
        ciphers=_listed(ciphers),
        macs=_listed(macs),
        kex_algorithms=_listed(key_exchanges),
        compression="yes" if compression else "no",
        rekey_limit=(rekey_limit, 0),
        accept_env=tuple(accept_env),
        authentication_methods=tuple(authentication_methods) or ("any",),
        max_auth_tries=max_tries,
        **permits(permit_open, permit_listen, sockets=permit_sockets),
    )
    check_encoding(encoding)
    admission = Admission(
        authorize=authorize,
        authorized_keys=authorized_keys,
        password=password,
        dialogue=questions,
        permit_none=permit_none,
        authorities=authorities,
        revoked=revoked,
        clock=clock,
    )
    if isinstance(host_keys, str | bytes | os.PathLike | PrivateKey):
        raise UsageError("host_keys is a sequence, also for a single key")
    if not isinstance(keepalive, KeepAlive):
        keepalive = KeepAlive(interval=float(keepalive or 0))
    server = Server(
        config,
        admission,
        session=session,
        subsystems=_with_files(subsystems or {}, sftp),
        encoding=encoding,
        errors=errors,
        limits=Limits(
            connections=max_connections,
            startups=max_startups,
            sessions=max_sessions,
            grace=login_grace,
        ),
        keepalive=keepalive,
        banner=banner,
        permit_none=permit_none,
        permit_x11=permit_x11,
    )

    async def start() -> Server:
        await server.start(host, port, sock, tuple(host_keys), tuple(host_certificates))
        return server

    return Opening(start)


def _with_files(
    subsystems: Mapping[str, Handler | HandOver], sftp: FileSystem | ForLogin | HandOver | None
) -> dict[str, Handler | HandOver]:
    if sftp is None:
        return dict(subsystems)
    # Imported here: most servers serve no files.
    from tellin.server.sessions.subsystem import SUBSYSTEM, ServeFiles  # noqa: PLC0415

    if SUBSYSTEM in subsystems:
        raise UsageError("sftp= and a subsystem of that name")
    return {**subsystems, SUBSYSTEM: ServeFiles.of(sftp)}


def _listed(algorithms: Algorithms) -> str:
    if algorithms is None:
        return ""
    return algorithms if isinstance(algorithms, str) else ",".join(algorithms)


class Stage(State):
    """How far a server is."""

    STARTING = "keys are being read"
    SERVING = "connections are taken"
    CLOSING = "no more are taken; those that there are go on"
    OVER = "the last connection is gone"


class Limits(TypedDict):
    """How much a server takes on."""

    connections: int | None
    startups: int
    sessions: int
    grace: float


class Server:
    """A server that runs; ``tellin.serve`` makes it."""

    def __init__(
        self,
        config: SshdConfig,
        admission: Admission,
        *,
        session: Handler | HandOver | None,
        subsystems: dict[str, Handler | HandOver],
        encoding: str | None,
        errors: str,
        limits: Limits,
        keepalive: KeepAlive,
        banner: str,
        permit_none: bool,
        permit_x11: bool,
    ) -> None:
        self.session: Handler | HandOver | None = session
        self.subsystems: dict[str, Handler | HandOver] = subsystems
        self.encoding: str | None = encoding
        self.errors: str = errors
        self.tasks: set[asyncio.Task[None]] = set()
        self.connections: set[ServedConnection] = set()
        """The connections there are."""
        self.accepts: Callable[[str], bool] = settings.accepts_variable(config)
        self._config = config
        self._admission = admission
        self._limits = limits
        self._keepalive = keepalive
        self._permit_x11 = permit_x11
        self._stage = Stage.STARTING
        self._starting = 0
        self._acceptors: list[Acceptor] = []
        self._host_keys: dict[bytes, PrivateKey] = {}
        self._settings: Settings | None = None
        self._channels = settings.connection_settings(config)
        self._over = asyncio.Event()
        plain = settings.policy(config, banner=banner)
        self._policy = Policy(
            with_certificates(USER_KEY_ALGORITHMS),
            methods=admission.methods(),
            chains=plain.chains,
            devices=("questions",),
            maximum_tries=plain.maximum_tries,
            permit_none=permit_none,
            banner=banner,
        )

    def __repr__(self) -> str:
        at = f"on port {self.port}" if self.port else "on no port"
        return f"<Server {at}, {len(self.connections)} connections, {self._stage.name.lower()}>"

    # Beginning and end

    async def start(
        self,
        host: str,
        port: int,
        sock: Any,
        host_keys: Sequence[HostKey],
        host_certificates: Sequence[HostCertificate] = (),
    ) -> None:
        """Read what has to be read, and listen."""
        loop = asyncio.get_running_loop()

        def prepare() -> list[Socket]:
            self._admission.load()
            keys = [_read_host_key(key) for key in host_keys]
            certificates = [_read_certificate(one, keys) for one in host_certificates]
            self._host_keys = settings.signing_keys(keys, certificates)
            self._settings = settings.core_settings(
                _with_all(self._config, keys, certificates), keys, None, certificates
            )
            return [] if sock is not None or port < 0 else listen(host, port, backlog=BACKLOG)

        listening = await loop.run_in_executor(None, prepare)
        if sock is not None:
            sock.setblocking(False)
            listening = [sock]
        self._acceptors = [Acceptor(loop, one, self._connected) for one in listening]
        self._stage = Stage.SERVING

    @property
    def addresses(self) -> list[Any]:
        """Where it listens, as sockets have it."""
        return [acceptor.listening.getsockname() for acceptor in self._acceptors]

    @property
    def port(self) -> int:
        """The port it listens on; 0 if it listens on none."""
        first = next(iter(self.addresses), None)
        return first[1] if isinstance(first, tuple) else 0

    def serve_socket(self, sock: Any) -> ServedConnection:
        """Serve a connected socket, which belongs to the connection from here on."""
        if self._stage is not Stage.SERVING:
            raise UsageError("the server is closed")
        refuse_tls(sock)
        sock.setblocking(False)
        return self._serve(sock, _peer_of(sock))

    def close(self) -> None:
        """Take no more connections; those that there are go on."""
        if self._stage is Stage.SERVING:
            self._stage = Stage.CLOSING
            for acceptor in self._acceptors:
                acceptor.close()
            self._acceptors = []
            self._check_over()

    async def aclose(self, *, grace: float = GRACE) -> None:
        """Take no more, end all connections and their sessions, and wait until that is done.

        Clients are told that the server stops, and the functions of sessions are cancelled. What is
        not over after ``grace`` seconds is not waited for: connections are dropped as they are, and
        a function that does not let itself be cancelled is named in the log and left alone. To let
        clients finish, ``close`` first and await ``wait_closed`` as long as you like.
        """
        self.close()
        self._admission.cancel()
        for connection in list(self.connections):
            connection.disconnect(DisconnectReason.BY_APPLICATION, "the server is stopping")
        try:
            async with asyncio.timeout(grace):
                await self._over.wait()
                await self._sessions_over()
        except TimeoutError:
            for connection in list(self.connections):
                _log.warning("dropping a connection that does not end: %s", connection.peer)
                # Its sessions hear of the end first.
                connection.link.flush()
                connection.link.close()
            for task in self._other_tasks():
                task.cancel()
            await asyncio.sleep(0)
            for task in self._other_tasks():
                _log.warning("a session's function does not end: %s", task.get_name())

    async def _sessions_over(self) -> None:
        if tasks := self._other_tasks():
            await asyncio.wait(tasks)

    def _other_tasks(self) -> set[asyncio.Task[None]]:
        """The sessions that run; whoever asks may be one himself, and does not wait for that."""
        return self.tasks - {asyncio.current_task()}

    async def wait_closed(self) -> None:
        """Wait until it was closed and the last connection is over."""
        await self._over.wait()

    async def __aenter__(self) -> "Server":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _check_over(self) -> None:
        if self._stage is Stage.CLOSING and not self.connections:
            self._stage = Stage.OVER
            self._over.set()

    # Connections

    def _connected(self, connection: Socket, _address: Any) -> None:
        most = self._limits["connections"]
        if self._starting >= self._limits["startups"] or (
            most is not None and len(self.connections) >= most
        ):
            try:
                connection.send(_REFUSAL)
            except OSError as error:
                _log.debug("refusing a connection: %s", error)
            connection.close()
            return
        try:
            self._serve(connection, _peer_of(connection))
        except OSError as error:
            _log.debug("a connection that is gone already: %s", error)
            connection.close()

    def _serve(self, stream: Socket, peer: Peer) -> ServedConnection:
        loop = asyncio.get_running_loop()
        assert self._settings is not None
        core = ServerProtocol(
            self._settings,
            self._channels,
            keepalive=self._keepalive,
            login_grace=self._limits["grace"],
            now=loop.time(),
        )
        connection = ServedConnection(loop, stream, core, self, peer, on_closed=self._closed)
        connection.forwarding = None
        connection.request = b""
        connection.sessions = 0
        connection.grants = ()
        connection.reach = None
        self._starting += 1
        self.connections.add(connection)
        return connection

    def _closed(self, connection: ServerConnection) -> None:
        assert isinstance(connection, ServedConnection)
        self.connections.discard(connection)
        if connection.forwarding is not None:
            # A connection that was dropped has not said its end.
            connection.forwarding.close()
        self._check_over()

    # What a connection asks

    def sign(
        self, key_blob: bytes, algorithm: str, data: bytes, done: Callable[[bytes | None], None]
    ) -> None:
        """Sign with a host key: at once, or in a thread where that takes long."""
        key, name = self._host_keys[key_blob], plain(algorithm)
        if name not in _SLOW:
            done(key.sign(data, name))
            return
        # RSA with SHA-1 comes this far only where it was asked for by name (R077).
        sign = functools.partial(key.sign, data, name, sha1=name == "ssh-rsa")

        def signed(signing: "asyncio.Future[bytes]") -> None:
            if signing.cancelled():
                return
            error = signing.exception()
            if error is not None:
                _log.error("a host key does not sign", exc_info=error)
            done(signing.result() if error is None else None)

        asyncio.get_running_loop().run_in_executor(None, sign).add_done_callback(signed)

    def host_keys(self) -> Sequence[bytes]:
        """The blobs of the keys that can be shown."""
        return () if self._settings is None else settings.plain_host_keys(self._settings)

    def policy(self, connection: ServerConnection) -> Policy:
        """What users must show."""
        return self._policy

    def ask(
        self, connection: ServerConnection, question: Question, done: Callable[[Answer], None]
    ) -> None:
        """Answer a question about a login."""
        assert isinstance(connection, ServedConnection)
        self._admission.ask(connection, question, done)

    def logged_in(self, connection: ServerConnection, login: Login) -> None:
        """A user is in."""
        assert isinstance(connection, ServedConnection)
        self._starting -= 1
        connection.request = b""
        connection.grants = tuple(
            factor.grant for factor in login.factors if factor.grant is not None
        )
        forced = forced_command(connection.grants) is not None
        connection.forwarding = permitted(
            connection, connection.grants, self._config, forced=forced
        )

    def open_other(self, connection: ServerConnection, event: ChannelAsked) -> None:
        """A channel that leads somewhere, where that is permitted at all."""
        assert isinstance(connection, ServedConnection)
        if connection.forwarding is not None:
            connection.forwarding.asked(event)
            return
        connection.core.refuse_channel(
            event.channel, ChannelOpenFailureReason.UNKNOWN_CHANNEL_TYPE, "open failed"
        )

    def global_requested(self, connection: ServerConnection, event: GlobalRequested) -> None:
        """To listen somewhere, or no more, where that is permitted at all."""
        assert isinstance(connection, ServedConnection)
        if connection.forwarding is not None:
            connection.forwarding.requested(event)
        elif event.debt is not None:
            connection.core.answer_global(False, debt=event.debt)

    def open_session(self, connection: ServerConnection, channel: Channel) -> SessionHandler | str:
        """Serve a session channel."""
        assert isinstance(connection, ServedConnection)
        if connection.sessions >= self._limits["sessions"]:
            return "too many sessions"
        connection.sessions += 1

        def closed() -> None:
            connection.sessions -= 1

        return HandledSession(connection, channel, self, closed)

    def attempted(self, connection: ServerConnection, attempt: Attempt) -> None:
        """Log a try."""
        if _log.isEnabledFor(logging.INFO):
            _log.info("%s", attempt.sentence(str(connection.peer)))

    def ended(self, connection: ServerConnection, error: TellinError | None) -> None:
        """A connection is over."""
        assert isinstance(connection, ServedConnection)
        if connection.reach is not None:
            connection.reach.close()
        if connection.login is None:
            self._starting -= 1
        if error is not None:
            _log.debug("%s: %s", connection.peer, error)

    # What a session asks

    def permits_terminal(self, login: Login | None) -> bool:
        """Whether the keys of a login allow a terminal."""
        return login is None or permits_terminal(factor.grant for factor in login.factors)

    def permits_agent(self, login: Login | None) -> bool:
        """Whether the keys of a login let it forward its agent."""
        return login is None or permits_agent(factor.grant for factor in login.factors)

    def permits_x11(self, login: Login | None) -> bool:
        """Whether this server, and the keys of a login, let it show windows."""
        grants = (factor.grant for factor in (() if login is None else login.factors))
        return self._permit_x11 and permits_x11(grants)

    def forced_command(self, login: Login | None) -> str | None:
        """The only command that the keys of a login let run."""
        return None if login is None else forced_command(one.grant for one in login.factors)


def _with_all(
    config: SshdConfig, keys: Sequence[PrivateKey], certificates: Sequence[Certificate]
) -> SshdConfig:
    """Offer every key that was given, also of a type that is not among the defaults."""
    able = [name for one in certificates for name in one.signature_algorithms]
    able += [name for key in keys for name in key.public.signature_algorithms]
    first = [name for name in with_certificates(SERVER_HOST_KEY_ALGORITHMS) if name in able]
    return config.replaced(host_key_algorithms=",".join(dict.fromkeys([*first, *able])))


def _read_host_key(key: HostKey) -> PrivateKey:
    if isinstance(key, PrivateKey):
        return key
    if isinstance(key, bytes):
        return load_private_key(key, name="a host key in memory")
    path = os.fspath(key)
    try:
        return load_private_key(read_file(path), name=path)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error


def _read_certificate(certificate: HostCertificate, keys: Sequence[PrivateKey]) -> Certificate:
    if not isinstance(certificate, Certificate):
        path = os.fspath(certificate)
        try:
            certificate = load_certificate(read_file(path), name=path)
        except OSError as error:
            raise KeyFileError(f"{path}: {error.strerror}") from error
    if certificate.role is not CertificateRole.HOST:
        raise UsageError(f"not a host's certificate: {certificate!r}")
    if all(key.public != certificate.key for key in keys):
        raise UsageError(f"a certificate for none of the host keys: {certificate!r}")
    return certificate


def _peer_of(connection: Socket) -> Peer:
    """Both ends of a TCP connection; a socket pair has none."""
    theirs, ours = connection.getpeername(), connection.getsockname()
    if not isinstance(theirs, tuple) or not isinstance(ours, tuple):
        return _NOWHERE
    return Peer(theirs[0], theirs[1], ours[0], ours[1])
