# SPDX-License-Identifier: MIT
"""Who may log in to a program's own server: its keys, and the functions that decide.

A key that a client only asks about is never shown to ``authorize`` (R067): it hears of a key when
the signature over this very session has been verified, and of a password when that is right.
"""

import asyncio
import inspect
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from tellin.algorithms.signatures import plain
from tellin.config.authorized_keys import AuthorizedKey, AuthorizedKeys
from tellin.config.key_options import KeyOptions, Moment
from tellin.errors import CertificateRejected, ConfigError, ProtocolError, UsageError
from tellin.keys import PublicKey
from tellin.keys.certificates import Certificate, inner_key
from tellin.keys.revocation import MOST_BYTES as MOST_REVOCATIONS
from tellin.keys.revocation import RevocationList, load_revocations
from tellin.runtime.files import read_file, read_text
from tellin.server.authentication.certificates import has_principal, permitted, revocation
from tellin.server.authentication.passwords import failure_delay
from tellin.server.connection import Peer
from tellin.userauth.messages import (
    KEYBOARD_INTERACTIVE,
    MAXIMUM_PROMPTS,
    NONE,
    PASSWORD,
    PUBLIC_KEY,
    HostBoundFields,
    SignedHostBoundFields,
    SignedPublicKeyFields,
    UserauthRequest,
    method_fields,
    signed_data,
)
from tellin.userauth.questions import (
    Accepted,
    Account,
    Answer,
    KeyQuestion,
    NoneQuestion,
    PasswordQuestion,
    PromptQuestion,
    Prompts,
    Question,
    Refused,
    Shown,
    UserQuestion,
)
from tellin.wire import Record

_log = logging.getLogger("tellin.server")


class Candidate(Record):
    """Who has shown what it takes; ``key`` has signed for this login, where it was by a key.

    ``certificate`` is the one that the key was shown by; its authority is one of those that were
    given to ``serve``, and it holds for this user, from there and now.
    """

    user: str
    method: str
    key: PublicKey | None
    peer: Peer
    client_version: str
    certificate: Certificate | None = None


Authorize: TypeAlias = Callable[[Candidate], bool | Awaitable[bool]]
"""Whether a candidate may in; only True lets it."""

CheckPassword: TypeAlias = Callable[[str, str], bool | Awaitable[bool]]
"""Whether a user has this password."""

Dialogue: TypeAlias = Callable[
    [str, tuple[str, ...] | None],
    "bool | Prompts | Sequence[tuple[str, bool]] | Awaitable[bool | Prompts | Sequence[tuple[str, bool]]]",
]
"""Asks a user questions: gets the user and the answers to the last ones (None at first), and gives the
next prompts, each a text and whether the answer may be seen, or the verdict."""

Path: TypeAlias = str | os.PathLike[str]
KeyList: TypeAlias = PublicKey | Path | Iterable[PublicKey | Path]
AuthorizedKeysSource: TypeAlias = KeyList | Mapping[str, KeyList] | None
"""Public keys, files in the format of authorized_keys, or either for each user."""

RevocationSource: TypeAlias = RevocationList | Path | Iterable[RevocationList | Path] | None
"""Revoked keys: lists of them, or files as RevokedKeys names them."""


class Asker(Protocol):
    """The connection that a question is about."""

    @property
    def peer(self) -> Peer:
        """Where it comes from."""

    @property
    def request(self) -> bytes:
        """The client's message that is being answered."""

    @property
    def session_id(self) -> bytes:
        """What signatures are bound to."""

    @property
    def client_version(self) -> str:
        """What the client calls itself."""


