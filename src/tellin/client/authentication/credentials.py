# SPDX-License-Identifier: MIT
"""What a program logs in with: keys, passwords, and the functions that know them."""

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeAlias

from tellin.client.authentication.identities import (
    Identity,
    KeySource,
    MemoryIdentity,
    read_key_file,
)
from tellin.client.hosts.trust import AskHostKey
from tellin.client.questions import Answer, HostKeyQuestion, Prompts
from tellin.errors import KeyFileError, TellinError, UsageError, WrongPassphrase
from tellin.keys.formats import load_private_key, load_public_key
from tellin.keys.private import PrivateKey, Signer
from tellin.keys.public import PublicKey
from tellin.keys.shown import Shown
from tellin.runtime.files import read_file
from tellin.runtime.journal import ERROR, Journal

Key: TypeAlias = Signer | str | os.PathLike[str] | bytes
"""A key in memory, the file of one, or what such a file holds."""


class Certified(Protocol):
    """A certificate in memory: a `tellin.keys.Certificate`."""

    @property
    def blob(self) -> bytes:
        """As it stands on the wire."""

    @property
    def key_id(self) -> str:
        """What its authority called it."""


UserCertificate: TypeAlias = Certified | str | os.PathLike[str]
"""A certificate for one of the keys, or its file."""

Passphrase: TypeAlias = str | bytes | Callable[[str], str | bytes | Awaitable[str | bytes]]
"""What opens encrypted keys, or who knows it; the function gets the file's name."""

Password: TypeAlias = str | Callable[[], str | Awaitable[str | None] | None]
"""The user's password, or who knows it."""

Questions: TypeAlias = Callable[
    [str, str, Prompts], Sequence[str] | Awaitable[Sequence[str] | None] | None
]
"""Answers the server's questions: gets a name, an instruction and the prompts, each a text and whether
the answer may be seen."""

ChangePassword: TypeAlias = Callable[
    [str], tuple[str, str] | Awaitable[tuple[str, str] | None] | None
]
"""The old password and the new one, for a server that wants it changed; gets its word on it."""


def check_password(said: object) -> None:
    """Raise UsageError for what is no password: neither a text that can be sent, nor None."""
    if said is not None:
        _check_text(said, "a password")


def _check_text(said: object, what: str) -> None:
    if not isinstance(said, str):
        raise UsageError(f"{what} is a text, and no {type(said).__name__}")
    try:
        said.encode("utf-8")
    except UnicodeEncodeError:
        # Without the error itself: it holds the text.
        raise UsageError(f"{what} has characters that cannot be sent") from None


def _check_answers(said: object, prompts: Prompts) -> None:
    if said is None:
        return
    if isinstance(said, str | bytes) or not isinstance(said, Sequence):
        raise UsageError(
            f"the answers to questions are a sequence of texts, and no {type(said).__name__}",
            hint="give one for each prompt, also if there is a single one",
        )
    for answer in said:
        _check_text(answer, "an answer")
    if len(said) != len(prompts):
        raise UsageError(f"{len(said)} answers to {len(prompts)} questions")


def _check_change(said: object) -> None:
    if said is None:
        return
    if not isinstance(said, tuple) or len(said) != 2:
        raise UsageError("a change of passwords takes two, the old one and the new one")
    for one in said:
        _check_text(one, "a password")


def check_credentials(
    password: object, questions: object, change_password: object, passphrase: object
) -> None:
    """Raise UsageError, before anything is done, for what could never log anybody in."""
    if not callable(password):
        check_password(password)
    for name, function in (("questions", questions), ("change_password", change_password)):
        if not (function is None or callable(function)):
            raise UsageError(f"{name} is a function, and no {type(function).__name__}")
    if not (passphrase is None or callable(passphrase) or isinstance(passphrase, str | bytes)):
        raise UsageError(
            f"a passphrase is a text, bytes or a function, and no {type(passphrase).__name__}"
        )


