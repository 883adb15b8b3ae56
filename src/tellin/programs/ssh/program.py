# SPDX-License-Identifier: MIT
"""``ssh``: a command, a shell or a subsystem on another machine.

The connection is begun before the larger part of the program is loaded: while the two machines
greet each other there is time for that.
"""

import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

from tellin.config.destination import parse_destination, parse_port
from tellin.config.forwards import Forward, parse_forward
from tellin.config.grammar import quoted
from tellin.config.ssh_config import SshConfig
from tellin.config.ssh_reading import read_ssh_config
from tellin.errors import ConfigError, ConnectFailed, TellinError
from tellin.programs.command import Failure, OptionError, Options, Program, say_error, visible
from tellin.runtime.journal import LEVELS, Journal, to_descriptor
from tellin.runtime.surroundings import LocalSurroundings

FAILED: Final = 255

USAGE: Final = """\
usage: ssh [-46AaCfGgkMnNqsTtVvXxYy] [-B bind_interface] [-b bind_address]
           [-c cipher_spec] [-D [bind_address:]port] [-E log_file]
           [-e escape_char] [-F configfile] [-I pkcs11] [-i identity_file]
           [-J destination] [-L address] [-l login_name] [-m mac_spec]
           [-O ctl_cmd] [-o option] [-P tag] [-p port] [-S ctl_path]
           [-W host:port] [-w local_tun[:remote_tun]]
           destination [command [argument ...]]
       ssh [-Q query_option]"""

# What a flag without a value is short for.
_PLAIN: Final = {
    "4": ("AddressFamily=inet",),
    "6": ("AddressFamily=inet6",),
    "A": ("ForwardAgent=yes",),
    "a": ("ForwardAgent=no",),
    "C": ("Compression=yes",),
    "f": ("ForkAfterAuthentication=yes", "StdinNull=yes"),
    "g": ("GatewayPorts=yes",),
    "k": ("GSSAPIDelegateCredentials=no",),
    "N": ("SessionType=none",),
    "n": ("StdinNull=yes",),
    "s": ("SessionType=subsystem",),
    "T": (),
    "X": ("ForwardX11=yes",),
    "x": ("ForwardX11=no",),
    "Y": ("ForwardX11=yes", "ForwardX11Trusted=yes"),
}
_OTHER_SESSION: Final = {"N": ("none", "s"), "s": ("subsystem", "N")}
# What a flag with a value is short for.
_VALUED: Final = {
    "B": "BindInterface",
    "b": "BindAddress",
    "c": "Ciphers",
    "e": "EscapeChar",
    "I": "PKCS11Provider",
    "m": "MACs",
    "S": "ControlPath",
}
# Flags of ssh whose features are missing: refused by name, or a script would believe in them.
_REFUSED: Final = {
    "K": "GSSAPI",
    "Z": "listing the keys that would be tried",
}
_WITH_VALUE: Final = frozenset("BDEFIJLOPQRSWbceilmopw")
_ACCEPTED: Final = "".join(
    letter + (":" if letter in _WITH_VALUE else "")
    for letter in sorted({*_PLAIN, *_VALUED, *_REFUSED, *"12DEFGJLMOPRVQWiloptqvwy"})
)
_VERBOSITY: Final = ("INFO", "DEBUG1", "DEBUG2", "DEBUG3")


