# SPDX-License-Identifier: MIT
"""sftp-server and internal-sftp: one client's files on two descriptors, in the user's own process."""

import getopt
import os
import time
from collections.abc import Callable, Sequence
from typing import Final

from tellin.config.kinds import SYSLOG_FACILITY
from tellin.config.tokens import expand, expand_tilde
from tellin.errors import ConfigError, ProtocolError, TellinError, UsageError
from tellin.runtime.descriptors import enlarge_pipe
from tellin.runtime.journal import DEBUG1, ERROR, LEVELS, Journal, to_descriptor
from tellin.runtime.privileges import Account
from tellin.server.files.sftp_files import LocalFiles
from tellin.server.system_log import SystemJournal, facility
from tellin.sftp.file_system import FileSystem
from tellin.sftp.handlers import MOST_HANDLES, Handlers, Permits
from tellin.sftp.messages import EXTENSIONS, REQUESTS, Extended
from tellin.sftp.server import Aside, Places, SftpServer
from tellin.userauth.text import escape_text
from tellin.wire import Record

USAGE: Final = """\
usage: sftp-server [-ehLR] [-d start_directory] [-f log_facility] [-l log_level]
\t[-P denied_requests] [-p allowed_requests] [-r root_directory] [-u umask]
       sftp-server -Q protocol_feature"""

# What a configuration or a key calls the server that is part of ours.
BUILT_IN: Final = "internal-sftp"
REQUEST_NAMES: Final = tuple(
    kind.name for kind in (*REQUESTS.values(), *EXTENSIONS.values()) if kind is not Extended
)
OPTIONS: Final = "d:f:l:P:p:Q:r:u:cehLR"
_ONCE: Final = {"-P": "Refused", "-p": "Permitted"}
_MALFORMED: Final = 11
_FAILED: Final = 255
# Standard streams, a log, and what a directory is read through.
_OTHER_DESCRIPTORS: Final = 16
_MOST_VIEWS: Final = 1024
_SALT: Final = 8


class Wishes(Record):
    """What the command line said."""

    directory: str = ""
    root: str = ""
    umask: int | None = None
    read_only: bool = False
    denied: frozenset[str] = frozenset()
    allowed: frozenset[str] | None = None
    level: int = ERROR
    facility: str = "AUTH"
    to_stderr: bool = False
    link_first: bool = False
    query: str = ""
    help: bool = False


def parse_wishes(arguments: Sequence[str]) -> Wishes:
    """Read the options; raises UsageError."""
    wishes = Wishes()
    seen: set[str] = set()
    try:
        options, _ = getopt.getopt(list(arguments), OPTIONS)
    except getopt.GetoptError as error:
        raise UsageError(f"sftp-server: {error}") from None
    for letter, value in options:
        if letter == "-c":
            # ``sftp-server -c command``, as a login shell: nothing behind it counts.
            break
        if letter in _ONCE and letter in seen:
            raise UsageError(f"{_ONCE[letter]} requests already set")
        seen.add(letter)
        name, read = _OPTIONS[letter]
        setattr(wishes, name, read(value))
    return wishes


def _yes(_value: str) -> bool:
    return True


def _requests(value: str) -> frozenset[str]:
    return frozenset(value.split(","))


def _level(value: str) -> int:
    name = value.upper()
    found = DEBUG1 if name == "DEBUG" else LEVELS.get(name)
    if found is None:
        raise UsageError(f'Invalid log level "{escape_text(value)}"')
    return found


def _facility(value: str) -> str:
    try:
        return SYSLOG_FACILITY.read([value])
    except ConfigError:
        raise UsageError(f'Invalid log facility "{escape_text(value)}"') from None


def _umask(value: str) -> int:
    if not value or len(value) > 6 or set(value) - set("01234567") or int(value, 8) > 0o777:
        raise UsageError(f'Invalid umask "{escape_text(value)}"')
    return int(value, 8)


# Letter -> the wish that it sets, and how its value is read.
_OPTIONS: Final[dict[str, tuple[str, Callable[[str], object]]]] = {
    "-d": ("directory", str),
    "-e": ("to_stderr", _yes),
    "-f": ("facility", _facility),
    "-h": ("help", _yes),
    "-l": ("level", _level),
    "-L": ("link_first", _yes),
    "-P": ("denied", _requests),
    "-p": ("allowed", _requests),
    "-Q": ("query", str),
    "-R": ("read_only", _yes),
    "-r": ("root", str),
    "-u": ("umask", _umask),
}


