# SPDX-License-Identifier: MIT
"""The machine as a configuration sees it: its files, its users, its shell, its addresses."""

# pathlib would be half of the start-up time of a program that needs a file or two.
# ruff: noqa: PTH110, PTH207

import os
import pwd
import signal
import struct
import sys
from collections.abc import Sequence
from typing import Final

from tellin.config.locations import home_directory
from tellin.config.surroundings import FileStatus, Surroundings
from tellin.errors import ConfigError
from tellin.runtime.files import is_guarded, read_text

LONGEST_CONFIG: Final = 4 * 1024 * 1024

# Case 322: a command of Match exec that does not end would keep every login waiting.
EXEC_SECONDS: Final = 60.0


class LocalSurroundings(Surroundings):
    """This machine, as the user who runs the program (or the one that is given)."""

    def __init__(self, *, uid: int | None = None, home: str | None = None) -> None:
        number = os.getuid() if uid is None else uid
        try:
            account = pwd.getpwuid(number)
        except KeyError:
            raise ConfigError(f"no user has the number {number}") from None
        super().__init__(
            user=account.pw_name,
            home=home_directory(sys.platform, os.environ, account.pw_dir)
            if home is None
            else home,
            uid=number,
            host=os.uname().nodename,
            environment=os.environ,
            system=sys.platform,
        )
        self._shell = os.environ.get("SHELL") or account.pw_shell or "/bin/sh"

    def read(self, path: str, *, guarded: bool = False) -> str | None:
        def check(status: os.stat_result) -> None:
            if guarded and not is_guarded(status, uid=self.uid):
                raise ConfigError(
                    f"Bad owner or permissions on {path}",
                    hint=f"chmod go-w {path}, and let it belong to you or root",
                )

        try:
            return read_text(path, limit=LONGEST_CONFIG, pipes=True, check=check)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as problem:
            raise ConfigError(f"cannot be read: {problem.strerror}", file=path) from None

    def glob(self, pattern: str) -> Sequence[str]:
        if not any(sign in pattern for sign in "*?["):
            return (pattern,) if os.path.exists(pattern) else ()
        # Only who includes by pattern pays for it.
        from glob import glob  # noqa: PLC0415  (start-up time)

        return sorted(glob(pattern))

    def status(self, path: str) -> FileStatus | None:
        try:
            found = os.stat(path)  # noqa: PTH116 - as above
        except OSError:
            return None
        return FileStatus(found.st_uid, found.st_mode)

    def run(self, command: str) -> bool:
        # Only who has a Match exec pays for it.
        import subprocess  # noqa: PLC0415  (start-up time)

        try:
            child = subprocess.Popen(
                [self._shell, "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as problem:
            raise ConfigError(f"cannot run {self._shell}: {problem.strerror}") from None
        try:
            return child.wait(EXEC_SECONDS) == 0
        except subprocess.TimeoutExpired:
            raise ConfigError(
                f"{command[:80]!a} has not ended after {EXEC_SECONDS:.0f} seconds"
            ) from None
        finally:
            if child.returncode is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()

    def home_of(self, user: str) -> str | None:
        try:
            return pwd.getpwnam(user).pw_dir
        except KeyError:
            return None

    def addresses(self) -> Sequence[str]:
        return interface_addresses()

    def canonical_name(self, host: str) -> str | None:
        # Only who has CanonicalizeHostname pays for it.
        from socket import AI_CANONNAME, SOCK_STREAM, getaddrinfo  # noqa: PLC0415  (start-up time)

        try:
            found = getaddrinfo(host, None, type=SOCK_STREAM, flags=AI_CANONNAME)
        except (OSError, UnicodeError):
            return None
        return found[0][3] or host


def source_addresses(host: str | None, interface: str | None) -> Sequence[str]:
    """Where a connection may come from: BindAddress, or else the addresses of BindInterface.

    Nothing where neither is given. Raises ConfigError if there is no such interface, or if it has
    no address to speak of.
    """
    if host:
        return (host,)
    if not interface:
        return ()
    # A link-local address reaches nobody who is not asked for by that link.
    found = [one for one in interface_addresses(interface) if not one.startswith("fe80:")]
    if not found:
        raise ConfigError(f"the network interface {interface[:40]!a} has no address")
    return found


_HEADER: Final = struct.Struct("=IHHII")
_GET_ADDRESSES, _DONE, _ERROR = 22, 3, 2
_REQUEST_DUMP: Final = 0x301
_LOCAL_ADDRESSES: Final = frozenset({1, 2})  # IFA_ADDRESS, IFA_LOCAL


def interface_addresses(interface: str = "") -> list[str]:
    """Every address of every interface, or of one, asked of the kernel by rtnetlink(7).

    Raises ConfigError if there is no such interface.
    """
    # Only who has a Match localnetwork or a BindInterface pays for it.
    from socket import AF_NETLINK, SOCK_RAW, if_nametoindex, socket  # noqa: PLC0415  (start-up time)

    try:
        index = if_nametoindex(interface) if interface else 0
    except OSError:
        raise ConfigError(f"there is no network interface {interface[:40]!a}") from None
    found: dict[str, None] = {}
    with socket(AF_NETLINK, SOCK_RAW, 0) as asked:
        asked.settimeout(5)
        asked.send(_HEADER.pack(_HEADER.size + 8, _GET_ADDRESSES, _REQUEST_DUMP, 1, 0) + bytes(8))
        while True:
            data = asked.recv(1 << 16)
            at = 0
            while at + _HEADER.size <= len(data):
                size, kind, *_ = _HEADER.unpack_from(data, at)
                if kind in {_DONE, _ERROR} or size < _HEADER.size:
                    return list(found)
                message = data[at + _HEADER.size : at + size]
                if not index or struct.unpack_from("=I", message, 4)[0] == index:
                    found.update(dict.fromkeys(_addresses_in(message)))
                at += size + 3 & ~3


def _addresses_in(message: bytes) -> list[str]:
    """The addresses in one answer: a header of 8 bytes, then attributes of length, kind, value.

    Of the header, the first byte is the family, the last four the number of the interface.
    """
    from socket import AF_INET, AF_INET6, inet_ntop  # noqa: PLC0415  (start-up time)

    family = message[0] if message else 0
    wanted = {int(AF_INET): 4, int(AF_INET6): 16}.get(family)
    made: list[str] = []
    at = 8
    while at + 4 <= len(message):
        size, kind = struct.unpack_from("=HH", message, at)
        if size < 4:
            break
        value = message[at + 4 : at + size]
        if kind in _LOCAL_ADDRESSES and len(value) == wanted:
            made.append(inet_ntop(family, value))
        at += size + 3 & ~3
    return made
