# SPDX-License-Identifier: MIT
"""The system's accounts: who may log in, and which keys their own files let in.

Everything here blocks on the disk or the name service: run it off the loop.
"""

import ctypes
import errno
import glob
import os
import stat
import time
from binascii import b2a_base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Final

from tellin.algorithms.signatures import CA_SIGNATURE_ALGORITHMS
from tellin.config.authorized_keys import AuthorizedKey, read_key
from tellin.config.key_options import KeyOptions, Moment
from tellin.config.patterns import match_any, match_user
from tellin.config.tokens import expand
from tellin.errors import CertificateRejected, ConfigError, TellinError
from tellin.keys import PublicKey
from tellin.keys.certificates import Certificate
from tellin.keys.revocation import MOST_BYTES, RevocationList, load_revocations
from tellin.runtime.files import read_file
from tellin.runtime.privileges import Account
from tellin.server.authentication.certificates import (
    accepted,
    has_principal,
    permitted,
    revocation,
)
from tellin.server.authentication.passwords import ShadowEntry, Verdict, find_entry
from tellin.userauth.questions import Shown
from tellin.wire import Record

# Ten thousand keys of 4096 bits fit in half of it; more is not read (case 317).
MAXIMUM_KEY_FILE: Final = 16 * 1024 * 1024
MAXIMUM_KEY_FILES: Final = 64
_DAY: Final = 86400

# What a shell or a path would take for more than a letter of a name (R117, CVE-2023-51385).
_UNSAFE_IN_PATHS: Final = frozenset("/'`\"$\\;&<>|(){}[]*?!~#^\t\n\r \0")


class AccessRefused(TellinError):
    """A file or an account that nobody may log in by; the message is for the log."""


class RootLogin(Enum):
    """PermitRootLogin."""

    YES = "yes"
    PROHIBIT_PASSWORD = "prohibit-password"  # noqa: S105  (the keyword's value)
    FORCED_COMMANDS_ONLY = "forced-commands-only"
    NO = "no"


class Helper(Record):
    """A command that is asked who may log in, without a shell, and the account that it runs as."""

    keyword: str
    line: str
    user: str
    letters: str
    """The tokens that it may hold."""


class AccessRules(Record):
    """What sshd_config says of accounts and of their key files; patterns as in ssh_config."""

    authorized_keys_files: tuple[str, ...] = (".ssh/authorized_keys", ".ssh/authorized_keys2")
    strict_modes: bool = True
    permit_root_login: RootLogin = RootLogin.PROHIBIT_PASSWORD
    allow_users: tuple[str, ...] = ()
    deny_users: tuple[str, ...] = ()
    allow_groups: tuple[str, ...] = ()
    deny_groups: tuple[str, ...] = ()
    # A "!" before the hash locks an account for keys as well; where PAM decides, it does so alone.
    refuse_locked: bool = True
    # Certificates: who may sign them and by what, for whom, and which keys are revoked.
    authorities_file: str | None = None
    authority_algorithms: tuple[str, ...] = CA_SIGNATURE_ALGORITHMS
    principals_file: str | None = None
    revoked_files: tuple[str, ...] = ()
    keys_command: Helper | None = None
    # Where a session's / is another directory, its shell is the one in there.
    chrooted: bool = False
    principals_command: Helper | None = None


class Visitor(Record):
    """Where a login comes from: a name (empty without UseDNS) and an address (empty without one)."""

    host: str
    address: str
    ends: str = ""
    """Both ends of the connection: address and port of theirs, then of ours."""

    def __str__(self) -> str:
        return self.host or self.address or "UNKNOWN"


