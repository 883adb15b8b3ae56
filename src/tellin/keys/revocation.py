# SPDX-License-Identifier: MIT
"""Key revocation lists: which keys and certificates are no longer believed (OpenSSH PROTOCOL.krl).

A list that cannot be read in full revokes everything for whoever asked for it: callers let
KeyFileError mean "no key is good" (case 301), never "no key is revoked".
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Final

from tellin.algorithms.hashing import digest
from tellin.errors import KeyFileError, MalformedPacket, UsageError
from tellin.keys.certificates import Certificate, is_certificate_type
from tellin.keys.private import Signer
from tellin.keys.public import PublicKey
from tellin.keys.serials import Form, Range, Serials, written
from tellin.wire import Cursor, mpint, string

MAGIC: Final = b"SSHKRL\n\0"
MOST_BYTES: Final = 1 << 25
_VERSION: Final = 1


class _Section(IntEnum):
    CERTIFICATES = 1
    KEYS = 2
    SHA1 = 3
    SIGNATURE = 4
    SHA256 = 5
    EXTENSION = 255


class _Part(IntEnum):
    """The sections within that of one authority's certificates."""

    SERIAL_LIST = 0x20
    SERIAL_RANGE = 0x21
    SERIAL_BITMAP = 0x22
    KEY_IDS = 0x23
    EXTENSION = 0x39


_FINGERPRINTS: Final = {"sha1": 20, "sha256": 32}


class RevokedCertificates:
    """What is revoked of one authority's certificates, or of any authority's."""

    def __init__(self) -> None:
        self.serials = Serials()
        self.key_ids: set[str] = set()

    def __contains__(self, certificate: Certificate) -> bool:
        if certificate.key_id in self.key_ids:
            return True
        # An authority that counts nothing gives all of them 0: that is no number to revoke by.
        return certificate.serial != 0 and certificate.serial in self.serials


class RevocationList:
    """Keys, their hashes, and authorities' certificates by serial number or key id."""

    def __init__(self, *, version: int = 0, generated: int = 0, comment: str = "") -> None:
        self.version = version
        self.generated = generated
        self.comment = comment
        self.keys: set[bytes] = set()
        self.fingerprints: dict[str, set[bytes]] = {name: set() for name in _FINGERPRINTS}
        self.certificates: dict[bytes, RevokedCertificates] = {}
        """By the authority's blob; an empty one stands for every authority."""
        self.signers: tuple[PublicKey, ...] = ()
        """Who signed the list that was read; all of their signatures hold."""

    # Asking

    def revokes(self, key: PublicKey | Certificate) -> bool:
        """Whether a key is revoked; of a certificate, itself, its key or its authority (R104)."""
        if isinstance(key, PublicKey):
            return self._revokes_blob(key.blob)
        if self._revokes_blob(key.key.blob) or self._revokes_blob(key.authority.blob):
            return True
        sections = (self.certificates.get(key.authority.blob), self.certificates.get(b""))
        return any(section is not None and key in section for section in sections)

    def _revokes_blob(self, blob: bytes) -> bool:
        return blob in self.keys or any(
            digest(name, blob) in hashes for name, hashes in self.fingerprints.items() if hashes
        )

    # Revoking

    def add(self, key: PublicKey | Certificate) -> None:
        """Revoke as ssh-keygen does unless it is told how: a key in full, a certificate by its number."""
        if isinstance(key, PublicKey):
            self.add_key(key)
        elif key.serial:
            self.add_serials(key.serial, authority=key.authority)
        else:
            self.add_key_id(key.key_id, authority=key.authority)

    def add_key(self, key: PublicKey) -> None:
        """Revoke a key by standing in the list in full."""
        self.keys.add(key.blob)

    def add_fingerprint(self, hash_name: str, value: bytes) -> None:
        """Revoke a key by its hash, sha1 or sha256."""
        if _FINGERPRINTS.get(hash_name) != len(value):
            raise UsageError(f"no fingerprint by {hash_name}: {len(value)} bytes")
        self.fingerprints[hash_name].add(value)

    def add_serials(
        self, low: int, high: int | None = None, *, authority: PublicKey | None = None
    ) -> None:
        """Revoke an authority's certificates (or, without one, everybody's) by serial number."""
        last = low if high is None else high
        if not 0 < low <= last < 1 << 64:
            raise UsageError(f"no serial numbers: {low} to {last}")
        self._section(authority).serials.add(low, last)

    def add_key_id(self, key_id: str, *, authority: PublicKey | None = None) -> None:
        """The same by key id."""
        self._section(authority).key_ids.add(key_id)

    def _section(self, authority: PublicKey | None) -> RevokedCertificates:
        blob = b"" if authority is None else authority.blob
        return self.certificates.setdefault(blob, RevokedCertificates())

    # Reading and writing

    @classmethod
    def parse(cls, data: bytes) -> "RevocationList":
        """The list in ``data``; KeyFileError for the least thing that is not understood."""
        if len(data) > MOST_BYTES:
            raise KeyFileError(f"{len(data)} bytes are too many for a revocation list")
        try:
            return _Reader(data).read()
        except MalformedPacket as error:
            raise KeyFileError(f"a damaged revocation list: {error}") from None

    def to_bytes(self, signers: Sequence[Signer] = ()) -> bytes:
        """The list as a file, which ``signers`` sign one after the other.

        The same list is the same bytes as ssh-keygen's. OpenSSH itself no longer reads signed ones
        since 10.0.
        """
        parts = [
            MAGIC,
            _VERSION.to_bytes(4, "big"),
            self.version.to_bytes(8, "big"),
            self.generated.to_bytes(8, "big"),
            bytes(8),  # flags
            string(b""),  # reserved
            string(_raw(self.comment)),
        ]
        for authority, section in self.certificates.items():
            body = string(authority) + string(b"") + b"".join(_certificate_sections(section))
            parts.append(_tagged(_Section.CERTIFICATES, body))
        for kind, entries in (
            (_Section.KEYS, self.keys),
            (_Section.SHA1, self.fingerprints["sha1"]),
            (_Section.SHA256, self.fingerprints["sha256"]),
        ):
            if entries:
                parts.append(_tagged(kind, b"".join(map(string, sorted(entries)))))
        whole = b"".join(parts)
        for signer in signers:
            whole += bytes((_Section.SIGNATURE,)) + string(signer.public.blob)
            whole += string(signer.sign(whole, signer.public.signature_algorithms[0]))
        return whole


