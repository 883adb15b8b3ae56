# SPDX-License-Identifier: MIT
from collections.abc import Callable
from typing import Any

import pytest

from tellin.errors import AuthenticationFailed, DisconnectReason, ProtocolError, UsageError
from tellin.userauth.client import ClientAuthentication
from tellin.userauth.events import (
    Authenticated,
    AuthenticationRefused,
    Banner,
    KeyAccepted,
    PasswordChangeAsked,
    QuestionsAsked,
    SignatureWanted,
)
from tellin.userauth.messages import (
    HOST_BOUND,
    InfoRequest,
    PasswordChangeRequest,
    PublicKeyOk,
    SignedHostBoundFields,
    SignedPublicKeyFields,
    UserauthBanner,
    UserauthFailure,
    UserauthRequest,
    UserauthSuccess,
    method_fields,
    signed_data,
)
from tellin.wire import string

BLOB = string(b"ssh-ed25519") + string(b"k" * 32)
RSA_BLOB = string(b"ssh-rsa") + string(b"\3") + string(b"n")

FAILURE = UserauthFailure(("publickey", "password"), partial_success=False).encode()
PARTIAL = UserauthFailure(("password",), partial_success=True).encode()
SUCCESS = UserauthSuccess().encode()
QUESTIONS = InfoRequest("Name", "Do.", "", (("Password: ", False), ("Code: ", True))).encode()
NO_QUESTIONS = InfoRequest("", "", "", ()).encode()


def client(**options: Any) -> ClientAuthentication:
    return ClientAuthentication(b"session", host_key_blob=b"host", **options)


def sign(machine: ClientAuthentication, blob: bytes = BLOB) -> Any:
    wanted = machine.try_publickey("me", blob, "ssh-ed25519", signed=True)
    assert isinstance(wanted, SignatureWanted)
    return machine.give_signature(b"signature")


def test_none_asks_for_the_list() -> None:
    machine = client()
    assert machine.try_none("me") == UserauthRequest("me", "ssh-connection", "none", b"")
    assert machine.receive(FAILURE) == [AuthenticationRefused(("publickey", "password"), False)]
    assert machine.allowed == ("publickey", "password")
    assert machine.tried == ("none",)


def test_a_signed_try_sends_nothing_before_the_signature_is_there() -> None:
    machine = client()
    wanted = machine.try_publickey("me", BLOB, "ssh-ed25519", signed=True)
    data = signed_data(b"session", user="me", algorithm="ssh-ed25519", key_blob=BLOB)
    assert wanted == SignatureWanted(BLOB, "ssh-ed25519", data)
    message = machine.give_signature(b"signature")
    assert isinstance(message, UserauthRequest)
    assert method_fields(message) == SignedPublicKeyFields(
        True, "ssh-ed25519", BLOB, signature=b"signature"
    )
    assert machine.receive(SUCCESS) == [Authenticated("me", "publickey")]


def test_with_the_servers_extension_the_signature_is_bound_to_its_host_key() -> None:
    machine = client(hostbound=True)
    wanted = machine.try_publickey("me", BLOB, "ssh-ed25519", signed=True)
    assert isinstance(wanted, SignatureWanted)
    assert wanted.data == signed_data(
        b"session", user="me", algorithm="ssh-ed25519", key_blob=BLOB, host_key_blob=b"host"
    )
    message = machine.give_signature(b"signature")
    assert isinstance(message, UserauthRequest)
    assert message.method == HOST_BOUND
    assert method_fields(message) == SignedHostBoundFields(
        True, "ssh-ed25519", BLOB, b"host", signature=b"signature"
    )
    assert machine.receive(SUCCESS) == [Authenticated("me", "publickey")]


def test_whoever_wants_it_unbound_gets_the_plain_form_whatever_the_server_knows() -> None:
    machine = client(hostbound=True)
    machine.try_publickey("me", BLOB, "ssh-ed25519", signed=True, bound=False)
    message = machine.give_signature(b"signature")
    assert isinstance(message, UserauthRequest)
    assert message.method == "publickey"


def test_a_key_that_cannot_sign_leaves_the_login_as_it_was_and_may_be_tried_again() -> None:
    machine = client()
    machine.try_publickey("me", BLOB, "ssh-ed25519", signed=True)
    assert machine.give_signature(None) is None
    assert sign(machine).method == "publickey"


def test_an_accepted_probe_is_told_with_the_algorithm_that_was_asked_about() -> None:
    machine = client()
    machine.try_publickey("me", RSA_BLOB, "rsa-sha2-512", signed=False)
    # Servers from before RFC 8332 name the key's type.
    events = machine.receive(PublicKeyOk("ssh-rsa", RSA_BLOB).encode())
    assert events == [KeyAccepted(RSA_BLOB, "rsa-sha2-512")]


@pytest.mark.parametrize(
    "answer",
    [
        PublicKeyOk("ssh-ed25519", BLOB + b"x"),
        PublicKeyOk("ssh-dss", BLOB),
        PublicKeyOk("", BLOB),
        UserauthSuccess(),
    ],
)
def test_an_answer_to_a_probe_that_fits_it_not_is_the_servers_fault(answer: Any) -> None:
    machine = client()
    machine.try_publickey("me", BLOB, "ssh-ed25519", signed=False)
    with pytest.raises(ProtocolError):
        machine.receive(answer.encode())


