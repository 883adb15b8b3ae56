# SPDX-License-Identifier: MIT
"""ssh-keygen's showing side: fingerprints, public halves, and keys in others' formats."""

import os
import re
import sys
from collections.abc import Iterator
from typing import Final

from tellin.errors import KeyFileError, UsageError
from tellin.keys import PublicKey, load_private_key, load_public_key, randomart, rfc4716
from tellin.keys.certificates import Certificate
from tellin.programs.command import Failure, say_error, visible
from tellin.programs.keygen import files as keygen_files
from tellin.programs.keygen.asking import account, file_of, must_exist, open_key, quoted
from tellin.programs.keygen.settings import FATAL, Settings

_WHICH: Final = "Enter file in which the key is"
_PROGRAM: Final = "ssh-keygen: "
_RFC4716_COMMENT: Final = 60
# Which kinds of keys the formats of others have.
_CONVERTIBLE: Final = {"PEM": ("RSA", "ECDSA"), "PKCS8": ("RSA", "ECDSA", "ED25519")}


def public_key(settings: Settings) -> int:
    """The public half of a private key, as a line."""
    path = file_of(settings, _WHICH)
    must_exist(path)
    print(_opened_public(settings, path).to_line())
    return 0


def _opened_public(settings: Settings, path: str) -> PublicKey:
    return open_key(
        settings,
        path,
        question=f"Enter passphrase for {quoted(path)}: ",
        complaint=f"Load key {quoted(path)}",
    ).key.public


def fingerprints(settings: Settings) -> int:
    """One line for each key in a file: a private key, or keys as in authorized_keys or known_hosts."""
    path = file_of(settings, _WHICH)
    if path == "-":
        data = keygen_files.read_standard_input()
        path = "(stdin)"
    else:
        must_exist(path, prefix=_PROGRAM)
        try:
            data = keygen_files.read(path)
        except IsADirectoryError:
            data = b""
        if b"PRIVATE KEY" in data.partition(b"\n")[0]:
            key, comment = _public_half(path, data)
            _print_fingerprint(settings, key, comment)
            return 0
    shown = False
    for found, comment in _keys_of_lines(data.decode("utf-8", "surrogateescape")):
        _print_fingerprint(settings, found, comment)
        shown = True
    if not shown:
        raise Failure(f"{visible(path)} is not a public key file.", status=FATAL)
    return 0


def _print_fingerprint(
    settings: Settings, shown: PublicKey | Certificate, comment: str | None
) -> None:
    # A certificate's fingerprint is that of its key.
    key = shown.key if isinstance(shown, Certificate) else shown
    short = key.bubble_babble() if "B" in settings.modes else key.fingerprint(settings.hash_name)
    beside = "no comment" if comment is None else visible(comment)
    print(f"{key.bits} {short} {beside} ({shown.kind})")
    if settings.verbose:
        print(randomart(key, settings.hash_name, kind=shown.kind))


def _keys_of_lines(text: str) -> Iterator[tuple[PublicKey | Certificate, str | None]]:
    for line in text.split("\n"):
        body = line.lstrip(" \t").removesuffix("\r")
        if not body or body.startswith("#"):
            continue
        found = _leading_key(body)
        comment: str | None = None
        if found is None:
            # Options of authorized_keys or a host's name stand before the key.
            first, rest = _first_word(body)
            comment = first
            found = _leading_key(rest)
        if found is None:
            continue
        key, behind = found
        if behind and not behind.startswith("#"):
            comment = behind
        yield key, comment


def _leading_key(text: str) -> tuple[PublicKey | Certificate, str] | None:
    """The key or certificate that ``text`` begins with, and what stands behind it."""
    words = re.split(r"[ \t]+", text, maxsplit=2)
    if len(words) < 2:
        return None
    try:
        key = keygen_files.key_of_line(f"{words[0]} {words[1]}")
    except KeyFileError:
        return None
    return key, words[2] if len(words) == 3 else ""


def _first_word(text: str) -> tuple[str, str]:
    """The first word, in which blanks between double quotes do not count, and what follows it."""
    quoted_now = False
    at = 0
    while at < len(text) and (quoted_now or text[at] not in " \t"):
        if text.startswith('\\"', at):
            at += 1
        elif text[at] == '"':
            quoted_now = not quoted_now
        at += 1
    return text[:at], text[at + 1 :].lstrip(" \t")


