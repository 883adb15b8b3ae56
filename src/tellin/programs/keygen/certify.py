# SPDX-License-Identifier: MIT
"""ssh-keygen's authority: signs certificates, and shows what is in them."""

# pathlib: see keygen_files.
# ruff: noqa: PTH110

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from tellin.config.patterns import in_block
from tellin.errors import (
    ConfigError,
    ConnectFailed,
    KeyFileError,
    MalformedPacket,
    SignatureFailed,
    UsageError,
)
from tellin.keys import PrivateKey, PublicKey, Signer
from tellin.keys.certificates import (
    FORCE_COMMAND,
    FOREVER,
    NO_TOUCH_REQUIRED,
    SOURCE_ADDRESS,
    VERIFY_REQUIRED,
    Certificate,
    CertificateRole,
    Option,
    text_option,
)
from tellin.programs.command import Failure, say_error, visible
from tellin.programs.keygen import files as keygen_files
from tellin.programs.keygen.asking import file_of, must_exist, open_key, quoted
from tellin.programs.keygen.settings import FATAL, REFUSED, Settings
from tellin.programs.keygen.signer import signing
from tellin.programs.keygen.times import interval, validity
from tellin.wire import Cursor, Record

_PERMISSIONS: Final = {
    "agent-forwarding": "permit-agent-forwarding",
    "port-forwarding": "permit-port-forwarding",
    "pty": "permit-pty",
    "user-rc": "permit-user-rc",
    "x11-forwarding": "permit-X11-forwarding",
}


# Signing


class Wishes:
    """What the -O of a command line ask for."""

    def __init__(self) -> None:
        self.extensions: dict[str, bytes] = dict.fromkeys(_PERMISSIONS.values(), b"")
        self.critical: dict[str, bytes] = {}

    def take(self, word: str) -> None:
        """One -O."""
        name, equals, value = word.partition("=")
        lowered = name.lower()
        if lowered == "clear" and not equals:
            for permission in _PERMISSIONS.values():
                self.extensions.pop(permission, None)
        elif not equals and lowered.removeprefix("no-") in _PERMISSIONS:
            self.extensions.pop(_PERMISSIONS[lowered.removeprefix("no-")], None)
        elif not equals and lowered.removeprefix("permit-") in _PERMISSIONS:
            self.extensions[_PERMISSIONS[lowered.removeprefix("permit-")]] = b""
        elif not equals and lowered == NO_TOUCH_REQUIRED:
            self.extensions[NO_TOUCH_REQUIRED] = b""
        elif not equals and lowered == VERIFY_REQUIRED:
            self.critical[VERIFY_REQUIRED] = b""
        elif equals and lowered in _CHECKS:
            _CHECKS[lowered](value)
            self._once(lowered, value)
        elif lowered.startswith(("extension:", "critical:")):
            kind, _, own = name.partition(":")
            options = self.extensions if kind.lower() == "extension" else self.critical
            options[own] = text_option(own, value)[1] if equals else b""
        else:
            raise Failure(f'Unsupported certificate option "{word}"', status=FATAL)

    def _once(self, name: str, value: str) -> None:
        if name in self.critical:
            raise Failure(f"{name} already specified", status=FATAL)
        self.critical[name] = text_option(name, value)[1]


def _check_command(value: str) -> None:
    if not value:
        raise Failure("Empty force-command option", status=FATAL)


def _check_addresses(value: str) -> None:
    if not value:
        raise Failure("Empty source-address option", status=FATAL)
    for item in value.split(","):
        try:
            fault = "" if in_block("", item) is not None else "Invalid network entry"
        except ConfigError:
            fault = "Inconsistent mask length for network"
        if fault:
            say_error(f'{fault} "{item}"')
            raise Failure("Invalid source-address list", status=FATAL)


_CHECKS: Final[dict[str, Callable[[str], None]]] = {
    FORCE_COMMAND: _check_command,
    SOURCE_ADDRESS: _check_addresses,
}


class _Order(Record):
    """What every certificate of one command line has in common."""

    role: CertificateRole
    key_id: str
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    critical: tuple[Option, ...]
    extensions: tuple[Option, ...]
    algorithm: str | None


