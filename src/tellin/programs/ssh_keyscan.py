# SPDX-License-Identifier: MIT
"""ssh-keyscan: collects the host keys of many servers, as lines for known_hosts."""

import os
import resource
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from tellin.algorithms.signatures import certified
from tellin.client.hosts.scanning import Answer, Question, Scanner
from tellin.config.kinds import read_seconds
from tellin.config.known_hosts import hash_name, host_name, make_line
from tellin.errors import ConfigError, KeyFileError
from tellin.keys.certificates import Certificate
from tellin.keys.fingerprints import SSHFP_ALGORITHMS, SSHFP_HASHES, digest
from tellin.keys.public import PublicKey
from tellin.programs.command import Failure, OptionError, Options, Program, say_error, visible
from tellin.runtime.files import read_text
from tellin.runtime.listeners import AF_INET, AF_INET6, AF_UNSPEC
from tellin.runtime.loop import SmallLoop

USAGE: Final = """\
usage: ssh-keyscan [-46cDHqv] [-f file] [-O option] [-p port] [-T timeout]
                   [-t type] [host | addrlist namelist]"""

_OPTIONS: Final = "46cDHqvf:O:p:T:t:"

_MISUSED: Final = 1
_FATAL: Final = 255
_SALT: Final = 20
# Descriptors for ourselves, beside one a connection.
_OWN_DESCRIPTORS: Final = 32
_MOST_AT_ONCE: Final = 256
# A network of more is a slip of the pen and not a wish.
_MOST_ADDRESSES: Final = 1 << 16

# What -t calls a kind, and the algorithms that a server signs by if it has such a key.
KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "rsa": ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"),
    "ecdsa": ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    "ed25519": ("ssh-ed25519",),
    "ecdsa-sk": ("sk-ecdsa-sha2-nistp256@openssh.com",),
    "ed25519-sk": ("sk-ssh-ed25519@openssh.com",),
}
# Without -t: no server has its own key in a security key unless somebody has put it there.
_ASKED: Final = ("rsa", "ecdsa", "ed25519")


class Wishes:
    """What the command line said."""

    def __init__(self) -> None:
        self.family = AF_UNSPEC
        self.hashed = False
        self.quiet = False
        self.loud = False
        self.files: list[str] = []
        self.port = 22
        self.timeout = 5
        self.certificates = False
        self.records = False
        self.hashes: tuple[str, ...] = tuple(SSHFP_HASHES)
        self.kinds: tuple[str, ...] = _ASKED


def _misused(message: str = "") -> Failure:
    return Failure(message, usage=USAGE, status=_MISUSED)


def run(arguments: list[str]) -> int:
    """Scan; the status is 1 if no key at all was found."""
    wishes = Wishes()
    options = Options(arguments, _OPTIONS)
    try:
        for letter, value in options:
            _take(wishes, letter, value)
    except OptionError as error:
        raise _misused(str(error)) from None
    if not options.rest and not wishes.files:
        raise _misused()
    return _scan(wishes, options.rest)


def _take(wishes: Wishes, letter: str, value: str) -> None:
    match letter:
        case "4" | "6":
            wishes.family = AF_INET if letter == "4" else AF_INET6
        case "c":
            wishes.certificates = True
        case "D":
            wishes.records = True
        case "O":
            wishes.hashes = _hashes(value)
        case "H":
            wishes.hashed = True
        case "q":
            wishes.quiet = True
        case "v":
            wishes.loud = True
        case "f":
            wishes.files.append(value)
        case "p":
            wishes.port = _number(value, 65535, "Bad port")
        case "T":
            wishes.timeout = _timeout(value)
        case _:
            wishes.kinds = _kinds(value)


_LONGEST_TIMEOUT: Final = 1 << 20


def _number(value: str, most: int, complaint: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 9 and 0 < int(value) <= most):
        raise Failure(f"{complaint} '{value}'", status=_MISUSED)
    return int(value)


def _timeout(value: str) -> int:
    """As ssh_config has times: 90, or 1m30s."""
    try:
        seconds = read_seconds(value)
    except ConfigError:
        seconds = 0
    if not 0 < seconds <= _LONGEST_TIMEOUT:
        raise Failure(f"Bad timeout '{value}'", usage=USAGE, status=_MISUSED)
    return seconds


def _hashes(value: str) -> tuple[str, ...]:
    """Of -O hashalg=..., for -D."""
    keyword, _, name = value.partition("=")
    if keyword.lower() != "hashalg":
        raise Failure(f'Unsupported -O option "{visible(value)}"', status=_FATAL)
    if name.lower() not in SSHFP_HASHES:
        raise Failure("Unsupported hash algorithm", status=_FATAL)
    return (name.lower(),)


def _kinds(value: str) -> tuple[str, ...]:
    wanted = value.split(",")
    by_type = {algorithm: kind for kind, able in KINDS.items() for algorithm in able}
    for name in wanted:
        if name not in KINDS and name not in by_type:
            raise Failure(f'Unknown key type "{visible(name)}"', status=_FATAL)
    # In one order, whatever the order of asking.
    return tuple(kind for kind in KINDS if kind in {by_type.get(name, name) for name in wanted})


