# SPDX-License-Identifier: MIT
"""known_hosts: which keys a host has shown before (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").

Text in, values out. Files that hold other bytes than UTF-8 are decoded with ``surrogateescape``,
so that every line that is not touched goes back as it came.
"""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from typing import Final

from tellin.algorithms.signatures import SIGNATURES
from tellin.config.patterns import has_wildcard, match_pattern_list
from tellin.errors import ConfigError, MalformedPacket
from tellin.wire import Cursor, Record
from tellin.wire.states import State

# R109: a longer line is skipped whole, never read in pieces.
_LONGEST_LINE: Final = 65536

# The types of plain keys that can be asked for at all.
_SHOWN: Final = frozenset(row.key_type for row in SIGNATURES)

_SALT_BYTES: Final = 20
_HASH_MAGIC: Final = "|1|"

# R108: space and tab part the fields, and nothing else that Unicode calls a space.
_FIELDS: Final = re.compile(
    r"[ \t]*(?:(@[^ \t]*)[ \t]+)?([^ \t]+)[ \t]+([^ \t]+)[ \t]+([^ \t]+)(?:[ \t]+(.*))?", re.DOTALL
)
# From so many lines on it pays to look which of them are for others before they are taken apart.
_MANY_LINES: Final = 200


class Marker(State):
    """What a line says about its key."""

    NONE = ""
    CERT_AUTHORITY = "@cert-authority"
    REVOKED = "@revoked"


class HostKeyState(State):
    """What the records say about a key that a host has just shown."""

    MATCHES = "matches"
    CHANGED = "changed"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class Entry:
    """One good line: whose key it is, where it stands, and what the line says of it."""

    __slots__ = ("blob", "comment", "file", "key_type", "line", "marker", "names")

    def __init__(
        self, fields: "_Fields", *, key_type: str, blob: bytes, file: str, line: int
    ) -> None:
        self.marker = fields.marker
        self.names = fields.names
        self.comment = fields.comment
        self.key_type = key_type
        self.blob = blob
        self.file = file
        self.line = line

    @property
    def where(self) -> str:
        """``file:line``, as messages about the entry print it."""
        return f"{self.file}:{self.line}"

    @property
    def hashed(self) -> bool:
        """Whether the line keeps its host name secret."""
        return self.names.startswith(_HASH_MAGIC)

    def is_for(self, name: str) -> bool:
        """Whether the line speaks of the host ``name`` (as ``host_name`` writes it)."""
        return _names_fit(self.names, name)

    def __repr__(self) -> str:
        return f"<{self.key_type} key of {self.names} at {self.where}>"


class Lookup(Record):
    """What was found for a key: the answer, the line that decides it, and what else is on record.

    ``entry`` matches, or revokes, or holds another key. ``known`` are all plain keys of the host,
    whatever their type; ``authorities`` the keys that may sign its certificates;
    ``elsewhere`` lines that know this same key under other names.
    """

    state: HostKeyState
    entry: Entry | None
    known: tuple[Entry, ...]
    authorities: tuple[Entry, ...]
    elsewhere: tuple[Entry, ...]


class _Fields:
    """The words of one line before its key has been decoded."""

    __slots__ = ("base64", "comment", "marker", "names", "type_word")

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST_LINE:
            raise ConfigError(f"a line of {len(text)} characters is skipped")
        if "\0" in text:
            raise ConfigError("a NUL character in the line")
        found = _FIELDS.fullmatch(text)
        if found is None:
            raise ConfigError("a host, a key type and a key are needed")
        marker, self.names, self.type_word, self.base64, comment = found.groups()
        self.comment: str = comment or ""
        try:
            self.marker = Marker(marker or "")
        except ValueError:
            raise ConfigError(f"unknown marker {marker[:40]!a}") from None
        # A second marker would otherwise pass for a host name (R108).
        if self.names.startswith("@"):
            raise ConfigError("only one marker may stand in a line")
        if self.names.startswith("\ufeff"):
            raise ConfigError("a byte order mark before the host name")
        if self.names.startswith(_HASH_MAGIC):
            _salt_and_hash(self.names)


