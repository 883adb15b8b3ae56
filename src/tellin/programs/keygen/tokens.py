# SPDX-License-Identifier: MIT
"""ssh-keygen and keys inside tokens: made in security keys, fetched from there, listed on PKCS#11 tokens."""

# pathlib: see keygen_files.

import os
from collections.abc import Callable, Mapping
from typing import Final

from tellin.agent.tokens import (
    FORCE,
    INTERNAL,
    RESIDENT,
    TOUCH_REQUIRED,
    VERIFY_REQUIRED,
    Enroll,
    Enrolled,
    ListResident,
    Reason,
    ResidentListed,
    TokenError,
)
from tellin.client.authentication.tokens import (
    PKCS11,
    SECURITY_KEY,
    ModuleSigner,
    TokenHelper,
    TokenSigner,
    list_module,
)
from tellin.errors import UsageError
from tellin.keys import PrivateKey, PublicKey, Signer, randomart
from tellin.keys.security_keys import application_of
from tellin.keys.token_keys import secret_of, with_flags
from tellin.programs.command import Failure, say_error, visible
from tellin.programs.keygen import files as keygen_files
from tellin.programs.keygen.asking import line, passphrase, quoted
from tellin.programs.keygen.settings import FATAL, Settings
from tellin.wire import Cursor, string

KEY_TYPES: Final = {
    "ed25519-sk": "sk-ssh-ed25519@openssh.com",
    "ecdsa-sk": "sk-ecdsa-sha2-nistp256@openssh.com",
}
_APPLICATION: Final = "ssh:"
_CHALLENGE_BYTES: Final = 32
_TRIES: Final = 3
_ATTESTATION: Final = b"ssh-sk-attest-v01"


class _Wanted:
    """What -O says of a key to be made inside a security key."""

    def __init__(self) -> None:
        self.application = _APPLICATION
        self.user = ""
        self.device = ""
        self.challenge = b""
        self.attestation = ""
        self.flags = TOUCH_REQUIRED

    def take(self, word: str) -> None:
        """One -O; Failure for what there is not."""
        name, given, value = word.partition("=")
        if not given and word in _FLAGS:
            on, off = _FLAGS[word]
            self.flags = (self.flags | on) & ~off
        elif given and name in _VALUES:
            _VALUES[name](self, value)
        else:
            raise Failure(
                f'Option "{word}" is unsupported for FIDO authenticator enrollment', status=FATAL
            )

    def set_application(self, value: str) -> None:
        """A name of SSH's: a web site's would let the key log in there."""
        if not value.startswith(_APPLICATION):
            raise Failure('FIDO application string must begin with "ssh:"', status=FATAL)
        self.application = value

    def read_challenge(self, path: str) -> None:
        """The bytes that the security key is to attest the new key with."""
        try:
            self.challenge = keygen_files.read(path)
        except OSError as error:
            raise Failure(
                f"Unable to load challenge {visible(path)}: {error.strerror}", status=FATAL
            ) from None


_FLAGS: Final[Mapping[str, tuple[int, int]]] = {
    "no-touch-required": (0, TOUCH_REQUIRED),
    "resident": (RESIDENT, 0),
    "verify-required": (VERIFY_REQUIRED, 0),
}
_VALUES: Final[Mapping[str, Callable[[_Wanted, str], None]]] = {
    "application": _Wanted.set_application,
    "challenge": _Wanted.read_challenge,
    "device": lambda wanted, value: setattr(wanted, "device", value),
    "user": lambda wanted, value: setattr(wanted, "user", value),
    "write-attestation": lambda wanted, value: setattr(wanted, "attestation", value),
}
# Those of -p, which change what a key's file asks for.
_CHANGES: Final[Mapping[str, tuple[int, int]]] = {
    "touch-required": (TOUCH_REQUIRED, 0),
    "no-touch-required": (0, TOUCH_REQUIRED),
    "verify-required": (VERIFY_REQUIRED, 0),
    "no-verify-required": (0, VERIFY_REQUIRED),
}


