# SPDX-License-Identifier: MIT
"""ssh-keygen's making side: new keys, host keys, new passphrases, new comments."""

# pathlib: see keygen_files.
# ruff: noqa: PTH102, PTH110, PTH120, PTH202

import os
import sys
from collections.abc import Callable
from typing import Final

from tellin.keys import PrivateKey, PublicKey, randomart
from tellin.keys.kinds import KINDS, RSA_MOST_BITS, Ecdsa
from tellin.keys.openssh import Stretched
from tellin.keys.private import RSA_NEW_LEAST_BITS
from tellin.programs.command import Failure, say_error, visible
from tellin.programs.keygen import files as keygen_files
from tellin.programs.keygen.asking import (
    account,
    file_of,
    line,
    must_exist,
    open_key,
    passphrase,
    quoted,
)
from tellin.programs.keygen.settings import FATAL, REFUSED, Settings

_DEFAULT_TYPE: Final = "ed25519"
_DEFAULT_ROUNDS: Final = 16
# OpenSSL's floor for the old formats, and OpenSSH's words for it.
_PEM_PASSPHRASE_BYTES: Final = 5

# What -t takes, in any case of letters: short names, full names, and names of signatures.
_TYPES: Final = {
    "ed25519": "ed25519",
    "ssh-ed25519": "ed25519",
    "ecdsa": "ecdsa",
    **{kind.key_type: "ecdsa" for kind in KINDS.values() if isinstance(kind, Ecdsa)},
    "ed25519-sk": "ed25519-sk",
    "sk-ssh-ed25519@openssh.com": "ed25519-sk",
    "ecdsa-sk": "ecdsa-sk",
    "sk-ecdsa-sha2-nistp256@openssh.com": "ecdsa-sk",
    "mldsa44-ed25519": "mldsa44-ed25519",
    "ssh-mldsa44-ed25519@openssh.com": "mldsa44-ed25519",
    "rsa": "rsa",
    "ssh-rsa": "rsa",
    "rsa-sha2-256": "rsa",
    "rsa-sha2-512": "rsa",
}
_HOST_KEYS: Final = ("rsa", "ecdsa", "ed25519")


def make(settings: Settings, stretched: Stretched | None = None) -> int:
    """A new key pair, in two files; ``stretched`` is what -N is being made into already."""
    name = settings.key_type or _DEFAULT_TYPE
    kind, bits = _chosen(name, settings.bits)
    say = _say if not settings.quiet else _say_nothing
    say(f"Generating public/private {name} key pair.")
    comment = settings.comment
    if comment is None:
        comment = _user_at_host()
    if kind.endswith("-sk"):
        # Who has no security key does not pay for it.
        from tellin.programs.keygen import tokens as keygen_tokens

        key = keygen_tokens.enroll(settings, kind, comment, say)
    else:
        key = PrivateKey.generate(kind, bits=bits, comment=comment)
    path = file_of(settings, "Enter file in which to save the key", f"id_{kind.replace('-', '_')}")
    if settings.file is None:
        _make_user_directory(path, say)
    replace = _may_write(path)
    secret = settings.new_passphrase
    if secret is None:
        secret = _new_passphrase(path)
    _save(settings, path, key, secret, replace=replace, stretched=stretched)
    say(f"Your identification has been saved in {visible(path)}")
    _save_public(path, key.public)
    say(f"Your public key has been saved in {visible(path)}.pub")
    say("The key fingerprint is:")
    say(f"{key.public.fingerprint(settings.hash_name)} {visible(comment)}")
    say("The key's randomart image is:")
    say(randomart(key.public, settings.hash_name))
    return 0


def _say(text: str) -> None:
    print(text)


def _say_nothing(text: str) -> None:
    return


def _user_at_host() -> str:
    return f"{account().pw_name}@{os.uname().nodename}"


def _chosen(name: str, bits: int | None) -> tuple[str, int | None]:
    kind = _TYPES.get(name.lower())
    if kind is None:
        raise Failure(f"unknown key type {name}", status=FATAL)
    if kind in {"ed25519", "mldsa44-ed25519", "ed25519-sk", "ecdsa-sk"}:
        # There is one size; OpenSSH too lets -b pass.
        return kind, None
    if kind == "ecdsa":
        row = KINDS.get(name.lower())
        if isinstance(row, Ecdsa):
            return kind, row.curve.bits
        if bits not in {None, 256, 384, 521}:
            raise Failure(
                "Invalid ECDSA key length: valid lengths are 256, 384 or 521 bits", status=FATAL
            )
    elif bits is not None and bits < RSA_NEW_LEAST_BITS:
        raise Failure(
            f"Invalid RSA key length: minimum is {RSA_NEW_LEAST_BITS} bits", status=FATAL
        )
    elif bits is not None and bits > RSA_MOST_BITS:
        raise Failure(f"Invalid RSA key length: maximum is {RSA_MOST_BITS} bits", status=FATAL)
    return kind, bits


def _make_user_directory(path: str, say: Callable[[str], None]) -> None:
    directory = f"{account().pw_dir}/.ssh"
    if os.path.dirname(path) == directory and not os.path.lexists(directory):
        try:
            os.mkdir(directory, 0o700)
        except OSError as error:
            say_error(f"Could not create directory '{visible(directory)}' ({error.strerror}).")
            return
        say(f"Created directory '{visible(directory)}'.")


def _may_write(path: str) -> bool:
    """Whether an old file is to be replaced: True if its owner says so, False if there is none."""
    if not os.path.exists(path):
        return False
    print(f"{visible(path)} already exists.")
    answer = line("Overwrite (y/n)? ")
    if answer is None or answer[:1] not in {"y", "Y"}:
        raise Failure(status=REFUSED)
    return True