class KnownHosts:
    """The lines of one or more known_hosts files, read when a host is looked up.

    A line that cannot be used never matches anything; those that a look-up met are listed in
    ``warnings``, each with its file and line.
    """

    def __init__(self) -> None:
        self._files: list[tuple[str, list[str]]] = []
        self._warned: set[tuple[str, int]] = set()
        self.warnings: list[str] = []

    @classmethod
    def parse(cls, text: str, *, file: str = "known_hosts") -> "KnownHosts":
        """The records of one file."""
        made = cls()
        made.add(text, file=file)
        return made

    def add(self, text: str, *, file: str = "known_hosts") -> None:
        """Read another file after those already there."""
        self._files.append((file, text.split("\n")))

    def joined(self, text: str, *, file: str) -> "KnownHosts":
        """The same with more lines behind them, which are not kept here."""
        made = KnownHosts()
        made._files = [*self._files, (file, text.split("\n"))]
        return made

    def entries(self) -> Iterator[Entry]:
        """Every good line, in order."""
        for fields, file, number in self._scan():
            entry = self._entry(fields, file, number)
            if entry is not None:
                yield entry

    def find(self, name: str) -> list[Entry]:
        """The good lines that speak of one host name, in order."""
        found = (
            self._entry(fields, file, number)
            for fields, file, number in self._scan((name,))
            if _names_fit(fields.names, name)
        )
        return [entry for entry in found if entry is not None]

    def select(self, names: Sequence[str], blobs: Collection[bytes]) -> list[Entry]:
        """The good lines of a host that has any of ``names``, and those with a key of ``blobs``."""
        canonical = {b2a_base64(blob, newline=False).decode("ascii") for blob in blobs}
        found = (
            self._entry(fields, file, number)
            for fields, file, number in self._scan(names, canonical)
            if fields.base64 in canonical or any(_names_fit(fields.names, name) for name in names)
        )
        return [entry for entry in found if entry is not None]

    def lines_of(self, name: str) -> dict[int, Marker]:
        """The lines that speak of one host name, by number, whether their key is of use or not."""
        return {
            number: fields.marker
            for fields, _, number in self._scan((name,))
            if _names_fit(fields.names, name)
        }

    def types(self, names: Sequence[str]) -> frozenset[str]:
        """The types of the plain keys on record under any of ``names``; revoked ones do not count.

        The marker of an authority stands for its line.
        """
        return frozenset(
            fields.marker.value or fields.type_word
            for fields, _, _ in self._scan(names)
            if fields.marker is not Marker.REVOKED
            and any(_names_fit(fields.names, name) for name in names)
        )

    def lookup(
        self,
        names: Sequence[str],
        key_blob: bytes,
        *,
        authority: bytes | None = None,
        match_only: Sequence[str] = (),
    ) -> Lookup:
        """Judge the key that a host has shown; any of ``names`` is the host.

        ``authority`` is the key that signed it, if it is a certificate. Under a name of
        ``match_only`` a match counts but a different key is no alarm: OpenSSH looks at the host
        without its port that way.
        """
        here: list[Entry] = []
        elsewhere: list[Entry] = []
        fallback: list[Entry] = []
        canonical = b2a_base64(key_blob, newline=False).decode("ascii")
        for fields, file, number in self._scan((*names, *match_only), (canonical,)):
            ours = any(_names_fit(fields.names, name) for name in names)
            close = not ours and any(_names_fit(fields.names, name) for name in match_only)
            if not ours and not close and fields.base64 != canonical:
                continue
            entry = self._entry(fields, file, number)
            if entry is not None:
                (here if ours else fallback if close else elsewhere).append(entry)
        return _judge(here, fallback, elsewhere, key_blob, authority)

    def _scan(
        self, names: Sequence[str] | None = None, keys: Collection[str] = ()
    ) -> Iterator[tuple[_Fields, str, int]]:
        """The lines, taken apart; with ``names`` perhaps without those that are for none of them.

        Nor do those hold one of ``keys``, which are in base64. A file for a whole site has tens of
        thousands of lines: taking each apart would cost a login more than all the rest of it.
        """
        wanted = None if names is None else tuple(name.lower() for name in names)
        for file, lines in self._files:
            many = len(lines) >= _MANY_LINES
            for number, raw in enumerate(lines, 1):
                if many and wanted is not None and _is_elsewhere(raw, wanted, keys):
                    continue
                text = raw.rstrip("\r \t")
                start = text.lstrip(" \t")
                if not start or start.startswith("#"):
                    continue
                try:
                    fields = _Fields(text)
                except ConfigError as fault:
                    self._warn(fault, file, number)
                    continue
                yield fields, file, number

    def _entry(self, fields: _Fields, file: str, number: int) -> Entry | None:
        try:
            blob = decode_key(fields.type_word, fields.base64)
        except ConfigError as fault:
            self._warn(fault, file, number)
            return None
        return Entry(fields, key_type=fields.type_word, blob=blob, file=file, line=number)

    def _warn(self, fault: ConfigError, file: str, number: int) -> None:
        if (file, number) not in self._warned:
            self._warned.add((file, number))
            self.warnings.append(f"{file}:{number}: {fault}")