class _Scan:
    """Prints what is found as it is found."""

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self.found = 0

    def hear(self, answer: Answer) -> None:
        wishes = self._wishes
        if answer.identification and not wishes.quiet:
            shown = visible(answer.identification)
            say_error(f"# {answer.host}:{wishes.port} {shown}")
        if answer.trouble:
            say_error(answer.trouble)
        if not answer.key:
            if wishes.loud:
                wanted = ",".join(answer.question.algorithms)
                say_error(f"debug1: {answer.host}:{wishes.port}: no key for {wanted}")
            return
        try:
            self._print(answer)
        except KeyFileError as error:
            say_error(f"{answer.host}: {error}")

    def _print(self, answer: Answer) -> None:
        if self._wishes.certificates:
            # As it stands: whether to trust the one who signed it is no question of this host's.
            line = Certificate.from_blob(answer.key).to_line()
            self.found += 1
            print(line, flush=True)
            return
        key = PublicKey.from_blob(answer.key)
        if self._wishes.records:
            self._print_records(answer, key)
            return
        self.found += 1
        for names in self._names(answer.question.label):
            print(make_line(names, key.key_type, key.blob), flush=True)

    def _print_records(self, answer: Answer, key: PublicKey) -> None:
        algorithm = SSHFP_ALGORITHMS.get(key.kind)
        if algorithm is None:
            say_error(f"{answer.host}: no record can hold {key.kind} keys")
            return
        self.found += 1
        # A name of the DNS has no port.
        for name in answer.question.label.split(","):
            for hashing in self._wishes.hashes:
                value = digest(key.blob, hashing).hex()
                print(f"{name} IN SSHFP {algorithm} {SSHFP_HASHES[hashing]} {value}", flush=True)

    def _names(self, names: str) -> Iterator[str]:
        wishes = self._wishes
        if not wishes.hashed and wishes.port == 22:
            yield names
            return
        # Neither a port nor a hash can stand for several names.
        for name in names.split(","):
            written = host_name(name, wishes.port)
            yield hash_name(written, salt=os.urandom(_SALT)) if wishes.hashed else written


def _scan(wishes: Wishes, hosts: list[str]) -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    loop = SmallLoop()
    scan = _Scan(wishes)
    scanner = Scanner(
        loop,
        _questions(wishes, hosts),
        scan.hear,
        port=wishes.port,
        family=wishes.family,
        timeout=float(wishes.timeout),
        most=max(1, min(_MOST_AT_ONCE, soft - _OWN_DESCRIPTORS)),
    )
    try:
        loop.run_until(scanner.is_over)
    finally:
        scanner.close()
        loop.close()
    return 0 if scan.found else 1


def _questions(wishes: Wishes, hosts: Iterable[str]) -> Iterator[Question]:
    for addresses, names in _places(wishes, hosts):
        for kind in wishes.kinds:
            able = KINDS[kind]
            yield Question(
                addresses, tuple(map(certified, able)) if wishes.certificates else able, names
            )


def _places(wishes: Wishes, hosts: Iterable[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """For each place the hosts to try, and the names to write."""
    for path in wishes.files:
        for line in _lines(path):
            words = line.partition("#")[0].split()
            if words:
                yield from _place(words[0], words[1] if len(words) > 1 else "")
    for host in hosts:
        yield from _place(host, "")


def _lines(path: str) -> list[str]:
    if path == "-":
        return sys.stdin.read().splitlines()
    try:
        return read_text(path, pipes=True).splitlines()
    except (OSError, ConfigError) as error:
        why = f"{path}: {error.strerror}" if isinstance(error, OSError) else error
        raise Failure(f"ssh-keyscan: {why}", status=_FATAL) from None


def _place(addresses: str, names: str) -> Iterator[tuple[tuple[str, ...], str]]:
    first = addresses.partition(",")[0]
    if "/" in first:
        for address in _range(first):
            yield (address,), names or address
        return
    tried = tuple(name for name in addresses.split(",") if name)
    if tried and _is_plain(addresses) and _is_plain(names):
        yield tried, names or addresses


def _is_plain(names: str) -> bool:
    """Whether names can stand in a line of known_hosts."""
    if any(not 33 <= ord(sign) <= 126 for sign in names):
        say_error(f"bad host name: {visible(names)}")
        return False
    return True


def _range(text: str) -> Iterator[str]:
    # Only who scans a network pays for this.
    from ipaddress import ip_network

    try:
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise Failure(f"bad address range: {error}", status=_FATAL) from None
    if network.num_addresses > _MOST_ADDRESSES:
        raise Failure(
            f"{text}: {network.num_addresses} addresses are too many to scan", status=_FATAL
        )
    for address in network:
        yield str(address)


PROGRAM: Final = Program(
    "ssh-keyscan", "collect the host keys of servers", run, failure=_FATAL, options=_OPTIONS
)
