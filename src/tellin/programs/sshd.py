# SPDX-License-Identifier: MIT
"""sshd: serves this machine's accounts, or as an ordinary user that user alone."""

import os
import sys
import syslog
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from tellin.algorithms.key_exchange import Moduli
from tellin.config.algorithm_lists import server_algorithms, with_lists
from tellin.config.sshd_reading import SERVER_FILE, SshdSettings, read_sshd_config
from tellin.errors import ConfigError, KeyFileError, TellinError
from tellin.keys.formats import load_private_key
from tellin.keys.private import PrivateKey
from tellin.programs.command import Failure, OptionError, Options, Program
from tellin.runtime.files import read_file
from tellin.runtime.journal import DEBUG1, LEVELS, QUIET, Journal, to_descriptor
from tellin.runtime.loop import SmallLoop
from tellin.runtime.privileges import mend_standard_descriptors
from tellin.runtime.sockets import PipePair, Socket
from tellin.runtime.surroundings import LocalSurroundings
from tellin.server.daemon import UNKNOWN_PEER, Daemon, Offer, peer_of, serve_alone
from tellin.transport.settings import VERSION

USAGE: Final = """usage: tellin sshd [-46DdeGiqTtV] [-E log_file] [-f config_file]
                   [-h host_key_file] [-o option] [-p port]"""
_LARGEST_KEY_FILE: Final = 1 << 20
_LARGEST_MODULI_FILE: Final = 4 << 20
_PRIVATE_MODES: Final = 0o077


class _Invocation:
    """What the command line said."""

    def __init__(self, arguments: list[str]) -> None:
        self.file = SERVER_FILE
        self.options: list[str] = []
        self.log_file = ""
        self.debug = 0
        self.letters = ""
        options = Options(arguments, "46DdeGiqTtVE:f:h:o:p:")
        for letter, value in options:
            match letter:
                case "4" | "6":
                    self.options.append(f"AddressFamily={'inet' if letter == '4' else 'inet6'}")
                case "E":
                    self.log_file = value
                case "f":
                    self.file = value
                case "h":
                    self.options.append(f"HostKey={value}")
                case "o":
                    self.options.append(value)
                case "p":
                    self.options.append(f"Port={value}")
                case "d":
                    self.debug = min(3, self.debug + 1)
                case _:
                    self.letters += letter
        if options.rest:
            raise OptionError(f"Extra argument {options.rest[0]}.")

    def has(self, letter: str) -> bool:
        """Whether a flag was given."""
        return letter in self.letters


def run(arguments: list[str]) -> int:
    """The program."""
    try:
        invocation = _Invocation(arguments)
    except OptionError as error:
        raise Failure(f"{error}\n{USAGE}", status=1) from None
    if invocation.has("V"):
        print(f"tellin_{VERSION}", file=sys.stderr)
        return 0
    mend_standard_descriptors()
    configuration = _read(invocation)
    if invocation.has("G"):
        _print(configuration)
        return 0
    journal = _journal(invocation, configuration)
    for warning in configuration.warnings:
        journal.error(warning)
    offer = _offer(configuration, journal)
    if invocation.has("T"):
        _print(configuration)
    if invocation.has("T") or invocation.has("t"):
        return 0
    if invocation.has("i"):
        return _serve_standard_streams(offer, journal)
    return _listen(invocation, offer, journal)


def _read(invocation: _Invocation) -> SshdSettings:
    try:
        return read_sshd_config(
            LocalSurroundings(), file=invocation.file, options=invocation.options
        )
    except ConfigError as error:
        raise Failure(str(error), status=255, hint=error.hint) from None


def _print(configuration: SshdSettings) -> None:
    config = configuration.always
    for line in with_lists(config, server_algorithms(config)).dump():
        print(line)


def _journal(invocation: _Invocation, configuration: SshdSettings) -> Journal:
    level = LEVELS.get(configuration.always.log_level, LEVELS["INFO"])
    if invocation.debug:
        level = DEBUG1 + invocation.debug - 1
    if invocation.has("q"):
        level = QUIET
    return Journal(level, _writer(invocation))


