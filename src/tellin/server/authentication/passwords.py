# SPDX-License-Identifier: MIT
"""Passwords of the system's accounts: crypt(3) hashes of the shadow file, and when they run out.

All of it blocks, on purpose for a tenth of a second and more: run it off the loop.
"""

import ctypes
import hashlib
import hmac
import os
import pwd
import time
from collections.abc import Callable, Iterator
from enum import Enum, auto
from itertools import chain
from pathlib import Path
from typing import Final

from tellin.wire import Record

# A longer one keeps crypt(3) busy and is nobody's password (CVE-2016-6515, R062).
MAXIMUM_PASSWORD: Final = 1024
# Shorter than a DES hash is no hash: a failure token, or what an administrator typed to lock.
_SHORTEST_HASH: Final = 13
# What crypt_r works in: 128 KiB in glibc, 32 KiB in libxcrypt, 260 bytes in musl.
_CRYPT_DATA: Final = 256 * 1024
# getspnam_r: a line of the shadow file.
_LINE: Final = 16 * 1024
# For machines on which no account has a hash to take the kind from.
_FAKE_SETTINGS: Final = (
    "$y$j9T$F5Jx5fExrKuPp53xLKQ..1",
    "$6$tellintellin0000$",
    "$2b$10$tellintellintellintelO",
)
_DAY: Final = 86400

Crypt = Callable[[bytes, bytes], bytes | None]


class Verdict(Enum):
    """What a password is worth."""

    WRONG = auto()
    RIGHT = auto()
    RUN_OUT = auto()  # right, and to be changed before anything else
    ACCOUNT_EXPIRED = auto()  # right, and nobody may log in here any more


class ShadowEntry(Record, secret=("password_hash",)):
    """What shadow(5) says of one account; days since 1970, and -1 for what is not set."""

    password_hash: str
    last_change: int = -1
    maximum: int = -1
    inactive: int = -1
    expires: int = -1

    @property
    def locked(self) -> bool:
        """Whether no password fits: ``*``, ``!``, or a hash behind a ``!`` (R063, case 163)."""
        return len(self.password_hash) < _SHORTEST_HASH or self.password_hash[0] in "!*"

    def standing(self, today: int) -> Verdict:
        """What a right password is worth on the day ``today``."""
        if self.expires != -1 and self.expires < today:
            return Verdict.ACCOUNT_EXPIRED
        if self.last_change == 0:
            # shadow(5): the administrator wants it changed at the next login.
            return Verdict.RUN_OUT
        if self.last_change < 0 or self.maximum < 0:
            return Verdict.RIGHT
        over = today - self.last_change - self.maximum
        if over <= 0:
            return Verdict.RIGHT
        return Verdict.ACCOUNT_EXPIRED if 0 <= self.inactive < over else Verdict.RUN_OUT