def sign(settings: Settings, files: list[str]) -> int:
    """A certificate for each file of a public key, beside it."""
    if settings.identity is None:
        raise Failure("Must specify key id (-I) when certifying", status=FATAL)
    wishes = Wishes()
    for word in settings.options:
        wishes.take(word)
    after, before = interval(settings.interval) if settings.interval else (0, FOREVER)
    serial, counting = serial_of(settings)
    signer = _authority(settings)
    role = CertificateRole.HOST if settings.for_host else CertificateRole.USER
    user = role is CertificateRole.USER
    order = _Order(
        role,
        settings.identity,
        _principals(settings.names),
        after,
        before,
        tuple(wishes.critical.items()),
        tuple(wishes.extensions.items()) if user else (),
        _algorithm(settings, signer),
    )
    for path in files:
        made = _issue(order, signer, path, serial)
        target = f"{path.removesuffix('.pub')}-cert.pub"
        _write(target, made)
        if not settings.quiet:
            _tell(settings, target, made)
        serial += counting
    return 0


def serial_of(settings: Settings) -> tuple[int, int]:
    """The number of -z, and how much it grows from file to file: ``+`` before it says by one."""
    text = settings.serial or "0"
    digits = text.removeprefix("+")
    # More digits than any number has that fits are never converted.
    try:
        number = int(digits) if len(digits) <= 20 and digits.isdecimal() else -1
    except ValueError:
        number = -1
    if not 0 <= number <= FOREVER:
        raise Failure(f'Invalid serial number "{digits}"', status=FATAL)
    return number, int(text.startswith("+"))


def _principals(names: str | None) -> tuple[str, ...]:
    if names is None:
        return ()
    found = tuple(names.split(","))
    if "" in found:
        raise Failure("Empty principal name", status=FATAL)
    return found


def _authority(settings: Settings) -> Signer:
    """The key of -s: a private key's file, or with -U the public half of one that the agent has."""
    path = settings.signer or ""
    if settings.prefer_agent:
        from tellin.client.authentication.agents import Agent, AgentSigner

        public = _public_half(path)
        try:
            return AgentSigner(Agent.connect(), public)
        except ConnectFailed as error:
            absent = not os.environ.get("SSH_AUTH_SOCK")
            raise Failure(
                "Cannot use public key for CA signature: "
                + ("agent not present" if absent else str(error)),
                status=FATAL,
            ) from None
    if settings.module:
        from tellin.programs.keygen import tokens as keygen_tokens

        return keygen_tokens.module_signer(settings, _public_half(path))
    opened = open_key(
        settings, path, question="Enter passphrase: ", complaint=f"Load key {quoted(path)}"
    )
    return signing(settings, opened.key, path)


def _public_half(path: str) -> PublicKey:
    try:
        return keygen_files.find_public(path)
    except OSError as error:
        raise _unloadable(path, error.strerror or "") from None
    except KeyFileError as error:
        raise _unloadable(path, str(error)) from None


def _unloadable(path: str, why: str) -> Failure:
    return Failure(f"Cannot load CA public key {visible(path)}: {why}", status=FATAL)


class _Sha1Signer:
    """An RSA key that signs by SHA-1, because the command line says so in so many words (R047)."""

    def __init__(self, key: PrivateKey) -> None:
        self.public = key.public
        self._key = key

    def sign(self, data: bytes, algorithm: str) -> bytes:
        return self._key.sign(data, algorithm, sha1=True)


def _algorithm(settings: Settings, signer: Signer) -> str | None:
    wanted = settings.key_type
    if wanted is None:
        return None
    public = signer.public
    if wanted not in {public.key_type, *public.signature_algorithms}:
        raise Failure(
            f"CA key type {public.key_type} doesn't match specified {wanted}", status=FATAL
        )
    return wanted


def _issue(order: _Order, signer: Signer, path: str, serial: int) -> Certificate:
    key = _subject(path)
    if order.algorithm == "ssh-rsa" and isinstance(signer, PrivateKey):
        signer = _Sha1Signer(signer)
    try:
        return Certificate.issue(
            signer,
            key,
            role=order.role,
            key_id=order.key_id,
            principals=order.principals,
            serial=serial,
            valid_after=order.valid_after,
            valid_before=order.valid_before,
            critical_options=order.critical,
            extensions=order.extensions,
            algorithm=order.algorithm,
            nonce=os.urandom(32),
        )
    except (UsageError, SignatureFailed, KeyFileError) as error:
        raise Failure(f"Couldn't certify {visible(path)}: {error}", status=FATAL) from None


