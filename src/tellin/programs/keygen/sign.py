# SPDX-License-Identifier: MIT
"""ssh-keygen's signatures of files: made, checked, and asked whose they are (``-Y``)."""

# pathlib: see keygen_files.
# ruff: noqa: PTH110

import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from tellin.config.allowed_signers import AllowedSigners, Clock
from tellin.errors import (
    ConfigError,
    ConnectFailed,
    KeyFileError,
    RequestRefused,
    SignatureFailed,
    UsageError,
)
from tellin.keys import PublicKey, Signer
from tellin.keys.certificates import Certificate
from tellin.keys.file_signatures import HASH_NAMES, FileSignature
from tellin.keys.revocation import MOST_BYTES, load_revocations
from tellin.programs.command import Failure, say_error, visible
from tellin.programs.keygen import files as keygen_files
from tellin.programs.keygen.asking import line, open_key, quoted
from tellin.programs.keygen.settings import FATAL, REFUSED, Settings
from tellin.programs.keygen.signer import signing
from tellin.programs.keygen.times import absolute, seconds_of, text_of

_PIECE: Final = 1 << 16
# What OpenSSH's program ends with where nobody is found, and where a line is broken.
_NOBODY: Final = 210
_BROKEN_LINE: Final = 252
_NO_FILE: Final = 232


class Options:
    """What -O say beside an operation."""

    def __init__(self, settings: Settings, *, signing: bool = False) -> None:
        self.hash_name = HASH_NAMES[0]
        self.print_key = False
        self.now = time.time()
        for word in settings.options:
            name, equals, value = word.partition("=")
            match name.lower():
                case "hashalg" if equals and signing:
                    self.hash_name = value
                case "verify-time" if equals:
                    try:
                        self.now = float(absolute(value))
                    except ConfigError:
                        raise Unverified('Invalid "verify-time" option') from None
                case "print-pubkey" if not equals:
                    self.print_key = True
                case _:
                    raise Unverified(f'Invalid option "{visible(word)}"')

    @property
    def clock(self) -> Clock:
        """The moment to judge at."""
        return Clock(self.now, seconds_of, text_of)