def _tagged(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + string(body)


def _certificate_sections(section: RevokedCertificates) -> Iterator[bytes]:
    for form, ranges in written(section.serials):
        yield _tagged(form.value, _FORMS[form](ranges))
    if section.key_ids:
        yield _tagged(_Part.KEY_IDS, b"".join(map(string, sorted(map(_raw, section.key_ids)))))


def _written_list(ranges: list[Range]) -> bytes:
    numbers = (number for low, high in ranges for number in range(low, high + 1))
    return b"".join(number.to_bytes(8, "big") for number in numbers)


def _written_range(ranges: list[Range]) -> bytes:
    low, high = ranges[0]
    return low.to_bytes(8, "big") + high.to_bytes(8, "big")


def _written_bitmap(ranges: list[Range]) -> bytes:
    first = ranges[0][0]
    bits = sum((1 << high - first + 1) - (1 << low - first) for low, high in ranges)
    return first.to_bytes(8, "big") + mpint(bits)


_FORMS: Final = {
    Form.LIST: _written_list,
    Form.RANGE: _written_range,
    Form.BITMAP: _written_bitmap,
}


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class _Reader:
    """Takes a file apart."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._made = RevocationList()

    def read(self) -> RevocationList:
        cursor = Cursor(self._data)
        if cursor.take(min(len(MAGIC), cursor.remaining())) != MAGIC:
            raise KeyFileError("not a revocation list")
        version = cursor.uint32()
        if version != _VERSION:
            raise KeyFileError(f"a revocation list of the unknown version {version}")
        made = self._made
        made.version = cursor.uint64()
        made.generated = cursor.uint64()
        cursor.uint64()  # flags
        cursor.string()  # reserved
        made.comment = _text(cursor.string())
        while cursor.remaining():
            kind = cursor.byte()
            if kind == _Section.SIGNATURE:
                self._check_signature(cursor)
            elif made.signers:
                # What stands behind a signature would be signed by nobody.
                raise KeyFileError("a revocation list that goes on behind its signatures")
            else:
                self._section(kind, Cursor(cursor.string()))
        return made

    def _check_signature(self, cursor: Cursor) -> None:
        key = PublicKey.from_blob(cursor.string())
        covered = bytes(self._data[: cursor.at])
        signature = cursor.string()
        if not any(
            key.verify(covered, signature, algorithm=name) for name in key.signature_algorithms
        ):
            raise KeyFileError("a revocation list with a wrong signature")
        self._made.signers += (key,)

    def _section(self, kind: int, body: Cursor) -> None:
        made = self._made
        match kind:
            case _Section.CERTIFICATES:
                self._certificates(body)
            case _Section.KEYS:
                for blob in _strings(body):
                    # What is no key is revoked all the same: nothing else equals it.
                    made.keys.add(blob)
            case _Section.SHA1 | _Section.SHA256:
                name = "sha1" if kind == _Section.SHA1 else "sha256"
                for value in _strings(body):
                    if len(value) != _FINGERPRINTS[name]:
                        raise KeyFileError(f"a hash of {len(value)} bytes among those by {name}")
                    made.fingerprints[name].add(value)
            case _Section.EXTENSION:
                _pass_over_extension(body)
            case _:
                raise KeyFileError(f"a revocation list with the unknown section {kind}")
        body.end("a section")

    def _certificates(self, body: Cursor) -> None:
        blob = body.string()
        authority = PublicKey.from_blob(blob) if blob else None
        body.string()  # reserved
        section = self._made._section(authority)
        while body.remaining():
            kind = body.byte()
            part = Cursor(body.string())
            match kind:
                case _Part.SERIAL_LIST:
                    while part.remaining():
                        number = part.uint64()
                        section.serials.add(number, number)
                case _Part.SERIAL_RANGE:
                    low, high = part.uint64(), part.uint64()
                    if low > high:
                        raise KeyFileError("a range of serial numbers that ends before it begins")
                    section.serials.add(low, high)
                case _Part.SERIAL_BITMAP:
                    _read_bitmap(part, section.serials)
                case _Part.KEY_IDS:
                    section.key_ids.update(map(_text, _strings(part)))
                case _Part.EXTENSION:
                    _pass_over_extension(part)
                case _:
                    raise KeyFileError(f"a revocation list with the unknown subsection {kind}")
            part.end("a subsection")


def _strings(cursor: Cursor) -> Iterator[bytes]:
    while cursor.remaining():
        yield cursor.string()


def _text(raw: bytes) -> str:
    if b"\0" in raw:
        raise KeyFileError("a NUL in the words of a revocation list")
    return raw.decode("utf-8", "surrogateescape")


def _pass_over_extension(cursor: Cursor) -> None:
    name = cursor.string()
    critical = cursor.boolean()
    cursor.string()
    if critical:
        raise KeyFileError(f"a revocation list that asks for the unknown extension {name[:64]!r}")


def _read_bitmap(cursor: Cursor, serials: Serials) -> None:
    offset = cursor.uint64()
    bits = cursor.mpint()
    if bits < 0 or offset + bits.bit_length() > 1 << 64:
        raise KeyFileError("a bitmap of serial numbers past their end")
    at = 0
    while bits:
        skip = (bits & -bits).bit_length() - 1
        bits >>= skip
        run = (~bits & bits + 1).bit_length() - 1
        bits >>= run
        serials.add(offset + at + skip, offset + at + skip + run - 1)
        at += skip + run


def load_revocations(data: bytes, *, name: str = "") -> RevocationList:
    """What RevokedKeys and RevokedHostKeys may name: a revocation list, or lines with a key each.

    KeyFileError, after the file's ``name``, for a line that is not understood, and for an empty
    file: somebody meant to write one (case 305).
    """
    try:
        if data.startswith(MAGIC):
            return RevocationList.parse(data)
        return _from_lines(data)
    except KeyFileError as error:
        if not name:
            raise
        raise KeyFileError(f"{name}: {error}", hint=error.hint) from None


def _from_lines(data: bytes) -> RevocationList:
    if len(data) > MOST_BYTES:
        raise KeyFileError(f"{len(data)} bytes are too many for a list of keys")
    if not data:
        raise KeyFileError("an empty list of revoked keys")
    made = RevocationList()
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        text = line.strip(" \t\r")
        if text and not text.startswith("#"):
            try:
                made.add_key(_key_of_line(text))
            except KeyFileError as error:
                raise KeyFileError(f"line {number}: {error}") from None
    return made


def _key_of_line(text: str) -> PublicKey:
    # A certificate in such a list stands for its key, which OpenSSH compares too.
    # R108: space and tab part words, and nothing else that Unicode calls a space.
    if is_certificate_type(text.replace("\t", " ").partition(" ")[0]):
        return Certificate.from_line(text).key
    return PublicKey.from_line(text)
