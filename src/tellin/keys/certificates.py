# SPDX-License-Identifier: MIT
"""Certificates: keys that an authority vouches for, read, judged and issued (draft-miller-ssh-cert).

A certificate is believed in three steps, none of which follows from another: that it is well made
(it parses), that an authority has signed it (``is_signed``), and that it says what is needed here
and now (``check`` and ``options``). Whether that authority is one to trust is the caller's to know.
"""

import binascii
from collections.abc import Callable, Collection, Iterable
from enum import IntEnum
from typing import Final, Self

from tellin.algorithms.registry import matches
from tellin.algorithms.signatures import CA_SIGNATURE_ALGORITHMS, certified, plain
from tellin.errors import CertificateRejected, KeyFileError, MalformedPacket, UsageError
from tellin.keys.kinds import KINDS, Kind
from tellin.keys.private import Signer
from tellin.keys.public import PublicKey, good_lines, words_of
from tellin.wire import Cursor, Record, string

# A valid_before that never comes.
FOREVER: Final = (1 << 64) - 1
MOST_BYTES: Final = 1 << 17
MOST_PRINCIPALS: Final = 256
_NONCE_BYTES: Final = 32

FORCE_COMMAND: Final = "force-command"
SOURCE_ADDRESS: Final = "source-address"
VERIFY_REQUIRED: Final = "verify-required"
NO_TOUCH_REQUIRED: Final = "no-touch-required"


class CertificateRole(IntEnum):
    """What a certificate is for."""

    USER = 1
    HOST = 2


class CertificateOptions(Record):
    """What a user's certificate demands and allows; nothing that it does not allow is (section 4.2)."""

    force_command: str | None = None
    source_address: str | None = None
    """Addresses and CIDR blocks, with commas between them."""
    verify_required: bool = False
    touch_required: bool = True
    permit_agent_forwarding: bool = False
    permit_port_forwarding: bool = False
    permit_pty: bool = False
    permit_user_rc: bool = False
    permit_x11_forwarding: bool = False


_EXTENSIONS: Final = {
    "permit-agent-forwarding": ("permit_agent_forwarding", True),
    "permit-port-forwarding": ("permit_port_forwarding", True),
    "permit-pty": ("permit_pty", True),
    "permit-user-rc": ("permit_user_rc", True),
    "permit-X11-forwarding": ("permit_x11_forwarding", True),
    NO_TOUCH_REQUIRED: ("touch_required", False),
}
# What ssh-keygen puts into a user's certificate unless it is told otherwise.
DEFAULT_EXTENSIONS: Final = tuple(
    sorted(name for name in _EXTENSIONS if name != NO_TOUCH_REQUIRED)
)

# The kinds of keys by the types of their certificates.
CERTIFIED: Final = {certified(kind.key_type): kind for kind in KINDS.values()}

Option = tuple[str, bytes]


