# SPDX-License-Identifier: MIT
"""The keys that a client may log in with: where they come from, and how one is made to sign."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from tellin.client.questions import Prompter
from tellin.errors import ConfigError, KeyFileError, SignatureFailed, TellinError, WrongPassphrase
from tellin.keys.formats import MOST_BYTES, load_private_key, load_public_key
from tellin.keys.private import PrivateKey, Signer
from tellin.keys.public import PublicKey
from tellin.keys.shown import Shown
from tellin.runtime.files import exposed_mode, read_file
from tellin.runtime.journal import DEBUG3, ERROR, Journal
from tellin.wire import Record

_BOX: Final = "@" * 59


class Identity(Protocol):
    """One key that may log in."""

    @property
    def name(self) -> str:
        """What messages call it: its file, for one."""

    @property
    def explicit(self) -> bool:
        """Whether the user named it, rather than it being tried by custom."""

    @property
    def public(self) -> Shown | None:
        """Its public half, or its certificate; None if ``open`` must find that out."""

    @property
    def usable(self) -> bool:
        """Whether there is anything to try."""

    @property
    def ready(self) -> bool:
        """Whether it signs without asking anybody anything."""

    def open(self, done: Callable[[bool], object]) -> None:
        """Find out what there is to know, by asking if need be; ``done`` hears whether it is of use."""

    def sign(self, data: bytes, algorithm: str, done: Callable[[bytes | None], object]) -> None:
        """The signature blob over ``data``; None if there is none to be had."""


class KeySource(Protocol):
    """Something that holds keys: the files of the configuration, a library's caller, an agent."""

    def prepare(self) -> None:
        """Get ready what the first request will need, while the server is still busy."""

    def identities(self, done: Callable[[Sequence[Identity]], object]) -> None:
        """The keys in the order to try them; ``done`` may be called at once or later."""


SignInside = Callable[[PrivateKey, str, bytes, str, Callable[[bytes | None], object]], object]
"""Signs with a file's key that is inside a security key: the key, its file, data, algorithm, and who waits."""


class KeyPolicy(Record):
    """How key files are treated; ``sign_inside`` reaches the security keys that some speak of.

    ``on_use`` hears of each key, and the file that it is from, when it is used for the first time.
    """

    prompts: int = 3
    batch: bool = False
    sign_inside: SignInside | None = None
    on_use: Callable[[PrivateKey, str], object] | None = None


# Keys in memory


class MemoryIdentity:
    """A key that somebody handed over: it is there, and it signs."""

    explicit = True
    usable = True
    ready = True

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.public: PublicKey | None = signer.public
        self.name = signer.public.comment or signer.public.fingerprint()

    def open(self, done: Callable[[bool], object]) -> None:
        """There is nothing to find out."""
        done(True)

    def sign(self, data: bytes, algorithm: str, done: Callable[[bytes | None], object]) -> None:
        """Sign."""
        try:
            signature = self._signer.sign(data, algorithm)
        except SignatureFailed:
            done(None)
        else:
            done(signature)


class MemoryKeys:
    """Keys that a program holds itself."""

    def __init__(self, signers: Iterable[Signer]) -> None:
        self._identities = [MemoryIdentity(signer) for signer in signers]

    def prepare(self) -> None:
        """There is nothing to get ready."""

    def identities(self, done: Callable[[Sequence[Identity]], object]) -> None:
        """All of them, as they were given."""
        done(self._identities)


# Keys in files


