# SPDX-License-Identifier: MIT
"""Whatever bytes come, a login ends in ProtocolError or goes on; nobody gets in by chance."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.userauth.pair import HOST_KEY, Backend, Server, key, policy, request

from tellin.errors import AuthenticationFailed, ProtocolError, UsageError
from tellin.userauth.client import ClientAuthentication
from tellin.userauth.events import Authenticated
from tellin.userauth.messages import (
    InfoRequest,
    InfoResponse,
    KeyboardInteractiveFields,
    PasswordChangeFields,
    PasswordChangeRequest,
    PasswordFields,
    PublicKeyFields,
    PublicKeyOk,
    SignedHostBasedFields,
    SignedHostBoundFields,
    SignedPublicKeyFields,
    UserauthBanner,
    UserauthFailure,
    UserauthSuccess,
)
from tellin.userauth.policy import parse_chains
from tellin.userauth.questions import Prompts, Refused
from tellin.userauth.text import escape_text

BLOB = key().public.blob
SIGNATURE = key().sign(b"something else")

REQUESTS = [
    message.encode()
    for message in (
        request(b"", method="none"),
        request(b"?", method="gssapi-with-mic"),
        request(PasswordFields(False, b"guess"), method="password"),
        request(PasswordChangeFields(True, b"guess", new_password=b"new"), method="password"),
        request(KeyboardInteractiveFields("", b"pam"), method="keyboard-interactive"),
        request(PublicKeyFields(False, "ssh-ed25519", BLOB), method="publickey"),
        request(
            SignedPublicKeyFields(True, "ssh-ed25519", BLOB, signature=SIGNATURE),
            method="publickey",
        ),
        request(
            SignedHostBoundFields(True, "ssh-ed25519", BLOB, HOST_KEY, signature=SIGNATURE),
            method="publickey-hostbound-v00@openssh.com",
        ),
        request(
            SignedHostBasedFields("ssh-ed25519", BLOB, "host.", "me", signature=SIGNATURE),
            method="hostbased",
        ),
        InfoResponse((b"a", b"b")),
        InfoResponse(()),
        UserauthSuccess(),
    )
]

REPLIES = [
    message.encode()
    for message in (
        UserauthFailure(("publickey", "password"), partial_success=False),
        UserauthFailure(("password",), partial_success=True),
        UserauthBanner("Hello", ""),
        PublicKeyOk("ssh-ed25519", BLOB),
        PasswordChangeRequest("New: ", ""),
        InfoRequest("", "", "", (("Password: ", False),)),
        InfoRequest("", "", "", ()),
        UserauthSuccess(),
    )
]


@st.composite
def damaged(draw: st.DrawFn, messages: list[bytes]) -> bytes:
    """A message, as it is or with bytes changed, cut out or put in."""
    payload = bytearray(draw(st.sampled_from(messages)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(payload)))
        payload[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=6))
    return bytes(payload)


def server() -> Server:
    backend = Backend()
    # Nobody knows this password: what gets in got in by a hole.
    backend.password = "\0"
    backend.prompts = lambda question: (
        Prompts((("a", True), ("b", True))) if question.responses is None else Refused()
    )
    chains = parse_chains(["publickey", "password,keyboard-interactive", "hostbased"])
    methods = ("publickey", "password", "keyboard-interactive", "hostbased")
    return Server(
        backend,
        policy=policy(methods=methods, chains=chains, host_algorithms=("ssh-ed25519",)),
    )


@given(st.lists(damaged(REQUESTS) | st.binary(max_size=64), max_size=12))
def test_any_bytes_to_a_server_end_in_protocol_error_or_in_a_refusal(
    payloads: list[bytes],
) -> None:
    machine = server()
    for payload in payloads:
        try:
            machine.take(payload)
        except ProtocolError:
            break
    assert machine.granted is None
    for attempt in machine.authenticator.attempts():
        assert "\n" not in attempt.sentence("192.0.2.1 port 2")


@given(st.lists(st.sampled_from(REQUESTS), max_size=30))
def test_any_order_of_requests_to_a_server_is_answered_or_ended(payloads: list[bytes]) -> None:
    machine = server()
    for payload in payloads:
        try:
            assert machine.take(payload)
        except ProtocolError:
            break
    assert machine.granted is None


@given(st.data())
@settings(max_examples=50)
def test_requests_that_do_not_wait_are_answered_one_by_one_or_ended(data: st.DataObject) -> None:
    """The server's answers come late, in any mixture with more requests."""
    machine = server()
    authenticator = machine.authenticator
    asked = None
    for _ in range(data.draw(st.integers(0, 20))):
        try:
            if asked is not None and data.draw(st.booleans()):
                step: Any = authenticator.answer(machine.backend(asked.question))
                asked = step if hasattr(step, "question") else None
            else:
                step = authenticator.receive(data.draw(damaged(REQUESTS)))
                asked = step if hasattr(step, "question") else asked
        except ProtocolError:
            break
        assert not hasattr(step, "factors")


VERBS: list[Callable[[ClientAuthentication], Any]] = [
    lambda machine: machine.try_none("me"),
    lambda machine: machine.try_password("me", "secret"),
    lambda machine: machine.try_password("me", "secret", "new"),
    lambda machine: machine.try_keyboard_interactive("me"),
    lambda machine: machine.answer_questions(["answer"]),
    lambda machine: machine.answer_questions([]),
    lambda machine: machine.try_publickey("me", BLOB, "ssh-ed25519", signed=False),
    lambda machine: machine.try_publickey("me", BLOB, "ssh-ed25519", signed=True),
    lambda machine: machine.give_signature(SIGNATURE),
    lambda machine: machine.give_signature(None),
]
# What shows something that only the user has.
PROOFS = [VERBS[1], VERBS[2], VERBS[4], VERBS[8]]


@given(
    st.lists(
        st.sampled_from(VERBS) | damaged(REPLIES) | st.binary(max_size=64),
        max_size=30,
    )
)
def test_any_bytes_to_a_client_end_in_protocol_error_or_in_events(acts: list[Any]) -> None:
    machine = ClientAuthentication(b"session", host_key_blob=HOST_KEY, refuse_trivial=True)
    proved = False
    for act in acts:
        if callable(act):
            try:
                act(machine)
            except (UsageError, AuthenticationFailed):
                continue
            proved = proved or act in PROOFS
            continue
        try:
            events = machine.receive(act)
        except ProtocolError:
            break
        if any(isinstance(event, Authenticated) for event in events):
            assert proved


@given(st.text(st.characters(codec=None)))
def test_escaped_text_can_be_written_and_moves_no_cursor(text: str) -> None:
    shown = escape_text(text)
    shown.encode("utf-8")
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)
