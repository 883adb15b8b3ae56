# SPDX-License-Identifier: MIT
"""What ssh-keygen asks people, and how it opens a key that needs a passphrase."""

# pathlib: see keygen_files.
# ruff: noqa: PTH116

import os
import pwd
import sys

from tellin.errors import KeyFileError, WrongPassphrase
from tellin.keys import PrivateKey, load_private_key
from tellin.keys.openssh import BEGIN as OPENSSH_BEGIN
from tellin.keys.openssh import DEFAULT_MOST_ROUNDS
from tellin.programs.command import Failure, say_error, visible
from tellin.programs.keygen import files as keygen_files
from tellin.programs.keygen.settings import FATAL, REFUSED, Settings
from tellin.runtime import prompts
from tellin.wire import Record


def account() -> pwd.struct_passwd:
    """The entry of the user who runs this; $HOME is not asked, as OpenSSH does not."""
    try:
        return pwd.getpwuid(os.getuid())
    except KeyError:
        raise Failure(f"No user exists for uid {os.getuid()}", status=FATAL) from None


def file_of(settings: Settings, question: str, name: str = "id_ed25519") -> str:
    """The file that -f names, or the answer to ``question``; an empty answer is the default."""
    if settings.file is not None:
        return settings.file
    default = f"{account().pw_dir}/.ssh/{name}"
    answer = line(f"{question} ({default}): ")
    if answer is None:
        raise Failure(status=REFUSED)
    return answer or default


def line(question: str) -> str | None:
    """One line from standard input, None at its end."""
    sys.stdout.write(question)
    sys.stdout.flush()
    answer = prompts.read_line(0)
    return None if answer is None else answer.decode("utf-8", "surrogateescape")


def passphrase(question: str) -> bytes:
    """A passphrase; nothing if nobody answers."""
    sys.stdout.flush()
    answer = prompts.ask(question, standard_input=True)
    return (answer or "").encode("utf-8", "surrogateescape")


def must_exist(path: str, *, prefix: str = "") -> None:
    """The message of OpenSSH for a file that is not there."""
    try:
        os.stat(path)
    except OSError as error:
        raise Failure(f"{prefix}{path}: {error.strerror}", status=FATAL) from None


class Opened(Record):
    """A private key, the passphrase that opened it, and whether its format has a comment at all."""

    key: PrivateKey
    passphrase: bytes
    commented: bool


def open_key(settings: Settings, path: str, *, question: str, complaint: str) -> Opened:
    """The private key of a file, with the passphrase of -P or one that is asked for.

    ``complaint`` stands before the cause of a failure.
    """
    try:
        data = keygen_files.read_private(path)
        try:
            key, secret = _load(settings, data, None), b""
        except WrongPassphrase:
            secret = settings.old_passphrase or b""
            if settings.old_passphrase is None:
                secret = passphrase(question)
            key = _load(settings, data, secret)
    except keygen_files.Unprotected as error:
        say_error(error.warning)
        raise Failure(f"{complaint}: {error}", status=FATAL) from None
    except KeyFileError as error:
        raise Failure(f"{complaint}: {error}", status=FATAL, hint=error.hint) from None
    except OSError as error:
        raise Failure(f"{complaint}: {error.strerror}", status=FATAL) from None
    return Opened(key, secret, data.startswith(OPENSSH_BEGIN))


def _load(settings: Settings, data: bytes, secret: bytes | None) -> PrivateKey:
    # -a also says how many rounds of a stranger's file are bearable.
    most_rounds = max(DEFAULT_MOST_ROUNDS, settings.rounds or 0)
    if secret == b"":
        raise WrongPassphrase("incorrect passphrase supplied to decrypt private key")
    return load_private_key(data, secret, most_rounds=most_rounds)


def quoted(path: str) -> str:
    """A file's name in double quotes, for messages."""
    return f'"{visible(path)}"'