class Unverified(Failure):
    """Why something could not be verified."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message, status=FATAL)


def knows(operation: str) -> bool:
    """Whether -Y takes that word."""
    return operation in _OPERATIONS


def run(settings: Settings, files: list[str]) -> int:
    """Do the operation of -Y, which must be one that it ``knows``."""
    needed, do = _OPERATIONS[settings.operation or ""]
    for attribute, name, as_name in needed:
        if not getattr(settings, attribute):
            raise Failure(f"Too few arguments for {as_name}:{name}", status=REFUSED)
    return do(settings, files)


# Making


def _sign(settings: Settings, files: list[str]) -> int:
    options = Options(settings, signing=True)
    path = settings.file or ""
    try:
        public = keygen_files.find_public_or_certificate(path)
    except OSError as error:
        raise _unloadable(path, error.strerror or "") from None
    except KeyFileError as error:
        raise _unloadable(path, str(error)) from None
    signer = _signer(settings, path, public)
    certificate = public if isinstance(public, Certificate) else None

    def signed(pieces: Iterator[bytes], name: str) -> bytes:
        if options.hash_name not in HASH_NAMES:
            say_error(f'unsupported hash algorithm "{visible(options.hash_name)}"')
            raise Failure(
                f"Signing {name} failed: signature algorithm not supported", status=FATAL
            )
        try:
            return FileSignature.make(
                signer,
                pieces,
                namespace=settings.names or "",
                hash_name=options.hash_name,
                certificate=certificate,
            ).to_armor()
        except (SignatureFailed, UsageError) as error:
            raise Failure(f"Signing {name} failed: {error}", status=FATAL) from None

    for file in files or ["-"]:
        if file == "-":
            if not settings.quiet:
                _tell("Signing data on standard input")
            sys.stdout.write(signed(_pieces(0), "-").decode("ascii"))
        else:
            _sign_file(file, signed, quiet=settings.quiet)
    return 0


def _unloadable(path: str, why: str) -> Failure:
    return Failure(f"Couldn't load public key {visible(path)}: {why}", status=FATAL)


_Signed = Callable[[Iterator[bytes], str], bytes]


def _sign_file(path: str, signed: _Signed, *, quiet: bool) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Failure(
            f"Cannot open {visible(path)} for signing: {error.strerror}", status=FATAL
        ) from None
    try:
        if not quiet:
            _tell(f"Signing file {visible(path)}")
        made = signed(_pieces(descriptor), visible(path))
    finally:
        os.close(descriptor)
    target = f"{path}.sig"
    replace = os.path.exists(target)
    if replace:
        print(f"{visible(target)} already exists.")
        answer = line("Overwrite (y/n)? ")
        if answer is None or answer[:1] not in {"y", "Y"}:
            return
    try:
        keygen_files.write(target, made, mode=0o644, replace=replace)
    except OSError as error:
        raise Failure(f"write {visible(target)}: {error.strerror}", status=FATAL) from None
    if not quiet:
        _tell(f"Write signature to {visible(target)}")


def _tell(text: str) -> None:
    # What is no error ends its line as any other text does.
    print(text, file=sys.stderr, flush=True)


def _signer(settings: Settings, path: str, public: PublicKey | Certificate) -> Signer:
    """The agent, if it has the key; or the private key's file, which may lie beside its public half."""
    key = public.key if isinstance(public, Certificate) else public
    from_agent = _agent_signer(key, needed=settings.prefer_agent)
    if from_agent is not None:
        return from_agent
    plain = path.removesuffix("-cert.pub").removesuffix(".pub")
    for candidate in dict.fromkeys((path, plain)):
        if not keygen_files.is_private(candidate):
            continue
        opened = open_key(
            settings,
            candidate,
            question=f"Enter passphrase for {quoted(candidate)}: ",
            complaint=f"Load key {quoted(candidate)}",
        )
        if opened.key.public == key:
            return signing(settings, opened.key, candidate)
    raise Failure(f"No private key found for {quoted(path)}", status=FATAL)


def _agent_signer(key: PublicKey, *, needed: bool) -> Signer | None:
    if not needed and not os.environ.get("SSH_AUTH_SOCK"):
        return None
    from tellin.client.authentication.agents import Agent, AgentSigner

    try:
        agent = Agent.connect()
        held = key in tuple(agent.keys())
    except (ConnectFailed, RequestRefused) as error:
        if needed:
            raise Failure("Couldn't get agent socket", status=FATAL, hint=str(error)) from None
        return None
    if held:
        return AgentSigner(agent, key)
    if needed:
        raise Failure("Couldn't find key in agent", status=FATAL)
    return None


def _pieces(descriptor: int) -> Iterator[bytes]:
    while piece := os.read(descriptor, _PIECE):
        yield piece


# Checking


def _verified(settings: Settings, *, judged: bool) -> int:
    """Check a signature of what stands on standard input; ``judged``: and whose it may be."""
    try:
        found, options = _check(settings, judged=judged)
    except Unverified as error:
        if str(error):
            say_error(str(error))
        if not settings.quiet:
            print("Could not verify signature.")
        return FATAL
    if not settings.quiet:
        whose = f" for {visible(settings.identity or '')}" if judged else ""
        key = found.key
        print(
            f'Good "{visible(found.namespace)}" signature{whose}'
            f" with {key.kind} key {key.fingerprint(settings.hash_name)}"
        )
    if options.print_key:
        print(found.key.with_comment("").to_line())
    return 0


def _check(settings: Settings, *, judged: bool) -> tuple[FileSignature, Options]:
    options = Options(settings)
    found = _read_signature(settings.signer or "")
    namespace = settings.names or ""
    if found.namespace != namespace:
        raise Unverified("Couldn't verify signature: namespace does not match")
    if not found.verify(_pieces(0), namespace=namespace):
        raise Unverified("Signature verification failed: incorrect signature")
    if settings.host:
        _check_revoked(settings, settings.host, found.key)
    if judged:
        signers = _allowed(settings)
        allowed = signers.allows(
            found.key, settings.identity or "", namespace=namespace, clock=options.clock
        )
        _say_notes(signers)
        if not allowed:
            raise Unverified
    return found, options


