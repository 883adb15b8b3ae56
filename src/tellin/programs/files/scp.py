# SPDX-License-Identifier: MIT
"""scp: files to and from other hosts, by SFTP; with -O by the protocol of rcp."""

# Paths are bytes, as they are: pathlib takes none.
# ruff: noqa: PTH102, PTH116

import os
import stat
import sys
from collections.abc import Callable, Sequence
from typing import Final

from tellin.config.destination import parse_port
from tellin.errors import ConnectionLost, ProtocolError, SftpError, UsageError
from tellin.programs.command import Failure, OptionError, Options, Program, say_error
from tellin.programs.files.copying import Copier, Manner
from tellin.programs.files.link import FileLink, reason, ssh_program
from tellin.programs.files.meter import Meter
from tellin.programs.files.options import (
    FLAGS_FOR_SSH,
    VALUES_FOR_SSH,
    Tuning,
    kilobits_of,
    tune,
)
from tellin.programs.files.places import (
    Place,
    is_directory,
    is_there,
    joined,
    last_name,
    place_of,
    shown,
)
from tellin.runtime.loop import SmallLoop
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.wire import Record

USAGE: Final = """\
usage: scp [-346ABCOpqRrsTv] [-c cipher] [-D sftp_server_path] [-F ssh_config]
           [-i identity_file] [-J destination] [-l limit] [-o ssh_option]
           [-P port] [-S program] [-X sftp_option] source ... target"""

_OPTIONS: Final = "346ABCdfOpqRrstTvc:D:F:i:J:l:o:P:S:X:"
_FAILED: Final = 1
_BROKEN: Final = 255
# What a copy's connection is for, whatever the configuration says of a login's.
_BEGIN: Final = (
    "-x",
    "-oPermitLocalCommand=no",
    "-oClearAllForwardings=yes",
    "-oRemoteCommand=none",
    "-oRequestTTY=no",
)


class Orders(Record):
    """What the command line said."""

    recursive: bool = False
    preserve: bool = False
    quiet: bool = False
    verbose: int = 0
    legacy: bool = False
    direct: bool = False
    agent: bool = False
    strict: bool = True
    into_directory: bool = False
    sends: bool = False
    receives: bool = False
    kilobits: int = 0
    port: int | None = None
    program: str | None = None
    server: str | None = None
    ssh: tuple[str, ...] = ()


def run(arguments: list[str]) -> int:
    """Copy; the status is 1 where any file could not be."""
    orders, tuning = Orders(), Tuning()
    options = Options(arguments, _OPTIONS)
    try:
        for letter, value in options:
            _take(orders, tuning, letter, value)
    except OptionError as error:
        raise Failure(f"scp: {error}", usage=USAGE, status=_FAILED) from None
    if orders.sends or orders.receives:
        from tellin.programs.files.scp_legacy import serve

        return serve(orders, options.rest)
    if len(options.rest) < 2:
        raise Failure(usage=USAGE, status=_FAILED)
    try:
        *sources, target = map(place_of, options.rest)
    except UsageError as error:
        raise Failure(f"scp: {error}", status=_BROKEN) from None
    copy = Copy(orders, tuning)
    try:
        return copy.all(sources, target)
    except KeyboardInterrupt:
        # As OpenSSH's: the files that did not come are a failure like any other.
        return _FAILED
    finally:
        copy.close()


def _take(orders: Orders, tuning: Tuning, letter: str, value: str) -> None:
    attribute = _FLAGS.get(letter)
    if attribute is not None:
        setattr(orders, attribute, True)
    elif letter in FLAGS_FOR_SSH:
        orders.ssh += (f"-{letter}",)
    elif letter in VALUES_FOR_SSH:
        orders.ssh += (f"-{letter}", value)
    else:
        _take_other(orders, tuning, letter, value)
    if letter == "q":
        orders.ssh += ("-q",)


_FLAGS: Final = {
    "A": "agent",
    "d": "into_directory",
    "f": "sends",
    "O": "legacy",
    "p": "preserve",
    "q": "quiet",
    "R": "direct",
    "r": "recursive",
    "t": "receives",
}


def _take_other(orders: Orders, tuning: Tuning, letter: str, value: str) -> None:
    match letter:
        case "3":
            orders.direct = False
        case "s":
            orders.legacy = False
        case "T":
            orders.strict = False
        case "B":
            orders.ssh += ("-oBatchmode=yes",)
        case "v":
            orders.verbose += 1
            orders.ssh += ("-v",)
        case "D":
            orders.server = value
        case "S":
            orders.program = value
        case _:
            _take_number(orders, tuning, letter, value)


