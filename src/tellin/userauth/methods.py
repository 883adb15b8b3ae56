# SPDX-License-Identifier: MIT
"""The server's side of each authentication method (RFC 4252 sections 5.2, 7, 8, 9; RFC 4256)."""

from collections.abc import Callable
from typing import Any, Final

from tellin.algorithms.signatures import plain
from tellin.keys.certificates import inner_key
from tellin.userauth.login import (
    Login,
    State,
    password_text,
    plausible_name,
    reason_of,
)
from tellin.userauth.messages import (
    HOST_BASED,
    KEYBOARD_INTERACTIVE,
    NONE,
    PASSWORD,
    PUBLIC_KEY,
    HostBoundFields,
    InfoRequest,
    KeyboardInteractiveFields,
    PasswordChangeFields,
    PasswordChangeRequest,
    PasswordFields,
    PublicKeyFields,
    PublicKeyOk,
    SignedHostBasedFields,
    SignedHostBoundFields,
    SignedPublicKeyFields,
    host_based_signed_data,
    signed_data,
)
from tellin.userauth.questions import (
    Accepted,
    Answer,
    ChangeWanted,
    HostQuestion,
    KeyQuestion,
    NoneQuestion,
    Outcome,
    PasswordQuestion,
    PromptQuestion,
    Prompts,
    Reply,
    Shown,
    Step,
)


def none(login: Login, *, first: bool) -> Step:
    """Nothing shown: the list of methods, and entry only where the policy says so."""
    if login.policy.permit_none and login.progress.allows(NONE):
        return login.ask(
            NoneQuestion(login.user, login.known), lambda answer: login.decide(NONE, answer)
        )
    # The first one asks for the list only (RFC 4252 section 5.2).
    return login.fail(NONE, "not permitted", counted=not first)


def public_key(login: Login, fields: PublicKeyFields) -> Step:
    """A key, with or without a signature by it."""
    host_key_blob = fields.host_key_blob if isinstance(fields, HostBoundFields) else None
    if host_key_blob not in {None, login.host_key_blob}:
        return login.fail(PUBLIC_KEY, "bound to another host key")
    key = login.usable_key(fields.key_blob, fields.algorithm, login.policy.algorithms)
    if isinstance(key, str):
        return login.fail(PUBLIC_KEY, key)
    if not isinstance(fields, (SignedPublicKeyFields, SignedHostBoundFields)):
        return login.ask(
            KeyQuestion(login.user, login.known, key, fields.algorithm, probe=True),
            lambda answer: _offer(login, key, fields.algorithm, answer),
        )
    data = signed_data(
        login.session_id,
        user=login.user,
        algorithm=fields.algorithm,
        key_blob=fields.key_blob,
        host_key_blob=host_key_blob,
    )
    return login.ask(
        KeyQuestion(login.user, login.known, key, fields.algorithm, probe=False),
        lambda answer: _signed(login, PUBLIC_KEY, key, answer, data=data, fields=fields),
    )


def _offer(login: Login, key: Shown, algorithm: str, answer: Answer) -> Step:
    if not login.known or not isinstance(answer, Accepted):
        return login.fail(PUBLIC_KEY, reason_of(answer), key=key)
    login.offered = (key.blob, algorithm)
    login.note(Outcome.POSTPONED, PUBLIC_KEY, key=key)
    return Reply((PublicKeyOk(algorithm, key.blob),))


def _signed(
    login: Login,
    method: str,
    key: Shown,
    answer: Answer,
    *,
    data: bytes,
    fields: SignedPublicKeyFields | SignedHostBoundFields | SignedHostBasedFields,
) -> Step:
    # Only a key that may log in has its signature computed: less code that strangers can reach.
    verified = False
    if isinstance(answer, Accepted):
        algorithm = plain(fields.algorithm)
        # SHA-1 only under its own name, which is here only if the policy lists it.
        verified = inner_key(key).verify(
            data,
            fields.signature,
            algorithm=algorithm,
            sha1=algorithm == "ssh-rsa",
            touch_required=answer.touch_required,
            verify_required=answer.verify_required,
        )
    if verified is not True:
        return login.fail(method, reason_of(answer, "bad signature"), key=key)
    return login.decide(method, answer, key=key)