class Invocation:
    """What a command line says."""

    def __init__(self) -> None:
        self.host: str | None = None
        self.command: list[str] = []
        self.options: list[str] = []
        self.file: str | None = None
        self.user: str | None = None
        self.port: int | None = None
        self.log_file = ""
        self.to_system_log = False
        self.show_config = False
        self.query = ""
        self.version = False
        self.level = ""
        self.stdio: Forward | None = None
        """Where -W leads."""
        self.control = ""
        """What -O wants of a master."""
        self._defaults: tuple[str, ...] = ()
        self._verbosity = 0

    def take(self, letter: str, value: str) -> None:
        """Take one flag."""
        if letter in _REFUSED:
            raise Failure(f"ssh: -{letter} ({_REFUSED[letter]}) is not supported")
        if letter in "NT":
            self._request_terminal("no")
        if letter in _OTHER_SESSION:
            self._refuse_two_sessions(letter)
        if letter in _PLAIN:
            # Of options the first counts, of these flags the last, and more than any option.
            self.options[:0] = _PLAIN[letter]
        elif letter in _VALUED:
            self.options.insert(0, f"{_VALUED[letter]}={quoted(value)}")
        elif letter in _DEEDS:
            _DEEDS[letter](self, value)

    def _local_forward(self, value: str) -> None:
        self._forward("local", "LocalForward", value)

    def _dynamic_forward(self, value: str) -> None:
        self._forward("dynamic", "DynamicForward", value, socks=True)

    def _remote_forward(self, value: str) -> None:
        self._forward("remote", "RemoteForward", value, remote=True)

    def _forward(self, what: str, keyword: str, value: str, **kind: bool) -> None:
        try:
            parse_forward(value, **kind)
        except ConfigError:
            raise Failure(f"Bad {what} forwarding specification '{visible(value)}'") from None
        self.options.append(f"{keyword}={quoted(value)}")

    def _master(self, _: str) -> None:
        again = self._given("ControlMaster")[:1] == ["yes"]
        self.options.insert(0, f"ControlMaster={'ask' if again else 'yes'}")

    def _control(self, value: str) -> None:
        if self.stdio is not None:
            raise Failure("Cannot specify multiplexing command with -W")
        if self.control:
            raise Failure("Multiplexing command already specified")
        from tellin.programs.ssh.passenger import COMMANDS

        if value not in COMMANDS:
            raise Failure("Invalid multiplex command.")
        self.control = value

    def _stdio_forward(self, value: str) -> None:
        if self.stdio is not None:
            raise Failure("stdio forward already specified")
        if self.control:
            raise Failure("Cannot specify stdio forward with -O")
        try:
            self.stdio = parse_forward(value, socks=True)
        except ConfigError:
            self.stdio = None
        if self.stdio is None or not self.stdio.listen_host:
            raise Failure(f"Bad stdio forwarding specification '{visible(value)}'")
        self.options[:0] = ("RequestTTY=no", "SessionType=none")
        # What an option says otherwise counts.
        self._defaults += ("ExitOnForwardFailure=yes", "ClearAllForwardings=yes")

    def _refuse_two_sessions(self, letter: str) -> None:
        """-N and -s each rule the other out, and another SessionType given by -o."""
        wanted, other = _OTHER_SESSION[letter]
        if any(value.lower() != wanted for value in self._given("SessionType")):
            raise Failure(f"Cannot specify -{letter} with -{other}/SessionType")

    def _given(self, keyword: str) -> list[str]:
        """The values that options so far give a keyword."""
        pairs = (option.replace("=", " ").strip().partition(" ") for option in self.options)
        return [value.strip() for name, _, value in pairs if name.lower() == keyword.lower()]

    def settle(self) -> None:
        """All flags have been taken: what they say unless an option says otherwise."""
        self.options += self._defaults

    def arrive(self, destination: str) -> None:
        """Take the destination; what stands before it has the first word."""
        found = parse_destination(destination)
        self.host = found.host
        # Of all that name a user or a port, options too, the first counts.
        if self.user is None and not self._given("User"):
            self.user = found.user
        if self.port is None and not self._given("Port"):
            self.port = found.port

    def _device(self, value: str) -> None:
        from tellin.config.ssh_kinds import TUNNEL_DEVICE

        try:
            TUNNEL_DEVICE.read([value])
        except ConfigError:
            raise Failure(f"Bad tun device '{visible(value)}'") from None
        self.options.insert(0, f"TunnelDevice={quoted(value)}")
        # What carries frames says so by an option.
        self.options.append("Tunnel=point-to-point")

    def _identity(self, value: str) -> None:
        try:
            # Tokens are put in later; a doubled sign is one.
            path = os.path.expanduser(value).replace("%%", "%")  # noqa: PTH111 - start-up time
            os.stat(path)  # noqa: PTH116 - the same
        except OSError as error:
            # As if it were not there: the default keys take its place, where it was the only one.
            say_error(f"Warning: Identity file {visible(value)} not accessible: {error.strerror}.")
        else:
            self.options.append(f"IdentityFile={quoted(value)}")

    def _jump(self, value: str) -> None:
        if self._given("ProxyJump"):
            said = "Only a single -J option is permitted"
            raise Failure(f"{said} (use commas to separate multiple jump hops)")
        if self._given("ProxyCommand"):
            raise Failure("Cannot specify -J with ProxyCommand")
        from tellin.config.ssh_kinds import JUMPS

        try:
            JUMPS.read([value])
        except ConfigError as fault:
            raise Failure(f"{fault}\nInvalid -J argument") from None
        self.options.append(f"ProxyJump={quoted(value)}")

    def _first_version(self, _: str) -> None:
        raise Failure("SSH protocol v.1 is no longer supported")

    def _louder(self, _: str) -> None:
        self._verbosity = min(self._verbosity + 1, len(_VERBOSITY) - 1)
        self.level = _VERBOSITY[self._verbosity]

    def _quiet(self, _: str) -> None:
        self.level = "QUIET"

    def _terminal_wanted(self, _: str) -> None:
        asked = self._given("RequestTTY")[:1]
        self._request_terminal("force" if asked == ["yes"] else "yes")

    def _request_terminal(self, wanted: str) -> None:
        self.options.insert(0, f"RequestTTY={wanted}")

    def _option(self, value: str) -> None:
        self.options.append(value)

    def _file(self, value: str) -> None:
        self.file = value

    def _log_file(self, value: str) -> None:
        self.log_file = value

    def _system_log(self, _: str) -> None:
        self.to_system_log = True

    def _tag(self, value: str) -> None:
        self.options.append(f"Tag={quoted(value)}")

    def _login_name(self, value: str) -> None:
        if self.user is None and not self._given("User"):
            self.user = value

    def _port(self, value: str) -> None:
        port = parse_port(value)
        if self.port is None and not self._given("Port"):
            self.port = port

    def _show_config(self, _: str) -> None:
        self.show_config = True

    def _query(self, value: str) -> None:
        self.query = value

    def _version(self, _: str) -> None:
        self.version = True