def _take_number(orders: Orders, tuning: Tuning, letter: str, value: str) -> None:
    try:
        if letter == "P":
            orders.port = parse_port(value)
        elif letter == "X":
            tune(tuning, value)
        else:
            orders.kilobits = kilobits_of(value)
    except UsageError:
        raise Failure(f'scp: bad port "{value[:20]}"\n', status=_BROKEN) from None
    except Failure as error:
        raise Failure(f"scp: {error}", status=_BROKEN) from None
    if letter == "l" and not orders.kilobits:
        raise Failure(usage=USAGE, status=_FAILED)


class Copy:
    """One run: the connections that it has, and what has failed."""

    def __init__(self, orders: Orders, tuning: Tuning) -> None:
        self.orders = orders
        self.tuning = tuning
        self.loop = SmallLoop()
        self.meter = Meter(self.loop, shown=not orders.quiet and sys.stdout.isatty())
        self._links: dict[tuple[str | None, str | None, int | None], Copier] = {}
        self._unheard = 0

    # Connections

    def argv(self, place: Place, command: str, *, subsystem: bool) -> list[str]:
        """The command line that leads to a host."""
        orders = self.orders
        agent = () if orders.agent else ("-oForwardAgent=no",)
        port = place.port if place.port is not None else orders.port
        return [
            *ssh_program(orders.program),
            *_BEGIN,
            *orders.ssh,
            *(("-A",) if orders.agent else agent),
            *(("-p", str(port)) if port is not None else ()),
            *(("-l", place.user) if place.user is not None else ()),
            *(("-s",) if subsystem else ()),
            "--",
            str(place.host),
            command,
        ]

    def connected(self, place: Place) -> Copier:
        """The talk with a host's file server; one for all files of a run."""
        key = place.host, place.user, place.port
        if key not in self._links:
            server = self.orders.server
            argv = [server] if server else self.argv(place, "sftp", subsystem=True)
            link = FileLink(argv, loop=self.loop, kilobits=self.orders.kilobits)
            manner = Manner(preserve=self.orders.preserve, follow=True)
            copier = Copier(link, manner, meter=self.meter, complain=complain, say=_unsaid)
            self._links[key] = copier
            link.open(block=self.tuning.block, requests=self.tuning.requests)
        return self._links[key]

    def close(self) -> None:
        """End all of them.

        Each request has been answered by now. What ssh ends with says no more: AsyncSSH's, Paramiko's and other
        servers send no status when a subsystem ends, which makes 255 of a copy that is whole.
        """
        for copier in self._links.values():
            copier.link.close()
        self._links.clear()

    # What is to be copied

    def all(self, sources: Sequence[Place], target: Place) -> int:
        """Copy all there is; returns the status."""
        if target.host is None and len(sources) > 1 and not _takes_many(target.path):
            return _FAILED
        way = self._to_there if target.host is not None else self._to_here
        right = True
        try:
            right = way(sources, target)
        except (ConnectionLost, ProtocolError) as error:
            complain(str(error))
            return _BROKEN
        self.close()
        return 0 if right else _FAILED

    def _to_here(self, sources: Sequence[Place], target: Place) -> bool:
        right = True
        for source in sources:
            if source.host is None:
                right &= self._by_cp(source, target)
            elif self.orders.legacy:
                right &= self._legacy("receive_here")(source, target)
            else:
                right &= self._fetch(source, target)
        return right

    def _to_there(self, sources: Sequence[Place], target: Place) -> bool:
        many = self.orders.into_directory = len(sources) > 1
        right = True
        here: list[bytes] = []
        for source in sources:
            if source.host is not None and self.orders.direct:
                right &= self._directly(source, target)
            elif self.orders.legacy:
                name = "send_there" if source.host is None else "between"
                right &= self._legacy(name)(source, target)
            elif source.host is not None:
                right &= self._carry_over(source, target, many=many)
            else:
                here.append(source.path)
        return (not here or self._send(here, target, many=many)) and right

    def _legacy(self, name: str) -> Callable[[Place, Place], bool]:
        from tellin.programs.files.scp_legacy import Legacy

        way: Callable[[Place, Place], bool] = getattr(Legacy(self), name)
        return way

    def _by_cp(self, source: Place, target: Place) -> bool:
        """Between two places of this host: cp does that."""
        flags = [
            *(("-r",) if self.orders.recursive else ()),
            *(("-p",) if self.orders.preserve else ()),
        ]
        argv = [b"cp", *map(os.fsencode, flags), b"--", source.path, target.path]
        pid = os.posix_spawnp("cp", argv, os.environ)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    def _directly(self, source: Place, target: Place) -> bool:
        """-R: scp on the one host brings it to the other."""
        from tellin.programs.files.scp_names import quoted

        orders = self.orders
        flags = (
            *(("-v",) if orders.verbose else ()),
            *(("-r",) if orders.recursive else ()),
            *(("-p",) if orders.preserve else ()),
            *(("-d",) if orders.into_directory else ()),
        )
        if target.port is not None:
            raise Failure("scp: a port of the target cannot be given with -R", status=_BROKEN)
        where = os.fsencode(f"{target.destination()}:") + target.path
        words = b" ".join([quoted(source.path or b"."), quoted(where)])
        command = f"{' '.join(('scp', *flags))} {os.fsdecode(words)}"
        argv = self.argv(source, command, subsystem=False)
        pid = os.posix_spawnp(argv[0], argv, {**os.environ, "PYTHONSAFEPATH": "1"})
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    # By SFTP

    def _fetch(self, source: Place, target: Place) -> bool:
        copier = self.connected(source)
        where = remote_path(copier.link, source.path)
        if where is None:
            return False
        found = copier.matching(where)
        if not found:
            complain(f"{shown(source.path)}: No such file or directory")
            return False
        inside = is_directory(target.path)
        if len(found) > 1 and not inside:
            if is_there(target.path):
                complain(
                    f'Multiple files match pattern, but destination "{shown(target.path)}" is not'
                    " a directory"
                )
                return False
            try:
                os.mkdir(target.path)
            except OSError as error:
                complain(f'local mkdir "{shown(target.path)}": {error.strerror}')
                return False
            inside = True
        # R173: of what is asked for the last name alone.
        pairs = [
            (path, joined(target.path, last_name(path)) if inside else target.path)
            for path in found
        ]
        return copier.download(pairs, recursive=self.orders.recursive)

    def _send(self, sources: Sequence[bytes], target: Place, *, many: bool) -> bool:
        copier = self.connected(target)
        where = remote_path(copier.link, target.path)
        if where is None:
            return False
        inside = copier.is_directory(where)
        pairs = []
        for source in sources:
            try:
                mode = os.stat(source).st_mode
            except OSError as error:
                raise Failure(
                    f'scp: stat local "{shown(source)}": {error.strerror}', status=_BROKEN
                ) from None
            if many and not inside:
                make_directory(copier, where, stat.S_IMODE(mode) & 0o777 | stat.S_IRWXU)
                inside = True
            pairs.append((source, joined(where, last_name(source)) if inside else where))
        right = copier.upload(pairs, recursive=self.orders.recursive)
        for source, _ in pairs:
            if any(_within(one, source) for one in copier.failures):
                tree = self.orders.recursive and is_directory(source)
                kind = "directory" if tree else "file"
                complain(f"failed to upload {kind} {shown(source)} to {shown(where)}")
        return right

    def _carry_over(self, source: Place, target: Place, *, many: bool) -> bool:
        """From one server to another, through here."""
        first, second = self.connected(source), self.connected(target)
        where, there = remote_path(first.link, source.path), remote_path(second.link, target.path)
        if where is None or there is None:
            return False
        found = first.matching(where)
        if not found:
            complain(f"{shown(source.path)}: No such file or directory")
            return False
        inside = second.is_directory(there)
        if (many or len(found) > 1) and not inside:
            make_directory(second, there, stat.S_IRWXU)
            inside = True
        pairs = [(path, joined(there, last_name(path)) if inside else there) for path in found]
        return first.relay(second, pairs, recursive=self.orders.recursive)