def host_based(login: Login, fields: SignedHostBasedFields) -> Step:
    """The client machine's word for its user."""
    key = login.usable_key(fields.key_blob, fields.algorithm, login.policy.host_algorithms)
    if isinstance(key, str):
        return login.fail(HOST_BASED, key)
    if not (plausible_name(fields.client_user) and plausible_name(fields.host_name)):
        return login.fail(HOST_BASED, "not a name")
    data = host_based_signed_data(login.session_id, user=login.user, fields=fields)
    return login.ask(
        HostQuestion(
            login.user,
            login.known,
            key,
            fields.algorithm,
            host_name=fields.host_name,
            client_user=fields.client_user,
        ),
        lambda answer: _signed(login, HOST_BASED, key, answer, data=data, fields=fields),
    )


def password(login: Login, fields: PasswordFields) -> Step:
    """A password, and perhaps the one to replace it."""
    old = password_text(fields.password)
    new: str | None = None
    if isinstance(fields, PasswordChangeFields):
        new = password_text(fields.new_password)
        if not new:
            return login.fail(PASSWORD, "not a password")
    if old is None:
        return login.fail(PASSWORD, "not a password")
    # An empty password is nothing shown: it never counts as one step of several (R087, R090).
    if not old and not (login.policy.permit_empty_passwords and login.progress.free):
        return login.fail(PASSWORD, "empty password")

    def decide(answer: Answer) -> Step:
        if isinstance(answer, ChangeWanted) and login.known:
            login.note(Outcome.POSTPONED, PASSWORD)
            return Reply((PasswordChangeRequest(answer.prompt, ""),))
        return login.decide(PASSWORD, answer)

    return login.ask(PasswordQuestion(login.user, login.known, old, new), decide)


def keyboard_interactive(login: Login, fields: KeyboardInteractiveFields) -> Step:
    """A wish to be asked."""
    device = _choose_device(login, fields.submethods)
    if device is None:
        return login.fail(KEYBOARD_INTERACTIVE, "no such submethod")
    login.device = device
    return _converse(login, None)


def _choose_device(login: Login, hint: bytes) -> str | None:
    # One request is one try of one submethod, however often it names it: the same name ten
    # thousand times gave as many guesses (CVE-2015-5600, R064, case 151).
    offered = [
        device
        for device in login.policy.devices
        if login.progress.allows(KEYBOARD_INTERACTIVE, device)
    ]
    if hint:
        wanted = set(hint.split(b","))
        offered = [device for device in offered if device.encode("utf-8") in wanted]
    return offered[0] if offered else None


def _converse(login: Login, responses: tuple[str, ...] | None) -> Step:
    device = login.device

    def decide(answer: Answer) -> Step:
        if not isinstance(answer, Prompts):
            return login.decide(KEYBOARD_INTERACTIVE, answer, device=device)
        login.prompts = len(answer.prompts)
        login.state = State.PROMPTING
        login.note(Outcome.POSTPONED, KEYBOARD_INTERACTIVE, device=device)
        return Reply((InfoRequest(answer.name, answer.instruction, "", answer.prompts),))

    return login.ask(PromptQuestion(login.user, login.known, device, responses), decide)


def respond(login: Login, given: tuple[bytes, ...]) -> Step:
    """Take the responses to the open prompts."""
    texts = [password_text(response) for response in given]
    responses = tuple(text for text in texts if text is not None)
    if len(responses) != len(texts):
        step = login.fail(KEYBOARD_INTERACTIVE, "not a response", device=login.device)
        step.abandoned = True
        return step
    return _converse(login, responses)


METHODS: Final[dict[str, Callable[[Login, Any], Step]]] = {
    PUBLIC_KEY: public_key,
    PASSWORD: password,
    KEYBOARD_INTERACTIVE: keyboard_interactive,
    HOST_BASED: host_based,
}
