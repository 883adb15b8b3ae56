# SPDX-License-Identifier: MIT
"""allowed_signers: who may sign what, for ``ssh-keygen -Y`` and for Git (ssh-keygen(1), ALLOWED SIGNERS)."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from tellin.config.key_options import Expiry, read_expiry, split_options
from tellin.config.patterns import match_pattern, match_pattern_list
from tellin.errors import CertificateRejected, ConfigError, KeyFileError
from tellin.keys.certificates import Certificate, CertificateRole
from tellin.keys.public import PublicKey
from tellin.wire import Record

_LONGEST_LINE: Final = 65536


class Clock(Record):
    """The moment that a signature is judged at, and how this machine reads the calendar."""

    now: float
    seconds: Callable[[Expiry], float]
    """When a time of a line was or will be."""
    text: Callable[[float], str]
    """A time as messages show it, such as 2030-12-31T23:59:59."""


class AllowedSigner:
    """One good line."""

    __slots__ = (
        "cert_authority",
        "key",
        "namespaces",
        "principals",
        "valid_after",
        "valid_before",
        "where",
    )

    def __init__(self, principals: str, where: str) -> None:
        self.principals = principals
        self.where = where
        self.key: PublicKey | None = None
        self.cert_authority = False
        self.namespaces: str | None = None
        self.valid_after: Expiry | None = None
        self.valid_before: Expiry | None = None

    def is_for(self, principal: str) -> bool:
        """Whether the line speaks of somebody."""
        return match_pattern_list(principal, self.principals)

    def fault(self, *, namespace: str, clock: Clock) -> str:
        """Why the line does not hold for a namespace now; nothing if it does."""
        if self.namespaces is not None and not match_pattern_list(namespace, self.namespaces):
            return f'key is not permitted for use in signature namespace "{namespace}"'
        return self.out_of_time(clock)

    def out_of_time(self, clock: Clock) -> str:
        """The part of that about time."""
        now = f"verify time {clock.text(clock.now)}"
        if self.valid_after is not None:
            after = clock.seconds(self.valid_after)
            if clock.now < after:
                return f"key is not yet valid: {now} < valid-after {clock.text(after)}"
        if self.valid_before is not None:
            before = clock.seconds(self.valid_before)
            if clock.now > before:
                return f"key has expired: {now} > valid-before {clock.text(before)}"
        return ""


class AllowedSigners:
    """The good lines of a file; ``notes`` says why others are none, and why a good one did not do."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self.notes: list[str] = []

    @classmethod
    def parse(cls, text: str, *, file: str = "allowed_signers") -> "AllowedSigners":
        """Take a file; its lines are read when they are asked for, and a bad one is noted then."""
        return cls(text, file)

    # Asking

    def allows(
        self, key: PublicKey | Certificate, principal: str, *, namespace: str, clock: Clock
    ) -> bool:
        """Whether ``principal`` may sign with ``key`` in a namespace now."""
        for line in self._lines(principal):
            if self._fits(line, key, principal, clock):
                fault = line.fault(namespace=namespace, clock=clock)
                if not fault:
                    return True
                self.notes.append(f"{line.where}: {fault}")
        return False

    def principals_of(self, key: PublicKey | Certificate, *, clock: Clock) -> list[str]:
        """For whom a key may sign now, by the first line that knows it."""
        for line in self._lines(None):
            if not line.cert_authority:
                if line.key == key and not self._noted(line, line.out_of_time(clock)):
                    return line.principals.split(",")
            elif isinstance(key, Certificate) and key.authority == line.key:
                found = [
                    name
                    for pattern in line.principals.split(",")
                    for name in key.principals
                    if match_pattern(name, pattern) and not _rejected(key, name, clock)
                ]
                if not found:
                    self.notes.append(f"{line.where}: no valid principals found")
                elif not self._noted(line, line.out_of_time(clock)):
                    return found
        return []

    def patterns_for(self, principal: str) -> list[str]:
        """What the lines that speak of somebody call him; raises ConfigError at a line that is none."""
        found = []
        for line in self._lines(principal, strict=True):
            found.append(line.principals)
        return found

    def _noted(self, line: AllowedSigner, fault: str) -> bool:
        if fault:
            self.notes.append(f"{line.where}: {fault}")
        return bool(fault)

    def _fits(
        self, line: AllowedSigner, key: PublicKey | Certificate, principal: str, clock: Clock
    ) -> bool:
        if not line.cert_authority:
            return line.key == key
        if not isinstance(key, Certificate) or key.authority != line.key:
            return False
        reason = _rejected(key, principal, clock)
        return not self._noted(line, reason and f"certificate not authorized: {reason}")

    # Reading

    def _lines(self, principal: str | None, *, strict: bool = False) -> Iterator[AllowedSigner]:
        """The lines that speak of ``principal``, or all; what is wrong with others is not looked at."""
        for number, raw in enumerate(self._text.split("\n"), 1):
            text = raw.strip(" \t\r")
            if not text or text.startswith("#"):
                continue
            where = f"{self._file}:{number}"
            try:
                line, rest = _begin(text, where)
                if principal is not None and not line.is_for(principal):
                    continue
                _finish(line, rest)
            except ConfigError as fault:
                self.notes.append(f"{where}: {fault}")
                if strict:
                    raise
                continue
            yield line