class Callbacks:
    """Asks the program's functions what the login wants to know; a ``Prompter``.

    ``failure`` is what a function raised: the first cause of whatever follows. ``on_answer`` is
    called when an answer came later than its question, ``on_fault`` with what went wrong where
    such an answer was taken.
    """

    def __init__(
        self,
        *,
        host_key: AskHostKey | None = None,
        password: Password | None = None,
        questions: Questions | None = None,
        change_password: ChangePassword | None = None,
    ) -> None:
        self.failure: BaseException | None = None
        self.on_answer: Callable[[], object] | None = None
        self.on_fault: Callable[[Exception], object] | None = None
        self._host_key = host_key
        self._password = password
        self._questions = questions
        self._change_password = change_password
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def knows_password(self) -> bool:
        """Whether there is anything to log in with besides keys."""
        return self._password is not None or self._questions is not None

    def confirm_host_key(self, question: HostKeyQuestion, answer: Answer[bool]) -> None:
        """Ask about a host without record."""
        ask = self._host_key
        if ask is None:
            answer(False)
        else:
            self._ask(lambda: ask(question), answer, False)

    def ask_passphrase(self, path: str, attempt: int, answer: Answer[bytes | None]) -> None:
        """Encrypted keys are opened elsewhere."""
        answer(None)

    def ask_password(self, user: str, host: str, attempt: int, answer: Answer[str | None]) -> None:
        """A fixed password is tried once; a function may know another one."""
        password = self._password
        if callable(password):
            self._ask(password, answer, None, check_password)
        else:
            answer(password if attempt == 1 else None)

    def ask_new_password(
        self, user: str, host: str, prompt: str, answer: Answer[tuple[str, str] | None]
    ) -> None:
        """Ask for both."""
        change = self._change_password
        if change is None:
            answer(None)
        else:
            self._ask(lambda: change(prompt), answer, None, _check_change)

    def answer_questions(
        self,
        name: str,
        instruction: str,
        prompts: Prompts,
        answer: Answer[Sequence[str] | None],
    ) -> None:
        """Ask the function; without one, a single hidden question is about the password."""
        questions = self._questions
        if questions is not None:
            self._ask(
                lambda: questions(name, instruction, prompts),
                answer,
                None,
                lambda said: _check_answers(said, prompts),
            )
        elif not prompts:
            answer(())
        elif len(prompts) == 1 and not prompts[0][1] and self._password is not None:
            password = self._password
            if callable(password):
                self._ask(
                    password,
                    lambda said: answer(None if said is None else (said,)),
                    None,
                    check_password,
                )
            else:
                answer((password,))
        else:
            answer(None)

    def cancel(self) -> None:
        """Nobody waits for answers any more."""
        for task in self._tasks:
            task.cancel()

    def _ask(
        self,
        function: Callable[[], Any],
        answer: Callable[[Any], object],
        no: Any,
        check: Callable[[Any], None] | None = None,
    ) -> None:
        """Call a function; an answer that has to be awaited is given later."""
        try:
            said = function()
            if inspect.isawaitable(said):
                task = asyncio.ensure_future(self._await(said, answer, no, check))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                return
            if check is not None:
                check(said)
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            self.failure = error
            said = no
        answer(said)

    async def _await(
        self,
        said: Awaitable[Any],
        answer: Callable[[Any], object],
        no: Any,
        check: Callable[[Any], None] | None,
    ) -> None:
        try:
            value = await said
            if check is not None:
                check(value)
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            self.failure = error
            value = no
        with _faults_told(self.on_fault):
            answer(value)
        if self.on_answer is not None:
            self.on_answer()


@contextmanager
def _faults_told(on_fault: Callable[[Exception], object] | None) -> Iterator[None]:
    """In a task of its own nobody would hear of it, and the login would wait for ever."""
    try:
        yield
    except Exception as error:
        if on_fault is None:
            raise
        on_fault(error)