def _provider(settings: Settings, device: str = "") -> str:
    named = settings.provider or os.environ.get("SSH_SK_PROVIDER") or INTERNAL
    return device if device and named == INTERNAL else named


def enroll(settings: Settings, kind: str, comment: str, say: Callable[[str], None]) -> PrivateKey:
    """A new key inside the security key that is there; what it attests is written if -O says where."""
    wanted = _Wanted()
    for word in settings.options:
        wanted.take(word)
    challenge = wanted.challenge or os.urandom(_CHALLENGE_BYTES)
    say("You may need to touch your authenticator to authorize key generation.")
    made = _enrolled(settings, wanted, KEY_TYPES[kind], challenge, say)
    if wanted.attestation:
        _write_attestation(wanted.attestation, made)
        say(f"Your FIDO attestation certificate has been saved in {visible(wanted.attestation)}")
    return PrivateKey.read(Cursor(made.key)).with_comment(comment)


def _enrolled(
    settings: Settings,
    wanted: _Wanted,
    key_type: str,
    challenge: bytes,
    say: Callable[[str], None],
) -> Enrolled:
    pin, flags = b"", wanted.flags
    tries = 0
    with TokenHelper(SECURITY_KEY) as helper:
        while True:
            request = Enroll(
                _provider(settings, wanted.device),
                key_type,
                wanted.application,
                wanted.user,
                challenge,
                flags,
                pin,
            )
            try:
                reply = helper.ask(request)
            except TokenError as error:
                if error.reason is Reason.EXISTS and _overwrites(wanted):
                    flags |= FORCE
                    continue
                if error.reason not in {Reason.PIN_NEEDED, Reason.PIN_WRONG}:
                    raise Failure(
                        f"Key enrollment failed: {error}", status=FATAL, hint=error.hint
                    ) from None
                if error.reason is Reason.PIN_WRONG:
                    say_error("PIN incorrect")
                tries += 1
                if tries > _TRIES:
                    raise Failure("Too many incorrect PINs", status=FATAL) from None
                pin = passphrase("Enter PIN for authenticator: ")
                if not pin:
                    raise Failure(f"Key enrollment failed: {error}", status=FATAL) from None
                say(
                    "You may need to touch your authenticator (again) to authorize key generation."
                )
                continue
            assert isinstance(reply, Enrolled)
            return reply


def _overwrites(wanted: _Wanted) -> bool:
    print(
        f"A resident key scoped to '{visible(wanted.application)}'"
        f" with user id '{visible(wanted.user)}' already exists."
    )
    answer = line("Overwrite key in token (y/n)? ")
    return answer is not None and answer[:1] in {"y", "Y"}


def _write_attestation(path: str, made: Enrolled) -> None:
    """As PROTOCOL.u2f has it; the last two are reserved."""
    fields = (_ATTESTATION, made.certificate, made.signature, made.authenticator_data)
    data = b"".join(map(string, fields)) + bytes(4) + string(b"")
    try:
        keygen_files.write(path, data, mode=0o644, replace=True)
    except OSError as error:
        raise Failure(
            f"Unable to write attestation data: {visible(path)}: {error.strerror}", status=FATAL
        ) from None


def changed(private: PrivateKey, words: list[str]) -> PrivateKey:
    """The key with what -p and -O say of touches and PINs."""
    try:
        flags = secret_of(private).flags
    except UsageError:
        raise Failure("FIDO key options are for FIDO keys alone", status=FATAL) from None
    for word in words:
        if word not in _CHANGES:
            raise Failure(f'Option "{word}" is unsupported for FIDO keys', status=FATAL)
        on, off = _CHANGES[word]
        flags = (flags | on) & ~off
    return with_flags(private, flags)


