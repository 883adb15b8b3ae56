# SPDX-License-Identifier: MIT
"""ssh-keygen's revocation lists: made, added to, asked and shown."""

import binascii
import re
import time
from collections.abc import Iterator
from typing import Final

from tellin.algorithms.hashing import digest
from tellin.errors import KeyFileError, UsageError
from tellin.keys import PublicKey
from tellin.keys.certificates import Certificate
from tellin.keys.revocation import MAGIC, MOST_BYTES, RevocationList
from tellin.programs.command import Failure, visible
from tellin.programs.keygen import files as keygen_files
from tellin.programs.keygen.certify import serial_of
from tellin.programs.keygen.settings import FATAL, REFUSED, Settings
from tellin.programs.keygen.times import LATEST

_MOST_SERIAL: Final = (1 << 64) - 1


def generate(settings: Settings, files: list[str]) -> int:
    """A list of what the files name, or with -u an old one with that added."""
    path = settings.file
    if path is None:
        raise Failure("KRL generation requires an output file", status=FATAL)
    made = (
        _loaded(path, missing=f'KRL "{visible(path)}" does not exist')
        if settings.update
        else RevocationList()
    )
    writer = _Writer(made, *_authority(settings))
    version, _ = serial_of(settings)
    if version:
        made.version = version
    if settings.comment is not None:
        made.comment = settings.comment
    for file in files:
        writer.take(file, quiet=settings.quiet)
    made.generated = int(time.time())
    try:
        keygen_files.write(path, made.to_bytes(), mode=0o644, replace=True)
    except OSError as error:
        raise Failure(f"write {visible(path)}: {error.strerror}", status=FATAL) from None
    return 0