_DEEDS: Final[dict[str, Callable[[Invocation, str], None]]] = {
    "1": Invocation._first_version,
    "D": Invocation._dynamic_forward,
    "E": Invocation._log_file,
    "F": Invocation._file,
    "G": Invocation._show_config,
    "J": Invocation._jump,
    "L": Invocation._local_forward,
    "M": Invocation._master,
    "O": Invocation._control,
    "i": Invocation._identity,
    "l": Invocation._login_name,
    "o": Invocation._option,
    "P": Invocation._tag,
    "p": Invocation._port,
    "Q": Invocation._query,
    "R": Invocation._remote_forward,
    "q": Invocation._quiet,
    "t": Invocation._terminal_wanted,
    "V": Invocation._version,
    "W": Invocation._stdio_forward,
    "w": Invocation._device,
    "v": Invocation._louder,
    "y": Invocation._system_log,
}


def parse(arguments: list[str]) -> Invocation:
    """Read a command line; flags may stand before and behind the destination."""
    made = Invocation()
    try:
        options = Options(arguments, _ACCEPTED)
        for letter, value in options:
            made.take(letter, value)
        rest = options.rest
        if rest:
            made.arrive(rest.pop(0))
            if not options.ended:
                options = Options(rest, _ACCEPTED)
                for letter, value in options:
                    made.take(letter, value)
                rest = options.rest
            made.command = rest
        made.settle()
    except OptionError as error:
        raise Failure(f"ssh: {error}\n{USAGE}") from None
    return made


def configure(invocation: Invocation, surroundings: LocalSurroundings) -> SshConfig:
    """The values that hold for the destination, as they are written; its parts are checked first (R170)."""
    options = list(invocation.options)
    if invocation.level:
        # -v and -q stand over every LogLevel.
        options.insert(0, f"LogLevel={invocation.level}")
    if "SessionType=none" in options:
        session = "none"
    elif "SessionType=subsystem" in options:
        session = "subsystem"
    else:
        session = "exec" if invocation.command else "shell"
    return read_ssh_config(
        surroundings,
        invocation.host or "",
        user=invocation.user,
        port=invocation.port,
        options=options,
        file=invocation.file,
        command=" ".join(invocation.command),
        session=session,
    )


def make_journal(invocation: Invocation, config: SshConfig) -> Journal:
    """Where words go: standard error, the file of -E, or the system's log."""
    made = _sink(invocation, config)
    if not config.log_verbose:
        return made
    from tellin.runtime.places_journal import PlacesJournal

    return PlacesJournal(made, config.log_verbose, program="ssh")