class Certificate:
    """A certificate, equal to every other with the same bytes; it does not change."""

    __slots__ = (
        "_kind",
        "_signature",
        "_signed",
        "authority",
        "blob",
        "comment",
        "critical_options",
        "extensions",
        "key",
        "key_id",
        "nonce",
        "principals",
        "role",
        "serial",
        "valid_after",
        "valid_before",
    )

    def __init__(self, blob: bytes, comment: str = "") -> None:
        """Take ``blob`` apart; KeyFileError says what is wrong with it."""
        if len(blob) > MOST_BYTES:
            raise KeyFileError(f"{len(blob)} bytes are too many for a certificate")
        cursor = Cursor(blob)
        self._kind = kind_of_certificate(cursor)
        try:
            self._read(cursor)
        except MalformedPacket as error:
            raise KeyFileError(f"a damaged {self.key_type} certificate: {error}") from None
        self.blob = blob
        self.comment = comment

    def _read(self, cursor: Cursor) -> None:
        self.nonce = cursor.string()
        start = cursor.at
        self._kind.examine(cursor)
        fields = bytes(cursor.data[start : cursor.at])
        self.key = PublicKey.from_blob(string(self._kind.key_type.encode("ascii")) + fields)
        self.serial = cursor.uint64()
        role = cursor.uint32()
        if role not in {*CertificateRole}:
            raise KeyFileError(f"a certificate of the unknown type {role}")
        self.role = CertificateRole(role)
        self.key_id = _word(cursor.string(), "key id")
        self.principals = _principals(cursor.string())
        self.valid_after = cursor.uint64()
        self.valid_before = cursor.uint64()
        self.critical_options = _options(cursor.string())
        self.extensions = _options(cursor.string())
        cursor.string()  # reserved
        authority = cursor.string()
        self._signed = bytes(cursor.data[: cursor.at])
        self._signature = cursor.string()
        cursor.end("a certificate")
        try:
            # R102: a certificate is no authority. Nothing is ever nested, so nothing can recurse.
            self.authority = PublicKey.from_blob(authority)
        except KeyFileError as error:
            raise KeyFileError(f"a certificate whose authority is no key: {error}") from None

    @classmethod
    def from_blob(cls, blob: bytes, comment: str = "") -> Self:
        """The certificate of a blob."""
        return cls(bytes(blob), comment)

    @classmethod
    def from_line(cls, line: str) -> Self:
        """The certificate of a line ``type base64 comment``, as in a -cert.pub file."""
        words = words_of(line) if len(line) <= 2 * MOST_BYTES else ()
        if len(words) < 2:
            raise KeyFileError("a line that is not a certificate")
        try:
            blob = binascii.a2b_base64(words[1].encode("ascii"), strict_mode=True)
        except (binascii.Error, UnicodeEncodeError):
            raise KeyFileError("a certificate whose base64 is damaged") from None
        made = cls(blob, words[2] if len(words) == 3 else "")
        if made.key_type != words[0]:
            raise KeyFileError(f"a line that says {words[0][:64]!r} before a {made.key_type}")
        return made

    @classmethod
    def issue(
        cls,
        authority: Signer,
        key: PublicKey,
        *,
        role: CertificateRole = CertificateRole.USER,
        key_id: str,
        principals: Iterable[str] = (),
        serial: int = 0,
        valid_after: int = 0,
        valid_before: int = FOREVER,
        critical_options: Iterable[Option] = (),
        extensions: Iterable[Option] = (),
        algorithm: str | None = None,
        nonce: bytes | None = None,
    ) -> Self:
        """Have ``authority`` sign one; times are seconds of the epoch, ``valid_before`` the first not in it.

        A certificate without principals is for nobody (R101). ``algorithm`` is the authority's best if
        nothing is said. The options may come in any order; ``text_option`` and ``flag`` make them.
        """
        names = tuple(principals)
        _check_issue(names, key_id, (valid_after, valid_before, serial))
        if nonce is None:
            import secrets  # noqa: PLC0415  (start-up: few issue certificates)

            nonce = secrets.token_bytes(_NONCE_BYTES)
        cursor = Cursor(key.blob)
        cursor.string()
        body = b"".join(
            (
                string(certified(key.key_type).encode("ascii")),
                string(nonce),
                cursor.rest(),
                serial.to_bytes(8, "big"),
                role.to_bytes(4, "big"),
                string(_raw(key_id)),
                string(b"".join(string(_raw(name)) for name in names)),
                valid_after.to_bytes(8, "big"),
                valid_before.to_bytes(8, "big"),
                string(_packed(critical_options)),
                string(_packed(extensions)),
                string(b""),
                string(authority.public.blob),
            )
        )
        signature = authority.sign(body, algorithm or authority.public.signature_algorithms[0])
        return cls(body + string(signature), key.comment)

    # What it is

    @property
    def key_type(self) -> str:
        """The type's name on the wire, such as ``ssh-ed25519-cert-v01@openssh.com``."""
        return certified(self._kind.key_type)

    @property
    def kind(self) -> str:
        """The type's name in messages: ``ED25519-CERT`` and its like."""
        return f"{self._kind.name}-CERT"

    @property
    def bits(self) -> int:
        """The size of the key inside."""
        return self.key.bits

    @property
    def signature_algorithms(self) -> tuple[str, ...]:
        """The names under which it can be shown together with a signature by its key, best first."""
        return tuple(certified(name) for name in self.key.signature_algorithms)

    @property
    def signature_algorithm(self) -> str:
        """What the authority signed by, in its own words."""
        try:
            return Cursor(self._signature).string().decode("ascii", "replace")
        except MalformedPacket:
            return ""

    def fingerprint(self, hash_name: str = "sha256") -> str:
        """That of the key inside: other certificates for it have the same."""
        return self.key.fingerprint(hash_name)

    def to_line(self) -> str:
        """``type base64 comment``, without a newline."""
        line = f"{self.key_type} {binascii.b2a_base64(self.blob, newline=False).decode('ascii')}"
        return f"{line} {self.comment}" if self.comment else line

    def with_comment(self, comment: str) -> "Certificate":
        """The same certificate with another comment."""
        return Certificate(self.blob, comment)

    # Whether to believe it

    def is_signed(self, algorithms: Collection[str] = CA_SIGNATURE_ALGORITHMS) -> bool:
        """Whether its authority has signed it, by one of these algorithms (CASignatureAlgorithms)."""
        algorithm = self.signature_algorithm
        if algorithm not in algorithms:
            return False
        return self.authority.verify(
            self._signed, self._signature, algorithm=algorithm, sha1=algorithm == "ssh-rsa"
        )

    def check(
        self,
        role: CertificateRole,
        *,
        now: float,
        names: Iterable[str] | None,
        algorithms: Collection[str] = CA_SIGNATURE_ALGORITHMS,
    ) -> None:
        """Raise CertificateRejected unless it holds for one of ``names`` in this role and at this time.

        A host's principals may be patterns, a user's never are. ``names`` of None looks at none,
        for callers that have rules of their own about principals; a certificate for nobody stays
        one for nobody (R101).
        """
        if self.role is not role:
            # R103: what a host was given to prove itself by lets no user in.
            raise CertificateRejected(
                f"Certificate invalid: not a {role.name.lower()} certificate"
            )
        if not self.is_signed(algorithms):
            raise CertificateRejected(
                f"Certificate invalid: not signed by its authority, or by the disallowed algorithm"
                f" {self.signature_algorithm[:64]!r}"
            )
        self.check_time(now)
        if not self.principals:
            raise CertificateRejected("Certificate lacks principal list")
        if names is not None and not any(map(self.is_for, names)):
            raise CertificateRejected("Certificate invalid: name is not a listed principal")
        self.options()

    def check_time(self, now: float) -> None:
        """Raise CertificateRejected outside its time: from valid_after on, and before valid_before."""
        if now < self.valid_after:
            raise CertificateRejected("Certificate invalid: not yet valid")
        if now >= self.valid_before:
            raise CertificateRejected("Certificate invalid: expired")

    def is_for(self, name: str) -> bool:
        """Whether it lists a name.

        R100: each principal is compared by itself; lists joined by commas would let one that holds
        a comma stand for two.
        """
        if self.role is CertificateRole.HOST:
            return any(matches(name, pattern) for pattern in self.principals)
        return name in self.principals

    def options(self) -> CertificateOptions:
        """What it demands and allows; raises CertificateRejected for a critical option that is not understood.

        Unknown extensions are passed over. The order of critical options is not a matter of taste:
        an authority that lists one twice has been talked into something (case 293).
        """
        made = CertificateOptions()
        names = [name for name, _ in self.critical_options]
        if names != sorted(set(names)):
            raise CertificateRejected("Certificate invalid: critical options out of order")
        for name, data in self.critical_options:
            read = _CRITICAL.get(name) if self.role is CertificateRole.USER else None
            if read is None:
                raise CertificateRejected(
                    f"Certificate critical option {name[:64]!a} is not supported"
                )
            read(made, data)
        if self.role is CertificateRole.USER:
            for name, data in self.extensions:
                if name in _EXTENSIONS and not data:
                    attribute, value = _EXTENSIONS[name]
                    setattr(made, attribute, value)
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and other.blob == self.blob

    def __hash__(self) -> int:
        return hash(self.blob)

    def __repr__(self) -> str:
        return f"<Certificate {self.kind} {self.key_id!r} serial {self.serial}>"


