# SPDX-License-Identifier: MIT
"""sshd: serves this machine's accounts, or as an ordinary user that user alone."""

import _socket
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tellin.algorithms.key_exchange import Moduli
from tellin.config.algorithm_lists import with_lists
from tellin.config.sshd_config import SshdConfig
from tellin.config.sshd_reading import SERVER_FILE, Peer, SshdSettings, read_sshd_config
from tellin.errors import ConfigError, KeyFileError, TellinError
from tellin.keys.certificates import Certificate, CertificateRole, load_certificate
from tellin.keys.formats import load_private_key
from tellin.keys.private import PrivateKey
from tellin.programs.command import Failure, OptionError, Options, Program
from tellin.programs.sshd_service import Service, serve_once, serve_standard_streams
from tellin.runtime.files import read_file
from tellin.runtime.journal import DEBUG1, LEVELS, QUIET, Journal, to_descriptor
from tellin.runtime.privileges import Account, mend_standard_descriptors
from tellin.runtime.surroundings import LocalSurroundings
from tellin.server.authentication.access import group_names
from tellin.server.offer import Offer
from tellin.server.settings import algorithms, check, required_rsa_size
from tellin.server.system_log import SystemJournal, facility
from tellin.transport.version import VERSION

USAGE: Final = """usage: tellin sshd [-46DdeGiqTtV] [-C connection_spec] [-E log_file]
                   [-f config_file] [-g login_grace_time] [-h host_key_file]
                   [-o option] [-p port] [-u len]"""

_OPTIONS: Final = "46DdeGiqTtVC:E:f:g:h:o:p:u:"
_LARGEST_KEY_FILE: Final = 1 << 20
# Where Debian and its kin have the file; the others keep it where OpenSSH puts it.
_DEBIAN_MODULI: Final = "/etc/ssh/moduli"
_LARGEST_MODULI_FILE: Final = 4 << 20
_PRIVATE_MODES: Final = 0o077
_LAST_PORT: Final = 65535
_LOG_MODE: Final = 0o600

# Exit statuses that scripts know from OpenSSH: its sshd ends with 1 where it exits by itself, and
# with 255 where it calls the fault fatal.
_EXITS: Final = 1
_FATAL: Final = 255


def _absolute(path: str) -> str:
    # A daemon leaves the directory it was started in, and may read the file once more later.
    return os.path.abspath(path)  # noqa: PTH100 - the path as it was given, links and all