def _writer(invocation: _Invocation) -> Callable[[str], None]:
    if invocation.log_file:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            return to_descriptor(os.open(invocation.log_file, flags, 0o600))
        except OSError as error:
            raise Failure(
                f"Couldn't open logfile {invocation.log_file}: {error.strerror}", status=1
            ) from None
    if invocation.has("e") or invocation.debug or any(map(invocation.has, "tT")):
        return to_descriptor(2)
    syslog.openlog("sshd", syslog.LOG_PID, syslog.LOG_AUTH)
    return syslog.syslog


def _offer(configuration: SshdSettings, journal: Journal) -> Offer:
    config = configuration.always
    keys = [key for path in config.host_key if (key := _host_key(path, journal)) is not None]
    if not keys:
        raise Failure("sshd: no hostkeys available -- exiting.", status=1)
    try:
        return Offer.of(configuration, keys, _moduli(config.moduli_file))
    except ConfigError as error:
        raise Failure(str(error), status=255, hint=error.hint) from None


def _host_key(path: str, journal: Journal) -> PrivateKey | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - the path as the configuration has it
        if status.st_uid == os.getuid() and status.st_mode & _PRIVATE_MODES:
            journal.error(
                f"Permissions 0{status.st_mode & 0o777:o} for '{path}' are too open;"
                " this private key will be ignored."
            )
            return None
        data = read_file(path, limit=_LARGEST_KEY_FILE)
    except OSError as error:
        journal.error(f"Unable to load host key: {path}: {error.strerror}")
        return None
    try:
        return load_private_key(data, name=path)
    except KeyFileError as error:
        journal.error(f"Unable to load host key: {error}")
        return None


def _moduli(path: str) -> Moduli | None:
    with suppress(OSError):
        return Moduli.parse(read_file(path, limit=_LARGEST_MODULI_FILE).decode("ascii", "replace"))
    return None


def _serve_standard_streams(offer: Offer, journal: Journal) -> int:
    """-i: the connection is standard input and output, a socket or two pipes."""
    try:
        connection = Socket(fileno=os.dup(0))
        peer = peer_of(connection)
        connection.setblocking(False)
        serve_alone(connection, peer, offer, journal)
    except OSError:
        serve_alone(PipePair(os.dup(0), os.dup(1)), UNKNOWN_PEER, offer, journal)
    return 0


def _listen(invocation: _Invocation, offer: Offer, journal: Journal) -> int:
    loop = SmallLoop()
    daemon = Daemon(loop, offer, journal)
    try:
        daemon.listen()
    except OSError as error:
        raise Failure(f"Cannot bind any address: {error.strerror}.", status=255) from None
    if invocation.debug:
        return _serve_once(daemon, loop, offer, journal)
    if not invocation.has("D"):
        _detach(daemon)
    pid_file = offer.configuration.always.pid_file

    def write_pid() -> None:
        if pid_file is not None:
            try:
                Path(pid_file).write_text(f"{os.getpid()}\n", encoding="ascii")
            except OSError as error:
                journal.error(f'Couldn\'t create pid file "{pid_file}": {error.strerror}')

    def reload() -> Offer | None:
        try:
            fresh = _offer(_read(invocation), journal)
        except TellinError as error:
            journal.error(str(error))
            return None
        write_pid()
        return fresh

    daemon.on_reload = reload
    write_pid()
    try:
        daemon.run()
    finally:
        if pid_file is not None:
            with suppress(OSError):
                Path(pid_file).unlink()
    return 0


def _serve_once(daemon: Daemon, loop: SmallLoop, offer: Offer, journal: Journal) -> int:
    """-d: one connection, in this process."""
    taken = daemon.take_one()
    loop.run_until(lambda: taken)
    connection, peer = taken[0]
    daemon.close()
    serve_alone(connection, peer, offer, journal)
    return 0


def _detach(daemon: Daemon) -> None:
    """Go to the background; the socket listens already, so whoever started us may connect."""
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    daemon.renew_loop()


PROGRAM: Final = Program("sshd", "serve logins to this machine", run)