class DeferredIdentity:
    """A key that signs beside the loop; ``fault`` is why it did not."""

    usable = True
    ready = False

    def __init__(self, name: str, public: PublicKey, *, explicit: bool) -> None:
        self.name = name
        self.explicit = explicit
        self.public: Shown | None = public
        self.fault: Exception | None = None
        self.on_signed: Callable[[], object] | None = None
        self.on_fault: Callable[[Exception], object] | None = None
        self._task: asyncio.Task[None] | None = None

    def open(self, done: Callable[[bool], object]) -> None:
        """Its public half is known already."""
        done(True)

    def sign(self, data: bytes, algorithm: str, done: Callable[[bytes | None], object]) -> None:
        """Sign, later; None where that cannot be done."""
        self._task = asyncio.ensure_future(self._sign(data, algorithm, done))

    def cancel(self) -> None:
        """Nobody waits for a signature any more."""
        if self._task is not None:
            self._task.cancel()

    async def _signature(self, data: bytes, algorithm: str) -> bytes:
        raise NotImplementedError

    async def _sign(
        self, data: bytes, algorithm: str, done: Callable[[bytes | None], object]
    ) -> None:
        signature = None
        try:
            signature = await self._signature(data, algorithm)
        except Exception as error:  # noqa: BLE001 - a user's function or token may raise anything
            self.fault = error
        with _faults_told(self.on_fault):
            done(signature)
        if self.on_signed is not None:
            self.on_signed()


class SlowIdentity(DeferredIdentity):
    """A key in memory that takes its time to sign: RSA, or one that a program reaches by itself."""

    ready = True

    def __init__(self, signer: Signer) -> None:
        public = signer.public
        super().__init__(public.comment or public.fingerprint(), public, explicit=True)
        self._signer = signer

    async def _signature(self, data: bytes, algorithm: str) -> bytes:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, self._signer.sign, data, algorithm)


class LockedIdentity(DeferredIdentity):
    """An encrypted key whose public half is known: opened, beside the loop, when it has to sign."""

    def __init__(
        self, name: str, data: bytes, public: PublicKey, passphrase: Passphrase, *, explicit: bool
    ) -> None:
        super().__init__(name, public, explicit=explicit)
        self._data = data
        self._passphrase = passphrase

    async def _signature(self, data: bytes, algorithm: str) -> bytes:
        private = await unlock(self.name, self._data, self._passphrase)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, private.sign, data, algorithm)


async def unlock(name: str, data: bytes, passphrase: Passphrase) -> PrivateKey:
    """Open an encrypted key; what turns the passphrase into a key takes a tenth of a second."""
    if callable(passphrase):
        said = passphrase(name)
        secret = await said if inspect.isawaitable(said) else said
    else:
        secret = passphrase
    raw = secret.encode("utf-8") if isinstance(secret, str) else secret
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, lambda: load_private_key(data, raw, name=name))


class Identities:
    """Keys that were read before the connection began."""

    def __init__(self, found: Iterable[Identity]) -> None:
        self._found = list(found)

    def prepare(self) -> None:
        """They are read already."""

    def identities(self, done: Callable[[Sequence[Identity]], object]) -> None:
        """All of them."""
        done(self._found)


def needs_reading(keys: Sequence[object]) -> bool:
    """Whether any of them has to be read or decoded."""
    return any(isinstance(key, str | bytes | os.PathLike) for key in keys)


def read_keys(keys: Sequence[Key], passphrase: Passphrase | None) -> list[Identity]:
    """The keys that a program named; raises what is wrong with one. Not on a loop."""
    return [_read_key(key, passphrase) for key in keys]


def _read_key(key: Key, passphrase: Passphrase | None) -> Identity:
    if isinstance(key, bytes):
        name, data = "a key in memory", key
    elif isinstance(key, str | os.PathLike):
        name = os.fspath(key)
        words: list[str] = []
        try:
            data = read_key_file(os.path.expanduser(name), Journal(ERROR, words.append))  # noqa: PTH111 - a text
        except OSError as error:
            raise KeyFileError(f"{name}: {error.strerror}") from error
        if not data:
            raise KeyFileError(f"{name}: {words[-1].rpartition(': ')[2] if words else 'empty'}")
    elif hasattr(key, "sign"):
        return _in_memory(key)
    else:
        raise UsageError(f"{type(key).__name__} is no key: give a PrivateKey, a file or its bytes")
    return _identity(name, data, passphrase, explicit=True)