class Admission:
    """Answers the Authenticator's questions by what ``serve`` was given."""

    def __init__(
        self,
        *,
        authorize: Authorize | None,
        authorized_keys: AuthorizedKeysSource,
        password: CheckPassword | Mapping[str, str] | None,
        dialogue: Dialogue | None,
        permit_none: bool,
        authorities: KeyList | None = None,
        revoked: RevocationSource = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.authorize = authorize
        _check_functions(authorize=authorize, questions=dialogue)
        if not isinstance(password, Mapping):
            _check_functions(password=password)
        self.password = _checker(password) if isinstance(password, Mapping) else password
        self.dialogue = dialogue
        self.permit_none = permit_none
        self._source = authorized_keys
        self._keys: _Lines | None = None
        self._authority_source = authorities
        self._authorities: _Lines = {}
        self._revocation_source = revoked
        self._revoked: list[tuple[str, RevocationList]] = []
        self._clock = clock
        self._secret = os.urandom(32)
        self._tasks: set[asyncio.Task[None]] = set()
        if not (permit_none or self.methods()):
            raise UsageError(
                "nobody could log in",
                hint="give authorized_keys, authorize, password or questions",
            )

    @property
    def reads(self) -> bool:
        """Whether files have to be read first."""
        return any(
            source is not None
            for source in (self._source, self._authority_source, self._revocation_source)
        )

    def methods(self) -> tuple[str, ...]:
        """What is offered."""
        offered = {
            PUBLIC_KEY: self._source is not None
            or self._authority_source is not None
            or (self.authorize is not None and self.password is None and self.dialogue is None),
            PASSWORD: self.password is not None,
            KEYBOARD_INTERACTIVE: self.dialogue is not None,
        }
        return tuple(name for name, on in offered.items() if on)

    def load(self) -> None:
        """Read the keys that may in; not on a loop. Raises ConfigError and OSError."""
        if self._source is not None:
            by_user = self._source if isinstance(self._source, Mapping) else {None: self._source}
            found = [(user, _read(keys)) for user, keys in by_user.items()]
            # An authority's key signs certificates; it is not a user's.
            self._keys = {user: _those(lines, authority=False) for user, lines in found}
            self._authorities = {user: _those(lines, authority=True) for user, lines in found}
        if self._authority_source is not None:
            self._keys = {} if self._keys is None else self._keys
            trusted = self._authorities.setdefault(None, {})
            for line in _read(self._authority_source):
                trusted.setdefault(line.blob, []).append(line)
        self._revoked = _read_revoked(self._revocation_source)

    # Questions

    def ask(self, asker: Asker, question: Question, done: Callable[[Answer], None]) -> None:
        """Answer a question, now or later."""
        match question:
            case UserQuestion():
                known = self._knows(question.user)
                done(Account(known or self.password is not None or self.dialogue is not None))
            case KeyQuestion():
                self._key(asker, question, done)
            case PasswordQuestion():
                self._password(asker, question, done)
            case PromptQuestion():
                self._prompts(asker, question, done)
            case NoneQuestion():
                self._confirm(asker, (question.user, NONE, None), done)
            case _:
                done(Refused("not offered"))

    def _knows(self, user: str) -> bool:
        tables = [self._keys or {}, self._authorities]
        return self._keys is None or any(
            table.get(name) is not None for table in tables for name in (user, None)
        )

    def _key(self, asker: Asker, question: KeyQuestion, done: Callable[[Answer], None]) -> None:
        grant: AuthorizedKey | None = None
        refusal = revocation(question.key, self._revoked)
        if refusal:
            done(Refused(refusal))
            return
        # A function alone decides about keys, and about certificates only with an authority to
        # begin with: what nobody vouches for says nothing (R105).
        if self._keys is not None or isinstance(question.key, Certificate):
            found = self._find(asker, question.user, question.key)
            if isinstance(found, str):
                done(Refused(found))
                return
            grant = found
        if question.probe or self.authorize is None:
            done(_accepted(grant))
        elif not _has_signed(asker, question, _accepted(grant)):
            done(Refused("bad signature"))
        else:
            self._confirm(asker, (question.user, PUBLIC_KEY, question.key), done, grant=grant)

    def _find(self, asker: Asker, user: str, key: Shown) -> AuthorizedKey | str:
        certificate = key if isinstance(key, Certificate) else None
        table = self._keys if certificate is None else self._authorities
        signer = key if isinstance(key, PublicKey) else key.authority
        refusal = "no line lets this key in"
        for line in (*_lines(table, user, signer), *_lines(table, None, signer)):
            fault = self._fault(line.options, asker.peer)
            if fault:
                refusal = fault
            elif certificate is None:
                return line
            else:
                try:
                    return self._certified(line, certificate, user, asker.peer)
                except CertificateRejected as rejected:
                    refusal = str(rejected)
        return refusal

    def _certified(
        self, line: AuthorizedKey, certificate: Certificate, user: str, peer: Peer
    ) -> AuthorizedKey:
        """What an authority's line and its certificate both allow; raises CertificateRejected."""
        if not has_principal(certificate, line.options):
            raise CertificateRejected("Certificate does not contain an authorized principal")
        options = permitted(
            certificate,
            line.options,
            names=(user,) if line.options.principals is None else None,
            address=peer.host,
            now=self._clock(),
        )
        made = AuthorizedKey(line.blob, options, key_type=line.key_type, comment=line.comment)
        made.file, made.line = line.file, line.line
        return made

    def _fault(self, options: KeyOptions, peer: Peer) -> str:
        """Why a line does not let its key in from there and now."""
        # Where there is no address, no rule about addresses is kept (R069).
        if options.from_patterns is not None and not (
            peer.host and options.allows_from("", peer.host)
        ):
            return "not from a permitted host"
        now = self._clock()
        if options.expired(utc=_moment(time.gmtime(now)), local=_moment(time.localtime(now))):
            return "the key has expired"
        return ""

    def _password(
        self, asker: Asker, question: PasswordQuestion, done: Callable[[Answer], None]
    ) -> None:
        check = self.password
        if check is None or question.new_password is not None:
            done(Refused("not offered"))
            return
        refuse = self._delayed(question.user, done)

        def checked(right: object) -> None:
            if right is True:
                self._confirm(asker, (question.user, PASSWORD, None), done)
            else:
                refuse("wrong password")

        self._call(lambda: check(question.user, question.password), checked)

    def _prompts(
        self, asker: Asker, question: PromptQuestion, done: Callable[[Answer], None]
    ) -> None:
        dialogue = self.dialogue
        if dialogue is None:
            done(Refused("not offered"))
            return
        refuse = self._delayed(question.user, done)

        def answered(said: Any) -> None:
            if said is True:
                self._confirm(asker, (question.user, KEYBOARD_INTERACTIVE, None), done)
            elif said is None or said is False:
                refuse("wrong answers")
            else:
                done(_prompts(said))

        self._call(lambda: dialogue(question.user, question.responses), answered)

    def _confirm(
        self,
        asker: Asker,
        shown: tuple[str, str, Shown | None],
        done: Callable[[Answer], None],
        *,
        grant: AuthorizedKey | None = None,
    ) -> None:
        """What it takes has been shown: ask the program's own function, if there is one."""
        authorize = self.authorize
        if authorize is None:
            done(_accepted(grant))
            return
        user, method, key = shown
        candidate = Candidate(
            user,
            method,
            None if key is None else inner_key(key),
            asker.peer,
            asker.client_version,
            key if isinstance(key, Certificate) else None,
        )

        def decided(verdict: object) -> None:
            done(_accepted(grant) if verdict is True else Refused("not authorized"))

        self._call(lambda: authorize(candidate), decided)

    def _delayed(self, user: str, done: Callable[[Answer], None]) -> Callable[[str], None]:
        """Say no after a while that tells nothing (R061)."""
        began = time.monotonic()

        def refuse(reason: str) -> None:
            delay = failure_delay(self._secret, user, time.monotonic() - began)
            asyncio.get_running_loop().call_later(delay, done, Refused(reason))

        return refuse

    def _call(self, function: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Call a function of the program's; whatever it raises is a no."""
        try:
            said = function()
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            _log.error("a function that decides about logins failed", exc_info=error)
            said = None
        if not inspect.isawaitable(said):
            _settle(said, then)
            return
        task = asyncio.ensure_future(_awaited(said, then))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """Nobody waits for answers any more."""
        for task in self._tasks:
            task.cancel()


async def _awaited(said: Awaitable[Any], then: Callable[[Any], None]) -> None:
    try:
        value = await said
    except Exception as error:  # noqa: BLE001 - a user's function may raise anything
        _log.error("a function that decides about logins failed", exc_info=error)
        value = None
    _settle(value, then)


def _settle(said: Any, then: Callable[[Any], None]) -> None:
    """Take what a function said; what cannot be taken is a no, and no client waits for it."""
    try:
        then(said)
    except Exception as error:  # noqa: BLE001 - it may be anything that a user's function returned
        _log.error("a function that decides about logins gave no answer", exc_info=error)
        then(None)


def _prompts(said: object) -> Prompts:
    """A dialogue's next questions; raises UsageError for what could not be asked."""
    if isinstance(said, Prompts):
        made = said
    elif isinstance(said, str | bytes) or not isinstance(said, Sequence) or not said:
        raise UsageError(
            f"{type(said).__name__} is no list of prompts",
            hint="give pairs, each a text and whether the answer may be seen, or True or False",
        )
    else:
        made = Prompts(tuple(_prompt(one) for one in said))
    if len(made.prompts) > MAXIMUM_PROMPTS:
        raise UsageError(f"{len(made.prompts)} prompts at once: {MAXIMUM_PROMPTS} are the most")
    for text in (made.name, made.instruction, *(text for text, _ in made.prompts)):
        _check_text(text, "a prompt")
    return made


def _prompt(one: object) -> tuple[str, bool]:
    if not isinstance(one, tuple | list) or len(one) != 2 or not isinstance(one[1], bool):
        raise UsageError("a prompt is a text and whether the answer may be seen")
    return one[0], one[1]


def _check_text(said: object, what: str) -> None:
    if not isinstance(said, str):
        raise UsageError(f"{what} is a text, and no {type(said).__name__}")
    try:
        said.encode("utf-8")
    except UnicodeEncodeError:
        # Without the error itself: it holds the text, which may be a password.
        raise UsageError(f"{what} has characters that cannot be sent") from None


def _check_functions(**given: object) -> None:
    for name, function in given.items():
        if not (function is None or callable(function)):
            raise UsageError(f"{name} is a function, and no {type(function).__name__}")


def _checker(passwords: Mapping[str, str]) -> CheckPassword:
    for user, password in passwords.items():
        _check_text(user, "the name of a user")
        _check_text(password, "a password")
    # Imported here: few servers keep passwords in clear.
    from hmac import compare_digest  # noqa: PLC0415  (start-up time)

    def check(user: str, password: str) -> bool:
        wanted = passwords.get(user)
        # The same work for a user who does not exist.
        same = compare_digest((wanted or "").encode(), password.encode())
        return same and wanted is not None

    return check


def _accepted(grant: AuthorizedKey | None) -> Accepted:
    options = KeyOptions() if grant is None else grant.options
    return Accepted(
        grant,
        touch_required=options.touch_required,
        verify_required=options.verify_required,
    )


def _has_signed(asker: Asker, question: KeyQuestion, accepted: Accepted) -> bool:
    """Whether the request that is being answered bears a good signature by its key.

    The Authenticator looks at it again when it has the answer; here it is what ``authorize`` may
    rely on.
    """
    try:
        request = UserauthRequest.decode(asker.request)
        fields = method_fields(request)
    except ProtocolError:
        return False
    if not isinstance(fields, SignedPublicKeyFields | SignedHostBoundFields):
        return False
    if request.user != question.user or fields.key_blob != question.key.blob:
        return False
    data = signed_data(
        asker.session_id,
        user=request.user,
        algorithm=fields.algorithm,
        key_blob=fields.key_blob,
        host_key_blob=fields.host_key_blob if isinstance(fields, HostBoundFields) else None,
    )
    algorithm = plain(fields.algorithm)
    verified = inner_key(question.key).verify(
        data,
        fields.signature,
        algorithm=algorithm,
        sha1=algorithm == "ssh-rsa",
        touch_required=accepted.touch_required,
        verify_required=accepted.verify_required,
    )
    return verified is True


_Lines: TypeAlias = dict[str | None, dict[bytes, list[AuthorizedKey]]]


def _lines(table: _Lines | None, user: str | None, key: PublicKey) -> Sequence[AuthorizedKey]:
    return () if table is None else table.get(user, {}).get(key.blob, ())


def _read(keys: KeyList) -> list[AuthorizedKey]:
    found: list[AuthorizedKey] = []
    several = (keys,) if isinstance(keys, PublicKey | str | os.PathLike) else keys
    for one in several:
        if isinstance(one, PublicKey):
            found.append(
                AuthorizedKey(one.blob, KeyOptions(), key_type=one.key_type, comment=one.comment)
            )
            continue
        path = os.fspath(one)
        parsed = AuthorizedKeys.parse(read_text(path), file=path)
        for warning in parsed.warnings:
            _log.warning("%s", warning)
        found += parsed.keys
    return found


def _those(lines: Iterable[AuthorizedKey], *, authority: bool) -> dict[bytes, list[AuthorizedKey]]:
    found: dict[bytes, list[AuthorizedKey]] = {}
    for line in lines:
        if line.options.cert_authority is authority:
            found.setdefault(line.blob, []).append(line)
    return found


def _read_revoked(source: RevocationSource) -> list[tuple[str, RevocationList]]:
    if source is None:
        return []
    several = (source,) if isinstance(source, RevocationList | str | os.PathLike) else source
    found = []
    for one in several:
        if isinstance(one, RevocationList):
            found.append(("of the program", one))
        else:
            path = os.fspath(one)
            data = read_file(path, limit=MOST_REVOCATIONS)
            found.append((path, load_revocations(data, name=path)))
    return found


def _moment(at: time.struct_time) -> Moment:
    return at.tm_year, at.tm_mon, at.tm_mday, at.tm_hour, at.tm_min, at.tm_sec


def forced_command(grants: Iterable[object]) -> str | None:
    """The one command that the lines of a login's keys allow; raises ConfigError where they disagree."""
    commands = {
        grant.options.command
        for grant in grants
        if isinstance(grant, AuthorizedKey) and grant.options.command is not None
    }
    if len(commands) > 1:
        # R068: each factor's word holds; two that contradict each other hold together nowhere.
        raise ConfigError("the keys used demand different commands")
    return next(iter(commands), None)


def permits_terminal(grants: Iterable[object]) -> bool:
    """Whether all lines of a login's keys allow a terminal."""
    return all(grant.options.permit_pty for grant in grants if isinstance(grant, AuthorizedKey))


def permits_x11(grants: Iterable[object]) -> bool:
    """Whether all lines of a login's keys let it show windows."""
    return all(
        grant.options.permit_x11_forwarding for grant in grants if isinstance(grant, AuthorizedKey)
    )


def permits_agent(grants: Iterable[object]) -> bool:
    """Whether all lines of a login's keys let it forward its agent."""
    return all(
        grant.options.permit_agent_forwarding
        for grant in grants
        if isinstance(grant, AuthorizedKey)
    )