def _public_half(path: str, data: bytes) -> tuple[PublicKey, str | None]:
    """The public half of a private key file and its comment: from ``.pub``, or from the file."""
    try:
        beside = keygen_files.read_public(f"{path}.pub")
    except (OSError, KeyFileError):
        beside = None
    if beside is not None:
        return beside, beside.comment or f"{path}.pub"
    try:
        head: PublicKey | None = load_public_key(data)
    except KeyFileError:
        head = None
    comment: str | None = None
    try:
        opened = load_private_key(keygen_files.read_private(path)).public
        comment = opened.comment if head is not None else None
        head = head or opened
    except keygen_files.Unprotected as error:
        say_error(error.warning)
    except KeyFileError:
        # Encrypted: the comment is too, and nothing is asked for a fingerprint.
        comment = None
    if head is None:
        raise Failure(f"{visible(path)} is not a key file.", status=FATAL)
    return head, comment


def export(settings: Settings) -> int:
    """A public key in the format of -m, RFC 4716 if there is none."""
    path = file_of(settings, _WHICH)
    must_exist(path, prefix=_PROGRAM)
    key: PublicKey | Certificate
    try:
        key = keygen_files.find_public_or_certificate(path)
    except (OSError, KeyFileError):
        key = _opened_public(settings, path)
    if isinstance(key, Certificate):
        if settings.format not in {None, "RFC4716"}:
            raise _inconvertible(settings.format, key.kind)
        text = rfc4716.write(key.blob, _converted(key.key.bits, key.kind))
    elif settings.format in _CONVERTIBLE:
        if key.kind not in _CONVERTIBLE[settings.format]:
            raise _inconvertible(settings.format, key.kind)
        pem = key.to_pem() if settings.format == "PEM" else key.to_pkcs8()
        text = pem.decode("ascii")
    else:
        text = key.to_rfc4716(_converted(key.bits, key.kind))
    sys.stdout.write(text)
    return 0


def _inconvertible(form: str | None, kind: str) -> Failure:
    return Failure(
        f"do_convert_to_{(form or '').lower()}: unsupported key type {kind}", status=FATAL
    )


def _converted(bits: int, kind: str) -> str:
    who = f"{account().pw_name}@{os.uname().nodename}"
    return f"{bits}-bit {kind}, converted by {who} from OpenSSH"[:_RFC4716_COMMENT]


# What OpenSSH says of a file that is not in the format of -m.
_UNREADABLE: Final = {
    "RFC4716": "do_convert_from_ssh2: parse key: invalid format",
    "PKCS8": "do_convert_from_pkcs8: {} is not a recognised public key format",
    "PEM": "do_convert_from_pem: unrecognised raw private key format",
}
# How the files of each begin. Without -m a file may be in any of them.
_RSA_BEGIN: Final = b"-----BEGIN RSA PUBLIC KEY-----"
_BEGINNINGS: Final = {
    "RFC4716": (b"---- BEGIN SSH2 PUBLIC KEY ----",),
    "PKCS8": (b"-----BEGIN PUBLIC KEY-----", _RSA_BEGIN),
    "PEM": (_RSA_BEGIN,),
}


def import_(settings: Settings) -> int:
    """A public key in the format of -m, as a line."""
    path = file_of(settings, _WHICH)
    if path == "-":
        data = keygen_files.read_standard_input()
    else:
        must_exist(path, prefix=_PROGRAM)
        try:
            data = keygen_files.read(path)
        except IsADirectoryError:
            data = b""
    try:
        key = _imported(data, settings.format)
    except (KeyFileError, UsageError) as error:
        why = _UNREADABLE[settings.format or "RFC4716"].format(visible(path))
        raise Failure(why, status=FATAL, hint=str(error)) from None
    print(key.with_comment("").to_line())
    return 0


def _imported(data: bytes, form: str | None) -> PublicKey:
    begin = data.lstrip()
    for name, beginnings in _BEGINNINGS.items():
        if form in {None, name} and begin.startswith(beginnings):
            return load_public_key(data)
    raise KeyFileError(f"it does not begin as {form or 'any'} file of a public key does")