def _in_memory(key: Signer) -> Identity:
    """A key that is there: it signs at once if that takes no longer than anything else here."""
    if isinstance(key, PrivateKey) and key.public.is_on_token:
        # Who has no security key does not pay for it.
        from tellin.agent.tokens import INTERNAL  # noqa: PLC0415  (start-up time)
        from tellin.client.authentication.tokens import TokenSigner  # noqa: PLC0415  (the same)

        return SlowIdentity(
            TokenSigner(key, provider=os.environ.get("SSH_SK_PROVIDER") or INTERNAL)
        )
    if isinstance(key, PrivateKey) and key.public.kind != "RSA":
        return MemoryIdentity(key)
    return SlowIdentity(key)


def _identity(
    name: str, data: bytes, passphrase: Passphrase | None, *, explicit: bool
) -> Identity:
    try:
        return _in_memory(load_private_key(data, name=name))
    except WrongPassphrase as error:
        if passphrase is None:
            error.hint = "give passphrase=, a text or a function"
            raise
        public = _public_half(name, data)
        if public is not None:
            return LockedIdentity(name, data, public, passphrase, explicit=explicit)
        if callable(passphrase):
            raise
        raw = passphrase.encode() if isinstance(passphrase, str) else passphrase
        return _in_memory(load_private_key(data, raw, name=name))
    except KeyFileError:
        try:
            public = load_public_key(data)
        except KeyFileError:
            public = None
        if public is None:
            raise
        raise KeyFileError(
            f"{name}: a public key ({public.kind} {public.fingerprint()})",
            hint="give the private half: the file without .pub",
        ) from None


def _public_half(name: str, data: bytes) -> PublicKey | None:
    with suppress(KeyFileError):
        return load_public_key(data)
    with suppress(TellinError, OSError):
        return load_public_key(read_file(f"{name}.pub"))
    return None


def default_keys(
    paths: Sequence[str], passphrase: Passphrase | None
) -> tuple[list[Identity], list[str]]:
    """The keys that a configuration names: those that can be used, and why the others cannot.

    Not a word about files that are not there: most of the customary ones are not.
    """
    found: list[Identity] = []
    unused: list[str] = []
    for path in paths:
        words: list[str] = []
        try:
            data = read_key_file(path, Journal(ERROR, words.append))
            if data:
                found.append(_identity(path, data, passphrase, explicit=False))
            else:
                unused.append(f"{path} ({words[-1].rpartition(': ')[2] if words else 'empty'})")
        except FileNotFoundError:
            continue
        except TellinError as error:
            unused.append(str(error))
        except OSError as error:
            unused.append(f"{path} ({error.strerror})")
    return found, unused


Named: TypeAlias = tuple[list[tuple[str, Any]], list[tuple[str, Any]]]
"""Certificates with their names: those that were listed, and those that lie beside a key."""


def read_certificates(
    listed: Sequence[UserCertificate], files: Sequence[Key], unused: list[str]
) -> Named | None:
    """The certificates that are ``listed``, or else those beside the keys' files; None without any.

    Raises KeyFileError for a certificate in memory that is none; files that are of no use are noted
    in ``unused``.
    """
    beside = [
        path
        for one in (() if listed else files)
        if isinstance(one, str | os.PathLike)
        and os.path.lexists(f"{(path := os.path.expanduser(os.fspath(one)))}-cert.pub")  # noqa: PTH111
    ]
    if not (listed or beside):
        return None
    # Who has no certificate does not pay for it.
    from tellin.client.authentication.certified import (  # noqa: PLC0415  (start-up time)
        beside_key,
        read_certificate,
        user_certificate,
    )

    first: list[tuple[str, Any]] = []
    behind: list[tuple[str, Any]] = []
    for one in listed:
        if not isinstance(one, str | os.PathLike):
            first.append((one.key_id, user_certificate(one.blob)))
            continue
        path = os.path.expanduser(os.fspath(one))  # noqa: PTH111 - a text
        try:
            first.append((path, read_certificate(path)))
        except (TellinError, OSError) as error:
            unused.append(str(error))
    for path in beside:
        try:
            behind.append((path, read_certificate(beside_key(path))))
        except (TellinError, OSError) as error:
            unused.append(str(error))
    return first, behind


def certified(keys: KeySource, certificates: Named | None) -> KeySource:
    """The keys with certificates among them."""
    if certificates is None:
        return keys
    from tellin.client.authentication.certified import JoinedKeys  # noqa: PLC0415  (start-up time)

    return JoinedKeys(keys, *certificates)