def _judge(
    here: list[Entry],
    fallback: list[Entry],
    elsewhere: list[Entry],
    key_blob: bytes,
    authority: bytes | None,
) -> Lookup:
    """Weigh the lines of a host: revoked beats everything, then any match, then a difference."""
    near = here + fallback
    known = tuple(entry for entry in here if entry.marker is Marker.NONE)
    authorities = tuple(entry for entry in near if entry.marker is Marker.CERT_AUTHORITY)
    state, decided = HostKeyState.UNKNOWN, None
    offered = {key_blob} if authority is None else {key_blob, authority}
    for entry in near:
        # Case 311: a key that is both trusted and revoked is revoked.
        if entry.marker is Marker.REVOKED and entry.blob in offered:
            state, decided = HostKeyState.REVOKED, entry
            break
    else:
        plain = [entry for entry in near if entry.marker is Marker.NONE]
        same = [entry for entry in plain if entry.blob == key_blob]
        signers = [entry for entry in authorities if entry.blob == authority]
        # Of whatever type that a server could show us: a false one has only to leave out those that
        # are on record to pass for a host that has one more key.
        other = [entry for entry in known if entry.key_type in _SHOWN]
        if same or signers:
            state, decided = HostKeyState.MATCHES, (same or signers)[0]
        elif other:
            state, decided = HostKeyState.CHANGED, other[-1]
    return Lookup(
        state,
        decided,
        known,
        authorities,
        tuple(
            entry for entry in elsewhere if entry.marker is Marker.NONE and entry.blob == key_blob
        ),
    )


def _type_of(blob: bytes) -> str:
    """The type that a key blob names itself, or an empty text."""
    try:
        return Cursor(blob).text()
    except MalformedPacket:
        return ""


def decode_key(type_word: str, base64: str) -> bytes:
    """The key blob of a line, or ConfigError; R107: the blob must be of the type that the line says."""
    try:
        blob = a2b_base64(base64.encode("ascii"), strict_mode=True)
    except (Base64Error, UnicodeEncodeError):
        raise ConfigError("the key is not base64") from None
    if not type_word or _type_of(blob) != type_word:
        raise ConfigError(f"the key is not of the type {type_word[:64]!a} that the line names")
    if not _is_whole(blob, type_word):
        raise ConfigError("the key is cut short or has something behind it")
    return blob


def _is_whole(blob: bytes, key_type: str) -> bool:
    """Whether a key has fields behind its type's name, and ends with the last of them.

    All but a certificate's are strings or integers.
    """
    cursor = Cursor(blob)
    cursor.string()
    if not cursor.remaining() or "-cert-v" in key_type:
        return bool(cursor.remaining())
    try:
        while cursor.remaining():
            cursor.string()
    except MalformedPacket:
        return False
    return True


# --- names ---------------------------------------------------------------------------------------


def host_name(host: str, port: int = 22) -> str:
    """A host as known_hosts writes it: lower case, ``[host]:port`` unless the port is 22."""
    lowered = host.lower()
    return lowered if port == 22 else f"[{lowered}]:{port}"


@cache
def _beginnings() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """How the lines of programs begin: sound ones, of names in small letters without a pattern, or hashed."""
    return (
        re.compile(r"[a-z0-9.,:_\[\]-]+ [^ \t]+ [^ \t\r]"),
        re.compile(r"\|1\|([A-Za-z0-9+/]{27}=)\|([A-Za-z0-9+/]{27}=) [^ \t]+ [^ \t\r]"),
    )


def _is_elsewhere(line: str, names: Sequence[str], keys: Collection[str]) -> bool:
    """Whether it can be seen at a glance that a line is sound, for no host of ``names``, and with no key of ``keys``."""
    if len(line) > _LONGEST_LINE or "\0" in line:
        return False
    for key in keys:
        if key in line:
            return False
    plain, with_hash = _beginnings()
    if plain.match(line):
        # Where there is no pattern, a name that fits stands there letter by letter.
        return not any(name in line for name in names)
    hashed = with_hash.match(line)
    if hashed is None:
        return False
    salt, wanted = a2b_base64(hashed[1]), a2b_base64(hashed[2])
    return wanted not in {_digest(salt, name) for name in names}