class FileIdentity:
    """A key file: looked at when its turn comes, decrypted when the server has taken its public half."""

    def __init__(
        self,
        path: str,
        *,
        explicit: bool,
        policy: KeyPolicy,
        prompter: Prompter,
        journal: Journal,
    ) -> None:
        self.name = path
        self.explicit = explicit
        self._policy = policy
        self._prompter = prompter
        self._journal = journal
        self._data = b""
        self._private: PrivateKey | None = None
        self._public: PublicKey | None = None
        self._looked = False
        self._complaint: tuple[int, str] | None = None
        self._hopeless = False
        self._used = False

    @property
    def public(self) -> PublicKey | None:
        """The public half, from the file itself or from the one beside it."""
        self._look()
        return self._public

    @property
    def ready(self) -> bool:
        """Whether the private half lies here in clear."""
        self._look()
        # A security key wants to be touched: not before the server has taken its key.
        return self._private is not None and not self._private.public.is_on_token

    @property
    def usable(self) -> bool:
        """Whether there is anything to try."""
        self._look()
        if self._complaint is not None:
            # Said only now: where an agent holds the key, nobody misses its file.
            self._journal.say(*self._complaint)
            self._complaint = None
        return not self._hopeless

    def open(self, done: Callable[[bool], object]) -> None:
        """Decrypt the file, so that its public half is known."""
        self._look()
        if self._hopeless or self._private is not None:
            done(not self._hopeless)
            return
        self._journal.debug(f"Trying private key: {self.name}")
        self._unlock(1, done)

    def sign(self, data: bytes, algorithm: str, done: Callable[[bytes | None], object]) -> None:
        """Sign, after decrypting the file if that has not been done."""

        def opened(success: bool) -> None:
            private = self._private
            if not success or private is None:
                done(None)
                return
            if not self._used and self._policy.on_use is not None:
                self._policy.on_use(private, self.name)
            self._used = True
            if private.public.is_on_token and self._policy.sign_inside is not None:
                self._policy.sign_inside(private, self.name, data, algorithm, done)
                return
            try:
                # The plan lets RSA with SHA-1 in only by its name.
                signature = private.sign(data, algorithm, sha1=algorithm == "ssh-rsa")
            except SignatureFailed as error:
                self._journal.error(f"sign_and_send_pubkey: signing failed: {error}")
                done(None)
            else:
                done(signature)

        if self._private is not None:
            opened(True)
        else:
            self._unlock(1, opened)

    def _look(self) -> None:
        """Read what can be read without a passphrase, once."""
        if self._looked:
            return
        self._looked = True
        try:
            self._data = read_key_file(self.name, self._journal)
        except FileNotFoundError as error:
            self._hopeless = True
            self._public = self._public_half()
            line = f"no such identity: {self.name}: {error.strerror}"
            self._complaint = (ERROR if self.explicit else DEBUG3, line)
            return
        except OSError as error:
            self._hopeless = True
            self._journal.error(f'Load key "{self.name}": {error.strerror}')
            return
        if self._data:
            self._read()
        else:
            self._hopeless = True

    def _read(self) -> None:
        try:
            self._private = load_private_key(self._data)
        except WrongPassphrase:
            self._public = self._public_half()
        except KeyFileError as error:
            self._hopeless = True
            # OpenSSH takes a public key here for one that the agent holds.
            with suppress(KeyFileError):
                self._public = load_public_key(self._data)
            if self._public is None:
                self._journal.error(f'Load key "{self.name}": {error}')
            return
        if self._private is not None:
            self._public = self._private.public
            self._data = b""

    def _public_half(self) -> PublicKey | None:
        """The public half of an encrypted file: openssh-key-v1 has it in clear, others beside them."""
        with suppress(KeyFileError):
            return load_public_key(self._data)
        with suppress(KeyFileError, ConfigError, OSError):
            return load_public_key(read_file(f"{self.name}.pub", limit=MOST_BYTES))
        return None

    def _unlock(self, attempt: int, done: Callable[[bool], object]) -> None:
        if attempt > self._policy.prompts or self._policy.batch:
            self._journal.error(
                f'Load key "{self.name}": '
                + (
                    "incorrect passphrase supplied to decrypt private key"
                    if attempt > 1
                    else "it needs a passphrase, and nobody may be asked"
                )
            )
            self._hopeless = True
            done(False)
            return

        def answered(passphrase: bytes | None) -> None:
            if not passphrase:
                self._journal.debug2("no passphrase given, try next key")
                if passphrase is None:
                    self._journal.error(
                        f'Load key "{self.name}": it needs a passphrase, and nobody gave one'
                    )
                self._hopeless = True
                done(False)
            elif self._decrypt(passphrase):
                done(not self._hopeless)
            else:
                self._journal.debug2("bad passphrase given, try again...")
                self._unlock(attempt + 1, done)

        self._prompter.ask_passphrase(self.name, attempt, answered)

    def _decrypt(self, passphrase: bytes) -> bool:
        """Whether there is no point in asking again."""
        try:
            self._private = load_private_key(self._data, passphrase)
        except WrongPassphrase:
            return False
        except TellinError as error:
            self._hopeless = True
            self._journal.error(f'Load key "{self.name}": {error}')
            return True
        self._public = self._private.public
        self._data = b""
        return True


def _is_public(data: bytes) -> bool:
    if b"PRIVATE KEY-----" in data:
        return False
    with suppress(KeyFileError):
        load_public_key(data)
        return True
    return False


def read_key_file(path: str, journal: Journal, *, pipes: bool = False) -> bytes:
    """The bytes of a private key's file; none, and the reason said, if it must not be used.

    With ``pipes`` a pipe is a file too: it can be read once.
    """
    exposed: list[int] = []

    def check(status: os.stat_result) -> None:
        mode = exposed_mode(status)
        if mode is not None:
            exposed.append(mode)

    try:
        data = read_file(path, limit=MOST_BYTES, pipes=pipes, check=check)
    except ConfigError as error:
        journal.error(f'Load key "{path}": {error}')
        return b""
    if exposed and not _is_public(data):
        # Case 283: what others could read is no secret.
        for line in (
            _BOX,
            "@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @",
            _BOX,
            f"Permissions 0{exposed[0]:03o} for '{path}' are too open.",
            "It is required that your private key files are NOT accessible by others.",
            "This private key will be ignored.",
            f'Load key "{path}": bad permissions',
        ):
            journal.error(line)
        return b""
    if not data:
        journal.error(f'Load key "{path}": invalid format')
    return data


class FileKeys:
    """The key files of a configuration, in their order; none is opened before its turn."""

    def __init__(
        self,
        paths: Sequence[str],
        *,
        explicit: bool,
        policy: KeyPolicy,
        prompter: Prompter,
        journal: Journal,
    ) -> None:
        self._identities = [
            FileIdentity(
                path, explicit=explicit, policy=policy, prompter=prompter, journal=journal
            )
            # The same file twice is the same key twice.
            for path in dict.fromkeys(paths)
        ]

    def prepare(self) -> None:
        """Read the first file."""
        if self._identities:
            # To be asked this is what makes a key file be read.
            bool(self._identities[0].ready)

    def identities(self, done: Callable[[Sequence[Identity]], object]) -> None:
        """All of them."""
        done(self._identities)