def _rejected(certificate: Certificate, principal: str, clock: Clock) -> str:
    try:
        certificate.check(CertificateRole.USER, now=clock.now, names=[principal])
    except CertificateRejected as reason:
        return str(reason)
    return ""


def _begin(text: str, where: str) -> tuple[AllowedSigner, str]:
    if len(text) > _LONGEST_LINE:
        raise ConfigError(f"a line of {len(text)} characters is skipped")
    if "\0" in text:
        raise ConfigError("a NUL character in the line")
    if text.startswith('"'):
        principals, quote, rest = text[1:].partition('"')
        if not quote:
            raise ConfigError("invalid line")
        rest = rest.lstrip(" \t")
    else:
        parts = re.split(r"[ \t]+", text, maxsplit=1)
        principals, rest = parts[0], parts[1] if len(parts) == 2 else ""
    return AllowedSigner(principals, where), rest


def _finish(line: AllowedSigner, rest: str) -> None:
    if not rest:
        raise ConfigError("missing key")
    try:
        line.key = PublicKey.from_line(rest)
    except KeyFileError:
        # No key, so options stand before it. What is wrong is told in the order of ssh-keygen.
        try:
            options, key = split_options(rest)
        except ConfigError:
            raise ConfigError("invalid options") from None
        if not key:
            raise ConfigError("missing key") from None
        try:
            line.key = PublicKey.from_line(key)
        except KeyFileError:
            raise ConfigError("invalid key") from None
        _read_options(line, options)


_OPTION: Final = re.compile(r'([A-Za-z-]+)(?:="((?:\\"|[^"])*)")?(?:,|$)', re.DOTALL)


def _read_options(line: AllowedSigner, text: str) -> None:
    at = 0
    while at < len(text):
        found = _OPTION.match(text, at)
        if found is None:
            raise ConfigError("bad options: unknown key option")
        name, value = found[1].lower(), found[2]
        if name == "cert-authority" and value is None:
            line.cert_authority = True
        elif value is not None and name in _VALUES:
            _VALUES[name](line, value.replace('\\"', '"'))
        else:
            raise ConfigError("bad options: unknown key option")
        at = found.end()
    if text.endswith(","):
        raise ConfigError("bad options: unexpected end-of-options")
    after, before = line.valid_after, line.valid_before
    if after is not None and before is not None and before.moment <= after.moment:
        raise ConfigError('bad options: "valid-before" time is before "valid-after"')


def _namespaces(line: AllowedSigner, value: str) -> None:
    if line.namespaces is not None:
        raise ConfigError('bad options: multiple "namespaces" clauses')
    line.namespaces = value


def _valid_after(line: AllowedSigner, value: str) -> None:
    if line.valid_after is not None:
        raise ConfigError('bad options: multiple "valid-after" clauses')
    line.valid_after = _time("valid-after", value)


def _valid_before(line: AllowedSigner, value: str) -> None:
    if line.valid_before is not None:
        raise ConfigError('bad options: multiple "valid-before" clauses')
    line.valid_before = _time("valid-before", value)


def _time(name: str, value: str) -> Expiry:
    try:
        return read_expiry(value)
    except ConfigError:
        raise ConfigError(f'bad options: invalid "{name}" time') from None


_VALUES: Final[dict[str, Callable[[AllowedSigner, str], None]]] = {
    "namespaces": _namespaces,
    "valid-after": _valid_after,
    "valid-before": _valid_before,
}
