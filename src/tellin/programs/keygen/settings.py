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
        # What is signed, revoked or looked up; one letter means different things to different modes.
        self.operation: str | None = None
        """The word of -Y."""
        self.signer: str | None = None
        """-s: the authority's key, or a signature's file."""
        self.identity: str | None = None
        """-I: a certificate's key id, or who is said to have signed."""
        self.names: str | None = None
        """-n: principals, or a signature's namespace."""
        self.interval: str | None = None
        self.serial: str | None = None
        """-z: a certificate's serial number, or the number of a revocation list."""
        self.options: list[str] = []
        self.for_host = False
        self.prefer_agent = False
        self.update = False
        self.generic = False
        self.host: str | None = None
        """-F, -R and -r: a host; with -Y the file of revoked keys."""
        self.module = ""
        """-D: the PKCS#11 module of a token."""
        self.provider = ""
        """-w: how security keys are reached."""


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


def _signer(settings: Settings, value: str) -> None:
    settings.signer = value


def _identity(settings: Settings, value: str) -> None:
    settings.identity = value


def _names(settings: Settings, value: str) -> None:
    settings.names = value


def _interval(settings: Settings, value: str) -> None:
    settings.interval = value


def _serial(settings: Settings, value: str) -> None:
    settings.serial = value


def _option(settings: Settings, value: str) -> None:
    settings.options.append(value)


def _operation(settings: Settings, value: str) -> None:
    settings.modes.add("Y")
    settings.operation = value


def _host(letter: str) -> Callable[[Settings, str], None]:
    def take(settings: Settings, value: str) -> None:
        settings.modes.add(letter)
        settings.host = value

    return take


def _moduli(settings: Settings, value: str) -> None:
    settings.modes.add("M")
    settings.operation = value


def _module(settings: Settings, value: str) -> None:
    settings.modes.add("D")
    settings.module = value


def _provider(settings: Settings, value: str) -> None:
    settings.provider = value


def _set(attribute: str) -> Callable[[Settings, str], None]:
    def take(settings: Settings, value: str) -> None:
        setattr(settings, attribute, True)

    return take


def _quiet(settings: Settings, value: str) -> None:
    settings.quiet = True


def _verbose(settings: Settings, value: str) -> None:
    settings.verbose = True


VALUES: Final[Mapping[str, Callable[[Settings, str], None]]] = {
    "a": _rounds,
    "b": _bits,
    "C": _comment,
    "D": _module,
    "E": _hash,
    "F": _host("F"),
    "f": _file,
    "I": _identity,
    "M": _moduli,
    "m": _format,
    "N": _new_passphrase,
    "n": _names,
    "O": _option,
    "P": _old_passphrase,
    "R": _host("R"),
    "r": _host("r"),
    "s": _signer,
    "t": _key_type,
    "V": _interval,
    "w": _provider,
    "Y": _operation,
    "Z": _cipher,
    "z": _serial,
}
FLAGS: Final[Mapping[str, Callable[[Settings, str], None]]] = {
    "g": _set("generic"),
    "h": _set("for_host"),
    "q": _quiet,
    "U": _set("prefer_agent"),
    "u": _set("update"),
    "v": _verbose,
}