class FileService:
    """One client's talk in a process of its user's, with the words about it in the log; raises OSError and ConfigError."""

    def __init__(
        self,
        wishes: Wishes,
        account: Account,
        *,
        program: str,
        source: str,
        places: Places | None = None,
        aside: Aside | None = None,
        most_handles: int = MOST_HANDLES,
    ) -> None:
        self._journal = journal = _journal(wishes, program)
        self._source = source.partition(" ")[0]
        self._name = account.name
        self._where = f"{account.name} from [{self._source}]"
        try:
            files = _files(wishes, account, journal)
        except (OSError, ConfigError) as error:
            # R179: what cannot be kept in one directory is not served from all of them.
            journal.fatal(f"cannot serve from {wishes.root}: {error}")
            raise
        self.server = SftpServer(
            Handlers(
                files,
                permits=Permits(wishes.read_only, wishes.denied, wishes.allowed),
                salt=os.urandom(_SALT),
                most_handles=_most_handles(most_handles),
                target_first=not wishes.link_first,
                note=journal.say,
                show_time=_show_time,
            ),
            places=places,
            aside=aside,
        )
        journal.info(f"session opened for local user {self._where}")

    def failed(self, error: Exception) -> int:
        """The status of a talk that ended like this."""
        if isinstance(error, ProtocolError):
            self._journal.error(
                f"bad message from {self._source} local user {self._name}: {error}"
            )
            return _MALFORMED
        if isinstance(error, OSError):
            # The client is gone in the middle of a reply.
            self._journal.debug(f"write: {error.strerror}")
        else:
            self._journal.error(f"{type(error).__name__}: {error}")
        return _FAILED

    def end(self) -> None:
        """Close what the client has open."""
        self.server.end()
        self._journal.info(f"session closed for local user {self._where}")


def serve_files(
    wishes: Wishes,
    account: Account,
    *,
    program: str = "sftp-server",
    descriptors: tuple[int, int] = (0, 1),
) -> int:
    """Serve one client to its end; the status is that of the process."""
    if wishes.umask is not None:
        os.umask(wishes.umask)
    source = os.environ.get("SSH_CONNECTION", "UNKNOWN")
    try:
        service = FileService(wishes, account, program=program, source=source)
    except (OSError, ConfigError):
        return _FAILED
    try:
        _pump(service.server, *descriptors)
    except (ProtocolError, OSError) as error:
        return service.failed(error)
    finally:
        service.end()
    return 0


def _journal(wishes: Wishes, program: str) -> Journal:
    if wishes.to_stderr:
        return Journal(wishes.level, to_descriptor(2))
    return SystemJournal(wishes.level, facility=facility(wishes.facility), program=program)


def _files(wishes: Wishes, account: Account, journal: Journal) -> FileSystem:
    """What is served, from where the client begins."""

    def expanded(path: str) -> str:
        tokens = {"d": lambda: account.home, "u": lambda: account.name}
        return expand(expand_tilde(path, account.home, _home_of), tokens, allowed="du")

    files: FileSystem = LocalFiles()
    enter: Callable[[str], object] = os.chdir
    if wishes.root:
        # Here because it needs ctypes, for which every other session would wait.
        from tellin.server.files.rooted_files import RootedFiles  # noqa: PLC0415

        rooted = RootedFiles(expanded(wishes.root))
        files, enter = rooted, rooted.enter
    try:
        if wishes.directory:
            enter(expanded(wishes.directory))
    except OSError as error:
        journal.error(f'chdir to "{wishes.directory}" failed: {error.strerror}')
    except ConfigError as error:
        journal.error(f'chdir to "{wishes.directory}" failed: {error}')
    return files


def _home_of(user: str) -> str | None:
    found = Account.named(user)
    return None if found is None else found.home


def _most_handles(most: int) -> int:
    # Each is a descriptor (R180); what it is said to be is what there is.
    return max(1, min(most, os.sysconf("SC_OPEN_MAX") - _OTHER_DESCRIPTORS))


def _show_time(seconds: int) -> str:
    return time.strftime("%Y%m%d-%H:%M:%S", time.localtime(seconds))


def _pump(session: SftpServer, incoming: int, outgoing: int) -> None:
    """Read, do, write: there is nothing else to wait for in this process."""
    for descriptor in (incoming, outgoing):
        enlarge_pipe(descriptor)
    while True:
        while session.waiting:
            session.sent(os.writev(outgoing, session.to_send()[:_MOST_VIEWS]))
        count = os.readv(incoming, [session.writable()])
        if not count:
            return
        session.received(count)


def serve_built_in(arguments: Sequence[str], account: Account) -> int:
    """internal-sftp: the same in a process that was forked for it. Nothing is raised."""
    try:
        return serve_files(parse_wishes(arguments), account, program="internal-sftp")
    except TellinError as error:
        os.write(2, f"{error}\r\n".encode("utf-8", "backslashreplace"))
        return 1