def kind_of_certificate(cursor: Cursor) -> Kind:
    """Read a certificate's type; KeyFileError if it is not one of ours."""
    try:
        key_type = cursor.string()
    except MalformedPacket as error:
        raise KeyFileError(f"a certificate without a type: {error}") from None
    kind = CERTIFIED.get(key_type.decode("ascii", "replace"))
    if kind is None:
        raise KeyFileError(f"a certificate of the unknown type {key_type[:64]!r}")
    return kind


def inner_key(shown: PublicKey | Certificate) -> PublicKey:
    """The key that signs, of what is shown for it."""
    return shown.key if isinstance(shown, Certificate) else shown


def is_certificate_type(name: str) -> bool:
    """Whether a key type or an algorithm is a certificate's."""
    return plain(name) != name


def load_certificate(data: bytes | str, *, name: str = "") -> Certificate:
    """The certificate of a -cert.pub file; KeyFileError if there is none, after the file's ``name``."""
    text = data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")
    try:
        return _first_of(text)
    except KeyFileError as error:
        if not name:
            raise
        raise KeyFileError(f"{name}: {error}", hint=error.hint) from None


# Reading


def _first_of(text: str) -> Certificate:
    """The first certificate among the lines of a file, or what is wrong with the first of them."""
    fault = KeyFileError("a line that is not a certificate")
    for number, line in enumerate(good_lines(text)):
        try:
            return Certificate.from_line(line)
        except KeyFileError as error:
            fault = fault if number else error
    raise fault