def _read_signature(path: str) -> FileSignature:
    try:
        return FileSignature.parse(keygen_files.read(path))
    except OSError as error:
        raise Unverified(f"Couldn't read signature file: {error.strerror}") from None
    except KeyFileError as error:
        raise Unverified(str(error)) from None


def _check_revoked(settings: Settings, path: str, key: PublicKey | Certificate) -> None:
    """A list that cannot be read revokes everything (case 306)."""
    try:
        revoked = load_revocations(keygen_files.read(path, most=MOST_BYTES)).revokes(key)
    except OSError as error:
        raise Unverified(
            f"Error checking signing key: {visible(path)}: {error.strerror}"
        ) from None
    except KeyFileError as error:
        raise Unverified(f"Error checking signing key: {visible(path)}: {error}") from None
    if revoked:
        # OpenSSH is silent here, and scripts compare what they get.
        why = f"Signing key {key.kind} {key.fingerprint()} revoked by file {visible(path)}"
        raise Unverified(why if settings.verbose else "")


def _allowed(settings: Settings) -> AllowedSigners:
    path = settings.file or ""
    try:
        data = keygen_files.read(path)
    except IsADirectoryError:
        data = b""
    except OSError as error:
        raise Unverified(
            f"Unable to open allowed keys file {quoted(path)}: {error.strerror}"
        ) from None
    return AllowedSigners.parse(data.decode("utf-8", "surrogateescape"), file=path)


def _say_notes(signers: AllowedSigners) -> None:
    for note in signers.notes:
        say_error(note)


def _verify(settings: Settings, files: list[str]) -> int:
    return _verified(settings, judged=True)


def _check_only(settings: Settings, files: list[str]) -> int:
    return _verified(settings, judged=False)


# Asking whose it is


def _find_principals(settings: Settings, files: list[str]) -> int:
    options = Options(settings)
    names: list[str] | tuple[str, ...] = ()
    try:
        found = _read_signature(settings.signer or "")
        signers = _allowed(settings)
    except Unverified as error:
        say_error(str(error))
    else:
        names = signers.principals_of(found.key, clock=options.clock)
        _say_notes(signers)
    if not names:
        return _nobody(FATAL)
    for name in names:
        print(visible(name))
    return 0


def _match_principals(settings: Settings, files: list[str]) -> int:
    Options(settings)
    try:
        signers = _allowed(settings)
    except Unverified as error:
        say_error(str(error))
        return _nobody(_NO_FILE)
    status = _NOBODY
    try:
        names = signers.patterns_for(settings.identity or "")
    except ConfigError:
        names, status = [], _BROKEN_LINE
    _say_notes(signers)
    if not names:
        return _nobody(status)
    for name in names:
        print(visible(name))
    return 0


def _nobody(status: int) -> int:
    _tell("No principal matched.")
    return status


# What each operation cannot do without: the value, what to call it, and in whose name.
_Need = tuple[str, str, str]
_OPERATIONS: Final[dict[str, tuple[tuple[_Need, ...], Callable[[Settings, list[str]], int]]]] = {
    "find-principals": (
        (
            ("signer", "missing signature file", "find-principals"),
            ("file", "missing allowed keys file", "find-principals"),
        ),
        _find_principals,
    ),
    "match-principals": (
        (
            ("file", "missing allowed keys file", "match-principals"),
            ("identity", " missing principal ID", "match-principals"),
        ),
        _match_principals,
    ),
    "sign": (
        (("names", " missing namespace", "sign"), ("file", " missing key", "sign")),
        _sign,
    ),
    "check-novalidate": (
        (
            ("names", " missing namespace", "check-novalidate"),
            ("signer", " missing signature file", "check-novalidate"),
        ),
        _check_only,
    ),
    "verify": (
        (
            ("names", " missing namespace", "verify"),
            ("signer", " missing signature file", "verify"),
            ("file", " missing allowed keys file", "sign"),
            ("identity", " missing principal identity", "verify"),
        ),
        _verify,
    ),
}