def test_pk_ok_for_a_signed_request_is_the_servers_fault() -> None:
    machine = client()
    sign(machine)
    with pytest.raises(ProtocolError):
        machine.receive(PublicKeyOk("ssh-ed25519", BLOB).encode())


def test_questions_are_asked_and_answered_in_rounds() -> None:
    machine = client()
    machine.try_keyboard_interactive("me", "pam")
    expected = QuestionsAsked("Name", "Do.", (("Password: ", False), ("Code: ", True)))
    assert machine.receive(QUESTIONS) == [expected]
    message = machine.answer_questions(["secret", "1"])
    assert message.encode() == b"\x3d\0\0\0\x02" + string(b"secret") + string(b"1")
    assert machine.receive(NO_QUESTIONS) == [QuestionsAsked("", "", ())]
    assert machine.answer_questions([]).encode() == b"\x3d\0\0\0\0"
    assert machine.receive(SUCCESS) == [Authenticated("me", "keyboard-interactive")]


def test_as_many_answers_as_questions() -> None:
    machine = client()
    machine.try_keyboard_interactive("me")
    machine.receive(QUESTIONS)
    with pytest.raises(UsageError):
        machine.answer_questions(["only one"])


def test_a_new_try_ends_an_open_dialogue() -> None:
    machine = client()
    machine.try_keyboard_interactive("me")
    machine.receive(QUESTIONS)
    machine.try_password("me", "secret")
    with pytest.raises(UsageError):
        machine.answer_questions(["a", "b"])
    assert machine.receive(FAILURE) != []


def test_a_password_that_has_run_out_is_replaced() -> None:
    machine = client()
    machine.try_password("me", "old")
    events = machine.receive(PasswordChangeRequest("Change it.", "").encode())
    assert events == [PasswordChangeAsked("Change it.")]
    message = machine.try_password("me", "old", "new")
    assert isinstance(message, UserauthRequest)
    assert message.method_data == b"\x01" + string(b"old") + string(b"new")


def test_the_algorithm_and_host_of_a_host_based_try_are_signed() -> None:
    machine = client()
    wanted = machine.try_hostbased(
        "me", BLOB, "ssh-ed25519", host_name="here.", client_user="myself"
    )
    assert wanted.data.endswith(string(BLOB) + string(b"here.") + string(b"myself"))
    message = machine.give_signature(b"signature")
    assert isinstance(message, UserauthRequest)
    assert message.method == "hostbased"
    assert machine.receive(SUCCESS) == [Authenticated("me", "hostbased")]


# What a server may not do


@pytest.mark.parametrize("payload", [SUCCESS, FAILURE, QUESTIONS])
def test_r022_case_166_an_answer_without_a_request_ends_the_connection(payload: bytes) -> None:
    machine = client()
    with pytest.raises(ProtocolError) as caught:
        machine.receive(payload)
    assert caught.value.reason is DisconnectReason.PROTOCOL_ERROR


def test_case_166_success_while_only_the_signature_is_being_made_is_unrequested() -> None:
    machine = client()
    machine.try_publickey("me", BLOB, "ssh-ed25519", signed=True)
    with pytest.raises(ProtocolError):
        machine.receive(SUCCESS)


@pytest.mark.parametrize("payload", [SUCCESS, FAILURE, UserauthBanner("late", "").encode()])
def test_case_173_nothing_comes_after_success(payload: bytes) -> None:
    machine = client()
    machine.try_password("me", "secret")
    machine.receive(SUCCESS)
    with pytest.raises(ProtocolError):
        machine.receive(payload)


@pytest.mark.parametrize("number", [50, 54, 59, 61, 62, 79])
def test_messages_that_no_server_sends_end_the_connection(number: int) -> None:
    machine = client()
    machine.try_none("me")
    with pytest.raises(ProtocolError):
        machine.receive(bytes((number,)))


@pytest.mark.parametrize(
    "start",
    [
        lambda machine: machine.try_none("me"),
        lambda machine: (
            machine.try_hostbased("me", BLOB, "ssh-ed25519", host_name="h", client_user="u")
            and machine.give_signature(b"signature")
        ),
    ],
    ids=["none", "hostbased"],
)
def test_message_60_in_a_method_without_it_ends_the_connection(
    start: Callable[[ClientAuthentication], Any],
) -> None:
    machine = client()
    start(machine)
    with pytest.raises(ProtocolError):
        machine.receive(QUESTIONS)


def test_r023_a_login_without_proof_is_refused_where_asked() -> None:
    machine = client(refuse_trivial=True)
    machine.try_none("me")
    with pytest.raises(ProtocolError) as caught:
        machine.receive(SUCCESS)
    assert caught.value.reason is DisconnectReason.AUTH_CANCELLED_BY_USER
    assert caught.value.hint