def _authority(settings: Settings) -> tuple[PublicKey | None, bool]:
    """The authority of -s, and whether certificates of any may be revoked: ``none`` says so."""
    path = settings.signer
    if path is None:
        return None, False
    if path.lower() == "none":
        return None, True
    try:
        return keygen_files.find_public(path), False
    except (OSError, KeyFileError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise Failure(f"Cannot load CA public key {visible(path)}: {why}", status=FATAL) from None


def _loaded(path: str, *, missing: str) -> RevocationList:
    try:
        data = keygen_files.read(path, most=MOST_BYTES)
    except FileNotFoundError:
        raise Failure(missing, status=FATAL) from None
    except (OSError, KeyFileError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise Failure(f"Unable to load KRL {visible(path)}: {why}", status=FATAL) from None
    if not data.startswith(MAGIC):
        raise Failure(
            f"Invalid KRL file {visible(path)}: KRL file has invalid magic number", status=FATAL
        )
    try:
        return RevocationList.parse(data)
    except KeyFileError as error:
        raise Failure(f"Invalid KRL file {visible(path)}: {error}", status=FATAL) from None


class _Writer:
    """Reads files of what is to be revoked: keys, certificates, and lines such as ``serial: 1-9``."""

    def __init__(self, made: RevocationList, authority: PublicKey | None, anybody: bool) -> None:
        self._made = made
        self._authority = authority
        self._anybody = anybody
        self._where = ""

    def take(self, path: str, *, quiet: bool) -> None:
        """Revoke what one file names."""
        name = "(standard input)" if path == "-" else path
        try:
            data = (
                keygen_files.read_standard_input(most=MOST_BYTES)
                if path == "-"
                else keygen_files.read(path, most=MOST_BYTES)
            )
        except OSError as error:
            raise Failure(f"fopen {visible(path)}: {error.strerror}", status=FATAL) from None
        if not quiet:
            print(f"Revoking from {visible(name)}")
        for number, raw in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
            text = raw.partition("#")[0].strip(" \t\r")
            if text:
                self._where = f"{visible(path)}:{number}"
                try:
                    self._line(text)
                except (KeyFileError, UsageError):
                    raise Failure(
                        f"{self._where}: invalid key: invalid format", status=FATAL
                    ) from None

    def _line(self, text: str) -> None:
        word, colon, rest = text.partition(":")
        revoke = _WORDS.get(word.lower()) if colon else None
        if revoke is None:
            self._made.add(keygen_files.key_of_line(text))
        else:
            revoke(self, rest.strip(" \t"))

    def _needs_authority(self, what: str) -> None:
        if self._authority is None and not self._anybody:
            raise Failure(
                f"revoking certificates by {what} requires specification of a CA key",
                status=FATAL,
            )

    def _serials(self, text: str) -> None:
        self._needs_authority("serial number")
        first, dash, second = text.partition("-") if text[:1] != "-" else (text, "", "")
        low = self._number(first)
        high = self._number(second) if dash else low
        if high < low:
            raise Failure(f"{self._where}: invalid serial range {low}:{high}", status=FATAL)
        if not low:
            raise Failure(f"{self._where}: revoke serial failed", status=FATAL)
        self._made.add_serials(low, high, authority=self._authority)

    def _number(self, text: str) -> int:
        # In C's ways of writing them: ten, sixteen behind 0x, eight behind 0.
        shown = text.strip(" \t")
        if len(shown) > 40 or not _NUMBER.fullmatch(shown):
            raise Failure(f'{self._where}: invalid serial "{visible(shown[:40])}"', status=FATAL)
        base = 16 if shown[:2] in {"0x", "0X"} else 8 if shown[0] == "0" else 10
        number = int(shown, base)
        if number > _MOST_SERIAL:
            raise Failure(f"{self._where}: serial out of range", status=FATAL)
        return number

    def _key_id(self, text: str) -> None:
        self._needs_authority("key ID")
        self._made.add_key_id(text, authority=self._authority)

    def _key(self, text: str) -> None:
        self._made.add_key(_plain(text))

    def _sha1(self, text: str) -> None:
        self._made.add_fingerprint("sha1", digest("sha1", _plain(text).blob))

    def _sha256(self, text: str) -> None:
        self._made.add_fingerprint("sha256", digest("sha256", _plain(text).blob))

    def _hash(self, text: str) -> None:
        name, _, encoded = text.partition(":")
        if name != "SHA256":
            raise Failure(f"{self._where}: unsupported hash algorithm", status=FATAL)
        try:
            value = binascii.a2b_base64(encoded + "=" * (-len(encoded) % 4), strict_mode=True)
            self._made.add_fingerprint("sha256", value)
        except (binascii.Error, UsageError, ValueError):
            raise Failure(
                f"{self._where}: decode hash failed: invalid format", status=FATAL
            ) from None


_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*")


def _plain(text: str) -> PublicKey:
    key = keygen_files.key_of_line(text)
    return key.key if isinstance(key, Certificate) else key


_WORDS: Final = {
    "serial": _Writer._serials,
    "id": _Writer._key_id,
    "key": _Writer._key,
    "sha1": _Writer._sha1,
    "sha256": _Writer._sha256,
    "hash": _Writer._hash,
}


def query(settings: Settings, files: list[str]) -> int:
    """Whether a list revokes the keys of the files; 1 if it does one of them."""
    path = settings.file
    if path is None:
        raise Failure("KRL checking requires an input file", status=FATAL)
    found = _loaded(path, missing=f"Unable to load KRL {visible(path)}: No such file or directory")
    if "l" in settings.modes:
        print("\n".join(_dump(found)))
    revoked = False
    for file in files:
        try:
            key = keygen_files.find_public_or_certificate(file)
        except (OSError, KeyFileError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise Failure(f"Cannot load public key {visible(file)}: {why}", status=FATAL) from None
        verdict = found.revokes(key)
        revoked = revoked or verdict
        beside = f" ({visible(key.comment)})" if key.comment else ""
        print(f"{visible(file)}{beside}: {'REVOKED' if verdict else 'ok'}")
    return REFUSED if revoked else 0


def _stamp(seconds: int) -> str:
    # A list may say any time, also one that no calendar reaches.
    return time.strftime("%Y%m%dT%H%M%S", time.localtime(min(seconds, LATEST)))


def _dump(found: RevocationList) -> Iterator[str]:
    yield f"# KRL version {found.version}"
    yield f"# Generated at {_stamp(found.generated)}"
    if found.comment:
        yield f"# Comment: {visible(found.comment)}"
    yield ""
    for blob in sorted(found.keys):
        try:
            key = PublicKey.from_blob(blob)
        except KeyFileError as error:
            yield f"# unknown key: {error}"
            continue
        yield f"hash: {key.fingerprint()} # {key.key_type}"
    for value in sorted(found.fingerprints["sha256"]):
        yield f"hash: SHA256:{value.hex()}"
    for value in sorted(found.fingerprints["sha1"]):
        yield f"# hash SHA1:{value.hex()}"
    for blob, section in found.certificates.items():
        yield ""
        if blob:
            authority = PublicKey.from_blob(blob)
            yield f"# CA key {authority.key_type} {authority.fingerprint()}"
        else:
            yield "# Wildcard CA"
        for low, high in section.serials.ranges():
            yield f"serial: {low}" if low == high else f"serial: {low}-{high}"
        for key_id in sorted(section.key_ids):
            yield f"id: {visible(key_id)}"