def _sink(invocation: Invocation, config: SshConfig) -> Journal:
    level = LEVELS[config.log_level]
    if invocation.to_system_log:
        from tellin.server.system_log import SystemJournal, facility

        return SystemJournal(level, facility=facility(config.syslog_facility), program="ssh")
    fd = 2
    if invocation.log_file:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            fd = os.open(invocation.log_file, flags, 0o600)
        except OSError as error:
            raise Failure(
                f"Couldn't open logfile {invocation.log_file}: {error.strerror}"
            ) from None
    return Journal(level, to_descriptor(fd))


def run(arguments: list[str]) -> int:
    """Do what the command line says; the exit status is the remote command's, or 255."""
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        # Nobody is logged in yet. A shell leaves its loop for a Ctrl-C only if it sees us die by it.
        sys.stdout.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        raise


def _run(arguments: list[str]) -> int:
    # What is loaded stays: looking through it for garbage again and again is a tenth of a start.
    gc.disable()
    invocation = parse(arguments)
    if invocation.version:
        print(_version(), file=sys.stderr)
        return 0
    if invocation.query:
        from tellin.programs.ssh.query import answer

        return answer(invocation.query)
    if invocation.host is None:
        raise Failure(USAGE)
    surroundings = LocalSurroundings()
    config = configure(invocation, surroundings)
    if invocation.show_config:
        config = config.shown(surroundings)
        from tellin.client.offer import algorithms
        from tellin.config.algorithm_lists import with_lists

        print("\n".join(with_lists(config, algorithms(config)).dump()))
        return 0
    config = config.expanded(surroundings)
    journal = make_journal(invocation, config)
    try:
        return _connect(invocation, config, journal)
    except Failure:
        raise
    except TellinError as error:
        if isinstance(error, ConnectFailed):
            journal.error(f"ssh: {error}")
        else:
            journal.fatal(str(error))
        elsewhere = invocation.log_file or invocation.to_system_log
        if error.hint and not elsewhere and os.isatty(2):
            journal.info(error.hint)
        return FAILED


def _connect(invocation: Invocation, config: SshConfig, journal: Journal) -> int:
    config.check_permitted()
    if invocation.control and config.control_path is None:
        raise ConfigError('No ControlPath specified for "-O" command')
    if config.control_path is not None:
        # Loaded before all that a connection of our own needs: who rides another's needs none of it.
        from tellin.programs.ssh.passenger import ride
        from tellin.programs.ssh.wishes import wanted_command

        alone = invocation.control not in {"", "proxy"}
        command = b"" if alone else wanted_command(invocation.command, config)
        status = ride(
            config, journal, command=command, stdio=invocation.stdio, control=invocation.control
        )
        if status is not None:
            return status
    from tellin.programs.ssh.connecting import Connecting
    from tellin.runtime.loop import SmallLoop

    if config.algorithms_named:
        # R114: a name that nobody knows is refused before anything is done. Who names none does
        # not wait for the tables here.
        from tellin.client.offer import algorithms

        algorithms(config)
    loop = SmallLoop()
    connecting: Any = (
        Connecting(loop, config, journal)
        if config.proxy_jump is None
        else _jumping(invocation, loop, config, journal)
    )
    try:
        if journal.debugs:
            journal.debug(_version())
            for line in config.story:
                journal.debug(line)
        connecting.start()
        # Only now what takes long to load: the greeting is on its way meanwhile.
        from tellin.programs.ssh.run import Run

        return Run(
            loop, config, journal, connecting, command=invocation.command, stdio=invocation.stdio
        ).run()
    finally:
        connecting.end()
        loop.close()


def _jumping(invocation: Invocation, loop: Any, config: SshConfig, journal: Journal) -> Any:
    """The way through other hosts; who goes straight to the server does not pay for it."""
    from tellin.programs.ssh.jumping import Jumping

    # -v holds for the hops too; of other options each has its own.
    level = [f"LogLevel={invocation.level}"] if invocation.level not in {"", "QUIET"} else []
    return Jumping(loop, config, journal, file=invocation.file, options=level)


def _version() -> str:
    from tellin.transport.version import VERSION

    return f"tellin_{VERSION}, Python {sys.version.partition(' ')[0]}"


PROGRAM: Final = Program(
    "ssh",
    "run a command, or a shell, on another machine",
    run,
    options="".join(
        letter + (":" if letter in _WITH_VALUE else "")
        for letter in sorted({*_PLAIN, *_VALUED, *_DEEDS} - _REFUSED.keys() - {"1"})
    ),
)