def _names_fit(names: str, name: str) -> bool:
    """Whether the first field of a line speaks of ``name``."""
    if not names.startswith(_HASH_MAGIC):
        return match_pattern_list(name.lower(), names, fold=True)
    salt, wanted = _salt_and_hash(names)
    return _digest(salt, name.lower()) == wanted


def _digest(salt: bytes, name: str) -> bytes:
    # HMAC-SHA1 is what the format says; it hides names and guards nothing else.
    # Imported here: a known_hosts without hashed names, the usual one, does not pay for it.
    import hmac  # noqa: PLC0415  (start-up time)

    return hmac.digest(salt, name.encode("utf-8", "surrogateescape"), "sha1")


def _salt_and_hash(names: str) -> tuple[bytes, bytes]:
    """The two parts of ``|1|salt|hash``; a wrong length never matches, least of all everything."""
    salt_text, bar, hash_text = names[len(_HASH_MAGIC) :].partition("|")
    try:
        salt = a2b_base64(salt_text.encode("ascii"), strict_mode=True)
        digest = a2b_base64(hash_text.encode("ascii"), strict_mode=True)
    except (Base64Error, UnicodeEncodeError):
        raise ConfigError("the hashed host name is not base64") from None
    if not bar or len(salt) != _SALT_BYTES or len(digest) != _SALT_BYTES:
        raise ConfigError("the salt or the hash of a host name has the wrong length")
    return salt, digest


def hash_name(name: str, *, salt: bytes) -> str:
    """``name`` as ``|1|salt|hash``; ``salt`` is 20 fresh random bytes."""
    if len(salt) != _SALT_BYTES:
        raise ConfigError(f"a salt of {len(salt)} bytes where {_SALT_BYTES} are needed")
    parts = (salt, _digest(salt, name.lower()))
    return _HASH_MAGIC + "|".join(
        b2a_base64(part, newline=False).decode("ascii") for part in parts
    )


# --- writing: whole texts in, whole texts out -------------------------------------------------------


def make_line(
    names: Sequence[str] | str,
    key_type: str,
    key_blob: bytes,
    *,
    comment: str = "",
    marker: Marker = Marker.NONE,
) -> str:
    """A line, without its newline, for names that ``host_name`` or ``hash_name`` made."""
    joined = names if isinstance(names, str) else ",".join(names)
    words = [marker.value, joined, key_type, b2a_base64(key_blob, newline=False).decode("ascii")]
    line = " ".join(word for word in (*words, comment) if word)
    # What this module writes it must read back as one line, or a hostile name could forge a second.
    if not joined or any(c in line for c in "\n\r\0") or any(c in joined for c in " \t#"):
        raise ConfigError(f"{joined[:80]!a} cannot stand in known_hosts")
    return line


def add_line(text: str, line: str) -> str:
    """``text`` with ``line`` at its end; a last line without newline is not run into."""
    return text + ("\n" if text and not text.endswith("\n") else "") + line + "\n"


def remove_host(text: str, name: str, *, file: str = "known_hosts") -> tuple[str, list[Entry]]:
    """``text`` without the plain lines of one host, and the entries that went.

    Marked lines stay: who forgets a host does not mean to trust a revoked key again.
    """
    found = KnownHosts.parse(text, file=file).find(name)
    gone = [entry for entry in found if entry.marker is Marker.NONE]
    return remove_entries(text, gone), gone


def remove_entries(text: str, entries: Sequence[Entry]) -> str:
    """``text`` without the lines of these entries; every other line stays as it is."""
    numbers = {entry.line for entry in entries}
    lines = text.split("\n")
    return "\n".join(line for number, line in enumerate(lines, 1) if number not in numbers)


def hash_names(text: str, *, salt: Callable[[], bytes]) -> str:
    """``text`` with every plain host name hashed, one name a line; ``salt`` gives 20 fresh bytes.

    Lines with patterns, markers or faults stay as they are: their names cannot be hashed.
    """
    by_line = {entry.line: entry for entry in KnownHosts.parse(text).entries()}
    made: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        entry = by_line.get(number)
        if (
            entry is None
            or entry.hashed
            or entry.marker is not Marker.NONE
            or has_wildcard(entry.names)
            or "!" in entry.names
            or not entry.names.strip(",")
        ):
            made.append(line)
        else:
            made.extend(
                make_line(
                    hash_name(name, salt=salt()),
                    entry.key_type,
                    entry.blob,
                    comment=entry.comment,
                )
                for name in entry.names.split(",")
                if name
            )
    return "\n".join(made)
