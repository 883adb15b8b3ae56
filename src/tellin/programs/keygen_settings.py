# SPDX-License-Identifier: MIT
"""The command line of ssh-keygen, letter by letter."""

import os
from collections.abc import Callable, Mapping
from typing import Final

from tellin.programs.command import Failure

# What OpenSSH's fatal() ends with, and what its exit(1) does.
FATAL: Final = 255
REFUSED: Final = 1

FORMATS: Final = ("RFC4716", "PKCS8", "PEM")


class Settings:
    """What the command line said."""

    def __init__(self) -> None:
        self.modes: set[str] = set()
        self.key_type: str | None = None
        self.bits: int | None = None
        self.comment: str | None = None
        self.file: str | None = None
        self.new_passphrase: bytes | None = None
        self.old_passphrase: bytes | None = None
        self.rounds: int | None = None
        self.cipher = "aes256-ctr"
        self.format: str | None = None
        self.hash_name = "sha256"
        self.quiet = False
        self.verbose = False


def _bits(settings: Settings, value: str) -> None:
    settings.bits = _number(value, "Bits has bad value {}", least=1, most=2**32 - 1)


def _rounds(settings: Settings, value: str) -> None:
    settings.rounds = _number(value, "Invalid number: {}", least=1, most=2**31 - 1)


def _number(text: str, complaint: str, *, least: int, most: int) -> int:
    # More digits than any bound has are never converted: int() takes time by their square.
    try:
        number = int(text) if len(text) <= 20 and text.isascii() else None
    except ValueError:
        number = None
    wrong = (
        "invalid"
        if number is None
        else "too small"
        if number < least
        else "too large"
        if number > most
        else ""
    )
    if number is None or wrong:
        raise Failure(f"{complaint.format(text)} ({wrong})", status=FATAL)
    return number


def _comment(settings: Settings, value: str) -> None:
    settings.comment = value


def _file(settings: Settings, value: str) -> None:
    settings.file = value


def _new_passphrase(settings: Settings, value: str) -> None:
    settings.new_passphrase = os.fsencode(value)


def _old_passphrase(settings: Settings, value: str) -> None:
    settings.old_passphrase = os.fsencode(value)


def _key_type(settings: Settings, value: str) -> None:
    settings.key_type = value


def _cipher(settings: Settings, value: str) -> None:
    from tellin.keys.encryption import FILE_CIPHERS

    if value not in FILE_CIPHERS:
        raise Failure(f"Invalid OpenSSH-format cipher '{value}'", status=FATAL)
    settings.cipher = value


def _format(settings: Settings, value: str) -> None:
    if value.upper() not in FORMATS:
        raise Failure(f'Unsupported conversion format "{value}"', status=FATAL)
    settings.format = value.upper()


def _hash(settings: Settings, value: str) -> None:
    from tellin.keys.fingerprints import FINGERPRINT_HASHES

    if value.lower() not in FINGERPRINT_HASHES:
        raise Failure(f'Invalid hash algorithm "{value}"', status=FATAL)
    settings.hash_name = value.lower()


def _quiet(settings: Settings, value: str) -> None:
    settings.quiet = True


def _verbose(settings: Settings, value: str) -> None:
    settings.verbose = True


VALUES: Final[Mapping[str, Callable[[Settings, str], None]]] = {
    "a": _rounds,
    "b": _bits,
    "C": _comment,
    "E": _hash,
    "f": _file,
    "m": _format,
    "N": _new_passphrase,
    "P": _old_passphrase,
    "t": _key_type,
    "Z": _cipher,
}
FLAGS: Final[Mapping[str, Callable[[Settings, str], None]]] = {"q": _quiet, "v": _verbose}