def _within(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


def make_directory(copier: Copier, path: bytes, mode: int) -> None:
    """Make the directory that many files are for; Failure if it cannot be."""
    try:
        copier.link.ask(messages.MakeDirectory(path, Attributes(permissions=mode)), path)
    except SftpError as error:
        raise Failure(
            f'scp: remote mkdir "{shown(path)}": {reason(error)}', status=_BROKEN
        ) from None


def remote_path(link: FileLink, path: bytes) -> bytes | None:
    """A path as people write it, with ``~``; None, and it is said why, where the server cannot read it."""
    if path in {b"", b"~"}:
        return b"."
    if not path.startswith(b"~"):
        return path
    if path.startswith(b"~/"):
        return path[2:].lstrip(b"/") or b"."
    if not link.client.offers(messages.ExpandPath):
        complain("server expand-path extension is required for ~user paths in SFTP mode")
        return None
    try:
        found = link.ask(messages.ExpandPath(path), path).entries[0].filename
    except SftpError as error:
        complain(f"expand {shown(path)}: {reason(error)}")
        return None
    assert isinstance(found, bytes)
    return found


def complain(text: str) -> None:
    """Say what went wrong."""
    say_error(f"scp: {text}")


def _unsaid(text: str) -> None:
    """Scp shows files by its meter alone."""


def _takes_many(path: bytes) -> bool:
    """Whether many files have room there; if not it is said."""
    try:
        status = os.stat(path)
    except OSError as error:
        say_error(f"{shown(path)}: {error.strerror}")
        return False
    if not stat.S_ISDIR(status.st_mode):
        say_error(f"{shown(path)}: Not a directory")
        return False
    return True


PROGRAM: Final = Program("scp", "copy files between hosts", run, options=_OPTIONS)