def _port(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", value) or int(value) > _LAST_PORT:
        raise Failure("Bad port number.", status=_EXITS)
    return int(value)


_AS_OPTIONS: Final[dict[str, Callable[[str], str]]] = {
    "4": lambda _: "AddressFamily=inet",
    "6": lambda _: "AddressFamily=inet6",
    "g": lambda value: f"LoginGraceTime={value}",
    "h": lambda value: f'HostKey="{_absolute(value)}"',
    "o": lambda value: value,
}


class Invocation:
    """What the command line said."""

    def __init__(self, arguments: list[str]) -> None:
        self.file = SERVER_FILE
        self.options: list[str] = []
        self.ports: list[int] = []
        self.log_file = ""
        self.debug = 0
        self.letters = ""
        options = Options(arguments, _OPTIONS)
        described: list[str] = []
        for letter, value in options:
            if letter == "C":
                described.append(value)
            else:
                self._take(letter, value)
        self.tested = _Tested(described) if described else None
        if options.rest:
            raise OptionError(f"Extra argument {options.rest[0]}.")

    def _take(self, letter: str, value: str) -> None:
        option = _AS_OPTIONS.get(letter)
        if option is not None:
            self.options.append(option(value))
            return
        match letter:
            case "E":
                self.log_file = _absolute(value)
            case "f":
                self.file = value if value == "none" else _absolute(value)
            case "p":
                self.ports.append(_port(value))
            case "u":
                # How long a host name utmp takes; 0 has come to mean "ask no name server".
                if value == "0":
                    self.options.append("UseDNS=no")
            case "d":
                self.debug = min(3, self.debug + 1)
            case _:
                self.letters += letter

    def has(self, letter: str) -> bool:
        """Whether a flag was given."""
        return letter in self.letters

    @property
    def tests(self) -> bool:
        """Whether nothing is to be served."""
        return any(map(self.has, "TtG"))


def run(arguments: list[str]) -> int:
    """The program."""
    try:
        invocation = Invocation(arguments)
    except OptionError as error:
        raise Failure(f"{error}\n{USAGE}", status=_EXITS) from None
    if invocation.has("V"):
        print(f"tellin_{VERSION}", file=sys.stderr)
        return 0
    mend_standard_descriptors()
    log = _open_log(invocation)
    journal = _journal(invocation, log)
    try:
        return _run(invocation, journal, log)
    except TellinError as error:
        # -E: then standard error says nothing. And a socket that inetd gave us as standard error
        # is the client's.
        if log is None and not (invocation.has("i") and not invocation.has("e")):
            raise
        journal.fatal(str(error))
        status = error.status if isinstance(error, Failure) else None
        return _FATAL if status is None else status


def _run(invocation: Invocation, journal: Journal, log: int | None) -> int:
    if invocation.tested and not (invocation.has("T") or invocation.has("G")):
        raise Failure(
            "Config test connection parameter (-C) provided without test mode (-T)",
            status=_FATAL,
        )
    configuration = _read(invocation)
    if invocation.has("G"):
        _print(configuration, invocation)
        return 0
    _adopt_log(invocation, configuration, journal)
    _warn(configuration, journal)
    offer = _offer(configuration, journal)
    if invocation.has("T"):
        _print(configuration, invocation)
    if invocation.tests:
        return 0
    # What users and their commands make is never writable for others by our doing.
    os.umask(os.umask(0o077) | 0o022)
    if invocation.has("i"):
        return serve_standard_streams(offer, journal)

    def reload() -> Offer:
        if log is not None:
            # Whoever turns logs over has moved the file away.
            fresh = _open_log(invocation)
            assert fresh is not None
            os.dup2(fresh, log, inheritable=False)
            os.close(fresh)
        configuration = _read(invocation)
        made = _offer(configuration, journal)
        _adopt_log(invocation, configuration, journal)
        _warn(configuration, journal)
        return made

    service = Service(offer, journal, reload)
    if invocation.debug:
        return serve_once(service.listen(), offer, journal)
    return service.run(foreground=invocation.has("D"))


def _read(invocation: Invocation) -> SshdSettings:
    if invocation.file != "none" and not os.path.lexists(invocation.file):
        raise Failure(f"{invocation.file}: No such file or directory", status=_EXITS)
    try:
        found = read_sshd_config(
            LocalSurroundings(),
            file=invocation.file,
            options=invocation.options,
            ports=invocation.ports,
        )
        check(found)
    except ConfigError as error:
        raise _config_failure(error) from None
    return found


def _warn(configuration: SshdSettings, journal: Journal) -> None:
    for warning in configuration.warnings:
        journal.error(warning)
    config = configuration.always
    if config.is_set("print_last_log") and config.print_last_log:
        journal.info("PrintLastLog: no record of logins is kept yet, so none is shown")


def _config_failure(error: ConfigError) -> Failure:
    # The hint is part of the line: most of these are read in a log, long after they were written.
    unknown_option = not error.line and "Bad configuration option" in str(error)
    text = f"{error} ({error.hint})" if error.hint else str(error)
    return Failure(text, status=_EXITS if unknown_option else _FATAL)


# Test modes


class _Tested:
    """The connection that -C describes."""

    def __init__(self, specifications: list[str]) -> None:
        self._given: dict[str, str] = {}
        for specification in specifications:
            for part in specification.split(","):
                if not part:
                    # OpenSSH's reads no further either.
                    break
                self._take(part)

    def _take(self, part: str) -> None:
        name, equals, value = part.partition("=")
        if part != "invalid-user" and (name not in _SPECIFIED or not equals):
            raise Failure(f"Invalid test mode specification {part}", status=_EXITS)
        if name == "lport":
            port = _port_number(value)
            if port is None:
                raise Failure(
                    f"Invalid port '{value}' in test mode specification {part}", status=_EXITS
                )
            value = str(port)
        self._given[name] = value

    def peer(self) -> Peer:
        """As far as it is described; of the rest no criterion holds."""
        given = self._given
        user = given.get("user", "")
        account = Account.named(user) if user else None
        return Peer(
            user=user,
            groups=tuple(group_names(account)) if account else (),
            invalid_user="invalid-user" in given,
            host=given.get("host", ""),
            address=given.get("addr", ""),
            local_address=given.get("laddr", ""),
            local_port=int(given.get("lport", "0")),
            routing_domain=given.get("rdomain"),
        )


_SPECIFIED: Final = frozenset({"user", "host", "addr", "laddr", "lport", "rdomain"})


def _port_number(text: str) -> int | None:
    """A port by its number, or by the name of its service."""
    if re.fullmatch(r"[0-9]{1,5}", text) and int(text) <= _LAST_PORT:
        return int(text)
    try:
        return _socket.getservbyname(text, "tcp")
    except (OSError, ValueError):
        return None


def _print(configuration: SshdSettings, invocation: Invocation) -> None:
    # Without -C nothing is known of the connection; what is for all holds all the same.
    peer = Peer() if invocation.tested is None else invocation.tested.peer()
    if invocation.tested and not peer.local_port and configuration.asks_for("localport"):
        raise Failure(
            "'Match LocalPort' in configuration but 'lport' not in connection test specification.",
            status=_FATAL,
        )
    config = configuration.for_peer(peer)
    try:
        lists = algorithms(config)
    except ConfigError as error:
        raise _config_failure(error) from None
    for line in with_lists(config, lists).dump():
        print(line)


# The log


def _open_log(invocation: Invocation) -> int | None:
    if not invocation.log_file:
        return None
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
    try:
        return os.open(invocation.log_file, flags, _LOG_MODE)
    except OSError as error:
        raise Failure(
            f"Couldn't open logfile {invocation.log_file}: {error.strerror}", status=_EXITS
        ) from None


def _journal(invocation: Invocation, log: int | None) -> Journal:
    level = _level(invocation, "INFO")
    if log is not None:
        return Journal(level, to_descriptor(log))
    if invocation.has("e") or invocation.debug or invocation.tests:
        return Journal(level, to_descriptor(2))
    return SystemJournal(level)


def _level(invocation: Invocation, configured: str) -> int:
    if invocation.has("q"):
        return QUIET
    if invocation.debug:
        return DEBUG1 + invocation.debug - 1
    return LEVELS[configured]


def _adopt_log(invocation: Invocation, configuration: SshdSettings, journal: Journal) -> None:
    journal.level = _level(invocation, configuration.always.log_level)
    if isinstance(journal, SystemJournal):
        journal.go_to(facility(configuration.always.syslog_facility))


# What is offered


def _offer(configuration: SshdSettings, journal: Journal) -> Offer:
    config = configuration.always
    complain: Callable[[str], None] = journal.error
    if not config.is_set("host_key"):
        # Nobody asked for these; not every machine has all of them.
        complain = journal.debug
    keys = [key for path in config.host_key if (key := _host_key(path, complain)) is not None]
    # OpenSSH has no key that is too short for its users either.
    shortest = required_rsa_size(config)
    for key in [key for key in keys if key.public.kind == "RSA" and key.public.bits < shortest]:
        complain(f"Host key {key.public.fingerprint()}: Invalid key length")
        keys.remove(key)
    for number, key in enumerate(keys):
        journal.debug(
            f"private host key #{number}: {key.public.key_type} {key.public.fingerprint()}"
        )
    if not keys:
        raise Failure("sshd: no hostkeys available -- exiting.", status=_EXITS)
    try:
        certificates = _host_certificates(config, keys, journal)
        return Offer.of(configuration, keys, _moduli(config), certificates)
    except ConfigError as error:
        raise _config_failure(error) from None


def _host_key(path: str, complain: Callable[[str], None]) -> PrivateKey | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - the path as the configuration has it
        if status.st_uid == os.getuid() and status.st_mode & _PRIVATE_MODES:
            # Whoever could read it may have it: then it proves nothing.
            mode = f"0{status.st_mode & 0o777:o}"
            complain(
                f'Unable to load host key "{path}": bad permissions: {mode} is too open'
                " for a private key"
            )
            return None
        data = read_file(path, limit=_LARGEST_KEY_FILE)
    except OSError as error:
        complain(f'Unable to load host key "{path}": {error.strerror}')
        return None
    except ConfigError as error:
        complain(f"Unable to load host key: {error}")
        return None
    try:
        return load_private_key(data, name=path)
    except KeyFileError as error:
        complain(f"Unable to load host key: {error}")
        return None


def _host_certificates(
    config: SshdConfig, keys: list[PrivateKey], journal: Journal
) -> list[Certificate]:
    """The certificates for our keys: of two for one key the last."""
    found: dict[bytes, Certificate] = {}
    ours = {key.public.blob for key in keys}
    for path in config.host_certificate:
        try:
            made = load_certificate(read_file(path, limit=_LARGEST_KEY_FILE))
        except (OSError, TellinError) as error:
            cause = error.strerror if isinstance(error, OSError) else str(error)
            journal.error(f'Could not load host certificate "{path}": {cause}')
            continue
        if made.role is not CertificateRole.HOST:
            journal.error(f"Certificate file is not a host's certificate: {path}")
        elif made.key.blob not in ours:
            journal.error(f"No matching private key for certificate: {path}")
        else:
            found[made.key.blob] = made
            journal.debug(f"host certificate: {made.key_type} {made.fingerprint()}")
    return list(found.values())


def _moduli(config: SshdConfig) -> Moduli | None:
    paths = [config.moduli_file]
    if not config.is_set("moduli_file"):
        paths.append(_DEBIAN_MODULI)
    for path in paths:
        with suppress(OSError):
            text = read_file(path, limit=_LARGEST_MODULI_FILE).decode("ascii", "replace")
            return Moduli.parse(text)
    return None


PROGRAM: Final = Program("sshd", "serve logins to this machine", run, options=_OPTIONS)