def _word(raw: bytes, what: str) -> str:
    # What ends at a NUL for a program in C would be another word than here.
    if b"\0" in raw:
        raise KeyFileError(f"a NUL in a certificate's {what}")
    return raw.decode("utf-8", "surrogateescape")


def _principals(raw: bytes) -> tuple[str, ...]:
    cursor = Cursor(raw)
    names: list[str] = []
    while cursor.remaining():
        if len(names) == MOST_PRINCIPALS:
            raise KeyFileError(f"a certificate of more than {MOST_PRINCIPALS} principals")
        names.append(_word(cursor.string(), "principal"))
    return tuple(names)


def _options(raw: bytes) -> tuple[Option, ...]:
    cursor = Cursor(raw)
    found: list[Option] = []
    while cursor.remaining():
        found.append((_word(cursor.string(), "option"), cursor.string()))
    return tuple(found)


def _text_of(name: str, data: bytes) -> str:
    cursor = Cursor(data)
    try:
        text = _word(cursor.string(), name)
        cursor.end(name)
    except (MalformedPacket, KeyFileError):
        raise CertificateRejected(f"Certificate invalid: a damaged {name} option") from None
    if not text:
        # R069: a list that is there and empty allows nothing; elsewhere it was taken for any.
        raise CertificateRejected(f"Certificate invalid: an empty {name} option")
    return text


def _force_command(options: CertificateOptions, data: bytes) -> None:
    options.force_command = _text_of(FORCE_COMMAND, data)


def _source_address(options: CertificateOptions, data: bytes) -> None:
    options.source_address = _text_of(SOURCE_ADDRESS, data)


def _verify_required(options: CertificateOptions, data: bytes) -> None:
    if data:
        raise CertificateRejected(f"Certificate invalid: a {VERIFY_REQUIRED} option with a value")
    options.verify_required = True


_CRITICAL: Final[dict[str, Callable[[CertificateOptions, bytes], None]]] = {
    FORCE_COMMAND: _force_command,
    SOURCE_ADDRESS: _source_address,
    VERIFY_REQUIRED: _verify_required,
}

# Issuing


def text_option(name: str, text: str) -> Option:
    """An option with a value, such as force-command."""
    return name, string(_raw(text))


def flag(name: str) -> Option:
    """An option that is there or not, such as permit-pty."""
    return name, b""


def _raw(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    if b"\0" in raw:
        raise UsageError("a NUL in a certificate's words")
    return raw


def _packed(options: Iterable[Option]) -> bytes:
    # Sorted, and each once: section 4 of the draft, for both kinds of options.
    given = sorted(options)
    names = [name for name, _ in given]
    if len(set(names)) != len(names):
        raise UsageError(f"a certificate option given twice: {', '.join(names)}")
    return b"".join(string(_raw(name)) + string(data) for name, data in given)


def _check_issue(names: tuple[str, ...], key_id: str, numbers: tuple[int, int, int]) -> None:
    valid_after, valid_before, _ = numbers
    if len(names) > MOST_PRINCIPALS:
        raise UsageError(f"more than {MOST_PRINCIPALS} principals")
    if "" in names:
        raise UsageError("an empty principal")
    if any(not 0 <= number <= FOREVER for number in numbers):
        raise UsageError("a serial number or time that does not fit into 64 bits")
    if valid_after >= valid_before:
        raise UsageError("a certificate that ends before it begins")
    if len(_raw(key_id)) > MOST_BYTES // 2:
        raise UsageError("a key id that is too long")