class SystemPasswords:
    """Checks passwords against the system's accounts; may be used by several threads at once."""

    def __init__(
        self,
        *,
        crypt: Crypt | None = None,
        lookup: Callable[[str], ShadowEntry | None] | None = None,
        today: Callable[[], int] | None = None,
        fake_setting: str = "",
    ) -> None:
        self._crypt = crypt or load_crypt()
        self._lookup = lookup or find_entry
        self._today = today or (lambda: int(time.time()) // _DAY)
        self._fake = fake_setting.encode() or self._choose_fake(_known_hashes())

    def verify(self, user: str, password: str, *, permit_empty: bool = False) -> Verdict:
        """What ``password`` is worth for ``user``; it takes as long for users who do not exist.

        A password that cannot be one is wrong without a hash, for everybody alike.
        """
        given = password.encode("utf-8", "surrogateescape")
        if len(given) > MAXIMUM_PASSWORD or b"\0" in given:
            return Verdict.WRONG
        entry = self._lookup(user)
        if not given:
            # R090: nothing opens only what has nothing to open, and only where that is permitted.
            empty = permit_empty and entry is not None and entry.password_hash == ""
            return entry.standing(self._today()) if empty and entry else Verdict.WRONG
        if entry is None or entry.locked:
            self._waste_time(given)
            return Verdict.WRONG
        stored = entry.password_hash.encode("utf-8", "surrogateescape")
        computed = self._crypt(given, stored)
        if not _is_hash(computed):
            # A kind that this machine cannot compute fails at once, and that would tell of it.
            self._waste_time(given)
            return Verdict.WRONG
        right = hmac.compare_digest(computed or b"", stored)
        return entry.standing(self._today()) if right is True else Verdict.WRONG

    def _waste_time(self, password: bytes) -> None:
        """Take as long as a check does (CVE-2016-6210, R061)."""
        self._crypt(password, self._fake)

    def _choose_fake(self, hashes: Iterator[str]) -> bytes:
        """A setting of the kind that the accounts of this machine have."""
        for sample in chain(hashes, _FAKE_SETTINGS):
            raw = sample.encode("utf-8", "surrogateescape")
            # Without the hash itself where the kind allows: nobody's is kept longer than needed.
            for setting in (raw.rpartition(b"$")[0] + b"$", raw):
                if _is_hash(self._crypt(b"tellin", setting)):
                    return setting
        return b"xx"  # DES, which every crypt(3) was born with


def _is_hash(computed: bytes | None) -> bool:
    # CVE-2026-123158: "*0" is how crypt(3) says that it failed, and a locked account's field may
    # hold the same two characters.
    return computed is not None and len(computed) >= _SHORTEST_HASH and computed[:1] != b"*"


def failure_delay(secret: bytes, user: str, elapsed: float) -> float:
    """How many seconds to wait before saying no, ``elapsed`` seconds after the request came.

    The sum is the same for a user at every try, and cannot be told without ``secret``: what is
    left of a difference between users who exist and who do not drowns in it (R061). A check that
    took longer waits for the next power of two of it.
    """
    digest = hashlib.blake2b(user.encode("utf-8", "replace"), key=secret[:64], digest_size=4)
    total = 0.005 + int.from_bytes(digest.digest(), "big") / 2**32 * 0.004
    while total < elapsed:
        total *= 2
    return total - elapsed


# The system's own functions. Python's crypt and spwd modules ended with 3.12.


class _Spwd(ctypes.Structure):
    """``struct spwd`` of <shadow.h>."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("password", ctypes.c_char_p),
        ("last_change", ctypes.c_long),
        ("minimum", ctypes.c_long),
        ("maximum", ctypes.c_long),
        ("warn", ctypes.c_long),
        ("inactive", ctypes.c_long),
        ("expires", ctypes.c_long),
        ("flag", ctypes.c_ulong),
    )


def load_crypt() -> Crypt:
    """crypt_r(3) of this machine: in a library of its own with glibc, in libc with musl."""
    for name in ("libcrypt.so.1", "libcrypt.so.2", None):
        try:
            function = ctypes.CDLL(name).crypt_r
        except (OSError, AttributeError):
            continue
        break
    else:
        return lambda password, setting: None
    function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
    function.restype = ctypes.c_char_p

    def crypt(password: bytes, setting: bytes) -> bytes | None:
        # Its own memory for each call, so that threads may hash at once; wiped, since the
        # password and its key schedule stay in it.
        work = ctypes.create_string_buffer(_CRYPT_DATA)
        try:
            result: bytes | None = function(password, setting, work)
            return result
        finally:
            ctypes.memset(work, 0, _CRYPT_DATA)

    return crypt


def find_entry(user: str) -> ShadowEntry | None:
    """The account's entry in whatever holds the machine's shadow; needs root for most.

    Without a shadow entry the hash of passwd counts, unless it only says that it is elsewhere.
    """
    if "\0" in user:
        return None
    try:
        plain = pwd.getpwnam(user).pw_passwd
    except (KeyError, ValueError, UnicodeEncodeError):
        return None
    entry = _shadow_entry(user)
    if entry is not None:
        return entry
    return None if plain in {"x", "*NP*"} else ShadowEntry(plain)


def _shadow_entry(user: str) -> ShadowEntry | None:
    function = getattr(ctypes.CDLL(None, use_errno=True), "getspnam_r", None)
    if function is None:
        return None
    found = ctypes.POINTER(_Spwd)()
    spwd = _Spwd()
    line = ctypes.create_string_buffer(_LINE)
    name = user.encode("utf-8", "surrogateescape")
    status = function(
        ctypes.c_char_p(name),
        ctypes.byref(spwd),
        line,
        ctypes.c_size_t(_LINE),
        ctypes.byref(found),
    )
    if status != 0 or not bool(found):
        return None
    return ShadowEntry(
        # Empty is an account without a password; no field at all lets nobody in.
        (b"*" if spwd.password is None else spwd.password).decode("utf-8", "surrogateescape"),
        last_change=spwd.last_change,
        maximum=spwd.maximum,
        inactive=spwd.inactive,
        expires=spwd.expires,
    )


def _known_hashes(path: str = "/etc/shadow") -> Iterator[str]:
    """The hashes of this machine's accounts, as samples of the kind in use."""
    if not os.access(path, os.R_OK):
        return
    with Path(path).open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.split(":")
            if len(fields) > 1 and not ShadowEntry(fields[1]).locked:
                yield fields[1]