def test_r023_questions_without_answers_prove_nothing() -> None:
    machine = client(refuse_trivial=True)
    machine.try_keyboard_interactive("me")
    machine.receive(NO_QUESTIONS)
    machine.answer_questions([])
    with pytest.raises(ProtocolError):
        machine.receive(SUCCESS)


def test_r023_a_signature_or_a_partial_success_before_is_proof_enough() -> None:
    machine = client(refuse_trivial=True)
    sign(machine)
    machine.receive(PARTIAL)
    machine.try_keyboard_interactive("me")
    machine.receive(NO_QUESTIONS)
    machine.answer_questions([])
    assert machine.receive(SUCCESS) == [Authenticated("me", "keyboard-interactive")]


def test_r023_a_refused_signature_is_no_proof_for_what_follows() -> None:
    machine = client(refuse_trivial=True)
    sign(machine)
    machine.receive(FAILURE)
    machine.try_keyboard_interactive("me")
    machine.receive(NO_QUESTIONS)
    machine.answer_questions([])
    with pytest.raises(ProtocolError):
        machine.receive(SUCCESS)


def test_r023_trivial_logins_pass_where_nobody_minds() -> None:
    machine = client()
    machine.try_none("me")
    assert machine.receive(SUCCESS) == [Authenticated("me", "none")]


def test_r085_case_171_the_65th_try_fails_with_what_was_tried() -> None:
    machine = client()
    for number in range(64):
        machine.try_publickey("me", BLOB + bytes((number,)), "ssh-ed25519", signed=False)
        machine.receive(FAILURE)
    with pytest.raises(AuthenticationFailed) as caught:
        machine.try_password("me", "secret")
    assert caught.value.tried == ("publickey",)
    assert caught.value.allowed == ("publickey", "password")


def test_r085_a_key_is_tried_once_with_each_algorithm() -> None:
    machine = client()
    machine.try_publickey("me", RSA_BLOB, "rsa-sha2-512", signed=False)
    machine.receive(FAILURE)
    with pytest.raises(UsageError):
        machine.try_publickey("me", RSA_BLOB, "rsa-sha2-512", signed=False)
    machine.try_publickey("me", RSA_BLOB, "rsa-sha2-256", signed=False)


def test_r085_a_signature_after_the_servers_yes_belongs_to_the_same_try() -> None:
    machine = client()
    for number in range(64):
        blob = BLOB + bytes((number,))
        machine.try_publickey("me", blob, "ssh-ed25519", signed=False)
        machine.receive(PublicKeyOk("ssh-ed25519", blob).encode())
        sign(machine, blob)
        machine.receive(FAILURE)
    with pytest.raises(AuthenticationFailed):
        machine.try_none("me")


def test_r085_rounds_of_questions_come_to_an_end() -> None:
    machine = client()
    machine.try_keyboard_interactive("me")
    for _ in range(64):
        machine.receive(NO_QUESTIONS)
        machine.answer_questions([])
    with pytest.raises(ProtocolError):
        machine.receive(NO_QUESTIONS)


def test_r086_case_169_33_prompts_end_the_connection() -> None:
    machine = client()
    machine.try_keyboard_interactive("me")
    with pytest.raises(ProtocolError) as caught:
        machine.receive(InfoRequest("", "", "", (("?", True),) * 33).encode())
    assert caught.value.reason is DisconnectReason.PROTOCOL_ERROR


def test_case_169_a_prompt_of_1_mib_is_cut() -> None:
    machine = client()
    machine.try_keyboard_interactive("me")
    (asked,) = machine.receive(InfoRequest("", "", "", (("x" * 2**20, True),)).encode())
    assert isinstance(asked, QuestionsAsked)
    assert asked.prompts == (("x" * 8192, True),)


def test_case_167_control_characters_in_the_list_reach_nobody() -> None:
    machine = client()
    machine.try_none("me")
    machine.receive(b"\x33" + string(b"pa\x1b[31mssword,publickey") + b"\0")
    assert machine.allowed == ("publickey",)


def test_case_170_a_banner_is_cut_to_8_kib_and_may_come_before_any_request() -> None:
    (banner,) = client().receive(UserauthBanner("x" * 2**20, "").encode())
    assert banner == Banner("x" * 8192)


def test_case_170_a_flood_of_banners_ends_the_connection() -> None:
    machine = client()
    for _ in range(64):
        machine.receive(UserauthBanner("again", "").encode())
    with pytest.raises(ProtocolError):
        machine.receive(UserauthBanner("again", "").encode())


# What a caller may not do


def test_one_request_at_a_time() -> None:
    machine = client()
    machine.try_none("me")
    with pytest.raises(UsageError):
        machine.try_password("me", "secret")


def test_one_connection_logs_in_one_user() -> None:
    machine = client()
    machine.try_none("me")
    machine.receive(FAILURE)
    with pytest.raises(UsageError):
        machine.try_none("you")


def test_nothing_is_tried_after_the_login() -> None:
    machine = client()
    machine.try_none("me")
    machine.receive(SUCCESS)
    with pytest.raises(UsageError):
        machine.try_none("me")


def test_a_signature_that_nobody_wanted_is_refused() -> None:
    with pytest.raises(UsageError):
        client().give_signature(b"signature")