def _new_passphrase(path: str) -> bytes:
    while True:
        first = passphrase(f"Enter passphrase for {quoted(path)} (empty for no passphrase): ")
        if passphrase("Enter same passphrase again: ") == first:
            return first
        print("Passphrases do not match.  Try again.")


def _encoded(
    settings: Settings, key: PrivateKey, secret: bytes, stretched: Stretched | None
) -> bytes:
    # The old PEM form has none for Ed25519; OpenSSH writes its own format then.
    plain = settings.format in {None, "RFC4716"} or key.public.kind == "MLDSA44-ED25519"
    if plain or (settings.format == "PEM" and key.public.kind == "ED25519"):
        rounds = settings.rounds or _DEFAULT_ROUNDS
        return key.to_openssh(
            secret or None,
            cipher=settings.cipher,
            rounds=rounds,
            random=os.urandom,
            stretched=stretched,
        )
    if 0 < len(secret) < _PEM_PASSPHRASE_BYTES:
        raise ValueError("passphrase is too short (minimum five characters)")
    return key.to_pem(secret or None) if settings.format == "PEM" else key.to_pkcs8(secret or None)


def _save(
    settings: Settings,
    path: str,
    key: PrivateKey,
    secret: bytes,
    *,
    replace: bool,
    stretched: Stretched | None = None,
) -> None:
    try:
        data = _encoded(settings, key, secret, stretched)
        keygen_files.write(path, data, mode=0o600, replace=replace)
    except OSError as error:
        raise Failure(
            f"Saving key {quoted(path)} failed: {error.strerror}", status=REFUSED
        ) from None
    except ValueError as error:
        raise Failure(f"Saving key {quoted(path)} failed: {error}", status=REFUSED) from None


def _write_public(path: str, public: PublicKey) -> None:
    # OpenSSH leaves the blank before the comment also where there is no comment.
    data = f"{public.with_comment('').to_line()} {public.comment}\n"
    raw = data.encode("utf-8", "surrogateescape")
    keygen_files.write(f"{path}.pub", raw, mode=0o644, replace=True)


def _save_public(path: str, public: PublicKey) -> None:
    try:
        _write_public(path, public)
    except OSError as error:
        raise Failure(
            f"Unable to save public key to {visible(path)}.pub: {error.strerror}", status=REFUSED
        ) from None


def download(settings: Settings) -> int:
    """The keys that security keys remember, each in two files."""
    from tellin.programs.keygen import tokens as keygen_tokens

    def save(path: str, key: PrivateKey, secret: bytes | None) -> bytes | None:
        try:
            replace = _may_write(path)
        except Failure:
            return None
        secret = _new_passphrase(path) if secret is None else secret
        _save(settings, path, key, secret, replace=replace)
        _save_public(path, key.public)
        return secret

    return keygen_tokens.download(settings, save)


def host_keys(settings: Settings) -> int:
    """Whichever host keys are missing, in /etc/ssh below the prefix of -f."""
    status = 0
    said = False
    for kind in _HOST_KEYS:
        path = f"{settings.file or ''}/etc/ssh/ssh_host_{kind}_key"
        if os.path.exists(path) and os.path.getsize(path) > 0:
            continue
        if not settings.quiet:
            if not said:
                sys.stdout.write("ssh-keygen: generating new host keys: ")
            sys.stdout.write(f"{kind.upper()} ")
            sys.stdout.flush()
        said = True
        key = PrivateKey.generate(kind, comment=_user_at_host())
        try:
            # The public half first: a server that finds the private one has both.
            _write_public(path, key.public)
            keygen_files.write(path, key.to_openssh(random=os.urandom), mode=0o600, replace=True)
        except OSError as error:
            say_error(f"Could not save your private key in {visible(path)}: {error.strerror}")
            status = REFUSED
    if said and not settings.quiet:
        print()
    return status


def change_passphrase(settings: Settings) -> int:
    """The same key under another passphrase, or in another format."""
    path = file_of(settings, "Enter file in which the key is")
    must_exist(path)
    opened = open_key(
        settings,
        path,
        question="Enter old passphrase: ",
        complaint=f"Failed to load key {visible(path)}",
    )
    if opened.commented:
        print(f"Key has comment '{visible(opened.key.comment)}'")
    secret = settings.new_passphrase
    if secret is None:
        secret = passphrase("Enter new passphrase (empty for no passphrase): ")
        if passphrase("Enter same passphrase again: ") != secret:
            print("Pass phrases do not match.  Try again.")
            return REFUSED
    key = opened.key
    if settings.options:
        from tellin.programs.keygen import tokens as keygen_tokens

        key = keygen_tokens.changed(key, settings.options)
    _save(settings, path, key, secret, replace=True)
    print("Your identification has been saved with the new passphrase.")
    return 0


def change_comment(settings: Settings) -> int:
    """The same key with another comment, in both files."""
    path = file_of(settings, "Enter file in which the key is")
    must_exist(path)
    opened = open_key(
        settings,
        path,
        question="Enter passphrase: ",
        complaint=f"Cannot load private key {quoted(path)}",
    )
    if settings.format not in {None, "RFC4716"} and opened.key.public.kind != "ED25519":
        say_error("Comments are only supported for keys stored in the new format (-o).")
        return REFUSED
    print(
        f"Old comment: {visible(opened.key.comment)}"
        if opened.commented
        else "No existing comment"
    )
    comment = settings.comment
    if comment is None:
        comment = line("New comment: ")
        if comment is None:
            raise Failure(status=REFUSED)
    changed = opened.key.with_comment(comment)
    _save(settings, path, changed, opened.passphrase, replace=True)
    _save_public(path, changed.public)
    print(f"Comment '{visible(comment)}' applied" if comment else "Comment removed")
    return 0