def _subject(path: str) -> PublicKey:
    try:
        key = keygen_files.find_public_or_certificate(path)
    except OSError as error:
        raise Failure(f"load pubkey {quoted(path)}: {error.strerror}", status=FATAL) from None
    except KeyFileError as error:
        raise Failure(f"load pubkey {quoted(path)}: {error}", status=FATAL) from None
    if isinstance(key, Certificate):
        raise Failure(
            f"do_ca_sign: key {quoted(path)} type {key.kind} cannot be certified", status=FATAL
        )
    beside = path if path.endswith(".pub") else f"{path}.pub"
    # As OpenSSH has it: a key that nobody has named goes by its file's name.
    return key.with_comment(beside) if not key.comment and os.path.exists(beside) else key


def _write(path: str, made: Certificate) -> None:
    data = f"{made.with_comment('').to_line()} {made.comment}\n"
    try:
        keygen_files.write(path, data.encode("utf-8", "surrogateescape"), mode=0o644, replace=True)
    except OSError as error:
        raise Failure(
            f"Unable to save public key to {visible(path)}: {error.strerror}", status=REFUSED
        ) from None


def _tell(settings: Settings, path: str, made: Certificate) -> None:
    whom = f" for {settings.names}" if settings.names is not None else ""
    line = (
        f'Signed {made.role.name.lower()} key {path}: id "{made.key_id}"'
        f" serial {made.serial}{whom} valid {validity(made)}"
    )
    # As OpenSSH's log has it.
    say_error(line.replace("\\", "\\\\"))


# Showing


def show(settings: Settings) -> int:
    """What the certificates in a file say."""
    path = file_of(settings, "Enter file in which the key is")
    if path == "-":
        data, name = keygen_files.read_standard_input(), "(stdin)"
    else:
        must_exist(path, prefix="ssh-keygen: ")
        name = visible(path)
        try:
            data = keygen_files.read(path)
        except IsADirectoryError:
            data = b""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    shown = False
    for number, line in enumerate(lines, 1):
        text = line.lstrip(" \t")
        # OpenSSH takes an empty line for a bad key, but not what stands behind the last newline.
        if text.startswith("#") or (not text and number == len(lines)):
            continue
        made = _certificate_of(text.removesuffix("\r"), name, number)
        if made is not None:
            print(f"{name}:" if number == 1 and path != "-" else f"{name}:{number}:")
            print("\n".join(described(made, settings.hash_name)))
            shown = True
    return 0 if shown else REFUSED


def _certificate_of(text: str, name: str, number: int) -> Certificate | None:
    try:
        found = keygen_files.key_of_line(text)
    except KeyFileError:
        say_error(f"{name}:{number}: invalid key: invalid format")
        return None
    if isinstance(found, Certificate):
        return found
    say_error(f"{name}:{number} is not a certificate")
    return None


def described(made: Certificate, hash_name: str) -> Iterator[str]:
    """The lines of ``ssh-keygen -L`` below a file's name."""
    authority = made.authority
    inner = " " * 16
    yield f"        Type: {made.key_type} {made.role.name.lower()} certificate"
    yield f"        Public key: {made.kind} {made.fingerprint(hash_name)}"
    yield (
        f"        Signing CA: {authority.kind} {authority.fingerprint(hash_name)}"
        f" (using {visible(made.signature_algorithm)})"
    )
    yield f'        Key ID: "{visible(made.key_id)}"'
    yield f"        Serial: {made.serial}"
    yield f"        Valid: {validity(made)}"
    yield "        Principals: " + ("" if made.principals else "(none)")
    yield from (inner + visible(name) for name in made.principals)
    for title, options, critical in (
        ("Critical Options", made.critical_options, True),
        ("Extensions", made.extensions, False),
    ):
        yield f"        {title}: " + ("" if options else "(none)")
        yield from (inner + _option(name, data, critical=critical) for name, data in options)


_FLAGS: Final = {*_PERMISSIONS.values(), NO_TOUCH_REQUIRED}


def _option(name: str, data: bytes, *, critical: bool) -> str:
    shown = visible(name)
    if name in ({VERIFY_REQUIRED} if critical else _FLAGS):
        return shown
    if critical and name in _CHECKS:
        with suppress(MalformedPacket):
            text = Cursor(data).string().decode("utf-8", "surrogateescape")
            return f"{shown} {visible(text)}"
    if data:
        return f"{shown} UNKNOWN OPTION: {data.hex()} (len {len(data)})"
    return f"{shown} UNKNOWN FLAG OPTION"