def download(
    settings: Settings, save: Callable[[str, PrivateKey, bytes | None], bytes | None]
) -> int:
    """The files of the keys that security keys remember, into the directory where we are.

    ``save`` writes one, with the passphrase of the one before; None if the user does not want it.
    """
    device = ""
    for word in settings.options:
        name, given, value = word.partition("=")
        if name != "device" or not given:
            raise Failure(
                f'Option "{word}" is unsupported for FIDO authenticator download', status=FATAL
            )
        device = value
    pin = passphrase("Enter PIN for authenticator: ")
    if not settings.quiet:
        print("You may need to touch your authenticator to authorize key download.")
    with TokenHelper(SECURITY_KEY) as helper:
        try:
            listed = helper.ask(ListResident(_provider(settings, device), pin))
        except TokenError as error:
            say_error(f"Unable to load resident keys: {error}")
            return FATAL
    assert isinstance(listed, ResidentListed)
    if not listed.keys:
        say_error("No keys to download")
    secret = settings.new_passphrase
    for one in listed.keys:
        key = PrivateKey.read(Cursor(one.key))
        application = application_of(key.public.blob).decode("utf-8", "replace")
        suffix = _suffix(application, one.user)
        kind = key.public.kind.lower().replace("-", "_")
        path = f"id_{kind}_rk{'_' if suffix else ''}{suffix}"
        secret = save(path, key.with_comment(application), secret)
        if secret is None:
            break
        if not settings.quiet:
            named = f" {application}" if suffix else ""
            print(f"Saved {key.public.kind} key{visible(named)} to {visible(path)}")
    return 0


def _suffix(application: str, user: bytes) -> str:
    """What tells keys apart in the names of their files; it came out of a token and is made harmless."""
    words = [application.removeprefix("ssh://").removeprefix(_APPLICATION)]
    told = user.rstrip(b"\0")
    if told:
        printable = all(33 <= byte < 127 for byte in told)
        words.append(told.decode("ascii") if printable else told.hex())
    suffix = "_".join(words if words[0] else words[1:])
    return "".join(c if c.isalnum() or c in "._-@:" else "_" for c in suffix)


def module_keys(settings: Settings) -> int:
    """The public keys of a PKCS#11 module's tokens (-D)."""
    with TokenHelper(PKCS11) as helper:
        keys = _listed(helper, settings.module)
    for key in keys:
        if "l" not in settings.modes:
            print(key.to_line())
            continue
        shown = key.fingerprint(settings.hash_name)
        print(f"{key.bits} {shown} {visible(key.comment)} ({key.kind})")
        if settings.verbose:
            print(randomart(key, settings.hash_name))
    return 0


def _listed(helper: TokenHelper, module: str) -> list[PublicKey]:
    try:
        return list_module(helper, os.path.realpath(module))
    except TokenError as error:
        say_error(str(error))
        raise Failure(
            "cannot read public key from pkcs11", status=FATAL, hint=error.hint
        ) from None


def module_signer(settings: Settings, public: PublicKey) -> Signer:
    """The key of a token (-D) that signs certificates."""
    helper = TokenHelper(PKCS11)
    if public not in _listed(helper, settings.module):
        raise Failure(f"No PKCS#11 key matching {public.fingerprint()} found", status=FATAL)
    return ModuleSigner(
        helper,
        os.path.realpath(settings.module),
        public,
        ask_pin=lambda: passphrase("Enter PIN for token: "),
    )


def signer_of(settings: Settings, private: PrivateKey, path: str) -> Signer:
    """What signs with a private key: the key, or the security key that it is inside."""
    if not private.public.is_on_token:
        return private
    public = private.public
    if secret_of(private).flags & TOUCH_REQUIRED:
        say_error(f"Confirm user presence for key {public.kind} {public.fingerprint()}")
    return TokenSigner(
        private,
        provider=_provider(settings),
        ask_pin=lambda: passphrase(f"Enter PIN for {public.kind} key {quoted(path)}: "),
    )