class AccountAccess:
    """Answers questions about this machine's accounts; ``notes`` collects what the log should say."""

    def __init__(
        self,
        rules: AccessRules,
        *,
        find: Callable[[str], Account | None] = Account.named,
        shadow: Callable[[str], ShadowEntry | None] = find_entry,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.rules = rules
        self.notes: list[str] = []
        self._find = find
        self._shadow = shadow
        self._now = now
        self._revoked: tuple[tuple[str, RevocationList], ...] | None = None

    def account(self, user: str) -> Account | None:
        """The account of that name, if there is one."""
        try:
            return self._find(user)
        except (ValueError, UnicodeEncodeError):
            return None

    def refusal(self, account: Account, visitor: Visitor) -> str | None:
        """Why this account may not log in from there, in OpenSSH's words; None if it may.

        The order is that of sshd_config(5): DenyUsers, AllowUsers, DenyGroups, AllowGroups.
        """
        name = account.name
        checks = (
            self._bad_state(account),
            self._bad_shell(account),
            self._unlisted_user(account, visitor),
            self._unlisted_group(account, visitor),
        )
        return next((f"{subject} {name} {why}" for subject, why in checks if why), None)

    def root_may(self, account: Account, method: str, *, forced_command: bool) -> bool:
        """Whether PermitRootLogin lets this account in by ``method``; it concerns root alone."""
        if account.uid != 0:
            return True
        match self.rules.permit_root_login:
            case RootLogin.YES:
                return True
            case RootLogin.PROHIBIT_PASSWORD:
                # Names of methods that cannot be guessed; a new one is not among them by itself.
                return method in {"publickey", "hostbased", "gssapi-with-mic"}
            case RootLogin.FORCED_COMMANDS_ONLY:
                return forced_command and method in {"publickey", "hostbased", "gssapi-with-mic"}
            case RootLogin.NO:
                return False

    def authorize(
        self, account: Account, user: str, key: Shown, visitor: Visitor
    ) -> AuthorizedKey | None:
        """The first line that lets ``key`` in from there and now, with what it allows."""
        try:
            self._check_revoked(key)
            with filesystem_identity(account):
                for path in self.key_files(account, user):
                    line = self._authorize_by(path, account, key, visitor)
                    if line is not None:
                        return line
            return self._authorize_otherwise(account, user, key, visitor)
        except (AccessRefused, CertificateRejected) as refused:
            self.notes.append(str(refused))
        return None

    def key_files(self, account: Account, user: str) -> list[str]:
        """The files of AuthorizedKeysFile for this user, shell patterns resolved."""
        found: list[str] = []
        for pattern in self.rules.authorized_keys_files:
            if pattern != "none":
                found += _key_files(pattern, account, user)
        return found[:MAXIMUM_KEY_FILES]

    def _authorize_otherwise(
        self, account: Account, user: str, key: Shown, visitor: Visitor
    ) -> AuthorizedKey | None:
        """What besides the user's own files may let a key in: nothing here."""
        return None

    def _check_revoked(self, key: Shown) -> None:
        if not self.rules.revoked_files:
            return
        if self._revoked is None:
            self._revoked = tuple((path, _read_revoked(path)) for path in self.rules.revoked_files)
        refusal = revocation(key, self._revoked)
        if refusal:
            raise AccessRefused(refusal)

    def _authorize_by(
        self, path: str, account: Account, key: Shown, visitor: Visitor
    ) -> AuthorizedKey | None:
        try:
            text = read_guarded(path, account, strict=self.rules.strict_modes)
        except AccessRefused as refused:
            self.notes.append(f"Authentication refused: {refused}")
            return None
        return self._authorize_in(text or "", path, account, key, visitor)

    def _authorize_in(
        self, text: str, path: str, account: Account, key: Shown, visitor: Visitor
    ) -> AuthorizedKey | None:
        for line in self._lines_of(key, text, path):
            refusal = self.line_refusal(line.options, visitor)
            if refusal is not None:
                # As in sshd: what is not for this visitor does not stand before a line that is.
                self.notes.append(f"{line.where}: key of {account.name} {refusal}")
            elif not isinstance(key, Certificate):
                return line
            else:
                try:
                    self._narrow(line, key, account, visitor)
                except CertificateRejected as rejected:
                    self.notes.append(str(rejected))
                else:
                    return line
        return None

    def _narrow(
        self, line: AuthorizedKey, certificate: Certificate, account: Account, visitor: Visitor
    ) -> None:
        """Leave of an authority's line what the certificate allows too."""
        if not has_principal(certificate, line.options):
            raise CertificateRejected("Certificate does not contain an authorized principal")
        line.options = self._permitted(
            certificate,
            line.options,
            visitor,
            names=(account.name,) if line.options.principals is None else None,
        )
        self.notes.append(accepted(certificate, f"found at {line.where}"))

    def _permitted(
        self,
        certificate: Certificate,
        line: KeyOptions,
        visitor: Visitor,
        *,
        names: tuple[str, ...] | None,
    ) -> KeyOptions:
        return permitted(
            certificate,
            line,
            names=names,
            address=visitor.address,
            now=self._now(),
            algorithms=self.rules.authority_algorithms,
        )

    def _lines_of(self, key: Shown, text: str, path: str) -> Iterator[AuthorizedKey]:
        """The lines for this key, or its authority, in order; one that is not understood is noted."""
        signer = key if isinstance(key, PublicKey) else key.authority
        # Ten thousand lines are looked at in a millisecond and parsed in a tenth of a second:
        # each probe of a stranger would cost that (case 317).
        encoded = b2a_base64(signer.blob, newline=False).decode("ascii").rstrip("=")
        for number, raw in enumerate(text.split("\n"), 1):
            line = raw.strip(" \t\r")
            if encoded not in line or line.startswith("#"):
                continue
            try:
                found = read_key(line)
            except ConfigError as fault:
                self.notes.append(f"{path}:{number}: {fault}")
                continue
            found.file, found.line = path, number
            # An authority's key signs certificates; it is not a user's, nor is a user's one.
            if found.blob == signer.blob and found.options.cert_authority is (signer is not key):
                yield found

    def line_refusal(self, options: KeyOptions, visitor: Visitor) -> str | None:
        # Where there is no address, no rule about addresses is kept (R069).
        if options.from_patterns is not None and not (
            visitor.address and options.allows_from(visitor.host, visitor.address)
        ):
            return f"is right but not from a permitted host ({visitor})"
        now = self._now()
        if options.expired(utc=_moment(time.gmtime(now)), local=_moment(time.localtime(now))):
            return "has expired"
        return None

    # The parts of ``refusal``: a subject and the reason, empty where there is none.

    def _bad_state(self, account: Account) -> tuple[str, str]:
        entry = self._shadow(account.name)
        if entry is None:
            return "", ""
        if self.rules.refuse_locked and entry.password_hash.startswith("!"):
            return "User", "not allowed because account is locked"
        if entry.standing(int(self._now()) // _DAY) is Verdict.ACCOUNT_EXPIRED:
            return "Account", "has expired"
        return "", ""

    def _bad_shell(self, account: Account) -> tuple[str, str]:
        shell = account.shell
        if self.rules.chrooted:
            return "", ""
        try:
            mode = Path(shell).stat().st_mode
        except OSError:
            return "User", f"not allowed because shell {shell} does not exist"
        if not stat.S_ISREG(mode) or not mode & 0o111:
            return "User", f"not allowed because shell {shell} is not executable"
        return "", ""

    def _unlisted_user(self, account: Account, visitor: Visitor) -> tuple[str, str]:
        def listed(patterns: tuple[str, ...]) -> bool:
            return any(
                match_user(account.name, visitor.host, visitor.address, pattern)
                for pattern in patterns
            )

        if listed(self.rules.deny_users):
            return "User", f"from {visitor} not allowed because listed in DenyUsers"
        if self.rules.allow_users and not listed(self.rules.allow_users):
            return "User", f"from {visitor} not allowed because not listed in AllowUsers"
        return "", ""

    def _unlisted_group(self, account: Account, visitor: Visitor) -> tuple[str, str]:
        denied, allowed = self.rules.deny_groups, self.rules.allow_groups
        if not denied and not allowed:
            return "", ""
        names = group_names(account)
        if not names:
            return "User", f"from {visitor} not allowed because not in any group"
        if match_any(names, denied):
            return "User", f"from {visitor} not allowed because a group is listed in DenyGroups"
        if allowed and not match_any(names, allowed):
            return (
                "User",
                f"from {visitor} not allowed because none of user's groups are listed in AllowGroups",
            )
        return "", ""


def _moment(at: time.struct_time) -> Moment:
    return at.tm_year, at.tm_mon, at.tm_mday, at.tm_hour, at.tm_min, at.tm_sec


def _key_files(pattern: str, account: Account, user: str) -> list[str]:
    magic = glob.has_magic(pattern)

    def quote(value: str) -> str:
        # What is put in is a name and not a pattern, whatever characters it holds.
        return glob.escape(value) if magic else value

    path = file_of(pattern, account, user, quote=quote)
    return sorted(glob.glob(path)) if magic else [path]  # noqa: PTH207  (absolute patterns)


def file_of(name: str, account: Account, user: str, *, quote: Callable[[str], str] = str) -> str:
    """A user's file by its name in the configuration; ``quote`` is applied to what is put in."""

    def user_name() -> str:
        if not safe_in_paths(user):
            raise AccessRefused(f"user name {user[:100]!a} is not put into a file name")
        return quote(user)

    tokens = {"h": lambda: quote(account.home), "u": user_name, "U": lambda: str(account.uid)}
    path = expand(name, tokens, allowed="huU")
    return path if path.startswith("/") else f"{quote(account.home)}/{path}"


def _read_revoked(path: str) -> RevocationList:
    """What a file of RevokedKeys holds; one that is missing or damaged revokes everything (case 306)."""
    try:
        return load_revocations(read_file(path, limit=MOST_BYTES), name=path)
    except (OSError, TellinError) as error:
        cause = error.strerror if isinstance(error, OSError) else str(error)
        raise AccessRefused(
            f"Error checking authentication key in revoked keys file {path}: {cause}"
        ) from None


def group_names(account: Account) -> list[str]:
    """The names of all groups of the account; a group without a name is left out."""
    import grp  # noqa: PLC0415  (only rules about groups need it)

    names = []
    for number in account.groups():
        try:
            names.append(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return names


def safe_in_paths(user: str) -> bool:
    """Whether a user's name may become part of a file's name (R117)."""
    return (
        user not in {"", ".", ".."}
        and not user.startswith("-")
        and user.isprintable()
        and not _UNSAFE_IN_PATHS.intersection(user)
    )


def read_guarded(path: str, account: Account, *, strict: bool) -> str | None:
    """The text of a user's file; None if there is none that the user could read.

    With ``strict`` nobody but the user and root may be able to put anything there: neither the
    file nor a directory above it, up to the home directory, may be writable for others. Called
    with the user's own rights (``filesystem_identity``), so that a link leads nowhere that the
    user could not go (R118).
    """
    try:
        real = os.path.realpath(path, strict=True)
        # Not blocking, or a FIFO in the place of the file holds up the server (Dropbear 8b57957).
        fd = os.open(
            real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
        )
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise AccessRefused(f"{path} is not a regular file")
        if strict:
            _check_modes(real, status, account)
        if status.st_size > MAXIMUM_KEY_FILE:
            raise AccessRefused(f"{path} is larger than {MAXIMUM_KEY_FILE >> 20} MiB")
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read(MAXIMUM_KEY_FILE).decode("utf-8", "surrogateescape")
    finally:
        os.close(fd)


def _check_modes(real: str, status: os.stat_result, account: Account) -> None:
    def private(found: os.stat_result) -> bool:
        return found.st_uid in {0, account.uid} and not found.st_mode & 0o022

    if not private(status):
        raise AccessRefused(f"bad ownership or modes for file {real}")
    home = os.path.realpath(account.home)
    directory = real
    while directory not in {home, "/"}:
        directory = os.path.dirname(directory)  # noqa: PTH120  (a text that realpath has made)
        if not private(os.lstat(directory)):
            raise AccessRefused(f"bad ownership or modes for directory {directory}")


# Reading with the user's rights. seteuid would do it, but with threads it changes all of them: a
# hash that is checked beside it would run, or fail to, as another user. A forked child a login
# costs ten times the login, and forking beside threads is a gamble. Linux has a user and groups
# for the file system alone, of one thread alone, and that is all that is needed here: root's right
# to read everything goes with it (capabilities(7)), and comes back with it.

# setgroups(2) through the kernel concerns the calling thread; the C library's tells all others.
_SETGROUPS: Final = {
    "x86_64": 116,
    "aarch64": 159,
    "riscv64": 159,
    "loongarch64": 159,
    "ppc64le": 81,
    "s390x": 206,
    "armv7l": 206,
    "i686": 206,
}
_NO_CHANGE: Final = 0xFFFFFFFF


@contextmanager
def filesystem_identity(account: Account) -> Iterator[None]:
    """Let this thread touch files as ``account`` does; without root, it stays who it is.

    No thread may be started meanwhile: it would stay that user. Raises OSError where the change,
    or the way back, fails.
    """
    if os.geteuid() != 0 or account.uid == 0:
        yield
        return
    ours = os.getgroups()
    theirs = account.groups()
    library = ctypes.CDLL(None, use_errno=True)
    _set_groups(library, theirs)
    try:
        _set_filesystem_ids(library, account.uid, account.gid)
        yield
    finally:
        _set_filesystem_ids(library, os.geteuid(), os.getegid())
        _set_groups(library, ours)


def _set_groups(library: ctypes.CDLL, groups: list[int]) -> None:
    machine = os.uname().machine
    if machine not in _SETGROUPS:
        raise OSError(errno.ENOSYS, f"no way known to read as another user on {machine}")
    array = (ctypes.c_uint32 * len(groups))(*groups)
    number, size = ctypes.c_long(_SETGROUPS[machine]), ctypes.c_long(len(groups))
    if library.syscall(number, size, array) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setgroups: {os.strerror(error)}")


def _set_filesystem_ids(library: ctypes.CDLL, uid: int, gid: int) -> None:
    # These two report no errors: what they did is seen by asking for nothing.
    for name, wanted in (("setfsgid", gid), ("setfsuid", uid)):
        change = library[name]
        change(ctypes.c_uint32(wanted))
        if change(ctypes.c_uint32(_NO_CHANGE)) != wanted:
            raise OSError(errno.EPERM, f"{name} to {wanted} failed")
